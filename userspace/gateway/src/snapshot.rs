//! Everything that a request is decided by, as one immutable value.

use std::sync::{Arc, RwLock};

use windrose_policy::model::Model;
use windrose_policy::routing::{Backend, Bind, BoundRule, Chosen, Matcher, Routing, attach};

use crate::pick::Picker;

/// The routes in force. Built off the hot path, never changed.
#[derive(Debug)]
pub struct Snapshot {
    routing: Routing,
    matchers: Vec<Matcher>,
    /// By [`BoundRule::number`].
    turns: Vec<Turns>,
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
    /// Compiles what a model says of gateways.
    pub fn new(model: &Model) -> Self {
        let routing = attach(model);
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
        Self { routing, matchers, turns }
    }

    /// What is attached where, and every object's conditions.
    pub fn routing(&self) -> &Routing {
        &self.routing
    }

    /// The bind with this address and port, and its matcher.
    pub(crate) fn bind(&self, at: &Place) -> Option<(&Bind, &Matcher)> {
        let index = self.routing.binds.iter().position(|bind| bind.point == *at)?;
        Some((&self.routing.binds[index], &self.matchers[index]))
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
