//! The dependency arrows of the architecture, checked against what cargo says the packages depend on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::command;
use crate::workspace::Workspace;

/// What one of our packages may depend on among our packages.
struct Arrow {
    package: &'static str,
    /// In what ships.
    uses: &'static [&'static str],
    /// In its tests, beyond `uses`.
    tests_use: &'static [&'static str],
}

/// `abi -> engine -> programs` and `abi -> engine -> policy -> datapath -> agent`; a package that is not here
/// fails.
const ARROWS: &[Arrow] = &[
    Arrow { package: "windrose-abi", uses: &[], tests_use: &[] },
    Arrow { package: "windrose-engine", uses: &["windrose-abi"], tests_use: &[] },
    Arrow { package: "windrose-ebpf", uses: &["windrose-abi", "windrose-engine"], tests_use: &[] },
    // The engine decides what compiled tables say, so that they are compared with the reference (ADR 7).
    Arrow { package: "windrose-policy", uses: &["windrose-abi", "windrose-engine"], tests_use: &[] },
    Arrow {
        package: "windrose-datapath",
        uses: &["windrose-abi", "windrose-policy"],
        tests_use: &["windrose-engine"],
    },
    Arrow {
        package: "windrose",
        uses: &["windrose-abi", "windrose-policy", "windrose-datapath"],
        tests_use: &[],
    },
    Arrow {
        package: "windrose-tests",
        uses: &["windrose-abi", "windrose-engine", "windrose-policy", "windrose-datapath"],
        tests_use: &["windrose"],
    },
    Arrow {
        package: "windrose-fuzz",
        uses: &["windrose-abi", "windrose-engine", "windrose-policy"],
        tests_use: &[],
    },
    Arrow { package: "xtask", uses: &[], tests_use: &[] },
];

/// Who may speak to the kernel through aya; `abi` only for `Pod`, behind its feature.
const AYA_USERS: [&str; 2] = ["windrose-datapath", "windrose-abi"];

/// Packages that must stay pure: tokio is not even to be reached through another crate.
const WITHOUT_TOKIO: [&str; 4] = ["windrose-abi", "windrose-engine", "windrose-policy", "windrose-ebpf"];

/// A direct dependency, of any kind but through another package.
struct Dependency {
    name: String,
    is_dev: bool,
    is_optional: bool,
}

/// Fails naming every arrow that must not be.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let mut faults = Vec::new();
    for root in [workspace.root().to_owned(), workspace.programs(), crate::fuzz::package(workspace)] {
        let metadata = metadata(&root)?;
        check_direct(&metadata, &mut faults)?;
        check_tokio(&metadata, &mut faults)?;
    }
    if !faults.is_empty() {
        faults.sort();
        faults.dedup();
        bail!("{} (the arrows are in xtask/src/arrows.rs)", faults.join("; "));
    }
    Ok(())
}

fn metadata(root: &Path) -> Result<Value> {
    let text = command::output(command::cargo(root).args([
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--all-features",
    ]))?;
    serde_json::from_str(&text).context("cargo metadata gave no JSON")
}

fn check_direct(metadata: &Value, faults: &mut Vec<String>) -> Result<()> {
    for package in packages(metadata)? {
        // Our packages are those that no registry gave.
        if !package["source"].is_null() {
            continue;
        }
        let name = package["name"].as_str().unwrap_or_default();
        let Some(arrow) = ARROWS.iter().find(|arrow| arrow.package == name) else {
            faults.push(format!("{name} is not in the list of arrows"));
            continue;
        };
        for dependency in dependencies(package) {
            faults.extend(fault(arrow, &dependency));
        }
    }
    Ok(())
}

/// What is wrong with one direct dependency, if anything is.
fn fault(arrow: &Arrow, dependency: &Dependency) -> Option<String> {
    let Arrow { package, uses, tests_use } = arrow;
    let name = dependency.name.as_str();
    if name.starts_with("windrose") {
        let is_allowed = uses.contains(&name) || (dependency.is_dev && tests_use.contains(&name));
        return (!is_allowed).then(|| format!("{package} must not depend on {name}"));
    }
    let is_userspace_aya = name == "aya" || name == "aya-obj" || name == "aya-log";
    if is_userspace_aya && !AYA_USERS.contains(package) {
        return Some(format!("{package} must not depend on {name}: only datapath speaks to the kernel"));
    }
    if is_userspace_aya && *package == "windrose-abi" && !dependency.is_optional {
        return Some(format!(
            "{package} must have {name} as an optional dependency, for its feature userspace"
        ));
    }
    None
}

