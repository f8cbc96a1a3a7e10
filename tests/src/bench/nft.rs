//! nftables: rulesets as text, loaded by its own program.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::netns::Namespace;

/// Lines of what nft says that are repeated.
const LINES: usize = 5;

/// Loads a ruleset in a namespace.
pub(crate) fn load(namespace: &Namespace, text: &str) -> Result<()> {
    namespace.within(|| {
        let mut nft = Command::new("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run nft (package nftables)")?;
        nft.stdin.take().context("nft has no input")?.write_all(text.as_bytes())?;
        let output = nft.wait_with_output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("nft refused the ruleset: {}", said.lines().take(LINES).collect::<Vec<_>>().join("\n"));
        }
        Ok(())
    })
}
