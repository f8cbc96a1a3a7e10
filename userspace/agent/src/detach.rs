//! `windrose detach`: ends enforcement.

use std::fs;

use anyhow::{Context as _, Result, bail};
use windrose_datapath::{Machine, Pins, abi};

use crate::cli::DetachArgs;
use crate::output;
use crate::refused::count;

/// Removes links, so programs, and maps.
pub(crate) fn run(args: &DetachArgs) -> Result<()> {
    let machine = Machine::inspect().context("cannot look for pins")?;
    let folder = machine.bpffs.join(&args.pins);
    let ours = format!("abi-{}", abi::ABI_VERSION);
    let found: Vec<String> = fs::read_dir(&folder)
        .map(|entries| {
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        })
        .unwrap_or_default();
    if found.is_empty() {
        return output::print(&format!("nothing to detach: {} holds no pins\n", folder.display()));
    }
    if let Some(foreign) = found.iter().find(|name| **name != ours)
        && !args.force
    {
        bail!(
            "{} holds pins of another version ({foreign}; this one is {ours}): use that version's `windrose detach`, \
             or `windrose detach --force`",
            folder.display()
        );
    }
    let links = Pins::below(&machine.bpffs, &args.pins).remove().context("cannot remove every pin")?;
    let detached = count(links, "program");
    output::print(&format!("detached {detached} and removed the maps in {}\n", folder.display()))
}
