//! Socket calls that the standard library does not make, each answered as a program would tell it.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::os::unix::thread::JoinHandleExt as _;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a reader waits for what does not come.
pub(crate) const PATIENCE: Duration = Duration::from_millis(300);

static SIGNALS: AtomicU64 = AtomicU64::new(0);

extern "C" fn on_signal(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::SeqCst);
}

fn told(result: isize) -> Result<usize, String> {
    usize::try_from(result).map_err(|_| name(&io::Error::last_os_error()))
}

fn name(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EAGAIN) => "EAGAIN".to_owned(),
        Some(libc::EFAULT) => "EFAULT".to_owned(),
        Some(libc::EINTR) => "EINTR".to_owned(),
        Some(libc::ECONNRESET) => "ECONNRESET".to_owned(),
        _ => error.to_string(),
    }
}

/// recv(2): the bytes as text, or the error.
pub(crate) fn recv(socket: &TcpStream, bytes: usize, flags: libc::c_int) -> String {
    let mut buffer = vec![0_u8; bytes];
    // SAFETY: the buffer is as long as said.
    let result = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), bytes, flags) };
    match told(result) {
        Ok(0) => "EOF".to_owned(),
        Ok(count) => String::from_utf8_lossy(&buffer[..count]).into_owned(),
        Err(error) => error,
    }
}

/// recv(2) with `MSG_TRUNC`, which throws bytes away without a buffer: how many.
pub(crate) fn discard(socket: &TcpStream, bytes: usize) -> String {
    let flags = libc::MSG_TRUNC | libc::MSG_DONTWAIT;
    // SAFETY: TCP does not touch the buffer, and the kernel answers EFAULT for one that it cannot.
    told(unsafe { libc::recv(socket.as_raw_fd(), ptr::null_mut(), bytes, flags) })
        .map_or_else(|error| error, |count| format!("{count} bytes"))
}

/// splice(2) into a pipe and read from there, without waiting.
pub(crate) fn splice(socket: &TcpStream) -> String {
    let mut pipe = [0; 2];
    // SAFETY: two descriptors are written.
    assert_eq!(unsafe { libc::pipe2(pipe.as_mut_ptr(), libc::O_NONBLOCK) }, 0);
    let ends = pipe.map(|fd| {
        // SAFETY: the kernel has just given us this descriptor.
        unsafe { <std::fs::File as std::os::fd::FromRawFd>::from_raw_fd(fd) }
    });
    let (from, to) = (socket.as_raw_fd(), ends[1].as_raw_fd());
    let flags = libc::SPLICE_F_NONBLOCK;
    // SAFETY: both descriptors live, and no offset is given.
    match told(unsafe { libc::splice(from, ptr::null_mut(), to, ptr::null_mut(), 65_536, flags) }) {
        Ok(count) => {
            let mut bytes = vec![0; count];
            io::Read::read_exact(&mut &ends[0], &mut bytes).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        }
        Err(error) => error,
    }
}

/// poll(2): the events that came within [`PATIENCE`].
pub(crate) fn poll(socket: &TcpStream, events: libc::c_short) -> libc::c_short {
    let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events, revents: 0 };
    let wait = libc::c_int::try_from(PATIENCE.as_millis()).unwrap();
    // SAFETY: one element.
    unsafe { libc::poll(&raw mut poll, 1, wait) };
    poll.revents
}

/// Waits until it can be read.
pub(crate) fn settle(socket: &TcpStream) {
    assert_ne!(poll(socket, libc::POLLIN) & libc::POLLIN, 0, "nothing to read");
}

/// Waits until the peer has acknowledged all that went by TCP.
pub(crate) fn arrived(socket: &TcpStream) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while number(socket, libc::TIOCOUTQ) != 0 {
        assert!(Instant::now() < deadline, "what was sent does not arrive");
        thread::yield_now();
    }
}

/// `FIONREAD`.
pub(crate) fn unread(socket: &TcpStream) -> libc::c_int {
    number(socket, libc::FIONREAD)
}

