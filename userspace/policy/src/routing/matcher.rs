//! Which rule a request follows, looked up: hosts by hash, paths by elements, regular expressions
//! last.
//!
//! Matches of one host *and* one path that differ in method, headers or parameters only are tried one
//! after the other, and so are the regular expressions of one host.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use super::Request;
use super::attach::{Bind, BoundListener};
use super::backend::BoundRule;
use super::reference::conditions;
use crate::model::{Hostname, PathMatch, Pattern, RouteMatch};

/// The rule that a request follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The index of the listener in its bind.
    pub listener: usize,
    /// The rule.
    pub rule: Arc<BoundRule>,
    /// Which of its matches.
    pub match_index: usize,
}

/// A bind compiled.
#[derive(Debug)]
pub struct Matcher {
    /// To indices of `listeners`.
    by_host: Hosts<usize>,
    listeners: Vec<Hosts<Table>>,
}

impl Matcher {
    /// Compiles a bind.
    pub fn new(bind: &Bind) -> Self {
        let mut by_host = Hosts::default();
        for (index, listener) in bind.listeners.iter().enumerate() {
            *by_host.entry(listener.hostname.as_ref()) = Some(index);
        }
        Self { by_host, listeners: bind.listeners.iter().map(tables).collect() }
    }

    /// The rule for a request; `None` is 404.
    pub fn choose(&self, request: &Request<'_>) -> Option<Chosen> {
        let listener = *self.by_host.most_specific_first(request.host).next()?;
        let mut tables = self.listeners.get(listener)?.most_specific_first(request.host);
        let candidate = tables.find_map(|table| table.choose(request))?;
        Some(Chosen { listener, rule: candidate.rule.clone(), match_index: candidate.match_index })
    }

    /// The index of the listener that a host's requests belong to.
    pub fn listener(&self, host: &str) -> Option<usize> {
        self.by_host.most_specific_first(host).next().copied()
    }
}

/// The keys are from policy, not from clients: nobody can make them collide, and `FNV` is short.
type Map<V> = HashMap<Box<str>, V, BuildHasherDefault<Fnv>>;

/// FNV-1a over 64 bits.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl std::hash::Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Something for each hostname.
#[derive(Debug)]
struct Hosts<T> {
    names: Map<Option<T>>,
    /// By what follows `*.`.
    wildcards: Map<Option<T>>,
    any: Option<T>,
}

impl<T> Default for Hosts<T> {
    fn default() -> Self {
        Self { names: Map::default(), wildcards: Map::default(), any: None }
    }
}

impl<T> Hosts<T> {
    fn entry(&mut self, hostname: Option<&Hostname>) -> &mut Option<T> {
        match hostname {
            None => &mut self.any,
            Some(hostname) => {
                let map = if hostname.is_wildcard() { &mut self.wildcards } else { &mut self.names };
                map.entry(hostname.name().into()).or_default()
            }
        }
    }

    fn most_specific_first<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a T> {
        let mut rest = if self.wildcards.is_empty() { "" } else { host };
        let suffixes = std::iter::from_fn(move || {
            let (before, after) = rest.split_once('.')?;
            rest = after;
            Some((before, after))
        });
        // A star stands for something: `.example.com` is no host of `*.example.com`.
        let suffixes = suffixes.skip_while(|(before, _)| before.is_empty());
        self.names
            .get(host)
            .and_then(Option::as_ref)
            .into_iter()
            .chain(suffixes.filter_map(|(_, suffix)| self.wildcards.get(suffix)?.as_ref()))
            .chain(self.any.as_ref())
    }
}

/// The matches of one host.
#[derive(Debug, Default)]
struct Table {
    exact: Map<Vec<Candidate>>,
    /// A tree of path elements; the first node is the root.
    nodes: Vec<Node>,
    /// By rank.
    patterns: Vec<(Pattern, Candidate)>,
}

/// One element of prefixes.
#[derive(Debug, Default)]
struct Node {
    /// The node above; the root's is itself.
    parent: usize,
    children: Map<usize>,
    /// Of prefixes that end here, by rank.
    candidates: Vec<Candidate>,
}

/// A match behind its path.
#[derive(Debug)]
struct Candidate {
    /// Of two that hold, the lesser wins. Unique in a table.
    rank: usize,
    /// Nothing but the path is asked.
    is_plain: bool,
    match_index: usize,
    rule: Arc<BoundRule>,
}

