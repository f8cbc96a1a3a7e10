//! Who is there: workloads by what selectors see of them, and the addresses that flows can have.
//!
//! Nothing here is taken from the compiler: what it got wrong must not decide where one looks.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::sync::Arc;

use crate::decision::Endpoint;
use crate::model::{Cidr, Labels, Model, Requirement, Selector, Workload};
use crate::tables::Settings;

use super::draw::around;
use super::rules::{Form, Policy, beside, ends, middle, outside};

/// Addresses that are mostly nobody's.
const UNKNOWN: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 7)),
];
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Of so many lengths around a hole an address is taken; a `/128` out of everything has 128.
const LENGTHS: usize = 40;

/// A form with more members than this is wide: only so many of them are looked at in one load.
const WIDE: usize = 64;

/// So many changed peers are looked for in every form.
const CHANGED: usize = 16;

/// So many are looked at for one that nearly is a member.
const NEAR: usize = 16;

/// Workloads of one namespace with the same labels: no selector tells them apart.
#[derive(Debug)]
pub(crate) struct Kind<'m> {
    /// A number of [`Census::namespaces`].
    namespace: usize,
    pub(crate) labels: &'m Labels,
    pub(crate) workloads: Vec<&'m Arc<Workload>>,
    /// Their addresses, as numbers of [`Census::peers`].
    peers: Vec<usize>,
}

/// Whose an address is, and of which kind that is.
type Owner<'m> = (&'m Arc<Workload>, usize);

/// A namespace with workloads.
#[derive(Debug)]
pub(crate) struct Home<'m> {
    pub(crate) name: &'m str,
    pub(crate) labels: Option<&'m Labels>,
    pub(crate) is_audit: bool,
    kinds: Vec<usize>,
}

/// An address that a flow can have at its other end.
#[derive(Debug)]
pub(crate) struct Peer<'m> {
    pub(crate) address: IpAddr,
    pub(crate) workload: Option<&'m Arc<Workload>>,
    /// The workload's.
    kind: Option<usize>,
    pub(crate) is_host: bool,
}

/// The members of a form, as numbers of [`Census::peers`].
#[derive(Debug, Default)]
pub(crate) struct Members {
    /// All of them, or some if the form is wide.
    pub(crate) some: Vec<usize>,
    pub(crate) is_wide: bool,
    /// The first and last address of a block.
    pub(crate) edges: Vec<usize>,
    /// Not members, by little: beside a block, in a hole of it, of another namespace, with other
    /// labels.
    pub(crate) near: Vec<usize>,
}

/// What is known of everybody.
#[derive(Debug)]
pub(crate) struct Census<'m> {
    pub(crate) kinds: Vec<Kind<'m>>,
    /// By name.
    namespaces: Vec<Home<'m>>,
    /// By address.
    pub(crate) peers: Vec<Peer<'m>>,
    /// Of the host, of nobody, and the like: peers that every subject meets.
    pub(crate) usual: Vec<usize>,
    /// Some of those that the last load changed.
    pub(crate) changed: Vec<usize>,
    /// Numbers of labels.
    labels: HashMap<(&'m str, &'m str), usize>,
    /// Label, namespace and kind, sorted.
    labelled: Vec<(usize, usize, usize)>,
    /// Namespaces that a selector matches.
    matching: HashMap<&'m Selector, Rc<[usize]>>,
    forms: HashMap<Form<'m>, usize>,
    members: Vec<Rc<Members>>,
    /// Where choices begin, so that another load makes others.
    start: usize,
}

