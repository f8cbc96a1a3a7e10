//! One attempt of one host to reach another, and what must become of it.

use std::fmt;
use std::time::Duration;

use anyhow::{Result, bail};

use super::actor::Outcome;
use super::players;
use super::stage::Stage;
use crate::record::EventView;

/// An answer comes in less than a millisecond; on a machine that is busy with other things, in so long.
const PATIENCE: Duration = Duration::from_secs(5);

/// Silence that has lasted so long is taken for silence.
const SILENCE: Duration = Duration::from_millis(700);

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http,
    Udp,
}

/// What must become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// An answer.
    Answer,
    /// `EPERM`, at once.
    Refusal,
    /// Nothing.
    Silence,
}

/// An attempt.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    source: &'static str,
    destination: &'static str,
    protocol: Protocol,
    to: &'static str,
    from: Option<&'static str>,
    pub(super) expected: Expected,
}

impl Attempt {
    /// An HTTP request on a connection of its own.
    pub(super) const fn http(
        source: &'static str,
        destination: &'static str,
        to: &'static str,
        expected: Expected,
    ) -> Self {
        Self { source, destination, protocol: Protocol::Http, to, from: None, expected }
    }

    /// A datagram.
    pub(super) const fn udp(
        source: &'static str,
        destination: &'static str,
        to: &'static str,
        expected: Expected,
    ) -> Self {
        Self { protocol: Protocol::Udp, ..Self::http(source, destination, to, expected) }
    }

    /// The same from an address of choice.
    pub(super) const fn from(self, from: &'static str) -> Self {
        Self { from: Some(from), ..self }
    }

    /// Makes it; what became of it, if it is what must.
    pub(super) fn make(&self, stage: &Stage) -> Result<Outcome> {
        let patience = match self.expected {
            Expected::Answer | Expected::Refusal => PATIENCE,
            Expected::Silence => SILENCE,
        };
        let outcome = match self.protocol {
            Protocol::Http => players::get(stage, self.source, self.to, self.from, patience)?,
            Protocol::Udp => players::ask(stage, self.source, self.to, patience)?,
        };
        let is_expected = match (&outcome, self.expected) {
            (Outcome::Answered { .. }, Expected::Answer)
            | (Outcome::Failed { is_refused: true, .. }, Expected::Refusal)
            | (Outcome::Silence, Expected::Silence) => true,
            (Outcome::Answered { .. } | Outcome::Failed { .. } | Outcome::Silence, _) => false,
        };
        if is_expected {
            return Ok(outcome);
        }
        let must = match self.expected {
            Expected::Answer => "must be answered",
            Expected::Refusal => "must be refused with EPERM",
            Expected::Silence => "must be dropped",
        };
        bail!("{self} {must}; it was: {outcome:?}")
    }

    /// Whether an event is the agent's report of it.
    pub(super) fn is_told_by(&self, event: &EventView) -> bool {
        let kind = match self.expected {
            Expected::Answer => "opened",
            Expected::Refusal | Expected::Silence => "refused",
        };
        // Of an allowed connection both ends tell; the one that opens it is shown, if it is a workload.
        let direction = match self.expected {
            Expected::Silence => "ingress",
            Expected::Answer if self.source == "outside" => "ingress",
            Expected::Answer | Expected::Refusal => "egress",
        };
        let event = &event.decided;
        event.kind == kind
            && event.direction == direction
            && event.source.name() == self.name_of_source()
            && event.destination.name() == workload(self.destination)
            && self.to.ends_with(&format!(":{}", event.destination.port))
    }

    /// The source as the agent calls it.
    fn name_of_source(&self) -> &'static str {
        match self.from {
            Some(address) => address,
            None => workload(self.source),
        }
    }
}

/// The workload of a host, by the name that `policies/demo` gives it.
fn workload(host: &'static str) -> &'static str {
    match host {
        "web" => "shop/web",
        "cart" => "shop/cart",
        "payments" => "bank/payments",
        "intruder" => "guest/intruder",
        other => other,
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.protocol {
            Protocol::Http => "HTTP",
            Protocol::Udp => "UDP",
        };
        let (source, destination) = (self.name_of_source(), workload(self.destination));
        write!(f, "{source:<14} -> {destination:<13}  {what:<4} {to:<15}", to = self.to)
    }
}
