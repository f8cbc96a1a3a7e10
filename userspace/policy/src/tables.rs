//! Model to tables, step by step: an update costs work in proportion to what changed.
//!
//! Rules name peer groups, never identities, so that rows are proportional to rules. Who is a
//! member of which group is in the peer lists of workloads, addresses and prefixes. Every number
//! is a hash of what it stands for, so that a restarted agent comes to the tables that are pinned.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use windrose_abi::{
    Address, AddressSlot, ControlSlot, EndpointSlot, PortKey, PortSlot, PrefixKey, PrefixSlot, RuleKey,
    RuleSetSlot, RuleSlot, ServiceKey, ServiceSlot, WorkloadSlot,
};

use crate::model::{Model, ObjectName, Tier, Workload};

mod addresses;
mod differences;
mod error;
mod flush;
mod group;
mod lists;
mod lookup;
mod maglev;
mod members;
mod names;
mod number;
mod policies;
mod ports;
mod prefix;
mod record;
mod rows;
mod rule_sets;
mod services;
mod workloads;

pub use error::{CompileError, MAX_SETS};
pub use lookup::{Lookup, Row, Trie, peer_list_row, policy_set_row};
pub use names::{IdentityKey, IdentityName, Names};
pub use record::{Change, Changes};
pub use services::{EndpointRef, ServiceRef};

use addresses::Addresses;
use group::Group;
use lists::Lists;
use members::Members;
use number::{Numbers, Space};
use record::Record;
use rows::{Compiled, RuleSetKey};
use rule_sets::RuleSet;
use services::BalancedPort;

/// One generation: what the kernel's maps hold in one slot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    /// The settings.
    pub control: ControlSlot,
    /// Workload numbers by cgroup path, without slashes at its ends.
    pub cgroups: HashMap<String, u32>,
    /// By workload number; remote workloads too.
    pub workloads: HashMap<u32, WorkloadSlot>,
    /// Addresses of workloads and of the host, and those that policies name one by one.
    pub addresses: HashMap<Address, AddressSlot>,
    /// Prefixes that policies name, shorter than an address.
    pub prefixes: HashMap<PrefixKey, PrefixSlot>,
    /// Sorted groups by list number; at most [`windrose_abi::identity::MAX_GROUPS`].
    pub peer_lists: HashMap<u32, Arc<[u32]>>,
    /// Rule sets by set number, in the order of their tiers; at most [`MAX_SETS`].
    pub policy_sets: HashMap<u32, Arc<[u32]>>,
    /// By rule set number.
    pub rule_sets: HashMap<u32, RuleSetSlot>,
    /// By key; of several rules with one key, the one of lowest rank.
    pub rules: HashMap<RuleKey, RuleSlot>,
    /// Names of ports of workloads.
    pub port_names: HashMap<PortKey, PortSlot>,
    /// By address, port and protocol.
    pub services: HashMap<ServiceKey, ServiceSlot>,
    /// By endpoint number; draining ones too.
    pub endpoints: HashMap<u32, EndpointSlot>,
    /// Endpoint numbers by table number; as many as one of [`windrose_abi::services::TABLE_SIZES`].
    pub balance_tables: HashMap<u32, Arc<[u32]>>,
}

/// What is compiled besides the model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The whole agent is in audit.
    pub audit_all: bool,
    /// The agent answers refused ingress: the kernel tells it of repetitions, too.
    pub answers: bool,
    /// Addresses of the host that the agent runs on.
    pub host_addresses: Vec<IpAddr>,
}

/// Why an update was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection<E> {
    /// The tables cannot hold the policy.
    Errors(Vec<CompileError>),
    /// Whoever was asked refuses it.
    Check(E),
}

/// A workload as it was compiled.
#[derive(Debug)]
struct Placed {
    workload: Arc<Workload>,
    identity: u32,
    namespace: u32,
    /// Its port names, as often as they are used.
    names: Vec<u32>,
}

/// A cluster policy as it was compiled.
#[derive(Debug)]
struct Tied {
    tie: u32,
    compiled: Compiled,
}

/// The incremental compiler: tables of the last model, and what it takes to change them.
#[derive(Debug)]
pub struct Compiler {
    model: Arc<Model>,
    settings: Settings,
    tables: Tables,
    names: Names,
    record: Record,
    errors: Vec<CompileError>,

    groups: Numbers<Group>,
    set_keys: Numbers<RuleSetKey>,
    members: Members,
    addresses: Addresses,
    peer_lists: Lists,
    policy_sets: Lists,
    balance_tables: Lists,

    placed: HashMap<u32, Placed>,
    /// Local workloads by the depth of their cgroup.
    depths: BTreeMap<usize, u32>,
    network: HashMap<ObjectName, Compiled>,
    cluster: HashMap<String, Tied>,
    /// Cluster policies of equal rank, by name.
    ties: BTreeMap<(Tier, u16), BTreeSet<String>>,
    rule_sets: HashMap<u32, RuleSet>,
    /// Rows that another row with the same key and a lower rank hides. Sorted.
    hidden: HashMap<RuleKey, Vec<RuleSlot>>,
    services: HashMap<ObjectName, Vec<BalancedPort>>,