impl<'m> Census<'m> {
    /// `changed`: addresses that the last load changed something about, some of them perhaps of
    /// nobody any more.
    pub(crate) fn new(
        model: &'m Model,
        settings: &Settings,
        policies: &[Policy<'m>],
        changed: &HashSet<IpAddr>,
        start: usize,
    ) -> Self {
        let mut census = Self {
            kinds: Vec::new(),
            namespaces: Vec::new(),
            peers: Vec::new(),
            usual: Vec::new(),
            changed: Vec::new(),
            labels: HashMap::new(),
            labelled: Vec::new(),
            matching: HashMap::new(),
            forms: HashMap::new(),
            members: Vec::new(),
            start,
        };
        census.add_kinds(model);
        census.add_peers(settings, policies, changed);
        let mut changed: Vec<usize> = changed.iter().filter_map(|address| census.number(*address)).collect();
        changed.sort_unstable();
        census.changed = around(&changed, start).copied().take(CHANGED).collect();
        census
    }

    fn add_kinds(&mut self, model: &'m Model) {
        let mut known: HashMap<(usize, Vec<usize>), usize> = HashMap::new();
        // By namespace, then by name.
        for workload in model.workloads.values() {
            let name = workload.name.namespace.as_str();
            if self.namespaces.last().is_none_or(|last| last.name != name) {
                let namespace = model.namespaces.get(name);
                self.namespaces.push(Home {
                    name,
                    labels: namespace.map(|namespace| &*namespace.labels),
                    is_audit: namespace.is_some_and(|namespace| namespace.audit),
                    kinds: Vec::new(),
                });
            }
            let namespace = self.namespaces.len() - 1;
            let labels = workload.labels.iter().map(|(key, value)| {
                let next = self.labels.len();
                *self.labels.entry((key, value)).or_insert(next)
            });
            let number = match known.entry((namespace, labels.collect())) {
                Entry::Occupied(entry) => *entry.get(),
                Entry::Vacant(entry) => {
                    let number = self.kinds.len();
                    self.labelled.extend(entry.key().1.iter().map(|label| (*label, namespace, number)));
                    self.namespaces[namespace].kinds.push(number);
                    let labels = &workload.labels;
                    self.kinds.push(Kind { namespace, labels, workloads: Vec::new(), peers: Vec::new() });
                    *entry.insert(number)
                }
            };
            self.kinds[number].workloads.push(workload);
        }
        self.labelled.sort_unstable();
    }

    fn add_peers(&mut self, settings: &Settings, policies: &[Policy<'m>], changed: &HashSet<IpAddr>) {
        let hosts: Vec<IpAddr> = settings.host_addresses.iter().map(IpAddr::to_canonical).collect();
        let mut addresses: Vec<IpAddr> =
            changed.iter().chain(&hosts).chain(&UNKNOWN).chain(&LOOPBACK).copied().collect();
        for policy in policies {
            policy.body.each_form(|form| add_block(form, self.start, &mut addresses));
        }
        let nobody = addresses.into_iter().map(|address| (address.to_canonical(), None));
        let kinds = self.kinds.iter().enumerate();
        let owners = kinds.flat_map(|(number, kind)| {
            kind.workloads.iter().flat_map(move |workload| {
                workload.addresses.iter().map(move |address| (*address, Some((*workload, number))))
            })
        });
        let mut ends: Vec<(IpAddr, Option<Owner<'m>>)> = owners.chain(nobody).collect();
        // Owners come first, so that they stay.
        ends.sort_by_key(|(address, _)| *address);
        ends.dedup_by_key(|(address, _)| *address);
        for (number, (address, owner)) in ends.into_iter().enumerate() {
            let (workload, kind) = owner.unzip();
            if let Some(kind) = kind {
                self.kinds[kind].peers.push(number);
            }
            let is_hosts = hosts.contains(&address);
            if is_hosts || UNKNOWN.contains(&address) || LOOPBACK.contains(&address) {
                self.usual.push(number);
            }
            let is_host = is_hosts || (address.is_loopback() && workload.is_none());
            self.peers.push(Peer { address, workload, kind, is_host });
        }
    }

    /// The namespace of a kind.
    pub(crate) fn home(&self, kind: &Kind<'m>) -> &Home<'m> {
        &self.namespaces[kind.namespace]
    }

    /// Kinds with a label, of one namespace or of all.
    fn with_label(&self, key: &str, value: &str, namespace: Option<usize>) -> impl Iterator<Item = usize> {
        let label = self.labels.get(&(key, value)).copied().unwrap_or(usize::MAX);
        let begin = (label, namespace.unwrap_or(0), 0);
        let from = self.labelled.partition_point(|entry| *entry < begin);
        self.labelled[from..]
            .iter()
            .take_while(move |(other, of, _)| {
                *other == label && namespace.is_none_or(|namespace| *of == namespace)
            })
            .map(|(_, _, kind)| *kind)
    }

    /// Whether the form names this peer.
    pub(crate) fn is_member(&self, form: &Form<'m>, peer: &Peer<'m>) -> bool {
        match form {
            Form::Own { .. } | Form::Labelled { .. } => {
                peer.kind.is_some_and(|kind| self.is_selected(form, &self.kinds[kind]))
            }
            Form::Block { cidr, except } => {
                cidr.contains(peer.address) && !except.iter().any(|hole| hole.contains(peer.address))
            }
        }
    }

    fn is_selected(&self, form: &Form<'_>, kind: &Kind<'_>) -> bool {
        let home = &self.namespaces[kind.namespace];
        match form {
            Form::Own { namespace, pods } => *namespace == home.name && pods.matches(kind.labels),
            Form::Labelled { namespaces, pods } => {
                home.labels.is_some_and(|labels| namespaces.matches(labels)) && pods.matches(kind.labels)
            }
            Form::Block { .. } => false,
        }
    }

    /// A number for a form: for another one the same only if the two are equal.
    pub(crate) fn form(&mut self, form: Form<'m>) -> usize {
        if let Some(known) = self.forms.get(&form) {
            return *known;
        }
        let members = match form {
            Form::Own { namespace, pods } => {
                let home = self.namespaces.binary_search_by(|home| home.name.cmp(namespace)).ok();
                self.workloads(&form, home.as_slice(), pods)
            }
            Form::Labelled { namespaces, pods } => {
                let matching = self.matching(namespaces);
                self.workloads(&form, &matching, pods)
            }
            Form::Block { cidr, except } => self.block(cidr, except),
        };
        let number = self.members.len();
        self.members.push(Rc::new(members));
        self.forms.insert(form, number);
        number
    }

    /// Who is a member of a form, and who nearly is.
    pub(crate) fn members(&self, form: usize) -> Rc<Members> {
        Rc::clone(&self.members[form])
    }

    fn matching(&mut self, selector: &'m Selector) -> Rc<[usize]> {
        if let Some(known) = self.matching.get(selector) {
            return Rc::clone(known);
        }
        let is_match = |home: &Home<'_>| home.labels.is_some_and(|labels| selector.matches(labels));
        let homes = self.namespaces.iter().enumerate().filter(|(_, home)| is_match(home));
        let found: Rc<[usize]> = homes.map(|(number, _)| number).collect();
        self.matching.insert(selector, Rc::clone(&found));
        found
    }

    fn workloads(&self, form: &Form<'m>, namespaces: &[usize], pods: &'m Selector) -> Members {
        let pivot = pods.requirements.iter().find_map(|requirement| match requirement {
            Requirement::In(key, values) => Some((key.as_str(), values)),
            Requirement::NotIn(..) | Requirement::Exists(_) | Requirement::DoesNotExist(_) => None,
        });
        let of_label = |namespace: Option<usize>, most: usize| -> Vec<usize> {
            let Some((key, values)) = pivot else { return Vec::new() };
            values.iter().flat_map(|value| self.with_label(key, value, namespace)).take(most).collect()
        };
        let in_namespaces = || namespaces.iter().flat_map(|number| &self.namespaces[*number].kinds).copied();
        let candidates: Vec<usize> = match (pivot, namespaces) {
            (Some(_), [namespace]) => of_label(Some(*namespace), usize::MAX),
            (Some(_), _) => of_label(None, usize::MAX),
            (None, _) => in_namespaces().collect(),
        };
        let mut members = Members::default();
        for kind in around(&candidates, self.start).filter(|kind| self.is_selected(form, &self.kinds[**kind]))
        {
            members.some.extend(around(&self.kinds[*kind].peers, self.start));
            if members.some.len() > WIDE {
                members.some.truncate(WIDE);
                members.is_wide = true;
                break;
            }
        }
        // Of another namespace with labels that are asked for, and the other way round.
        let elsewhere = of_label(None, 4 * NEAR);
        let beside: Vec<usize> = in_namespaces().skip(self.start % 7).take(NEAR).collect();
        for candidates in [elsewhere, beside] {
            let outsider = around(&candidates, self.start)
                .take(NEAR)
                .filter(|kind| !self.is_selected(form, &self.kinds[**kind]))
                .find_map(|kind| self.kinds[*kind].peers.first());
            members.near.extend(outsider);
        }
        members
    }

    fn block(&self, cidr: Cidr, except: &[Cidr]) -> Members {
        let (first, last) = ends(cidr);
        let begin = self.peers.partition_point(|peer| peer.address < first);
        let end = self.peers.partition_point(|peer| peer.address <= last);
        let is_inside = |number: &usize| {
            let address = self.peers[*number].address;
            cidr.contains(address) && !except.iter().any(|hole| hole.contains(address))
        };
        let count = end.saturating_sub(begin);
        let inside = (0..count).map(|n| begin + (self.start % count.max(1) + n) % count);
        let mut some: Vec<usize> = inside.filter(is_inside).take(WIDE + 1).collect();
        let is_wide = some.len() > WIDE;
        some.truncate(WIDE);
        let edges = [first, last].into_iter().filter_map(|address| self.number(address)).filter(is_inside);
        let mut near: Vec<usize> = outside(cidr).filter_map(|address| self.number(address)).collect();
        for hole in except {
            let ends = ends(*hole);
            near.extend([ends.0, ends.1].into_iter().filter_map(|address| self.number(address)));
        }
        Members { some, is_wide, edges: edges.collect(), near }
    }

    /// The number of an address.
    fn number(&self, address: IpAddr) -> Option<usize> {
        self.peers.binary_search_by(|peer| peer.address.cmp(&address.to_canonical())).ok()
    }
}

/// The addresses that a block tells apart.
fn add_block(form: Form<'_>, start: usize, addresses: &mut Vec<IpAddr>) {
    let Form::Block { cidr, except } = form else { return };
    for prefix in except.iter().chain([&cidr]) {
        let ends = ends(*prefix);
        addresses.extend([ends.0, ends.1]);
        addresses.extend(outside(*prefix));
    }
    addresses.extend(middle(cidr));
    for hole in except {
        let pieces: Vec<IpAddr> = beside(cidr, *hole).collect();
        addresses.extend(around(&pieces, start).take(LENGTHS));
    }
}

impl Peer<'_> {
    /// As the end of a flow.
    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint {
            address: self.address,
            workload: self.workload.map(|workload| workload.name.clone()),
            is_host: self.is_host,
        }
    }
}
