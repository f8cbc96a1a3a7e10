//! What one subject is asked: peers that its policies tell apart, ports that they tell apart, and
//! the order in which the pairs are tried.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::sync::Arc;

use crate::model::{Direction, Workload};

mod aim;
mod forms;

use super::census::{Census, Members, Peer};
use super::draw::{Draw, around};
use super::ports::{Port, Ports, names};
use super::rules::{Form, Policy};
use super::subjects::Subject;
use aim::Aim;
use forms::Said;

/// Where no more addresses than this are known, each of them is a peer of every subject.
const FEW: usize = 512;

/// Peers times wide forms, at most: what is behind is not looked at in this load.
const WORK: usize = 4_000_000;

/// Members of each form that may be peers, where there are more.
const SHARE: usize = 16;

/// Strangers who are tried with every subject.
const STRANGERS: usize = 4;

/// Addresses of nobody, as a workload's own host or loopback is to a peer on the same host.
const NOBODY: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];

/// The other end of a witness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Seat {
    /// The subject's own workload.
    Itself,
    /// A number of [`Census::peers`].
    Address(usize),
    /// The workload of this number of [`Census::peers`], on the same host and known by its socket:
    /// its address is nobody's.
    Socket(usize),
}

/// The plan of one subject.
#[derive(Debug)]
pub(crate) struct Plan<'m> {
    /// One of each class that the reference tells apart, and the edges of blocks; behind them some
    /// that foreign rules name.
    peers: Vec<Seat>,
    own_peers: usize,
    /// Further members of those classes.
    others: Vec<Seat>,
    /// Those that the subject's own rules tell apart; behind them some of foreign rules.
    ports: Vec<Port>,
    own_ports: usize,
    /// Pairs of the two that aim at one rule each, the most telling ones first.
    aimed: Vec<(usize, usize)>,
    /// The policies with a rule that names this peer. Sorted.
    naming: Vec<(usize, usize)>,
    /// Wide forms and their policies.
    wide: Vec<(Form<'m>, Vec<usize>)>,
    /// Policies with a rule for every peer.
    always: Vec<usize>,
    /// The address of [`Seat::Socket`].
    nobody: Option<IpAddr>,
    /// Where the pairs begin, and how far it is to the next.
    start: u64,
    stride: u64,
}