impl Candidate {
    fn this(&self) -> &RouteMatch {
        &self.rule.rule().matches[self.match_index]
    }

    fn holds(&self, request: &Request<'_>) -> bool {
        self.is_plain || conditions(self.this(), request)
    }
}

/// The tables of a listener's hosts.
fn tables(listener: &BoundListener) -> Hosts<Table> {
    let mut unsorted: Hosts<Vec<(&Arc<BoundRule>, usize)>> = Hosts::default();
    for attached in &listener.routes {
        let hostnames: Vec<Option<&Hostname>> = match attached.hostnames.as_slice() {
            [] => vec![None],
            hostnames => hostnames.iter().map(Some).collect(),
        };
        for hostname in hostnames {
            let list = unsorted.entry(hostname).get_or_insert_default();
            for rule in &attached.rules {
                list.extend((0..rule.rule().matches.len()).map(|index| (rule, index)));
            }
        }
    }
    let table = |(name, list): (Box<str>, Option<Vec<_>>)| (name, list.map(Table::new));
    Hosts {
        names: unsorted.names.into_iter().map(table).collect(),
        wildcards: unsorted.wildcards.into_iter().map(table).collect(),
        any: unsorted.any.map(Table::new),
    }
}

impl Table {
    /// `list` is in the order of routes, rules and matches.
    fn new(mut list: Vec<(&Arc<BoundRule>, usize)>) -> Self {
        // Stable, so that what is equal stays in that order.
        list.sort_by_cached_key(|(rule, index)| {
            let this = &rule.rule().matches[*index];
            let (is_exact, length) = match &this.path {
                PathMatch::Exact(_) => (true, 0),
                PathMatch::Prefix(prefix) => (false, prefix.chars().count()),
                PathMatch::Regex(pattern) => (false, pattern.text().chars().count()),
            };
            (
                !is_exact,
                Reverse(length),
                this.method.is_none(),
                Reverse(this.headers.len()),
                Reverse(this.queries.len()),
            )
        });
        let mut table = Self { nodes: vec![Node::default()], ..Self::default() };
        for (rank, (rule, match_index)) in list.into_iter().enumerate() {
            let this = &rule.rule().matches[match_index];
            let is_plain = this.method.is_none() && this.headers.is_empty() && this.queries.is_empty();
            let candidate = Candidate { rank, is_plain, match_index, rule: rule.clone() };
            match &this.path {
                PathMatch::Exact(path) => table.exact.entry(path.clone()).or_default().push(candidate),
                PathMatch::Prefix(prefix) => {
                    let node = table.node(prefix);
                    table.nodes[node].candidates.push(candidate);
                }
                PathMatch::Regex(pattern) => table.patterns.push((pattern.clone(), candidate)),
            }
        }
        table
    }

    /// The node of a prefix, made if it is not there.
    fn node(&mut self, prefix: &str) -> usize {
        let mut at = 0;
        for element in elements(prefix) {
            at = if let Some(child) = self.nodes[at].children.get(element) {
                *child
            } else {
                let child = self.nodes.len();
                self.nodes.push(Node { parent: at, ..Node::default() });
                self.nodes[at].children.insert(element.into(), child);
                child
            };
        }
        at
    }

    fn choose(&self, request: &Request<'_>) -> Option<&Candidate> {
        let first = |list: &'_ [Candidate]| list.iter().position(|candidate| candidate.holds(request));
        if let Some(list) = self.exact.get(request.path)
            && let Some(index) = first(list)
        {
            return list.get(index);
        }
        let mut at = 0;
        for element in elements(request.path) {
            let Some(child) = self.nodes[at].children.get(element) else { break };
            at = *child;
        }
        // The deepest first: a longer prefix has the lesser rank.
        let by_prefix = loop {
            let node = &self.nodes[at];
            if let Some(index) = first(&node.candidates) {
                break node.candidates.get(index);
            }
            if at == 0 {
                break None;
            }
            at = node.parent;
        };
        let bound = by_prefix.map_or(usize::MAX, |candidate| candidate.rank);
        let by_pattern = self
            .patterns
            .iter()
            .take_while(|(_, candidate)| candidate.rank < bound)
            .find(|(pattern, candidate)| candidate.holds(request) && pattern.matches(request.path.as_bytes()))
            .map(|(_, candidate)| candidate);
        by_pattern.or(by_prefix)
    }
}

/// The elements of a normalised path; one that ends in a slash has an empty one last, which is no
/// element of any prefix.
fn elements(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').skip(1)
}
