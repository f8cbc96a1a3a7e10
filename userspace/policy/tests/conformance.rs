//! The cyclonus conformance cases for `NetworkPolicy`, against the reference evaluator.
#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test, outside of its function")]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::path::PathBuf;

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use windrose_policy::decision::{Endpoint, Flow, Verdict};
use windrose_policy::model::{Model, ObjectName};
use windrose_policy::reference::{endpoint, evaluate};
use windrose_policy::source::{Source, parse};

const CASES: usize = 230;

#[test]
fn every_conformance_case_is_decided_as_expected() {
    let folder = std::env::var_os("WINDROSE_CONFORMANCE").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance"),
        PathBuf::from,
    );
    let path = folder.join("netpol-cases.jsonl.gz");
    let Ok(file) = File::open(&path) else {
        eprintln!("ignored, needs {} (or WINDROSE_CONFORMANCE)", path.display());
        assert!(std::env::var_os("WINDROSE_REQUIRE_CONFORMANCE").is_none(), "the cases are required here");
        return;
    };
    let mut cases = 0;
    let mut probes = 0;
    for line in BufReader::new(GzDecoder::new(file)).lines() {
        let case: Value = serde_json::from_str(&line.unwrap()).unwrap();
        cases += 1;
        for (index, step) in case["Steps"].as_array().unwrap().iter().enumerate() {
            probes += check(&format!("case {} step {index}: {}", case["N"], case["Description"]), step);
        }
    }
    assert_eq!(cases, CASES);
    println!("{cases} cases, {probes} probes");
}

/// Checks one step and returns how many verdicts it expects.
fn check(name: &str, step: &Value) -> usize {
    let model = model(name, step);
    let expected = step["Expect"].as_array().unwrap();
    for expect in expected {
        let port = u16::try_from(expect["Port"].as_u64().unwrap()).unwrap();
        let flow = Flow {
            source: end(&model, &expect["From"]),
            destination: end(&model, &expect["To"]),
            protocol: match expect["Proto"].as_str().unwrap() {
                "TCP" => 6,
                "UDP" => 17,
                "SCTP" => 132,
                other => panic!("{name}: protocol {other}"),
            },
            destination_port: port,
        };
        if expect["Combined"] == "undefined" {
            continue;
        }
        let decision = evaluate(&model, &flow, false);
        for (side, verdict) in [
            ("Egress", decision.egress.verdict),
            ("Ingress", decision.ingress.verdict),
            ("Combined", decision.verdict()),
        ] {
            let said = if verdict == Verdict::Allow { "allowed" } else { "blocked" };
            assert_eq!(expect[side], said, "{name}: {side} of {expect}: {decision:?}");
        }
    }
    expected.len()
}

/// The step's objects, all as JSON, so that the reader is tested too.
fn model(name: &str, step: &Value) -> Model {
    let mut objects: Vec<Value> = step["Policies"].as_array().unwrap().clone();
    for policy in &mut objects {
        // Some cases are exported from Go values that leave the kind to the API client.
        policy["apiVersion"] = "networking.k8s.io/v1".into();
        policy["kind"] = "NetworkPolicy".into();
    }
    for (name, labels) in step["Namespaces"].as_object().unwrap() {
        objects.push(
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}),
        );
    }
    for pod in step["Pods"].as_array().unwrap() {
        let mut ports = Vec::new();
        for port in [80, 81] {
            for protocol in ["TCP", "UDP", "SCTP"] {
                let name = format!("serve-{port}-{}", protocol.to_lowercase());
                ports.push(json!({"name": name, "port": port, "protocol": protocol}));
            }
        }
        objects.push(json!({
            "apiVersion": "windrose.dev/v1alpha1",
            "kind": "Workload",
            "metadata": {"name": pod["name"], "namespace": pod["ns"], "labels": pod["labels"]},
            "spec": {"addresses": [pod["ip"]], "ports": ports},
        }));
    }
    let text: String = objects.iter().map(Value::to_string).collect();
    match parse(&[Source { name: "step.json".to_owned(), text }]) {
        Ok(parsed) => parsed.model,
        Err(faults) => {
            panic!("{name}: {}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        }
    }
}

fn end(model: &Model, name: &Value) -> Endpoint {
    let (namespace, name) = name.as_str().unwrap().split_once('/').unwrap();
    let name = ObjectName { namespace: namespace.to_owned(), name: name.to_owned() };
    let address: IpAddr = model.workloads[&name].addresses[0];
    let end = endpoint(model, address, &[]);
    assert_eq!(end.workload, Some(name));
    end
}
