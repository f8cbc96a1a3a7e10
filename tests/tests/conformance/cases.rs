//! Reading the cases, and the documents that a step of one amounts to.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use flate2::read::GzDecoder;
use serde_json::{Value, json};

/// The cases' network, and the one that stands for it in a test world.
const NETWORKS: (&str, &str) = ("192.168.1.", "10.77.1.");

/// Where the cases are, or would be.
pub(crate) fn path() -> PathBuf {
    let folder = std::env::var_os("WINDROSE_CONFORMANCE").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance"),
        PathBuf::from,
    );
    folder.join("netpol-cases.jsonl.gz")
}

/// Every case, with addresses of test worlds.
pub(crate) fn read() -> Result<Vec<Value>> {
    let path = path();
    let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    BufReader::new(GzDecoder::new(file))
        .lines()
        .map(|line| {
            let line = line.context("the cases break off")?.replace(NETWORKS.0, NETWORKS.1);
            serde_json::from_str(&line).context("a case is no JSON")
        })
        .collect()
}

/// A step's namespaces, policies and workloads. `cgroup_of` knows where each pod's process is.
pub(crate) fn documents(step: &Value, cgroup_of: impl Fn(&str) -> Option<String>) -> Result<String> {
    let mut documents: Vec<Value> = Vec::new();
    for policy in list(step, "Policies")? {
        let mut policy = policy.clone();
        // Some cases are exported from values that leave the kind to the API client.
        policy["apiVersion"] = "networking.k8s.io/v1".into();
        policy["kind"] = "NetworkPolicy".into();
        documents.push(policy);
    }
    for (name, labels) in step["Namespaces"].as_object().context("a step without namespaces")? {
        documents.push(
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}),
        );
    }
    for pod in list(step, "Pods")? {
        let mut ports = Vec::new();
        for port in [80, 81] {
            for protocol in ["TCP", "UDP", "SCTP"] {
                let name = format!("serve-{port}-{}", protocol.to_lowercase());
                ports.push(json!({"name": name, "port": port, "protocol": protocol}));
            }
        }
        documents.push(json!({
            "apiVersion": "windrose.dev/v1alpha1",
            "kind": "Workload",
            "metadata": {"name": pod["name"], "namespace": pod["ns"], "labels": pod["labels"]},
            "spec": {"cgroup": cgroup_of(&name_of(pod)?), "addresses": [pod["ip"]], "ports": ports},
        }));
    }
    Ok(documents
        .iter()
        .flat_map(|document| ["---\n".to_owned(), document.to_string(), "\n".to_owned()])
        .collect())
}

/// `namespace/name`.
pub(crate) fn name_of(pod: &Value) -> Result<String> {
    let text = |key: &str| pod[key].as_str().with_context(|| format!("a pod without {key}: {pod}"));
    Ok(format!("{}/{}", text("ns")?, text("name")?))
}

/// A list of a step.
pub(crate) fn list<'a>(step: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    step[key].as_array().with_context(|| format!("a step without {key}"))
}
