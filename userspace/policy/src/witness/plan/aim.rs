//! Pairs of a peer and a port that aim at one rule each.

use std::collections::{HashMap, HashSet};

use crate::model::Direction;

use super::super::census::Census;
use super::super::draw::around;
use super::super::ports::Ports;
use super::super::subjects::Subject;
use super::Seat;
use super::forms::{Named, Said};

/// What pairs are made of.
pub(super) struct Aim<'a, 'm> {
    pub(super) peers: &'a [Seat],
    pub(super) ports: &'a Ports,
    pub(super) census: &'a Census<'m>,
    pub(super) subject: &'a Subject<'m>,
    /// Where each list of pairs begins.
    pub(super) start: usize,
}

/// Pairs that a rule decides, that are beside its ports, and beside its peers.
type Lists = [Vec<(usize, usize)>; 3];

impl Aim<'_, '_> {
    /// For each rule and each of its forms: a member at a port inside, then beside, then one who
    /// nearly is a member at a port inside. First of what the last load changed, then of the
    /// subject's other rules, then of foreign ones.
    pub(super) fn pairs(&self, said: &Said<'_>) -> Vec<(usize, usize)> {
        let seats: HashMap<Seat, usize> = self.peers.iter().copied().zip(0..).collect();
        let find = |peer: &usize| seats.get(&Seat::Address(*peer)).copied();
        let changed: Vec<usize> = self.census.changed.iter().filter_map(find).collect();
        let anyone: Vec<usize> =
            self.census.usual.iter().chain(&self.census.changed).filter_map(find).collect();
        let mut lists: [Lists; 3] = Default::default();
        let mut add = |peers: &[usize], near: &[usize], named: &Named<'_>| {
            let lists = match named {
                Named { is_foreign: true, .. } => &mut lists[2],
                Named { is_changed, .. }
                    if *is_changed || peers.first().is_some_and(|peer| changed.contains(peer)) =>
                {
                    &mut lists[0]
                }
                Named { .. } => &mut lists[1],
            };
            self.add(peers, near, named, lists);
        };
        for named in &said.rules {
            let Some(places) = &named.forms else {
                let peers: Vec<usize> = around(&anyone, self.start).copied().take(2).collect();
                add(&peers, &[], named);
                continue;
            };
            for members in places.iter().map(|place| &*said.forms.list[*place].1) {
                let changed = self.census.changed.iter().filter(|peer| members.some.contains(peer));
                let inside = changed.chain(&members.edges).chain(&members.some);
                // Most members are of the class of another one: look on until one has a seat.
                let peers: Vec<usize> = inside.filter_map(find).take(2).collect();
                let near: Vec<usize> = members.near.iter().filter_map(find).collect();
                add(&peers, &near, named);
            }
        }
        let mut seen = HashSet::new();
        let mut pairs = Vec::new();
        for list in lists.iter().flatten() {
            pairs.extend(around(list, self.start).filter(|pair| seen.insert(**pair)));
        }
        pairs
    }

    fn add(&self, peers: &[usize], near: &[usize], named: &Named<'_>, [hits, edges, misses]: &mut Lists) {
        let Some(peer) = peers.first() else { return };
        let destination = match self.subject.direction {
            Direction::Ingress => self.subject.workloads.first().copied(),
            Direction::Egress => self.peers[*peer].workload(self.census),
        };
        let probes = self.ports.probes(named.statement.ports, destination);
        hits.extend(probes.inside.iter().map(|port| (*peer, *port)));
        edges.extend(probes.beside.iter().map(|port| (*peer, *port)));
        if let Some(port) = probes.inside.first() {
            misses.extend(near.iter().chain(&peers[1..]).map(|peer| (*peer, *port)));
        }
    }
}
