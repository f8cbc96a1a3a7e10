//! Limits that a policy can pass.

use windrose_abi::identity::MAX_GROUPS;
use windrose_abi::rules::{MAX_CGROUP_DEPTH, MAX_ROWS, NAMES_PER_PORT, SETS_PER_ROW};

use crate::model::{Direction, Service, ServicePort, Workload};
use crate::place::Place;

use super::maglev::MAX_ENDPOINTS;

/// Most rule sets that select one workload in one direction.
pub const MAX_SETS: usize = MAX_ROWS as usize * SETS_PER_ROW;

/// Most levels of a workload's cgroup below the root.
pub(super) const MAX_DEPTH: usize = MAX_CGROUP_DEPTH as usize;

/// Longest cgroup path, without slashes at its ends: it and a leading slash and a NUL are a key.
pub(super) const MAX_PATH_BYTES: usize = 254;

/// A valid policy that the tables cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{}{message}", .place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default())]
pub struct CompileError {
    /// Where to look, if it is one place.
    pub place: Option<Place>,
    /// What does not fit, with the numbers.
    pub message: String,
}

impl CompileError {
    fn of(workload: &Workload, message: &str) -> Self {
        let name = &workload.name;
        let message = format!("workload {}/{} {message}", name.namespace, name.name);
        Self { place: Some(workload.place.clone()), message }
    }

    pub(super) fn too_many_groups(workload: &Workload, count: usize) -> Self {
        let most = "narrow the selectors of peers, or write one for several rules";
        Self::of(workload, &format!("is a member of {count} peer groups, the most is {MAX_GROUPS}; {most}"))
    }

    /// `workload`: the one that has the address.
    pub(super) fn too_many_prefixes(address: &str, workload: Option<&Workload>, count: usize) -> Self {
        let message = format!(
            "{address} is in {count} peer groups (blocks around it, and groups of the workload that has it), \
             the most is {MAX_GROUPS}; nest fewer blocks"
        );
        Self { place: workload.map(|workload| workload.place.clone()), message }
    }

    pub(super) fn too_many_sets(workload: &Workload, direction: Direction, count: usize) -> Self {
        Self::of(
            workload,
            &format!(
                "is the subject of {count} {direction:?} selectors, the most is {MAX_SETS}; \
                 policies with equal selectors count once"
            ),
        )
    }

    pub(super) fn too_many_names(workload: &Workload, port: u16, count: usize) -> Self {
        Self::of(workload, &format!("gives port {port} {count} names, the most is {NAMES_PER_PORT}"))
    }

    pub(super) fn too_many_endpoints(service: &Service, port: &ServicePort, count: usize) -> Self {
        let name = &service.name;
        let message = format!(
            "Service {}/{} has {count} ready endpoints of port {}, the most is {MAX_ENDPOINTS}",
            name.namespace, name.name, port.port
        );
        Self { place: Some(port.place.clone()), message }
    }

    pub(super) fn too_many_port_names(place: &Place) -> Self {
        Self { place: Some(place.clone()), message: "more than 65535 different port names".to_owned() }
    }

    pub(super) fn too_deep(workload: &Workload, depth: usize) -> Self {
        let message = format!("has a cgroup {depth} levels below the root, the most is {MAX_DEPTH}");
        Self::of(workload, &message)
    }

    pub(super) fn too_long(workload: &Workload, bytes: usize) -> Self {
        let message = format!("has a cgroup path of {bytes} bytes, the most is {MAX_PATH_BYTES}");
        Self::of(workload, &message)
    }
}
