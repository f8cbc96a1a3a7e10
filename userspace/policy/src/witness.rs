//! Which flows can tell a right compilation from a wrong one.
//!
//! A subject is a set of local workloads that the same policies select. Its peers fall into classes that
//! its rules do not tell apart, its ports likewise: a flow for each pair is a witness of it. Nothing
//! here looks at the compiled tables.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::decision::{Endpoint, Flow};
use crate::model::{Direction, Model, Workload};
use crate::tables::Settings;

mod census;
mod changed;
mod draw;
mod plan;
mod ports;
mod rules;
mod subjects;

pub(crate) use rules::{Body, Policy};

use census::Census;
use changed::Changed;
use draw::Draw;
use plan::{Plan, Seat};
use subjects::Subject;

/// A flow, and what of the policy can concern it.
#[derive(Debug)]
pub(crate) struct Witness<'m> {
    pub(crate) direction: Direction,
    /// Whose egress or ingress is asked.
    pub(crate) subject: &'m Arc<Workload>,
    /// The peer, where it is known by its socket and not by its address.
    pub(crate) by_socket: Option<&'m Arc<Workload>>,
    pub(crate) flow: Flow,
    /// The workload at the other end.
    pub(crate) peer: Option<&'m Arc<Workload>>,
    /// Numbers of [`Survey::policies`]: every one that selects the subject and may name the peer,
    /// and those that isolate the subject.
    pub(crate) policies: Vec<usize>,
}

/// How near a subject is to what the last load changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Nearness {
    /// It is changed, or a policy that selects it.
    Changed,
    /// A rule of its policies names somebody who is changed.
    Touched,
    /// Neither.
    Far,
}

/// A subject and how far its witnesses were heard.
#[derive(Debug)]
pub(crate) struct Hearing<'m> {
    pub(crate) nearness: Nearness,
    subject: Subject<'m>,
    plan: Option<Plan<'m>>,
    /// Witnesses of the classes that were heard.
    turn: u64,
    /// And of further members of them.
    further: u64,
    draw: Draw,
}

/// All subjects, in an order that the seed gives.
#[derive(Debug)]
pub(crate) struct Survey<'m> {
    pub(crate) policies: Vec<Policy<'m>>,
    census: Census<'m>,
}

impl<'m> Survey<'m> {
    /// `before`: what was in force; `None`: nothing was.
    pub(crate) fn new(
        (model, settings): (&'m Model, &'m Settings),
        before: Option<(&'m Model, &'m Settings)>,
        seed: u64,
    ) -> (Self, Vec<Hearing<'m>>) {
        let mut draw = Draw::new(seed);
        let changed = match before {
            // Audit of the agent is in every decision.
            Some((last, with)) if with.audit_all == settings.audit_all && !last.workloads.is_empty() => {
                Changed::between((last, with), (model, settings))
            }
            Some(_) | None => Changed::all(model),
        };
        let policies = &changed.policies;
        let census = Census::new(model, settings, policies, &changed.addresses, draw.below(usize::MAX));
        let touched = touched(&census, policies);
        let subjects = subjects::subjects(&census, policies, |workload| changed.has(workload));
        let mut hearings: Vec<Hearing<'m>> = subjects
            .into_iter()
            .map(|subject| {
                let is_touched = subject.policies.iter().any(|policy| touched[*policy]);
                let nearness = match (subject.is_changed, is_touched) {
                    (true, _) => Nearness::Changed,
                    (false, true) => Nearness::Touched,
                    (false, false) => Nearness::Far,
                };
                let draw = Draw::new(seed ^ u64::try_from(draw.below(usize::MAX)).unwrap_or(0));
                Hearing { nearness, subject, plan: None, turn: 0, further: 0, draw }
            })
            .collect();
        draw.shuffle(&mut hearings);
        hearings.sort_by_key(|hearing| hearing.nearness);
        (Self { policies: changed.policies, census }, hearings)
    }
}

