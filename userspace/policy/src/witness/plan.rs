//! What one subject is asked: peers that its policies tell apart, ports that they tell apart, and
//! the order in which the pairs are tried.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::sync::Arc;

use crate::model::{Direction, NetworkPolicy, Workload};
use crate::rank;

use super::census::{Census, Members, Peer};
use super::draw::{Draw, around};
use super::ports::{Port, Ports, names};
use super::rules::{Body, Form, Policy, Statement};
use super::subjects::Subject;

/// Where no more addresses than this are known, each of them is a peer of every subject.
const FEW: usize = 512;

/// Peers times wide forms, at most: what is behind is not looked at in this load.
const WORK: usize = 4_000_000;

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
    /// One of each class that the reference tells apart, and the edges of blocks.
    peers: Vec<Seat>,
    /// Further members of those classes.
    others: Vec<Seat>,
    ports: Vec<Port>,
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

/// The forms of a subject's rules, each once.
#[derive(Default)]
struct Forms<'m> {
    numbers: HashMap<Form<'m>, usize>,
    list: Vec<(Form<'m>, Rc<Members>, Vec<usize>)>,
}

impl<'m> Forms<'m> {
    fn add(&mut self, census: &mut Census<'m>, form: Form<'m>, policy: usize) {
        let number = *self.numbers.entry(form).or_insert_with(|| {
            self.list.push((form, census.members(form), Vec::new()));
            self.list.len() - 1
        });
        let policies = &mut self.list[number].2;
        if policies.last() != Some(&policy) {
            policies.push(policy);
        }
    }

    fn members(&self, form: &Form<'m>) -> Option<&Members> {
        self.numbers.get(form).map(|number| &*self.list[*number].1)
    }
}

