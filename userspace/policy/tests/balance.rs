//! The engine over compiled services: who gets a connection, and who keeps it when endpoints change.
#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test, outside of its function")]

#[path = "generate/world.rs"]
#[expect(dead_code, reason = "flows are for other tests")]
mod generate;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use windrose_abi::{EndpointSlot, ServiceKey, ServiceSlot};
use windrose_engine::Services;
use windrose_engine::balance::{client, is_ready, pick};
use windrose_policy::model::Model;
use windrose_policy::source::{Source, parse};
use windrose_policy::tables::{Compiler, Settings, Tables};

use generate::Rng;

/// Compiled tables and loads, as the kernel holds them.
#[derive(Clone, Copy)]
struct Held<'a> {
    tables: &'a Tables,
    live: &'a HashMap<u32, u64>,
}

impl Services for Held<'_> {
    fn endpoint(&self, endpoint: u32) -> Option<EndpointSlot> {
        self.tables.endpoints.get(&endpoint).copied()
    }

    fn entry(&self, table: u32, index: u32) -> Option<u32> {
        self.tables.balance_tables.get(&table)?.get(index as usize).copied()
    }

    fn live(&self, endpoint: u32) -> u64 {
        self.live.get(&endpoint).copied().unwrap_or(0)
    }
}

fn compiled(model: &Model) -> Compiler {
    let mut compiler = Compiler::new();
    compiler.update(Arc::new(model.clone()), &Settings::default()).unwrap();
    compiler
}

fn address_of(slot: &EndpointSlot) -> (IpAddr, u16) {
    (IpAddr::from(slot.address.to_bytes()).to_canonical(), slot.port)
}

/// 64 bits, of which the generator gives 31 at a time.
fn random(rng: &mut Rng) -> u64 {
    rng.below(1 << 31) << 33 | rng.below(1 << 31) << 1
}

/// A service with addresses of both families and an endpoint for each weight.
fn service(balancing: &str, weights: &[u8]) -> Compiler {
    let endpoints: Vec<String> =
        (1..).zip(weights).map(|(last, weight)| format!("10.0.0.{last}={weight}")).collect();
    let text = format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: s\n  annotations:\n    \
         windrose.dev/balancing: {balancing}\n    windrose.dev/endpoints: '{}'\n\
         spec: {{clusterIP: 10.96.0.1, ports: [{{port: 80, targetPort: 8080}}]}}\n",
        endpoints.join(", ")
    );
    compiled(
        &parse(&[Source { name: "s.yaml".to_owned(), text }])
            .unwrap_or_else(|faults| panic!("{faults:#?}"))
            .model,
    )
}

fn only(tables: &Tables) -> ServiceSlot {
    assert_eq!(tables.services.len(), 1);
    *tables.services.values().next().unwrap()
}

#[test]
fn who_is_chosen_is_a_ready_endpoint_of_that_service_and_family() {
    for seed in 0..600 {
        let model = generate::model(seed);
        let compiler = compiled(&model);
        let mut rng = Rng::new(seed);
        for service in model.services.values() {
            for port in &service.ports {
                for address in &service.addresses {
                    let key = ServiceKey {
                        address: windrose_abi::Address::from_bytes(match address {
                            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                            IpAddr::V6(address) => address.octets(),
                        }),
                        port: port.port,
                        protocol: port.protocol.number(),
                        reserved: 0,
                    };
                    let slot = compiler.tables().services[&key];
                    let ready: Vec<(IpAddr, u16)> = port
                        .endpoints
                        .iter()
                        .filter(|endpoint| {
                            endpoint.is_ready && endpoint.address.is_ipv4() == address.is_ipv4()
                        })
                        .map(|endpoint| (endpoint.address, endpoint.port))
                        .collect();
                    let live =
                        compiler.tables().endpoints.keys().map(|number| (*number, rng.below(3))).collect();
                    let held = Held { tables: compiler.tables(), live: &live };
                    for _ in 0..30 {
                        let chosen = pick(&held, &slot, random(&mut rng), random(&mut rng));
                        if ready.is_empty() {
                            assert_eq!(chosen, 0, "seed {seed}");
                            continue;
                        }
                        let endpoint = held.endpoint(chosen).unwrap();
                        assert!(is_ready(&endpoint) && ready.contains(&address_of(&endpoint)), "seed {seed}");
                    }
                }
            }
        }
    }
}