/// Which policies name somebody who is changed.
fn touched(census: &Census<'_>, policies: &[Policy<'_>]) -> Vec<bool> {
    if census.changed.is_empty() {
        return vec![false; policies.len()];
    }
    let names_one = |policy: &Policy<'_>| {
        let mut names = false;
        policy.body.each_form(|form| {
            names |= census.changed.iter().any(|peer| census.is_member(&form, &census.peers[*peer]));
        });
        names
    };
    policies.iter().map(names_one).collect()
}

impl<'m> Hearing<'m> {
    /// How many classes of flows the subject has; `None` before its first witness.
    pub(crate) fn classes(&self) -> Option<u64> {
        self.plan.as_ref().map(|plan| self.classes_of(plan))
    }

    /// At least one for each workload, so that the rows of each are looked at.
    fn classes_of(&self, plan: &Plan<'m>) -> u64 {
        plan.pairs().max(u64::try_from(self.subject.workloads.len()).unwrap_or(u64::MAX))
    }

    /// The next witness of a class; `None` when each class had one.
    pub(crate) fn next(&mut self, survey: &mut Survey<'m>) -> Option<Witness<'m>> {
        let plan = match self.plan.take() {
            Some(plan) => plan,
            None => Plan::new(&mut survey.census, &survey.policies, &self.subject, &mut self.draw),
        };
        let last = plan.aimed() + self.classes_of(&plan);
        let mut witness = None;
        while witness.is_none() && self.turn < last {
            let pair = match self.turn.checked_sub(plan.aimed()) {
                None => plan.aimed_at(self.turn),
                Some(turn) => plan.pair(turn % plan.pairs().max(1)),
            };
            witness = pair.and_then(|pair| self.witness(survey, &plan, pair, self.turn));
            self.turn += 1;
        }
        self.plan = Some(plan);
        witness
    }

    /// The next witness of a further member of a class; `None` when all had one.
    pub(crate) fn next_further(&mut self, survey: &Survey<'m>) -> Option<Witness<'m>> {
        let plan = self.plan.as_ref()?;
        let mut witness = None;
        while witness.is_none() && self.further < plan.further() {
            let pair = plan.further_pair(self.further);
            witness = pair.and_then(|pair| self.witness(survey, plan, pair, self.further));
            self.further += 1;
        }
        witness
    }

    /// `None`: the pair needs an address that the subject does not have.
    fn witness(
        &self,
        survey: &Survey<'m>,
        plan: &Plan<'m>,
        (seat, (protocol, port)): (Seat, (u8, u16)),
        turn: u64,
    ) -> Option<Witness<'m>> {
        let workloads = &self.subject.workloads;
        let count = u64::try_from(workloads.len()).ok()?;
        let subject = *workloads.get(usize::try_from((turn + turn / plan.pairs().max(1)) % count).ok()?)?;
        let census = &survey.census;
        let named = |workload: &Workload, address| Endpoint {
            address,
            workload: Some(workload.name.clone()),
            is_host: false,
        };
        let (end, peer, by_socket, number) = match seat {
            Seat::Itself => (named(subject, *subject.addresses.first()?), Some(subject), None, None),
            Seat::Address(number) => {
                let peer = &census.peers[number];
                (peer.endpoint(), peer.workload, None, Some(number))
            }
            Seat::Socket(number) => {
                let peer = census.peers[number].workload?;
                (named(peer, plan.nobody()?), Some(peer), Some(peer), Some(number))
            }
        };
        let own = named(subject, own_address(subject, end.address));
        let (source, destination) = match self.subject.direction {
            Direction::Egress => (own, end),
            Direction::Ingress => (end, own),
        };
        Some(Witness {
            direction: self.subject.direction,
            subject,
            by_socket,
            flow: Flow { source, destination, protocol, destination_port: port },
            peer,
            policies: plan.policies_naming(census, number),
        })
    }
}

/// An address of the workload, of the peer's family if it has one.
fn own_address(workload: &Workload, peer: IpAddr) -> IpAddr {
    let of_family = workload.addresses.iter().find(|address| address.is_ipv4() == peer.is_ipv4());
    let none = if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    of_family.or(workload.addresses.first()).copied().unwrap_or(none)
}
