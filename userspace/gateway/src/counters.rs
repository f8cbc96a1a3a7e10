//! What the gateway counts, since it started.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use crate::refusal::Refusal;
use crate::tls::HandshakeFault;
use crate::wire::WireFault;

/// What a client was too slow with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slow {
    /// A head that had begun.
    Head,
    /// The body of a request.
    Body,
    /// Reading its response.
    Response,
}

impl Slow {
    /// Every one, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Head, Self::Body, Self::Response];

    /// A word for counters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Body => "body",
            Self::Response => "response",
        }
    }
}

/// Counters of one worker. Labels are enums: nothing that a client picks.
#[derive(Debug)]
pub struct Counters {
    /// Which worker counts here.
    pub(crate) worker: usize,
    /// Connections that were accepted.
    pub connections: AtomicU64,
    /// Connections of clients that are open.
    pub connections_open: AtomicI64,
    /// Connections that spoke HTTP/2.
    pub connections_http2: AtomicU64,
    /// Exchanges that have begun and not ended.
    pub exchanges_open: AtomicI64,
    /// TLS handshakes that came to their end.
    pub handshakes: AtomicU64,
    /// TLS handshakes that did not, by fault.
    handshake_faults: Vec<AtomicU64>,
    /// Exchanges by class of status: 1xx, 2xx, 3xx, 4xx, 5xx.
    classes: [AtomicU64; 5],
    /// Messages that were refused on the wire, by fault.
    wire_faults: Vec<AtomicU64>,
    /// Exchanges that the gateway refused itself.
    refusals: Vec<AtomicU64>,
    /// Further tries of upstreams.
    pub retries: AtomicU64,
    /// Connections to upstreams that were opened.
    pub upstream_opened: AtomicU64,
    /// Requests that went over a connection that was there.
    pub upstream_reused: AtomicU64,
    /// Responses that were cut short, by whomever.
    pub cut_short: AtomicU64,
    /// Connections that ended because their client was too slow, by what with.
    slow: [AtomicU64; 3],
    /// Connections that spoke another protocol from some response on.
    pub tunnels: AtomicU64,
    /// Lines of the access log for which there was no room.
    pub log_lost: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self::of(0)
    }
}

impl Counters {
    /// Those of a worker.
    pub(crate) fn of(worker: usize) -> Self {
        let many = |count| (0..count).map(|_| AtomicU64::new(0)).collect();
        Self {
            worker,
            connections: AtomicU64::new(0),
            connections_open: AtomicI64::new(0),
            connections_http2: AtomicU64::new(0),
            exchanges_open: AtomicI64::new(0),
            handshakes: AtomicU64::new(0),
            handshake_faults: many(HandshakeFault::ALL.len()),
            classes: Default::default(),
            wire_faults: many(WireFault::ALL.len()),
            refusals: many(Refusal::ALL.len()),
            retries: AtomicU64::new(0),
            upstream_opened: AtomicU64::new(0),
            upstream_reused: AtomicU64::new(0),
            cut_short: AtomicU64::new(0),
            slow: Default::default(),
            tunnels: AtomicU64::new(0),
            log_lost: AtomicU64::new(0),
        }
    }

    pub(crate) fn handshake_fault(&self, fault: HandshakeFault) {
        self.handshake_faults[fault as usize].fetch_add(1, Relaxed);
    }

    /// Handshakes that failed for this reason.
    pub fn handshake_faults(&self, fault: HandshakeFault) -> u64 {
        self.handshake_faults[fault as usize].load(Relaxed)
    }

    pub(crate) fn slow(&self, with: Slow) {
        self.slow[with as usize].fetch_add(1, Relaxed);
    }

    /// Connections that ended because their client was too slow with this.
    pub fn slow_clients(&self, with: Slow) -> u64 {
        self.slow[with as usize].load(Relaxed)
    }

    pub(crate) fn wire_fault(&self, fault: WireFault) {
        self.wire_faults[fault as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn refusal(&self, refusal: Refusal) {
        self.refusals[refusal as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn status(&self, status: u16) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.classes[class].fetch_add(1, Relaxed);
    }

    /// Messages refused for this fault.
    pub fn wire_faults(&self, fault: WireFault) -> u64 {
        self.wire_faults[fault as usize].load(Relaxed)
    }

    /// Exchanges refused for this reason.
    pub fn refusals(&self, refusal: Refusal) -> u64 {
        self.refusals[refusal as usize].load(Relaxed)
    }

    /// Exchanges with a status of this class, 1 to 5.
    pub fn class(&self, class: usize) -> u64 {
        self.classes[class.clamp(1, 5) - 1].load(Relaxed)
    }
}