impl<'m> Plan<'m> {
    pub(crate) fn new(
        census: &mut Census<'m>,
        policies: &[Policy<'m>],
        subject: &Subject<'m>,
        draw: &mut Draw,
    ) -> Self {
        let mut forms = Forms::default();
        let mut always = isolating(policies, subject);
        let mut statements: Vec<Statement<'m>> = Vec::new();
        for number in &subject.policies {
            for statement in policies[*number].body.statements(subject.direction) {
                match &statement.forms {
                    None => always.push(*number),
                    Some(some) => some.iter().for_each(|form| forms.add(census, *form, *number)),
                }
                statements.push(statement);
            }
        }
        always.sort_unstable();
        always.dedup();
        let census = &*census;
        let start = draw.below(usize::MAX);
        let is_egress = subject.direction == Direction::Egress;
        let is_nobody = |address: &IpAddr| !forms.list.iter().any(|(form, ..)| holds(form, *address));
        let mut plan = Self {
            peers: vec![Seat::Itself],
            others: Vec::new(),
            ports: Vec::new(),
            aimed: Vec::new(),
            naming: Vec::new(),
            wide: Vec::new(),
            always,
            nobody: NOBODY.into_iter().find(is_nobody).filter(|_| !is_egress),
            start: 0,
            stride: 1,
        };
        plan.index(&forms);
        let asked_names = if is_egress { names(&statements) } else { Vec::new() };
        let candidates = candidates(census, &forms, plan.wide.len(), start, draw);
        plan.sort_out(census, &forms, &candidates, &asked_names);
        let ports = if is_egress {
            Ports::new(&statements, plan.peers.iter().filter_map(|seat| seat.workload(census)))
        } else {
            Ports::new(&statements, subject.workloads.first().copied().into_iter())
        };
        plan.aim(census, &forms, &statements, &ports, subject, start);
        plan.ports = ports.all;
        plan.stride = stride(plan.pairs());
        plan.start = u64::try_from(start).unwrap_or(0);
        plan
    }

    /// Which policies name which peer.
    fn index(&mut self, forms: &Forms<'m>) {
        for (form, members, policies) in &forms.list {
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
    fn sort_out(&mut self, census: &Census<'m>, forms: &Forms<'m>, candidates: &[usize], names: &[&str]) {
        let mut narrow: Vec<(usize, usize)> = Vec::new();
        let mut edges: HashSet<usize> = census.changed.iter().copied().collect();
        for (number, (_, members, _)) in forms.list.iter().enumerate() {
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

    /// For each rule and each of its forms: a member at a port inside, then beside, then one who
    /// nearly is a member at a port inside.
    fn aim(
        &mut self,
        census: &Census<'m>,
        forms: &Forms<'m>,
        statements: &[Statement<'m>],
        ports: &Ports,
        subject: &Subject<'m>,
        start: usize,
    ) {
        let seats: HashMap<Seat, usize> = self.peers.iter().copied().zip(0..).collect();
        let find = |peer: &usize| seats.get(&Seat::Address(*peer)).copied();
        let anyone: Vec<usize> = census.usual.iter().chain(&census.changed).filter_map(find).collect();
        let (mut hits, mut edges, mut misses) = (Vec::new(), Vec::new(), Vec::new());
        let mut add = |peers: &[usize], near: &[usize], statement: &Statement<'_>| {
            let Some(peer) = peers.first() else { return };
            let destination = match subject.direction {
                Direction::Ingress => subject.workloads.first().copied(),
                Direction::Egress => self.peers[*peer].workload(census),
            };
            let probes = ports.probes(statement.ports, destination);
            hits.extend(probes.inside.iter().map(|port| (*peer, *port)));
            edges.extend(probes.beside.iter().map(|port| (*peer, *port)));
            if let Some(port) = probes.inside.first() {
                misses.extend(near.iter().chain(&peers[1..]).map(|peer| (*peer, *port)));
            }
        };
        for statement in statements {
            let Some(some) = &statement.forms else {
                let peers: Vec<usize> = around(&anyone, start).copied().take(2).collect();
                add(&peers, &[], statement);
                continue;
            };
            for members in some.iter().filter_map(|form| forms.members(form)) {
                let changed = census.changed.iter().filter(|peer| members.some.contains(peer));
                let inside = changed.chain(members.edges.iter()).chain(&members.some);
                // Most members are of the class of another one: look on until one has a seat.
                let peers: Vec<usize> = inside.filter_map(find).take(2).collect();
                let near: Vec<usize> = members.near.iter().filter_map(find).collect();
                add(&peers, &near, statement);
            }
        }
        for pairs in [&mut hits, &mut edges, &mut misses] {
            let begin = start % pairs.len().max(1);
            pairs.rotate_left(begin);
        }
        self.aimed = hits;
        self.aimed.extend(edges);
        self.aimed.extend(misses);
        let mut seen = HashSet::new();
        self.aimed.retain(|pair| seen.insert(*pair));
    }

    /// How many pairs of a peer and a port there are.
    pub(crate) fn pairs(&self) -> u64 {
        product(self.peers.len(), self.ports.len())
    }

    /// How many further ones there are with other members of the same classes.
    pub(crate) fn further(&self) -> u64 {
        product(self.others.len(), self.ports.len())
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
        self.pick(&self.peers, u64::try_from(hops % u128::from(self.pairs().max(1))).ok()?)
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
    fn workload<'m>(self, census: &Census<'m>) -> Option<&'m Workload> {
        match self {
            Self::Itself => None,
            Self::Address(peer) | Self::Socket(peer) => census.peers[peer].workload,
        }
    }
}

/// The policies that a denial by isolation can name: the first by rank, and the first of those that
/// are not in audit.
fn isolating(policies: &[Policy<'_>], subject: &Subject<'_>) -> Vec<usize> {
    let network = || {
        subject.policies.iter().filter_map(|number| match policies[*number] {
            Policy { body: Body::Network(policy), is_gone: false, .. } => Some((*number, policy)),
            Policy { .. } => None,
        })
    };
    let rank = |(_, policy): &(usize, &Arc<NetworkPolicy>)| rank::network_policy(&policy.name, 0);
    let all = network().min_by_key(rank);
    let enforced = network().filter(|(_, policy)| !policy.audit).min_by_key(rank);
    all.into_iter().chain(enforced).map(|(number, _)| number).collect()
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
    (wanted..).find(|stride| divisor(*stride, count) == 1).unwrap_or(1)
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
fn named<'m>(workload: Option<&'m Workload>, names: &[&str]) -> Vec<(&'m str, Port)> {
    let ports = workload.into_iter().flat_map(|workload| &workload.ports);
    let asked = ports.filter(|port| names.binary_search(&port.name.as_str()).is_ok());
    asked.map(|port| (port.name.as_str(), (port.protocol.number(), port.port))).collect()
}

/// Everybody who may be a peer, once: those that were changed first, then those that rules aim at.
fn candidates(
    census: &Census<'_>,
    forms: &Forms<'_>,
    wide: usize,
    start: usize,
    draw: &mut Draw,
) -> Vec<usize> {
    let mut list: Vec<usize> = census.changed.clone();
    list.extend(&census.usual);
    list.extend((0..STRANGERS).map(|_| draw.below(census.peers.len())));
    for (_, members, _) in &forms.list {
        list.extend(&members.edges);
        list.extend(members.some.first());
        list.extend(&members.near);
    }
    for (_, members, _) in &forms.list {
        list.extend(around(&members.some, start));
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

impl Peer<'_> {
    /// Whether it can be known by its socket.
    pub(crate) fn is_local(&self) -> bool {
        self.workload.is_some_and(|workload| workload.cgroup.is_some())
    }
}
