//! Policy files to tables, step by step, and back when the kernel does not take them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use windrose_policy::model::Model;
use windrose_policy::source::Loader;
use windrose_policy::tables::{Changes, Compiler, Settings, Tables};

use crate::compile::{Compilation, VerifiedView, compile};
use crate::refused::{FaultView, Refused};

/// The files and what was last compiled of them.
#[derive(Debug)]
pub(crate) struct Policy {
    paths: Vec<PathBuf>,
    loader: Loader,
    compiler: Compiler,
    settings: Settings,
    warnings: Vec<FaultView>,
    /// Compilations so far: the next one tries other flows.
    compilations: u64,
}

/// A policy that was read, compiled and verified, and is not in force yet.
#[derive(Debug)]
pub(crate) struct Read {
    /// What it changes in the tables.
    pub(crate) changes: Changes,
    /// What its author should know.
    pub(crate) warnings: Vec<FaultView>,
    /// What it came from, for [`Policy::take_back`].
    pub(crate) before: Before,
    /// What was verified of the tables.
    pub(crate) verified: VerifiedView,
    /// How long it took to read and compile.
    pub(crate) took: Duration,
    /// How long it took to verify.
    pub(crate) verify: Duration,
}

/// What was compiled before.
#[derive(Debug)]
pub(crate) struct Before {
    model: Arc<Model>,
    settings: Settings,
}

impl Policy {
    /// Nothing is read yet.
    pub(crate) fn new(paths: Vec<PathBuf>, settings: Settings) -> Self {
        Self {
            paths,
            loader: Loader::default(),
            compiler: Compiler::new(),
            settings,
            warnings: Vec::new(),
            compilations: 0,
        }
    }

    /// Takes over the numbers of lists that an earlier agent has pinned, before anything is read: a
    /// list of other content must not get one of them (ADR 3).
    pub(crate) fn take_over(&mut self, pinned: &Tables) {
        let lists = |lists: &HashMap<u32, Arc<[u32]>>| -> Vec<(u32, Arc<[u32]>)> {
            lists.iter().map(|(number, list)| (*number, Arc::clone(list))).collect()
        };
        self.compiler.adopt(lists(&pinned.peer_lists), lists(&pinned.policy_sets));
    }

    /// The files and folders, as the operator named them.
    pub(crate) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// The compiler of what was read last.
    pub(crate) const fn compiler(&self) -> &Compiler {
        &self.compiler
    }

    /// The addresses of the host.
    pub(crate) fn host_addresses(&self) -> &[IpAddr] {
        &self.settings.host_addresses
    }

    /// Reads the files, compiles them and verifies that. On faults everything stays as it was.
    /// `generation`: of the policy in force.
    pub(crate) fn read(&mut self, generation: u64) -> Result<Read, Refused> {
        let began = Instant::now();
        let loaded = self.loader.load(&self.paths).map_err(|faults| Refused::policy(&faults))?;
        let warnings: Vec<FaultView> = loaded.warnings.iter().map(FaultView::from).collect();
        let read = self.compile(Arc::new(loaded.model), warnings.clone(), began, generation)?;
        self.warnings = warnings;
        Ok(read)
    }

    /// Compiles what was read last for other addresses of the host.
    pub(crate) fn with_hosts(
        &mut self,
        host_addresses: Vec<IpAddr>,
        generation: u64,
    ) -> Result<Read, Refused> {
        // Facts, not policy: they are kept for the next attempt if this one is refused.
        self.settings.host_addresses = host_addresses;
        let model = Arc::clone(self.compiler.model());
        self.compile(model, self.warnings.clone(), Instant::now(), generation)
    }

    fn compile(
        &mut self,
        model: Arc<Model>,
        warnings: Vec<FaultView>,
        began: Instant,
        generation: u64,
    ) -> Result<Read, Refused> {
        let before =
            Before { model: Arc::clone(self.compiler.model()), settings: self.compiler.settings().clone() };
        self.compilations += 1;
        let seed = generation.wrapping_add(self.compilations);
        let Compilation { changes, verified, verify } =
            compile(&mut self.compiler, model, &self.settings, seed)?;
        let took = began.elapsed().saturating_sub(verify);
        Ok(Read { changes, warnings, before, verified, took, verify })
    }

    /// Goes back to what was compiled before: the kernel did not take the new.
    pub(crate) fn take_back(&mut self, before: Before) {
        // As above: the addresses of the host are kept.
        let settings = Settings { host_addresses: self.settings.host_addresses.clone(), ..before.settings };
        if let Err(errors) = self.compiler.update(before.model, &settings) {
            tracing::error!(
                ?errors,
                "what was compiled before compiles no longer; the next reload compares with the kernel"
            );
        }
        self.settings = settings;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demo() -> Policy {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../policies/demo");
        Policy::new(vec![folder], Settings::default())
    }

    #[test]
    fn a_pinned_list_keeps_its_number_from_lists_of_other_content() {
        let mut first = demo();
        first.read(0).unwrap();
        let lists = &first.compiler().tables().peer_lists;
        let (number, content) = lists.iter().next().expect("the demo has peer lists");
        // As an earlier agent with another history may have left it.
        let clash: Arc<[u32]> = [7, 8, 9].into();
        let mut pinned = Tables::default();
        pinned.peer_lists.insert(*number, clash);

        let mut second = demo();
        second.take_over(&pinned);
        second.read(0).unwrap();
        let lists = &second.compiler().tables().peer_lists;
        assert_eq!(lists.get(number), None);
        assert!(lists.values().any(|list| list == content), "{lists:?}");
    }
}
