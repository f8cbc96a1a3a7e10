//! Who is there: workloads by what selectors see of them, and the addresses that flows can have.
//!
//! Nothing here is taken from the compiler: what it got wrong must not decide where one looks.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use crate::decision::Endpoint;
use crate::model::{Cidr, Direction, Labels, Model, Requirement, Selector, Workload};
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
    pub(crate) namespace: &'m str,
    pub(crate) namespace_labels: Option<&'m Labels>,
    pub(crate) labels: &'m Labels,
    pub(crate) is_audit: bool,
    pub(crate) workloads: Vec<&'m Workload>,
    /// Their addresses, as numbers of [`Census::peers`].
    peers: Vec<usize>,
}

/// An address that a flow can have at its other end.
#[derive(Debug)]
pub(crate) struct Peer<'m> {
    pub(crate) address: IpAddr,
    pub(crate) workload: Option<&'m Workload>,
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
    /// By address.
    pub(crate) peers: Vec<Peer<'m>>,
    /// Of the host, of nobody, and the like: peers that every subject meets.
    pub(crate) usual: Vec<usize>,
    /// Some of those that the last load changed.
    pub(crate) changed: Vec<usize>,
    namespaces: HashMap<&'m str, Vec<usize>>,
    /// Kinds by a label, of one namespace or of all.
    labelled: HashMap<(Option<&'m str>, &'m str, &'m str), Vec<usize>>,
    /// Namespaces that a selector matches.
    matching: HashMap<&'m Selector, Rc<Vec<&'m str>>>,
    members: HashMap<Form<'m>, Rc<Members>>,
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
            peers: Vec::new(),
            usual: Vec::new(),
            changed: Vec::new(),
            namespaces: HashMap::new(),
            labelled: HashMap::new(),
            matching: HashMap::new(),
            members: HashMap::new(),
            start,
        };
        let mut owners: HashMap<IpAddr, (&'m Workload, usize)> = HashMap::new();
        census.add_kinds(model, &mut owners);
        census.add_peers(settings, policies, changed, &owners);
        census.index();
        let mut changed: Vec<usize> = changed.iter().filter_map(|address| census.number(*address)).collect();
        changed.sort_unstable();
        census.changed = around(&changed, start).copied().take(CHANGED).collect();
        census
    }

    fn add_kinds(&mut self, model: &'m Model, owners: &mut HashMap<IpAddr, (&'m Workload, usize)>) {
        let mut known: HashMap<(&str, &Labels), usize> = HashMap::new();
        for workload in model.workloads.values() {
            let name = workload.name.namespace.as_str();
            let number = *known.entry((name, &workload.labels)).or_insert_with(|| {
                let namespace = model.namespaces.get(name);
                self.kinds.push(Kind {
                    namespace: name,
                    namespace_labels: namespace.map(|namespace| &*namespace.labels),
                    labels: &workload.labels,
                    is_audit: namespace.is_some_and(|namespace| namespace.audit),
                    workloads: Vec::new(),
                    peers: Vec::new(),
                });
                self.kinds.len() - 1
            });
            self.kinds[number].workloads.push(workload);
            owners.extend(workload.addresses.iter().map(|address| (*address, (&**workload, number))));
        }
    }

    fn add_peers(
        &mut self,
        settings: &Settings,
        policies: &[Policy<'m>],
        changed: &HashSet<IpAddr>,
        owners: &HashMap<IpAddr, (&'m Workload, usize)>,
    ) {
        let hosts: HashSet<IpAddr> =
            settings.host_addresses.iter().map(|address| address.to_canonical()).collect();
        let mut addresses: Vec<IpAddr> = owners.keys().chain(changed).chain(&hosts).copied().collect();
        addresses.extend(UNKNOWN.iter().chain(&LOOPBACK));
        for policy in policies {
            for direction in [Direction::Ingress, Direction::Egress] {
                for form in
                    policy.body.statements(direction).into_iter().filter_map(|rule| rule.forms).flatten()
                {
                    add_block(form, self.start, &mut addresses);
                }
            }
        }
        for address in &mut addresses {
            *address = address.to_canonical();
        }
        addresses.sort_unstable();
        addresses.dedup();
        for (number, address) in addresses.into_iter().enumerate() {
            let owner = owners.get(&address);
            if let Some((_, kind)) = owner {
                self.kinds[*kind].peers.push(number);
            }
            let is_usual =
                hosts.contains(&address) || UNKNOWN.contains(&address) || LOOPBACK.contains(&address);
            if is_usual {
                self.usual.push(number);
            }
            self.peers.push(Peer {
                address,
                workload: owner.map(|(workload, _)| *workload),
                kind: owner.map(|(_, kind)| *kind),
                is_host: hosts.contains(&address) || (address.is_loopback() && owner.is_none()),
            });
        }
    }

    fn index(&mut self) {
        for (number, kind) in self.kinds.iter().enumerate() {
            self.namespaces.entry(kind.namespace).or_default().push(number);
            for (key, value) in kind.labels {
                for namespace in [Some(kind.namespace), None] {
                    self.labelled.entry((namespace, key, value)).or_default().push(number);
                }
            }
        }
    }

    /// Whether the form names this peer.
    pub(crate) fn is_member(&self, form: &Form<'m>, peer: &Peer<'m>) -> bool {
        match form {
            Form::Own { .. } | Form::Labelled { .. } => {
                peer.kind.is_some_and(|kind| is_selected(form, &self.kinds[kind]))
            }
            Form::Block { cidr, except } => {
                cidr.contains(peer.address) && !except.iter().any(|hole| hole.contains(peer.address))
            }
        }
    }

    /// Who is a member of a form, and who nearly is.
    pub(crate) fn members(&mut self, form: Form<'m>) -> Rc<Members> {
        if let Some(known) = self.members.get(&form) {
            return Rc::clone(known);
        }
        let members = Rc::new(match form {
            Form::Own { namespace, pods } => self.workloads(&form, &[namespace], pods),
            Form::Labelled { namespaces, pods } => {
                let matching = self.matching(namespaces);
                self.workloads(&form, &matching, pods)
            }
            Form::Block { cidr, except } => self.block(cidr, except),
        });
        self.members.insert(form, Rc::clone(&members));
        members
    }

    fn matching(&mut self, selector: &'m Selector) -> Rc<Vec<&'m str>> {
        let find = || {
            let labels =
                |numbers: &Vec<usize>| numbers.first().and_then(|kind| self.kinds[*kind].namespace_labels);
            let matches = self
                .namespaces
                .iter()
                .filter(|(_, kinds)| labels(kinds).is_some_and(|it| selector.matches(it)));
            let mut names: Vec<&'m str> = matches.map(|(name, _)| *name).collect();
            names.sort_unstable();
            names
        };
        match self.matching.get(selector) {
            Some(known) => Rc::clone(known),
            None => {
                let found = Rc::new(find());
                self.matching.insert(selector, Rc::clone(&found));
                found
            }
        }
    }

    fn workloads(&self, form: &Form<'m>, namespaces: &[&'m str], pods: &'m Selector) -> Members {
        let pivot = pods.requirements.iter().find_map(|requirement| match requirement {
            Requirement::In(key, values) => Some((key.as_str(), values)),
            Requirement::NotIn(..) | Requirement::Exists(_) | Requirement::DoesNotExist(_) => None,
        });
        let of_label = |namespace: Option<&'m str>| -> Vec<usize> {
            let Some((key, values)) = pivot else { return Vec::new() };
            let lists = values.iter().filter_map(|value| self.labelled.get(&(namespace, key, value)));
            lists.flatten().copied().collect()
        };
        let of_namespaces: Vec<&Vec<usize>> =
            namespaces.iter().filter_map(|namespace| self.namespaces.get(namespace)).collect();
        let in_namespaces = || of_namespaces.iter().copied().flatten().copied();
        let candidates: Vec<usize> = match (pivot, namespaces) {
            (Some(_), [namespace]) => of_label(Some(namespace)),
            (Some(_), _) => of_label(None),
            (None, _) => in_namespaces().collect(),
        };
        let mut members = Members::default();
        for kind in around(&candidates, self.start).filter(|kind| is_selected(form, &self.kinds[**kind])) {
            members.some.extend(around(&self.kinds[*kind].peers, self.start));
            if members.some.len() > WIDE {
                members.some.truncate(WIDE);
                members.is_wide = true;
                break;
            }
        }
        // Of another namespace with labels that are asked for, and the other way round.
        let elsewhere = of_label(None);
        let beside: Vec<usize> = in_namespaces().skip(self.start % 7).take(NEAR).collect();
        for candidates in [elsewhere, beside] {
            let outsider = around(&candidates, self.start)
                .take(NEAR)
                .filter(|kind| !is_selected(form, &self.kinds[**kind]))
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

fn is_selected(form: &Form<'_>, kind: &Kind<'_>) -> bool {
    match form {
        Form::Own { namespace, pods } => *namespace == kind.namespace && pods.matches(kind.labels),
        Form::Labelled { namespaces, pods } => {
            kind.namespace_labels.is_some_and(|labels| namespaces.matches(labels))
                && pods.matches(kind.labels)
        }
        Form::Block { .. } => false,
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
