//! Attaching the edge's program to interfaces, and taking it off.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use super::Edge;
use super::interface::{Interface, Program};
use crate::error::DatapathError;
use crate::pins::Pins;
use crate::sys;
use crate::sys::xdp::{DRIVER_MODE, SKB_MODE};

/// What the names of its links' pins begin with.
const PREFIX: &str = "edge-";

/// Which hook of an interface is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// The driver's where that is good, the generic one else.
    #[default]
    Auto,
    /// The driver's or none.
    Native,
    /// The generic one.
    Generic,
}

/// An interface that the edge is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// Its index.
    pub index: u32,
    /// The driver's hook, else the generic one.
    pub is_native: bool,
    /// Why this hook.
    pub why: String,
    /// Why nothing that arrives here by the stack is balanced, and no answer that leaves by it; `None`
    /// if it is, or nothing is to be.
    pub not_balanced: Option<String>,
}

/// Why the edge is not on an interface.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotAttached {
    /// It does not exist now.
    #[error("there is no interface `{interface}` in this network namespace; it is taken when it appears")]
    Absent {
        /// Its name.
        interface: String,
    },
    /// Its frames have another form.
    #[error(
        "`{interface}` is no Ethernet interface (hardware type {hardware}), and the edge reads no others"
    )]
    NotEthernet {
        /// Its name.
        interface: String,
        /// `ARPHRD_*`.
        hardware: u16,
    },
    /// Somebody else's program is on it.
    #[error(
        "XDP program `{program}` (id {id}) of somebody else is on `{interface}`: take it off, or leave \
         `{interface}` out of `edge.interfaces`"
    )]
    Taken {
        /// Its name.
        interface: String,
        /// The name of the program.
        program: String,
        /// Its id.
        id: u32,
    },
    /// The kernel or the driver refuses.
    #[error("cannot attach to `{interface}` by its {hook} hook{remedy}")]
    Refused {
        /// Its name.
        interface: String,
        /// Which hook.
        hook: &'static str,
        /// What to do, if anything is known.
        remedy: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It could not be asked.
    #[error("cannot look at `{interface}`")]
    Unknown {
        /// Its name.
        interface: String,
        /// Why.
        source: io::Error,
    },
}

impl Edge {
    /// Sees to it that this program is on an interface: attaches it, puts it behind the link of an
    /// earlier agent, or finds it there. Fit to be called every few seconds.
    pub fn attach(&self, interface: &str, mode: Mode) -> Result<Attached, NotAttached> {
        let unknown = |source| NotAttached::Unknown { interface: interface.to_owned(), source };
        let other = |error: DatapathError| unknown(io::Error::other(error.with_causes()));
        let found = Interface::named(interface)
            .map_err(unknown)?
            .ok_or_else(|| NotAttached::Absent { interface: interface.to_owned() })?;
        if !found.is_ethernet() {
            return Err(NotAttached::NotEthernet {
                interface: interface.to_owned(),
                hardware: found.hardware,
            });
        }
        let path = self.link_path(found.index);
        if let Some(link) = live_link(&path, found.index)
            && let Some(program) = found.program
        {
            let fits = match mode {
                Mode::Auto => true,
                Mode::Native => program.is_native,
                Mode::Generic => !program.is_native,
            };
            if fits {
                let ours = self.program_id(program.is_native).map_err(other)?;
                if program.id != ours {
                    let ours = self.descriptor_of(super::xdp_program(program.is_native)).map_err(other)?;
                    sys::link_update(link.as_fd(), ours).map_err(unknown)?;
                }
                let not_balanced = self.balance_in_stack(found.index, program.is_native);
                return Ok(attached(&found, mode, program.is_native, None, not_balanced));
            }
            // Both hooks of an interface cannot be in use: for a moment it is without.
            drop(link);
            unpin(&path).map_err(other)?;
        } else if path.exists() {
            unpin(&path).map_err(other)?;
        }
        if let Some(program) = Interface::named(interface).map_err(unknown)?.and_then(|now| now.program) {
            return Err(taken(interface, program));
        }
        let (link, is_native, refusal) = self.create(interface, &found, mode)?;
        sys::pin(link.as_fd(), &path).map_err(unknown)?;
        let not_balanced = self.balance_in_stack(found.index, is_native);
        Ok(attached(&found, mode, is_native, refusal, not_balanced))
    }

    /// Sees to it that what goes through the stack is balanced on this interface: answers on their
    /// way out, and what arrives, if XDP does not balance it. Answers why not.
    fn balance_in_stack(&self, index: u32, is_native: bool) -> Option<String> {
        let wanted = |name| self.forward.is_some() && (name == super::RETURN || !is_native);
        for (name, path, is_ingress) in [
            (super::RETURN, self.stack_path(index, "out"), false),
            (super::ARRIVE, self.stack_path(index, "in"), true),
        ] {
            let result = if wanted(name) {
                self.put_in_stack(name, &path, index, is_ingress)
            } else if path.exists() {
                unpin(&path)
            } else {
                Ok(())
            };
            if let Err(error) = result {
                return Some(error.with_causes());
            }
        }
        None
    }