/// How many of many choices each endpoint gets, by the last byte of its address. Connections last if
/// `lasts`.
fn shares(compiler: &Compiler, count: u32, lasts: bool) -> BTreeMap<u8, u32> {
    let slot = only(compiler.tables());
    let (mut live, mut shares) = (HashMap::new(), BTreeMap::new());
    let mut rng = Rng::new(7);
    for n in 0..count {
        let held = Held { tables: compiler.tables(), live: &live };
        let chosen = pick(&held, &slot, client(n + 1, 0), random(&mut rng));
        let endpoint = held.endpoint(chosen).unwrap();
        *shares.entry(endpoint.address.to_bytes()[15]).or_default() += 1;
        if lasts {
            *live.entry(chosen).or_default() += 1;
        }
    }
    shares
}

#[test]
fn choices_follow_the_weights() {
    let weights = [1, 2, 3, 4, 10];
    for balancing in ["least-loaded", "maglev"] {
        for lasts in [false, true] {
            let shares = shares(&service(balancing, &weights), 20_000, lasts);
            for (last, weight) in (1..).zip(weights) {
                let (has, fair) = (f64::from(shares[&last]), 1000.0 * f64::from(weight));
                let off = (has - fair).abs() / fair;
                assert!(off < 0.15, "{balancing}, lasts {lasts}: weight {weight} has {has} of {fair}");
            }
        }
    }
}

#[test]
fn few_clients_move_when_an_endpoint_goes_and_comes_back() {
    let (before, after) = (service("maglev", &[1; 10]), service("maglev", &[1, 1, 1, 0, 1, 1, 1, 1, 1, 1]));
    let place = |compiler: &Compiler, n: u32| {
        let none = HashMap::new();
        let held = Held { tables: compiler.tables(), live: &none };
        let chosen = pick(&held, &only(compiler.tables()), client(n, 0), 0);
        held.endpoint(chosen).unwrap().address.to_bytes()[15]
    };
    let (mut gone, mut moved) = (0, 0);
    for n in 1..=10_000 {
        let (was, is) = (place(&before, n), place(&after, n));
        assert_ne!(is, 4);
        gone += u32::from(was == 4);
        moved += u32::from(was != 4 && was != is);
    }
    assert!((800..1200).contains(&gone), "{gone} of 10000 clients were with one endpoint of ten");
    assert!(moved < 1000, "{moved} clients of other endpoints moved");
}

#[test]
fn equal_policies_give_equal_tables() {
    let (one, other) = (service("maglev", &[1, 2, 3]), service("maglev", &[1, 2, 3]));
    assert_eq!(one.tables(), other.tables());
}

#[test]
fn a_changed_endpoint_changes_only_what_is_its_services() {
    let mut compiler = Compiler::new();
    let services = |count: u8, last: &str| -> Arc<Model> {
        let documents: Vec<String> = (1..=count)
            .map(|number| {
                let third = if number == count { last } else { "10.0.0.3" };
                format!(
                    "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: s{number}\n  annotations:\n    \
                     windrose.dev/endpoints: '10.0.0.1, 10.0.0.2, {third}'\n\
                     spec: {{clusterIP: 10.96.0.{number}, ports: [{{port: 80}}]}}\n"
                )
            })
            .collect();
        Arc::new(parse(&[Source { name: "s.yaml".to_owned(), text: documents.concat() }]).unwrap().model)
    };
    compiler.update(services(100, "10.0.0.3"), &Settings::default()).unwrap();
    let changes = compiler.update(services(100, "10.0.0.4"), &Settings::default()).unwrap();
    let counts = (changes.services.len(), changes.endpoints.len(), changes.balance_tables.len());
    assert_eq!(counts, (1, 2, 2), "{changes:#?}");
    assert_eq!(changes.len(), 5);
}

#[test]
fn more_endpoints_than_a_table_holds_are_refused_with_the_number() {
    let endpoints: Vec<String> = (0..4_097).map(|n| format!("10.0.{}.{}", n / 250, n % 250 + 1)).collect();
    let text = format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: s\n  annotations:\n    \
         windrose.dev/endpoints: '{}'\nspec: {{clusterIP: 10.96.0.1, ports: [{{port: 80}}]}}\n",
        endpoints.join(", ")
    );
    let model = parse(&[Source { name: "s.yaml".to_owned(), text }]).unwrap().model;
    let errors = Compiler::new().update(Arc::new(model), &Settings::default()).unwrap_err();
    let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        ["s.yaml:7:38: Service default/s has 4097 ready endpoints of port 80, the most is 4096"]
    );
}