fn number(socket: &TcpStream, request: libc::Ioctl) -> libc::c_int {
    let mut count = 0;
    // SAFETY: both requests of this file write an integer.
    assert_eq!(unsafe { libc::ioctl(socket.as_raw_fd(), request, &raw mut count) }, 0);
    count
}

/// Sets an option that is an integer.
pub(crate) fn set(socket: &TcpStream, option: libc::c_int, value: libc::c_int) {
    let length = libc::socklen_t::try_from(size_of_val(&value)).unwrap();
    // SAFETY: the value is as long as said.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, (&raw const value).cast(), length)
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// send(2).
pub(crate) fn send(socket: &TcpStream, bytes: &[u8], flags: libc::c_int) -> Result<usize, String> {
    // SAFETY: the buffer is as long as said.
    told(unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) })
}

/// `tcpi_bytes_received` of `TCP_INFO`: what has come by TCP.
pub(crate) fn received(socket: &TcpStream) -> u64 {
    let mut info = [0_u64; 24];
    let mut length = libc::socklen_t::try_from(size_of_val(&info)).unwrap();
    let (level, option) = (libc::IPPROTO_TCP, libc::TCP_INFO);
    // SAFETY: the buffer is as long as said.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, option, info.as_mut_ptr().cast(), &raw mut length)
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    info[16]
}

/// A thread that is blocked in recv(2).
pub(crate) struct Reader {
    thread: Option<JoinHandle<()>>,
    answer: Receiver<String>,
}

impl Reader {
    /// Starts one; returns when it sleeps in the kernel.
    pub(crate) fn start(socket: &TcpStream, bytes: usize, flags: libc::c_int) -> Self {
        let socket = socket.try_clone().unwrap();
        let (tell, number) = mpsc::channel();
        let (give, answer) = mpsc::channel();
        let thread = thread::spawn(move || {
            // SAFETY: no arguments.
            tell.send(unsafe { libc::gettid() }).unwrap();
            let _ = give.send(recv(&socket, bytes, flags));
        });
        // "<number of the system call> <arguments>" while it sleeps in one, else "running".
        let call = format!("/proc/self/task/{}/syscall", number.recv().unwrap());
        let asleep = format!("{} ", libc::SYS_recvfrom);
        let deadline = Instant::now() + Duration::from_secs(5);
        while !std::fs::read_to_string(&call).unwrap().starts_with(&asleep) {
            assert!(Instant::now() < deadline, "the reader does not block");
            thread::yield_now();
        }
        Self { thread: Some(thread), answer }
    }

    /// Whether it still waits after a moment in which it would have been woken.
    pub(crate) fn still_waits(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| {
            let deadline = Instant::now() + PATIENCE / 6;
            while Instant::now() < deadline && !thread.is_finished() {
                thread::yield_now();
            }
            !thread.is_finished()
        })
    }

    /// Interrupts it by a signal whose handler asks for restarts; returns when the handler has run.
    pub(crate) fn interrupt(&self) {
        // SAFETY: all zero is an action without flags and mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = libc::SA_RESTART;
        // SAFETY: the action is complete, and its handler does what a handler may.
        assert_eq!(unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, ptr::null_mut()) }, 0);
        let before = SIGNALS.load(Ordering::SeqCst);
        let thread = self.thread.as_ref().unwrap().as_pthread_t();
        // SAFETY: the thread is not joined yet.
        assert_eq!(unsafe { libc::pthread_kill(thread, libc::SIGUSR1) }, 0);
        let deadline = Instant::now() + Duration::from_secs(5);
        while SIGNALS.load(Ordering::SeqCst) == before {
            assert!(Instant::now() < deadline, "the signal does not arrive");
            thread::yield_now();
        }
    }

    /// What it read.
    pub(crate) fn answer(mut self) -> String {
        self.thread.take().unwrap().join().unwrap();
        self.answer.recv().unwrap()
    }
}