impl<'m> Plan<'m> {
    pub(crate) fn new(
        census: &mut Census<'m>,
        policies: &[Policy<'m>],
        subject: &Subject<'m>,
        draw: &mut Draw,
    ) -> Self {
        let mut said = Said::new(census, policies, subject, draw);
        let census = &*census;
        let start = draw.below(usize::MAX);
        let is_egress = subject.direction == Direction::Egress;
        let is_nobody = |address: &IpAddr| !said.forms.list.iter().any(|(form, ..)| holds(form, *address));
        let mut plan = Self {
            peers: vec![Seat::Itself],
            own_peers: 0,
            others: Vec::new(),
            ports: Vec::new(),
            own_ports: 0,
            aimed: Vec::new(),
            naming: Vec::new(),
            wide: Vec::new(),
            always: std::mem::take(&mut said.always),
            nobody: NOBODY.into_iter().find(is_nobody).filter(|_| !is_egress),
            start: 0,
            stride: 1,
        };
        plan.index(said.forms.own());
        let own = said.ports(false);
        let asked_names = if is_egress { names(&own) } else { Vec::new() };
        let candidates = candidates(census, said.forms.own(), plan.wide.len(), start, draw);
        plan.sort_out(census, said.forms.own(), &candidates, &asked_names);
        plan.own_peers = plan.peers.len();
        plan.peers.extend(strangers(said.forms.foreign()).map(Seat::Address));
        let destinations: Vec<&Arc<Workload>> = if is_egress {
            plan.peers.iter().filter_map(|seat| seat.workload(census)).collect()
        } else {
            subject.workloads.iter().copied().take(SHARE).collect()
        };
        let mut ports = Ports::new(&own, &destinations);
        plan.own_ports = ports.all.len();
        ports.add_rules(&said.ports(true), &destinations);
        plan.aimed = Aim { peers: &plan.peers, ports: &ports, census, subject, start }.pairs(&said);
        plan.ports = ports.all;
        plan.stride = stride(plan.pairs());
        plan.start = u64::try_from(start).unwrap_or(0);
        plan
    }

    /// Which policies name which peer.
    fn index(&mut self, forms: &[(Form<'m>, Rc<Members>, Vec<usize>)]) {
        for (form, members, policies) in forms {
            if members.is_wide {
                self.wide.push((*form, policies.clone()));
            } else {
                let pairs = members.some.iter();
                self.naming.extend(pairs.flat_map(|peer| policies.iter().map(|policy| (*peer, *policy))));
            }
        }
        self.naming.sort_unstable();
        self.naming.dedup();
    }

    /// One candidate of each class is a peer, as are edges; the others are others.
    fn sort_out(
        &mut self,
        census: &Census<'m>,
        forms: &[(Form<'m>, Rc<Members>, Vec<usize>)],
        candidates: &[usize],
        names: &[&str],
    ) {
        let mut narrow: Vec<(usize, usize)> = Vec::new();
        let mut edges: HashSet<usize> = census.changed.iter().copied().collect();
        for (number, (_, members, _)) in forms.iter().enumerate() {
            if !members.is_wide {
                narrow.extend(members.some.iter().map(|peer| (*peer, number)));
            }
            edges.extend(&members.edges);
        }
        narrow.sort_unstable();
        let mut classes = HashSet::new();
        for candidate in candidates {
            let peer = &census.peers[*candidate];
            let class = (
                of(&narrow, *candidate).collect::<Vec<usize>>(),
                self.wide.iter().map(|(form, _)| census.is_member(form, peer)).collect::<Vec<bool>>(),
                (peer.workload.is_some(), peer.is_host, peer.address.is_loopback()),
                named(peer.workload, names),
            );
            let is_first = classes.insert(class);
            if is_first || edges.contains(candidate) {
                self.peers.push(Seat::Address(*candidate));
            } else {
                self.others.push(Seat::Address(*candidate));
            }
            if self.nobody.is_some() && peer.is_local() {
                let seat = Seat::Socket(*candidate);
                if is_first { self.peers.push(seat) } else { self.others.push(seat) }
            }
        }
    }

    /// How many pairs of a peer and a port there are.
    pub(crate) fn pairs(&self) -> u64 {
        product(self.own_peers, self.own_ports)
    }

    /// How many further ones there are with other members of the same classes.
    pub(crate) fn further(&self) -> u64 {
        product(self.others.len(), self.own_ports)
    }

    /// How many pairs aim at a rule.
    pub(crate) fn aimed(&self) -> u64 {
        u64::try_from(self.aimed.len()).unwrap_or(0)
    }

    /// A pair that aims at a rule.
    pub(crate) fn aimed_at(&self, turn: u64) -> Option<(Seat, Port)> {
        let (peer, port) = self.aimed.get(usize::try_from(turn).ok()?)?;
        Some((*self.peers.get(*peer)?, *self.ports.get(*port)?))
    }

    /// Each pair once, in an order that hops about.
    pub(crate) fn pair(&self, turn: u64) -> Option<(Seat, Port)> {
        let hops = u128::from(self.start) + u128::from(turn) * u128::from(self.stride);
        self.pick(&self.peers[..self.own_peers], u64::try_from(hops % u128::from(self.pairs().max(1))).ok()?)
    }

    /// Each further pair once.
    pub(crate) fn further_pair(&self, turn: u64) -> Option<(Seat, Port)> {
        self.pick(&self.others, turn)
    }

    fn pick(&self, seats: &[Seat], number: u64) -> Option<(Seat, Port)> {
        let seat = usize::try_from(number % u64::try_from(seats.len()).ok()?.max(1)).ok()?;
        let port = usize::try_from(number / u64::try_from(seats.len()).ok()?.max(1)).ok()?;
        Some((*seats.get(seat)?, *self.ports.get(port)?))
    }

    /// The address of [`Seat::Socket`].
    pub(crate) const fn nobody(&self) -> Option<IpAddr> {
        self.nobody
    }

    /// Every policy with a rule that may name the peer, in order.
    pub(crate) fn policies_naming(&self, census: &Census<'m>, peer: Option<usize>) -> Vec<usize> {
        let mut found = self.always.clone();
        if let Some(number) = peer {
            found.extend(of(&self.naming, number));
            let peer = &census.peers[number];
            let wide = self.wide.iter().filter(|(form, _)| census.is_member(form, peer));
            found.extend(wide.flat_map(|(_, policies)| policies));
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

impl Seat {
    fn workload<'m>(self, census: &Census<'m>) -> Option<&'m Arc<Workload>> {
        match self {
            Self::Itself => None,
            Self::Address(peer) | Self::Socket(peer) => census.peers[peer].workload,
        }
    }
}

fn product(peers: usize, ports: usize) -> u64 {
    u64::try_from(peers).unwrap_or(u64::MAX).saturating_mul(u64::try_from(ports).unwrap_or(u64::MAX))
}

/// About the golden ratio of `count`, and such that the hops come to every number.
fn stride(count: u64) -> u64 {
    fn divisor(a: u64, b: u64) -> u64 {
        if b == 0 { a } else { divisor(b, a % b) }
    }
    let wanted = (count / 1_000 * 618 + count % 1_000 * 618 / 1_000).max(1);
    (wanted..=count).find(|stride| divisor(*stride, count) == 1).unwrap_or(1)
}

/// What stands beside `key` in sorted pairs.
fn of(pairs: &[(usize, usize)], key: usize) -> impl Iterator<Item = usize> {
    let begin = pairs.partition_point(|(peer, _)| *peer < key);
    pairs[begin..].iter().take_while(move |(peer, _)| *peer == key).map(|(_, value)| *value)
}

fn holds(form: &Form<'_>, address: IpAddr) -> bool {
    match form {
        Form::Block { cidr, .. } => cidr.contains(address),
        Form::Own { .. } | Form::Labelled { .. } => false,
    }
}

/// What a workload calls by names that rules ask for.
fn named<'m>(workload: Option<&'m Arc<Workload>>, names: &[&str]) -> Vec<(&'m str, Port)> {
    let ports = workload.into_iter().flat_map(|workload| &workload.ports);
    let asked = ports.filter(|port| names.binary_search(&port.name.as_str()).is_ok());
    asked.map(|port| (port.name.as_str(), (port.protocol.number(), port.port))).collect()
}

/// Everybody who may be a peer, once: those that were changed first, then those that rules aim at.
fn candidates(
    census: &Census<'_>,
    forms: &[(Form<'_>, Rc<Members>, Vec<usize>)],
    wide: usize,
    start: usize,
    draw: &mut Draw,
) -> Vec<usize> {
    let mut list: Vec<usize> = census.changed.clone();
    list.extend(&census.usual);
    list.extend((0..STRANGERS).map(|_| draw.below(census.peers.len())));
    for (_, members, _) in forms {
        list.extend(&members.edges);
        list.extend(members.some.first());
        list.extend(&members.near);
    }
    for (_, members, _) in forms {
        list.extend(around(&members.some, start).take(SHARE));
    }
    if census.peers.len() <= FEW {
        list.extend(0..census.peers.len());
    }
    let mut seen = HashSet::new();
    list.retain(|peer| seen.insert(*peer));
    if let Some(most) = WORK.checked_div(wide) {
        list.truncate(most.max(FEW));
    }
    list
}

/// Some whom foreign rules name, by a member and an edge of each form.
fn strangers(forms: &[(Form<'_>, Rc<Members>, Vec<usize>)]) -> impl Iterator<Item = usize> {
    forms
        .iter()
        .flat_map(|(_, members, _)| members.some.first().into_iter().chain(members.edges.first()).copied())
}

impl Peer<'_> {
    /// Whether it can be known by its socket.
    pub(crate) fn is_local(&self) -> bool {
        self.workload.is_some_and(|workload| workload.cgroup.is_some())
    }
}
