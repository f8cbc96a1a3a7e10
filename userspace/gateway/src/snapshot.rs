//! Everything that a request is decided by, as one immutable value.

use std::sync::{Arc, RwLock};

use windrose_policy::model::Model;
use windrose_policy::routing::{Backend, Bind, BoundListener, BoundRule, Chosen, Matcher, Routing, attach};

use crate::pick::Picker;
use crate::series::{self, Names, Series};
use crate::tls::{self, Tls};

/// The routes in force. Built off the hot path, never changed.
#[derive(Debug)]
pub struct Snapshot {
    routing: Routing,
    matchers: Vec<Matcher>,
    /// By [`BoundRule::number`].
    turns: Vec<Turns>,
    /// By bind, then by listener.
    series: Vec<Vec<OfListener>>,
    /// Of requests that were refused before their listener was known.
    unknown: Arc<Series>,
    /// By bind; `None` where it is clear text.
    tls: Vec<Option<Tls>>,
}

/// What one snapshot hands on to the next.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) series: series::Book,
    pub(crate) tickets: tls::Tickets,
}

impl Kept {
    pub(crate) fn new(workers: usize) -> Self {
        Self { series: series::Book::new(workers), tickets: tls::Tickets::new() }
    }
}

/// The series of a listener.
#[derive(Debug)]
struct OfListener {
    unrouted: Arc<Series>,
    /// By the number of the route's first rule: rules of a route are numbered in a row.
    routes: Vec<(usize, Arc<Series>)>,
}

impl OfListener {
    fn new(kept: &series::Book, listener: &BoundListener) -> Self {
        let names =
            |route| Names { gateway: Some(listener.gateway.clone()), listener: listener.name.clone(), route };
        let routes = listener.routes.iter().filter_map(|attached| attached.rules.first());
        let mut routes: Vec<(usize, Arc<Series>)> =
            routes.map(|rule| (rule.number, kept.series(names(Some(rule.route.name.clone()))))).collect();
        routes.sort_by_key(|(number, _)| *number);
        Self { unrouted: kept.series(names(None)), routes }
    }

    fn of(&self, rule: Option<usize>) -> &Arc<Series> {
        let Some(rule) = rule else { return &self.unrouted };
        let at = self.routes.partition_point(|(first, _)| *first <= rule);
        at.checked_sub(1).and_then(|at| self.routes.get(at)).map_or(&self.unrouted, |(_, series)| series)
    }
}

/// Whose turn it is in one rule.
#[derive(Debug)]
struct Turns {
    of_backends: Picker,
    /// Of each backend: the indices of its ready endpoints, and their turns.
    of_endpoints: Vec<(Box<[usize]>, Picker)>,
}

impl Turns {
    fn new(rule: &BoundRule) -> Self {
        let endpoints = |backend: &Backend| {
            let ready: Box<[usize]> = backend
                .endpoints()
                .iter()
                .enumerate()
                .filter_map(|(index, endpoint)| endpoint.is_ready.then_some(index))
                .collect();
            let picker = Picker::new(ready.iter().map(|&index| u64::from(backend.endpoints()[index].weight)));
            (ready, picker)
        };
        Self {
            of_backends: Picker::new(rule.backends.iter().map(|backend| u64::from(backend.weight))),
            of_endpoints: rule.backends.iter().map(endpoints).collect(),
        }
    }
}

impl Snapshot {
    /// Compiles what a model says of gateways, for a gateway of its own.
    pub fn new(model: &Model) -> Self {
        Self::compile(model, &Kept::new(1))
    }

