//! What stands while a benchmark runs: a folder, the ends' cgroups, and rounds in turns.

use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::agent;
use super::options::Processors;
use super::pair::Homes;
use super::report::Report;
use crate::cgroup::{self, Cgroup};

/// Of the cgroup above both ends' and of the folder of files; the process's number follows.
const NAME: &str = "windrose-bench";

/// Removed on drop.
#[derive(Debug)]
pub(crate) struct Stage {
    folder: PathBuf,
    pub(crate) homes: Homes,
    // Below the homes, which are removed before it.
    _cgroup: Cgroup,
}

impl Stage {
    /// Removes what runs that were interrupted left, and makes a new one.
    pub(crate) fn new(processors: Processors) -> Result<Self> {
        remove_leftovers()?;
        let name = format!("{NAME}-{}", std::process::id());
        let cgroup = Cgroup::below_root(&name)?;
        let home = |end: &str| {
            let home = Cgroup::below_root(&format!("{name}/{end}"))?;
            home.make()?;
            Ok::<_, anyhow::Error>(home)
        };
        let homes = Homes { client: home("client")?, server: home("server")?, processors };
        let folder = std::env::temp_dir().join(&name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self { folder, homes, _cgroup: cgroup })
    }

    /// For files.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let file = self.folder.join(name);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("warning: {} stays: {error}", self.folder.display());
        }
    }
}

/// Takes all steps in each round, and notes which other agents enforced meanwhile.
pub(crate) fn in_turns<S: Copy + Debug, C>(
    report: &mut Report<C>,
    mut steps: Vec<S>,
    mut take: impl FnMut(S, usize, &mut Report<C>) -> Result<()>,
) -> Result<()> {
    let begun = Instant::now();
    for round in 0..report.rounds {
        eprintln!("round {} of {} at {} s", round + 1, report.rounds, begun.elapsed().as_secs());
        for step in &steps {
            report.machine.disturbed_by.extend(agent::others());
            take(*step, round, report).with_context(|| format!("{step:?}"))?;
        }
        // What changes steadily in a round is for each case as often before as after.
        steps.reverse();
    }
    eprintln!("rounds done after {} s", begun.elapsed().as_secs());
    Ok(())
}

/// Cgroups and folders of runs that were interrupted; their agent's pins are removed by the launcher.
/// Refuses to go on beside another run: both would be measured.
fn remove_leftovers() -> Result<()> {
    let temporary = std::env::temp_dir();
    for folder in cgroup::root().into_iter().chain([temporary.as_path()]) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap_or_default();
            let Some(process) = name.strip_prefix(NAME).and_then(|rest| rest.strip_prefix('-')) else {
                continue;
            };
            ensure!(!Path::new("/proc").join(process).exists(), "process {process} is measuring already");
            if folder == temporary {
                // What cannot be removed is in nobody's way.
                let _ = fs::remove_dir_all(entry.path());
            } else {
                cgroup::remove(&entry.path());
            }
        }
    }
    Ok(())
}
