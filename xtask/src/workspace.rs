//! Where things are in a checkout.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// A checkout, by its root folder.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The checkout that `cargo xtask` was called in.
    ///
    /// Asked at run time, not compiled in: a checkout that is moved takes its built xtask along.
    pub(crate) fn find() -> Result<Self> {
        let package = std::env::var_os("CARGO_MANIFEST_DIR")
            .context("CARGO_MANIFEST_DIR is not set: run this as `cargo xtask VERB`")?;
        let root = Path::new(&package).parent().context("xtask's package has no parent folder")?.to_owned();
        Ok(Self { root })
    }

    /// The folder of the workspace's Cargo.toml.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The sources that the BPF object is built from.
    pub(crate) fn ebpf(&self) -> PathBuf {
        self.root.join("ebpf")
    }

    /// The package of the BPF programs: a workspace of its own.
    pub(crate) fn programs(&self) -> PathBuf {
        self.root.join("ebpf/programs")
    }

    /// The committed BPF object.
    pub(crate) fn object(&self) -> PathBuf {
        self.root.join("userspace/datapath/object/windrose.bpf.o")
    }

    /// The committed digest of the sources of [`Self::object`].
    pub(crate) fn object_record(&self) -> PathBuf {
        self.root.join("userspace/datapath/object/windrose.bpf.o.sources")
    }

    /// Where xtask keeps what it provisions and builds for BPF, whatever `CARGO_TARGET_DIR` says.
    pub(crate) fn target(&self) -> PathBuf {
        self.root.join("target")
    }

    /// `path` as a person in the root folder would write it.
    pub(crate) fn relative<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}
