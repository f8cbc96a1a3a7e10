//! What can go wrong between the agent and the kernel, and what to do about it.

use std::io;
use std::path::PathBuf;

/// An error of the data path. Each says what was tried, on what, and what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatapathError {
    /// This process was started without its kernel half.
    #[error("this agent has no kernel half: it runs with `--gateway-only`")]
    Unused,
    /// Something that the kernel or the machine must have is missing.
    #[error("missing: {missing}; {remedy}")]
    Kernel {
        /// What is missing.
        missing: String,
        /// What to do.
        remedy: String,
    },
    /// A file or folder could not be used.
    #[error("cannot use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The BPF object could not be loaded.
    #[error("cannot load the BPF object")]
    Load {
        /// Why.
        source: aya::EbpfError,
    },
    /// A program was refused by the kernel.
    #[error("the kernel refused program `{program}`")]
    Program {
        /// Which.
        program: &'static str,
        /// Why, with the verifier's log.
        source: aya::programs::ProgramError,
    },
    /// The object lacks something that this version needs.
    #[error("the BPF object has no {what} `{name}`; rebuild it with `cargo xtask ebpf`")]
    Object {
        /// Program or map.
        what: &'static str,
        /// Its name.
        name: &'static str,
    },
    /// A call of bpf(2) or the like failed.
    #[error("{what} failed")]
    Call {
        /// What was tried, on what.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// Pins of another version are there.
    #[error(
        "{} holds pins of ABI {found}, this agent has ABI {ours}: end enforcement with the `windrose detach` \
         of the version that made them (or `windrose detach --force`), then start again",
        path.display()
    )]
    ForeignAbi {
        /// The folder of pins.
        path: PathBuf,
        /// The version found.
        found: String,
        /// The version of this agent.
        ours: u32,
    },
    /// The allow list of the edge has all of what is to be denied.
    #[error("{prefix} is in `edge.allow` of the configuration: nothing in it is denied")]
    Allowed {
        /// What was to be denied.
        prefix: String,
    },
    /// An endpoint answers for too many frontends.
    #[error(
        "endpoint {endpoint} is behind more than {most} frontends, and an answer's frontend is found by \
         trying: give it fewer, or another forwarding than `nat`"
    )]
    TooManyFrontends {
        /// Which.
        endpoint: std::net::SocketAddr,
        /// How many there may be.
        most: usize,
    },
    /// A map has no room for one entry more.
    #[error("{map} has no room beyond its {capacity} entries; remove some, or raise its capacity")]
    NoRoom {
        /// Which.
        map: &'static str,
        /// Entries it has room for.
        capacity: usize,
    },
    /// Deny lists do not fit the maps.
    #[error("the deny lists do not fit: {}; raise the capacity in the configuration, detach and start again",
        overflows.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    ListsDoNotFit {
        /// Every map that is too small.
        overflows: Vec<Overflow>,
    },
    /// A policy does not fit the maps.
    #[error("the policy does not fit: {}; raise the capacity in the configuration, detach and start again",
        overflows.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    DoesNotFit {
        /// Every map that is too small.
        overflows: Vec<Overflow>,
    },
}

/// A map that is too small for a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overflow {
    /// The map.
    pub map: &'static str,
    /// Entries needed while both generations are in it.
    pub needed: usize,
    /// Entries it has room for.
    pub capacity: usize,
}

impl std::fmt::Display for Overflow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} needs {} entries and has room for {}", self.map, self.needed, self.capacity)
    }
}

impl DatapathError {
    /// The error and all of its causes in one line, for a log or an answer: `Display` says only
    /// what was tried.
    pub fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }

    /// Wraps a failed call.
    pub(crate) fn call(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Call { what, source }
    }

    /// Wraps a failed use of a file.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