/// Follows what ships with each pure package, through all crates that are not ours.
fn check_tokio(metadata: &Value, faults: &mut Vec<String>) -> Result<()> {
    let ids: BTreeMap<&str, &Value> =
        packages(metadata)?.iter().filter_map(|package| Some((package["id"].as_str()?, package))).collect();
    let nodes: BTreeMap<&str, &Value> = metadata["resolve"]["nodes"]
        .as_array()
        .context("cargo metadata resolved nothing")?
        .iter()
        .filter_map(|node| Some((node["id"].as_str()?, node)))
        .collect();
    for (id, package) in &ids {
        let name = package["name"].as_str().unwrap_or_default();
        if !package["source"].is_null() || !WITHOUT_TOKIO.contains(&name) {
            continue;
        }
        let mut seen = BTreeSet::new();
        let mut open = vec![*id];
        while let Some(next) = open.pop() {
            let is_ours_too = next != *id && ids.get(next).is_some_and(|package| package["source"].is_null());
            if is_ours_too || !seen.insert(next) {
                continue;
            }
            if ids.get(next).is_some_and(|package| package["name"] == "tokio") {
                faults.push(format!("{name} reaches tokio"));
            }
            let edges = nodes.get(next).and_then(|node| node["deps"].as_array());
            open.extend(
                edges
                    .into_iter()
                    .flatten()
                    .filter(|edge| ships(edge))
                    .filter_map(|edge| edge["pkg"].as_str()),
            );
        }
    }
    Ok(())
}

/// Whether a resolved edge is more than a dev-dependency.
fn ships(edge: &Value) -> bool {
    edge["dep_kinds"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"] != "dev"))
}

fn packages(metadata: &Value) -> Result<&Vec<Value>> {
    metadata["packages"].as_array().context("cargo metadata named no packages")
}

fn dependencies(package: &Value) -> Vec<Dependency> {
    package["dependencies"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|dependency| Dependency {
            name: dependency["name"].as_str().unwrap_or_default().to_owned(),
            is_dev: dependency["kind"] == "dev",
            is_optional: dependency["optional"] == true,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrow(package: &str) -> &'static Arrow {
        ARROWS.iter().find(|arrow| arrow.package == package).unwrap()
    }

    fn dependency(name: &str, is_dev: bool) -> Dependency {
        Dependency { name: name.to_owned(), is_dev, is_optional: false }
    }

    #[test]
    fn datapath_may_use_the_engine_in_its_tests_only() {
        assert!(fault(arrow("windrose-datapath"), &dependency("windrose-engine", true)).is_none());
        assert!(fault(arrow("windrose-datapath"), &dependency("windrose-engine", false)).is_some());
    }

    #[test]
    fn the_engine_knows_no_policy() {
        assert!(fault(arrow("windrose-policy"), &dependency("windrose-engine", false)).is_none());
        assert!(fault(arrow("windrose-engine"), &dependency("windrose-policy", false)).is_some());
    }

    #[test]
    fn only_datapath_speaks_aya() {
        assert!(fault(arrow("windrose-datapath"), &dependency("aya", false)).is_none());
        assert!(fault(arrow("windrose"), &dependency("aya", false)).is_some());
        assert!(fault(arrow("windrose-abi"), &dependency("aya", false)).is_some());
    }

    #[test]
    fn tokio_is_found_behind_another_crate() {
        let metadata: Value = serde_json::from_str(
            r#"{
                "packages": [
                    {"id": "p", "name": "windrose-policy", "source": null},
                    {"id": "h", "name": "hyper", "source": "registry"},
                    {"id": "t", "name": "tokio", "source": "registry"}
                ],
                "resolve": {"nodes": [
                    {"id": "p", "deps": [{"pkg": "h", "dep_kinds": [{"kind": null}]}]},
                    {"id": "h", "deps": [{"pkg": "t", "dep_kinds": [{"kind": null}]}]},
                    {"id": "t", "deps": []}
                ]}
            }"#,
        )
        .unwrap();
        let mut faults = Vec::new();
        check_tokio(&metadata, &mut faults).unwrap();
        assert_eq!(faults, ["windrose-policy reaches tokio"]);
    }
}
