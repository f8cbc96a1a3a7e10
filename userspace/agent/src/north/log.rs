//! Exchanges as they end: the access log, and those who follow.
//!
//! Workers put lines into a bounded queue and never wait; one thread takes them out, writes the file
//! and tells followers.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::sync::{broadcast, mpsc};
use windrose_gateway::Lines;

/// Lines that were not written yet. A worker at full speed fills that in some hundredths of a second.
const QUEUE: usize = 16_384;

/// Lines that a follower may be behind before it loses some.
const BEHIND: usize = 4096;

/// How often it is looked at whether the file was renamed, while lines come.
const LOOK: Duration = Duration::from_secs(1);

/// Where lines go to.
#[derive(Debug)]
pub(crate) struct Requests {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    /// Somebody reads: else no line is made.
    is_wanted: Arc<AtomicBool>,
    followers: broadcast::Sender<Arc<str>>,
    /// The file is to be opened anew.
    reopen: AtomicBool,
    /// Lines that could not be written.
    unwritten: AtomicU64,
    /// Lines that followers were too slow for.
    unfollowed: AtomicU64,
}

/// The access log.
struct Log {
    path: Option<PathBuf>,
    out: BufWriter<Box<dyn Write + Send>>,
    /// Device and inode of the file.
    identity: Option<(u64, u64)>,
    looked: Instant,
    is_failing: bool,
}

impl Requests {
    /// Opens the log and starts to write. The lines end with the last who has the sender.
    pub(crate) fn start(path: Option<&Path>) -> Result<(Self, Lines)> {
        let log = path
            .map(|path| {
                Log::open(path).with_context(|| format!("cannot write the access log {}", path.display()))
            })
            .transpose()?;
        let (sender, lines) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared {
            is_wanted: Arc::new(AtomicBool::new(log.is_some())),
            followers: broadcast::Sender::new(BEHIND),
            reopen: AtomicBool::new(false),
            unwritten: AtomicU64::new(0),
            unfollowed: AtomicU64::new(0),
        });
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("requests".to_owned())
            .spawn(move || write(lines, log, &of_thread))
            .context("cannot start the writer of the access log")?;
        let lines = Lines::new(sender, Arc::clone(&shared.is_wanted));
        Ok((Self { shared, thread: Mutex::new(Some(thread)) }, lines))
    }

    /// Lines from now on.
    pub(crate) fn follow(&self) -> broadcast::Receiver<Arc<str>> {
        let lines = self.shared.followers.subscribe();
        self.shared.is_wanted.store(true, Relaxed);
        lines
    }

    /// Opens the file anew before the next line: it was renamed, to be kept.
    pub(crate) fn reopen(&self) {
        self.shared.reopen.store(true, Relaxed);
    }

    /// Counts lines that a follower was too slow for.
    pub(crate) fn count_lost(&self, lines: u64) {
        self.shared.unfollowed.fetch_add(lines, Relaxed);
    }

    /// Lines that could not be written, and those that followers were too slow for.
    pub(crate) fn lost(&self) -> (u64, u64) {
        (self.shared.unwritten.load(Relaxed), self.shared.unfollowed.load(Relaxed))
    }

    /// Waits until the last line is written; nobody may have a sender any more.
    pub(crate) fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the writer of the access log has panicked");
        }
    }
}

fn write(mut lines: mpsc::Receiver<String>, mut log: Option<Log>, shared: &Shared) {
    while let Some(first) = lines.blocking_recv() {
        if let Some(log) = &mut log {
            log.renew(shared.reopen.swap(false, Relaxed));
        }
        let mut next = Some(first);
        let mut count = 0_u64;
        while let Some(line) = next {
            if let Some(log) = &mut log {
                log.line(&line, shared);
            }
            if shared.followers.receiver_count() > 0 {
                // An error says that the last one has just left.
                let _ = shared.followers.send(line.into());
            }
            count += 1;
            // What is there already goes with it: one write(2) for many lines.
            next = if count < 1024 { lines.try_recv().ok() } else { None };
        }
        match &mut log {
            Some(log) => log.flush(shared),
            None if shared.followers.receiver_count() == 0 => shared.is_wanted.store(false, Relaxed),
            None => {}
        }
        // Somebody may have come between the two.
        if shared.followers.receiver_count() > 0 {
            shared.is_wanted.store(true, Relaxed);
        }
    }
}