    fn put_in_stack(
        &self,
        name: &'static str,
        path: &std::path::Path,
        index: u32,
        is_ingress: bool,
    ) -> Result<(), DatapathError> {
        let program = self.descriptor_of(name)?;
        if let Some(link) = live_link(path, index) {
            return sys::link_update(link.as_fd(), program)
                .map_err(DatapathError::call(format!("putting `{name}` behind its link")));
        }
        if path.exists() {
            unpin(path)?;
        }
        let link = sys::xdp::tcx_link_create(program, index, is_ingress)
            .map_err(DatapathError::call(format!("attaching `{name}`")))?;
        sys::pin(link.as_fd(), path).map_err(DatapathError::file(path))
    }

    fn stack_path(&self, index: u32, way: &str) -> PathBuf {
        self.pins.link(&format!("{PREFIX}{}-{index}-{way}", self.netns))
    }

    /// Takes the program off every interface that is not among these, by their indices, and off
    /// those of another network namespace.
    pub fn keep_only(&self, indices: &[u32]) -> Result<usize, DatapathError> {
        let wanted: Vec<PathBuf> = indices
            .iter()
            .flat_map(|index| {
                [self.link_path(*index), self.stack_path(*index, "in"), self.stack_path(*index, "out")]
            })
            .collect();
        let mut removed = 0;
        for path in self.pins.links_named(PREFIX) {
            if !wanted.contains(&path) {
                unpin(&path)?;
                removed += usize::from(is_of_xdp(&path));
            }
        }
        Ok(removed)
    }

    fn create(
        &self,
        interface: &str,
        found: &Interface,
        mode: Mode,
    ) -> Result<(OwnedFd, bool, Option<io::Error>), NotAttached> {
        let create = |mode| {
            let program = self
                .descriptor_of(super::xdp_program(mode == DRIVER_MODE))
                .map_err(|error| io::Error::other(error.with_causes()))?;
            sys::xdp::link_create(program, found.index, mode)
        };
        let is_native = match mode {
            Mode::Auto => found.not_native().is_none(),
            Mode::Native => true,
            Mode::Generic => false,
        };
        let mut refusal = None;
        if is_native {
            match create(DRIVER_MODE) {
                Ok(link) => return Ok((link, true, None)),
                Err(source) if mode == Mode::Native => {
                    return Err(NotAttached::Refused {
                        interface: interface.to_owned(),
                        hook: "native",
                        remedy: "; `mode: auto` falls back to the generic one",
                        source,
                    });
                }
                Err(source) => refusal = Some(source),
            }
        }
        let link = create(SKB_MODE).map_err(|source| NotAttached::Refused {
            interface: interface.to_owned(),
            hook: "generic",
            remedy: "",
            source,
        })?;
        Ok((link, false, refusal))
    }

    /// The cookie of the network namespace tells interfaces of equal index apart; it is never
    /// used again. (A name would not do: it can have dots, which pins cannot.)
    fn link_path(&self, index: u32) -> PathBuf {
        self.pins.link(&format!("{PREFIX}{}-{index}", self.netns))
    }
}

/// The pinned link, if it is on this interface still.
fn live_link(path: &std::path::Path, index: u32) -> Option<OwnedFd> {
    let link = sys::open_pin(path).ok()?;
    (sys::xdp::link_interface(link.as_fd()).ok()? == index).then_some(link)
}

/// Removes the links of every interface; says how many there were.
pub(super) fn remove_all(pins: &Pins) -> Result<usize, DatapathError> {
    let links = pins.links_named(PREFIX);
    for path in &links {
        unpin(path)?;
    }
    Ok(links.iter().filter(|path| is_of_xdp(path)).count())
}

/// Whether a link's pin is that of XDP: an interface has one, and up to two others.
fn is_of_xdp(path: &std::path::Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy());
    name.is_some_and(|name| !name.ends_with("-in") && !name.ends_with("-out"))
}

fn unpin(path: &std::path::Path) -> Result<(), DatapathError> {
    if let Ok(link) = sys::open_pin(path) {
        // Fails where the interface is gone: then there is nothing to take it off.
        let _ = sys::link_detach(link.as_fd());
    }
    fs::remove_file(path).map_err(DatapathError::file(path))
}

fn attached(
    found: &Interface,
    mode: Mode,
    is_native: bool,
    refusal: Option<io::Error>,
    not_balanced: Option<String>,
) -> Attached {
    let why = match (mode, is_native, refusal) {
        (Mode::Native | Mode::Generic, ..) => "the configuration says so".to_owned(),
        (Mode::Auto, true, _) => "its driver has the hook".to_owned(),
        (Mode::Auto, false, Some(error)) => format!("its driver refuses the native hook: {error}"),
        (Mode::Auto, false, None) => {
            found.not_native().unwrap_or_else(|| "an earlier agent found no native hook".to_owned())
        }
    };
    Attached { index: found.index, is_native, why, not_balanced }
}

fn taken(interface: &str, program: Program) -> NotAttached {
    NotAttached::Taken {
        interface: interface.to_owned(),
        program: sys::xdp::program_name(program.id).unwrap_or_else(|_| "unknown".to_owned()),
        id: program.id,
    }
}
