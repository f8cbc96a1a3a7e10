//! What the numbers in rows and events stand for, published with each policy.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use windrose_policy::decision::RuleRef;
use windrose_policy::model::{Direction, ObjectName, Protocol};
use windrose_policy::place::Place;
use windrose_policy::tables::{Compiler, EndpointRef, IdentityName, ServiceRef};

/// So many names that are gone are kept, for events that are still under way and counters of the
/// past. Behind them the oldest policy's are forgotten.
const GONE: usize = 65_536;

/// A rule as JSON shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RuleView {
    /// `NetworkPolicy` or `ClusterNetworkPolicy`.
    pub(crate) kind: String,
    /// The policy's namespace; `None` for a cluster policy.
    pub(crate) namespace: Option<String>,
    /// The policy's name.
    pub(crate) name: String,
    /// `ingress` or `egress`.
    pub(crate) direction: String,
    /// Position in the direction's list, from 0; `None`: the policy isolates and no rule allows.
    pub(crate) index: Option<u32>,
    /// The file.
    pub(crate) file: String,
    /// From 1.
    pub(crate) line: u32,
    /// From 1.
    pub(crate) column: u32,
}

impl RuleView {
    /// `None` for what is no rule.
    pub(crate) fn new(rule: &RuleRef, place: &Place) -> Option<Self> {
        let (policy, direction, index) = match rule {
            RuleRef::Open | RuleRef::Itself | RuleRef::Host | RuleRef::Audit => return None,
            RuleRef::Network { policy, direction, index } => {
                ((Some(&policy.namespace), &policy.name), direction, Some(*index))
            }
            RuleRef::Isolated { policy, direction } => {
                ((Some(&policy.namespace), &policy.name), direction, None)
            }
            RuleRef::Cluster { policy, direction, index } => ((None, policy), direction, Some(*index)),
        };
        Some(Self {
            kind: if policy.0.is_some() { "NetworkPolicy" } else { "ClusterNetworkPolicy" }.to_owned(),
            namespace: policy.0.cloned(),
            name: policy.1.clone(),
            direction: direction_name(*direction).to_owned(),
            index,
            file: place.file.to_string(),
            line: place.line,
            column: place.column,
        })
    }

    /// `shop/cart`, or the name of a cluster policy.
    pub(crate) fn policy(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{}", self.name),
            None => self.name.clone(),
        }
    }

    /// `ingress[0]`, or `ingress isolation`.
    pub(crate) fn rule(&self) -> String {
        match self.index {
            Some(index) => format!("{}[{index}]", self.direction),
            None => format!("{} isolation", self.direction),
        }
    }

    /// `file:line:column`.
    pub(crate) fn place(&self) -> String {
        format!("{}:{}:{}", self.file, self.line, self.column)
    }
}

/// An endpoint of a service, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EndpointName {
    pub(crate) service: ObjectName,
    /// What clients ask for.
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
    /// The workload or pod; `None`: an address that has no name.
    pub(crate) name: Option<ObjectName>,
}

/// `ingress` or `egress`.
pub(crate) const fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

/// The names of one policy, and recent ones of those before.
#[derive(Debug, Default)]
pub(crate) struct Book {
    workloads: Names<ObjectName>,
    rules: Names<RuleView>,
    identities: Names<str>,
    services: Names<ServiceRef>,
    endpoints: Names<EndpointName>,
}

/// Names by number: of the policy in force, and of those before.
#[derive(Debug)]
struct Names<T: ?Sized> {
    current: HashMap<u32, Arc<T>>,
    gone: HashMap<u32, Arc<T>>,
}

impl<T: ?Sized> Default for Names<T> {
    fn default() -> Self {
        Self { current: HashMap::new(), gone: HashMap::new() }
    }
}

impl<T: ?Sized + PartialEq> Names<T> {
    fn get(&self, number: u32) -> Option<&Arc<T>> {
        self.current.get(&number).or_else(|| self.gone.get(&number))
    }

    /// The names behind `numbers`; those that are equal are shared with this book.
    fn next(&self, numbers: impl Iterator<Item = u32>, name: impl Fn(u32) -> Option<Arc<T>>) -> Self {
        let mut current = HashMap::with_capacity(self.current.len());
        for number in numbers {
            current.entry(number).or_insert_with(|| {
                name(number).map(|name| match self.current.get(&number) {
                    Some(before) if *before == name => Arc::clone(before),
                    _ => name,
                })
            });
        }
        let current: HashMap<u32, Arc<T>> =
            current.into_iter().filter_map(|(number, name)| Some((number, name?))).collect();
        let lost = |names: &HashMap<u32, Arc<T>>| -> HashMap<u32, Arc<T>> {
            let lost = names.iter().filter(|(number, _)| !current.contains_key(number));
            lost.map(|(number, name)| (*number, Arc::clone(name))).take(GONE).collect()
        };
        let mut gone = lost(&self.current);
        if gone.len() + self.gone.len() <= GONE {
            for (number, name) in lost(&self.gone) {
                gone.entry(number).or_insert(name);
            }
        }
        Self { current, gone }
    }
}