impl Log {
    fn open(path: &Path) -> io::Result<Self> {
        let looked = Instant::now();
        if path == Path::new("-") {
            let out: Box<dyn Write + Send> = Box::new(io::stdout());
            return Ok(Self {
                path: None,
                out: BufWriter::new(out),
                identity: None,
                looked,
                is_failing: false,
            });
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let identity = identity(&file.metadata()?);
        let out: Box<dyn Write + Send> = Box::new(file);
        let path = Some(path.to_owned());
        Ok(Self { path, out: BufWriter::new(out), identity: Some(identity), looked, is_failing: false })
    }

    /// Opens the file anew if it is to be, or is no longer there by its name.
    fn renew(&mut self, is_asked: bool) {
        let Some(path) = &self.path else { return };
        if !is_asked {
            if self.looked.elapsed() < LOOK {
                return;
            }
            self.looked = Instant::now();
            if std::fs::metadata(path).ok().map(|metadata| identity(&metadata)) == self.identity {
                return;
            }
        }
        match Self::open(path) {
            Ok(log) => *self = log,
            // The old file goes on.
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "the access log cannot be opened anew");
            }
        }
    }

    fn line(&mut self, line: &str, shared: &Shared) {
        let written = self.out.write_all(line.as_bytes()).and_then(|()| self.out.write_all(b"\n"));
        self.outcome(written, shared);
    }

    fn flush(&mut self, shared: &Shared) {
        let flushed = self.out.flush();
        self.outcome(flushed, shared);
    }

    fn outcome(&mut self, outcome: io::Result<()>, shared: &Shared) {
        if let Err(error) = outcome {
            shared.unwritten.fetch_add(1, Relaxed);
            if !std::mem::replace(&mut self.is_failing, true) {
                tracing::error!(%error, "the access log cannot be written; lines are lost");
            }
        } else {
            self.is_failing = false;
        }
    }
}

fn identity(metadata: &std::fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("windrose-log-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn lines_are_written_and_a_renamed_file_is_left_alone() {
        let folder = folder("rename");
        let path = folder.join("access.log");
        let (sender, lines) = mpsc::channel(10);
        let (requests, _) = Requests::start(None).unwrap();
        let shared = Arc::clone(&requests.shared);
        let log = Log::open(&path).unwrap();
        let thread = thread::spawn(move || write(lines, Some(log), &shared));
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        let until = |path: &Path, text: &str| {
            let began = Instant::now();
            while read(path) != text {
                assert!(began.elapsed() < Duration::from_secs(10), "{:?}", read(path));
                thread::yield_now();
            }
        };
        sender.blocking_send("one".to_owned()).unwrap();
        until(&path, "one\n");
        let kept = folder.join("access.log.1");
        std::fs::rename(&path, &kept).unwrap();
        requests.reopen();
        sender.blocking_send("two".to_owned()).unwrap();
        until(&path, "two\n");
        assert_eq!(read(&kept), "one\n");
        drop(sender);
        thread.join().unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_follower_gets_lines_without_a_file() {
        let (requests, lines) = Requests::start(None).unwrap();
        assert!(!requests.shared.is_wanted.load(Relaxed));
        let mut follower = requests.follow();
        assert!(requests.shared.is_wanted.load(Relaxed));
        drop(lines);
        requests.join();
        assert!(follower.try_recv().is_err());
    }

    #[test]
    fn a_log_that_cannot_be_written_is_told_at_the_start() {
        let why = Requests::start(Some(Path::new("/nowhere/access.log"))).unwrap_err();
        assert!(
            format!("{why:#}").starts_with("cannot write the access log /nowhere/access.log: "),
            "{why:#}"
        );
    }
}