    /// Compiles what a model says of gateways.
    pub(crate) fn compile(model: &Model, kept: &Kept) -> Self {
        let mut routing = attach(model);
        let tls = routing
            .binds
            .iter()
            .map(|bind| bind.is_tls.then(|| Tls::new(model, bind, &kept.tickets)))
            .collect::<Vec<_>>();
        for tls in tls.iter().flatten() {
            tls.tell(&mut routing.statuses);
        }
        let of_listeners = |bind: &Bind| {
            bind.listeners.iter().map(|listener| OfListener::new(&kept.series, listener)).collect()
        };
        let series = routing.binds.iter().map(of_listeners).collect();
        let unknown = kept.series.series(Names::default());
        let matchers = routing.binds.iter().map(Matcher::new).collect();
        let mut turns: Vec<Option<Turns>> = (0..routing.rules).map(|_| None).collect();
        let rules = routing
            .binds
            .iter()
            .flat_map(|bind| &bind.listeners)
            .flat_map(|listener| &listener.routes)
            .flat_map(|attached| &attached.rules);
        for rule in rules {
            // A route at several listeners has its rules once.
            turns[rule.number].get_or_insert_with(|| Turns::new(rule));
        }
        let unused = || Turns { of_backends: Picker::new(std::iter::empty()), of_endpoints: Vec::new() };
        let turns = turns.into_iter().map(|turns| turns.unwrap_or_else(unused)).collect();
        Self { routing, matchers, turns, series, unknown, tls }
    }

    /// What is attached where, and every object's conditions.
    pub fn routing(&self) -> &Routing {
        &self.routing
    }

    /// The bind with this address and port, and its matcher.
    pub(crate) fn bind(&self, at: &Place) -> Option<(&Bind, &Matcher)> {
        let index = self.index(at)?;
        Some((&self.routing.binds[index], &self.matchers[index]))
    }

    /// What counts an exchange with this host, and the rule that it follows.
    pub(crate) fn series(&self, at: &Place, host: &str, chosen: Option<&Chosen>) -> &Arc<Series> {
        let Some(index) = self.index(at) else { return &self.unknown };
        let listener = chosen.map(|chosen| chosen.listener).or_else(|| self.matchers[index].listener(host));
        let Some(of) = listener.and_then(|listener| self.series[index].get(listener)) else {
            return &self.unknown;
        };
        of.of(chosen.map(|chosen| chosen.rule.number))
    }

    /// Whether two hosts belong to one listener of a bind.
    pub(crate) fn is_one_listener(&self, at: &Place, a: &str, b: &str) -> bool {
        self.bind(at).is_none_or(|(_, matcher)| matcher.listener(a) == matcher.listener(b))
    }

    /// What counts a request that was refused before its listener was known.
    pub(crate) fn unknown(&self) -> &Arc<Series> {
        &self.unknown
    }

    /// How TLS is spoken at a bind; `None`: it is clear text, or no longer there.
    pub(crate) fn tls(&self, at: &Place) -> Option<&Tls> {
        self.tls[self.index(at)?].as_ref()
    }

    fn index(&self, at: &Place) -> Option<usize> {
        self.routing.binds.iter().position(|bind| bind.point == *at)
    }

    /// The index of the backend whose turn it is; `None`: there is none with a weight.
    pub(crate) fn backend(&self, chosen: &Chosen) -> Option<usize> {
        self.turns.get(chosen.rule.number)?.of_backends.next()
    }

    /// The index of the endpoint of a backend whose turn it is; `None`: none is ready.
    pub(crate) fn endpoint(&self, chosen: &Chosen, backend: usize) -> Option<usize> {
        let (ready, picker) = self.turns.get(chosen.rule.number)?.of_endpoints.get(backend)?;
        ready.get(picker.next()?).copied()
    }
}

/// Addresses (none is every one) and port of a bind.
pub type Place = (Vec<std::net::IpAddr>, u16);

/// The snapshot in force, for those who read it and the one who replaces it.
#[derive(Debug)]
pub struct Published(RwLock<Arc<Snapshot>>);

impl Published {
    /// Begins with this one.
    pub fn new(snapshot: Snapshot) -> Self {
        Self(RwLock::new(Arc::new(snapshot)))
    }

    /// From now on this one is in force; exchanges that have begun end by the one they began with.
    pub fn publish(&self, snapshot: Snapshot) {
        let snapshot = Arc::new(snapshot);
        *self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner) = snapshot;
    }

    /// The one in force.
    pub fn load(&self) -> Arc<Snapshot> {
        self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}
