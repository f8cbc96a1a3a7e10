//! One attempt to reach somebody, and what is expected of it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::actor::{Actor, PATIENCE, millis};
use crate::script::{Act, Outcome, Protocol};

/// How long silence must last to count as a drop: an answer over a veth takes microseconds.
pub const SILENCE: Duration = Duration::from_millis(400);

/// An attempt: open, send, get the same back, close.
#[derive(Debug, Clone)]
#[must_use = "a probe does nothing until something is expected of it"]
pub struct Probe<'a> {
    actor: &'a Actor,
    protocol: Protocol,
    to: SocketAddr,
    from_port: u16,
    bytes: usize,
    is_connected: bool,
}

impl<'a> Probe<'a> {
    pub(crate) fn new(actor: &'a Actor, protocol: Protocol, to: SocketAddr) -> Self {
        Self { actor, protocol, to, from_port: 0, bytes: 32, is_connected: false }
    }

    /// UDP by connect and send instead of sendto.
    pub fn connected(mut self) -> Self {
        self.is_connected = true;
        self
    }

    /// How many bytes are to go there and back.
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// From this local port.
    pub fn from_port(mut self, port: u16) -> Self {
        self.from_port = port;
        self
    }

    /// Does it, with a time to give up.
    pub fn outcome(&self, patience: Duration) -> Result<Outcome> {
        let &Self { protocol, to, from_port, bytes, is_connected, .. } = self;
        let patience_ms = millis(patience);
        let act = Act::Probe { protocol, to, from_port, bytes, is_connected, patience_ms };
        Ok(self.actor.perform(act)?.outcome)
    }

    /// It must get through.
    pub fn passes(&self) -> Result<()> {
        self.ends(&Outcome::Passed, PATIENCE)
    }

    /// EPERM must come at once.
    pub fn is_refused(&self) -> Result<()> {
        self.ends(&Outcome::NotPermitted, PATIENCE)
    }

    /// Nothing may come back.
    pub fn is_dropped(&self) -> Result<()> {
        self.ends(&Outcome::Silence, SILENCE)
    }

    /// It must end so, by somebody's answer.
    pub fn is_answered(&self, expected: &Outcome) -> Result<()> {
        self.ends(expected, PATIENCE)
    }

    fn ends(&self, expected: &Outcome, patience: Duration) -> Result<()> {
        let outcome = self.outcome(patience)?;
        if outcome != *expected {
            let Self { actor, protocol, to, is_connected, .. } = self;
            let connected = if *is_connected { " connected" } else { "" };
            bail!("{} to {to} by{connected} {protocol:?}: {outcome:?}, expected {expected:?}", actor.name());
        }
        Ok(())
    }
}
