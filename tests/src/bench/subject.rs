//! The ends as workloads, and folders of documents.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::cgroup::Cgroup;

/// Documents of one file, at most.
const DOCUMENTS_PER_FILE: usize = 500;

/// An end as a workload.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// `client` or `server`; also the value of its label `app`.
    name: &'static str,
    cgroup: String,
    addresses: Vec<Ipv4Addr>,
}

impl Subject {
    pub(crate) fn new(name: &'static str, home: &Cgroup, addresses: Vec<Ipv4Addr>) -> Self {
        Self { name, cgroup: home.name().to_owned(), addresses }
    }

    /// In a namespace of its own: `clients` or `servers`.
    pub(crate) fn document(&self) -> String {
        let Self { name, cgroup, addresses } = self;
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        format!(
            "apiVersion: windrose.dev/v1alpha1\nkind: Workload\n\
             metadata: {{name: {name}, namespace: {name}s, labels: {{app: {name}, tier: measured}}}}\n\
             spec: {{cgroup: {cgroup}, addresses: [{}]}}\n",
            addresses.join(", ")
        )
    }
}

/// Writes documents into an empty folder, in many files.
pub(crate) fn write(folder: &Path, documents: &[String]) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (number, some) in documents.chunks(DOCUMENTS_PER_FILE).enumerate() {
        let file = folder.join(format!("{number:04}.yaml"));
        fs::write(&file, some.join("---\n")).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}