/// Every endpoint of every service, by number.
fn endpoints(compiler: &Compiler) -> HashMap<u32, EndpointName> {
    let mut endpoints = HashMap::new();
    for service in compiler.model().services.values() {
        for port in &service.ports {
            for endpoint in &port.endpoints {
                let reference = EndpointRef::new(service, port, endpoint);
                let Some(number) = compiler.names().endpoint_number(&reference) else { continue };
                let EndpointRef { service, port, protocol, .. } = reference;
                let name = endpoint.name.clone();
                endpoints.insert(number, EndpointName { service, port, protocol, name });
            }
        }
    }
    endpoints
}

impl Book {
    /// The names of what has just been compiled. Looks at every row, and not only at what changed:
    /// a rule moves to another line without a change of its row.
    pub(crate) fn next(&self, compiler: &Compiler) -> Self {
        let (tables, names) = (compiler.tables(), compiler.names());
        let isolations = tables.rule_sets.values().map(|set| set.default_rule);
        let rules = tables.rules.values().map(|row| row.rule).chain(isolations).filter(|rule| *rule != 0);
        let endpoints = endpoints(compiler);
        Self {
            workloads: self.workloads.next(tables.workloads.keys().copied(), |number| {
                names.workload(number).cloned().map(Arc::new)
            }),
            rules: self.rules.next(rules, |number| {
                let (rule, place) = names.rule(number)?;
                RuleView::new(rule, place).map(Arc::new)
            }),
            identities: self.identities.next(tables.workloads.values().map(|slot| slot.identity), |number| {
                let Some(IdentityName::Workloads(key)) = names.identity(number) else { return None };
                let labels: Vec<String> =
                    key.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
                Some(format!("{}{{{}}}", key.namespace, labels.join(",")).into())
            }),
            services: self.services.next(tables.services.values().map(|slot| slot.service), |number| {
                names.service(number).cloned().map(Arc::new)
            }),
            endpoints: self
                .endpoints
                .next(endpoints.keys().copied(), |number| endpoints.get(&number).cloned().map(Arc::new)),
        }
    }

    /// The workload with this number.
    pub(crate) fn workload(&self, number: u32) -> Option<&Arc<ObjectName>> {
        self.workloads.get(number)
    }

    /// The rule or isolation with this id.
    pub(crate) fn rule(&self, id: u32) -> Option<&Arc<RuleView>> {
        self.rules.get(id)
    }

    /// The address and port of a service with this number.
    pub(crate) fn service(&self, number: u32) -> Option<&Arc<ServiceRef>> {
        self.services.get(number)
    }

    /// The endpoint with this number.
    pub(crate) fn endpoint(&self, number: u32) -> Option<&Arc<EndpointName>> {
        self.endpoints.get(number)
    }

    /// What an identity stands for: `world`, `host`, `network` (an address of no workload in a
    /// block that policies name), or a namespace and labels.
    pub(crate) fn identity(&self, number: u32) -> Option<Arc<str>> {
        match number {
            windrose_datapath::abi::identity::IDENTITY_WORLD => Some("world".into()),
            windrose_datapath::abi::identity::IDENTITY_HOST => Some("host".into()),
            0x0100_0000..=0x01ff_ffff => Some("network".into()),
            _ => self.identities.get(number).cloned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrose_policy::source::{Source, parse};
    use windrose_policy::tables::Settings;

    fn compile(compiler: &mut Compiler, text: &str) {
        let source = Source { name: "p.yaml".to_owned(), text: text.to_owned() };
        let model = Arc::new(parse(&[source]).unwrap().model);
        compiler.update(model, &Settings::default()).unwrap();
    }

    const POLICY: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
        metadata: {name: n, namespace: a}\nspec: {podSelector: {}, ingress: [{}]}\n";
    const WORKLOAD: &str = "---\napiVersion: windrose.dev/v1alpha1\nkind: Workload\n\
        metadata: {name: w, namespace: a, labels: {x: y}}\nspec: {addresses: [10.0.0.1]}\n";

    #[test]
    fn a_rule_that_moved_is_named_by_its_new_line() {
        let mut compiler = Compiler::new();
        compile(&mut compiler, &format!("{POLICY}{WORKLOAD}"));
        let before = Book::default().next(&compiler);
        let id = *before.rules.current.keys().min().unwrap();
        compile(&mut compiler, &format!("# moved\n{POLICY}{WORKLOAD}"));
        let after = before.next(&compiler);
        assert_eq!(after.rule(id).unwrap().line, before.rule(id).unwrap().line + 1);
    }

    #[test]
    fn a_workload_that_is_gone_keeps_its_name_for_late_events() {
        let mut compiler = Compiler::new();
        compile(&mut compiler, WORKLOAD);
        let before = Book::default().next(&compiler);
        let number = *before.workloads.current.keys().next().unwrap();
        compile(&mut compiler, POLICY);
        let after = before.next(&compiler);
        assert!(!after.workloads.current.contains_key(&number));
        assert_eq!(after.workload(number).unwrap().name, "w");
        assert_eq!(after.next(&compiler).workload(number).unwrap().name, "w");
    }

    #[test]
    fn an_identity_is_a_namespace_and_labels() {
        let mut compiler = Compiler::new();
        compile(&mut compiler, WORKLOAD);
        let book = Book::default().next(&compiler);
        let identity = compiler.tables().workloads.values().next().unwrap().identity;
        assert_eq!(&*book.identity(identity).unwrap(), "a{x=y}");
        assert_eq!(&*book.identity(2).unwrap(), "host");
    }
}