    dirty_rule_sets: BTreeSet<u32>,
    dirty_workloads: BTreeSet<u32>,
}

impl Default for Compiler {
    fn default() -> Self {
        Self::new()
    }
}

impl Compiler {
    /// The compiler of the empty model.
    pub fn new() -> Self {
        Self {
            model: Arc::default(),
            settings: Settings::default(),
            tables: Tables::default(),
            names: Names::new(),
            record: Record::default(),
            errors: Vec::new(),
            groups: Numbers::new(Space::ALL),
            set_keys: Numbers::new(Space::ALL),
            members: Members::default(),
            addresses: Addresses::new(),
            peer_lists: Lists::new(),
            policy_sets: Lists::new(),
            balance_tables: Lists::new(),
            placed: HashMap::new(),
            depths: BTreeMap::new(),
            network: HashMap::new(),
            cluster: HashMap::new(),
            ties: BTreeMap::new(),
            rule_sets: HashMap::new(),
            hidden: HashMap::new(),
            services: HashMap::new(),
            dirty_rule_sets: BTreeSet::new(),
            dirty_workloads: BTreeSet::new(),
        }
    }

    /// The tables of the last model that compiled.
    pub const fn tables(&self) -> &Tables {
        &self.tables
    }

    /// What their numbers stand for.
    pub const fn names(&self) -> &Names {
        &self.names
    }

    /// What was compiled besides it.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The last model that compiled.
    pub const fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Takes over the lists that the maps of an earlier agent hold, before the first
    /// [`Compiler::update`]: one with the same content gets the same number, and none with another
    /// content does, whatever the earlier agent's history was. Lists that the first update does
    /// not use are forgotten with it; the other numbers need no such care, because their entries
    /// have two slots.
    pub fn adopt(
        &mut self,
        peer_lists: impl IntoIterator<Item = (u32, Arc<[u32]>)>,
        policy_sets: impl IntoIterator<Item = (u32, Arc<[u32]>)>,
    ) {
        for (number, list) in peer_lists {
            self.peer_lists.adopt(number, list);
        }
        for (number, list) in policy_sets {
            self.policy_sets.adopt(number, list);
        }
    }

    /// Compiles the difference to the last model. On errors everything stays as it was.
    ///
    /// Objects that are the same `Arc` in both models are not looked into; equal ones are compared
    /// and left alone.
    pub fn update(&mut self, model: Arc<Model>, settings: &Settings) -> Result<Changes, Vec<CompileError>> {
        match self.update_if(model, settings, |_| Ok::<_, Infallible>(())) {
            Ok((changes, ())) => Ok(changes),
            Err(Rejection::Errors(errors)) => Err(errors),
            Err(Rejection::Check(never)) => match never {},
        }
    }

    /// As [`Compiler::update`], and asks `check` before the way back is closed: what it refuses
    /// leaves everything as it was, to the last number. It sees the new model and its tables, in
    /// which there may be lists of the last ones that nothing names any more.
    pub fn update_if<T, E>(
        &mut self,
        model: Arc<Model>,
        settings: &Settings,
        check: impl FnOnce(&Self) -> Result<T, E>,
    ) -> Result<(Changes, T), Rejection<E>> {
        let last = (Arc::clone(&self.model), self.settings.clone());
        self.advance(model, settings);
        let mut errors = std::mem::take(&mut self.errors);
        let rejection = if errors.is_empty() {
            match check(self) {
                Ok(checked) => return Ok((self.commit(), checked)),
                Err(error) => Rejection::Check(error),
            }
        } else {
            errors.sort();
            errors.dedup();
            Rejection::Errors(errors)
        };
        // The way back is the same work in the other direction. No number has been freed yet, so
        // that everything gets the one that it had.
        self.advance(last.0, &last.1);
        self.errors.clear();
        let undone = self.commit();
        debug_assert!(undone.is_empty(), "the way back must lead back: {undone:?}");
        Err(rejection)
    }

    fn advance(&mut self, model: Arc<Model>, settings: &Settings) {
        let last = std::mem::replace(&mut self.model, model);
        let model = Arc::clone(&self.model);
        let last_settings = std::mem::replace(&mut self.settings, settings.clone());
        self.update_hosts(&last_settings);
        self.update_namespaces(&last, &model);
        self.update_workloads(&last, &model);
        self.update_network(&last, &model);
        self.update_cluster(&last, &model);
        self.update_services(&last, &model);
        self.flush();
    }

    fn commit(&mut self) -> Changes {
        self.names.sweep();
        self.groups.sweep();
        self.set_keys.sweep();
        self.peer_lists.sweep(&mut self.tables.peer_lists, &mut self.record.peer_lists);
        self.policy_sets.sweep(&mut self.tables.policy_sets, &mut self.record.policy_sets);
        self.balance_tables.sweep(&mut self.tables.balance_tables, &mut self.record.balance_tables);
        self.record.take(&self.tables)
    }
}
