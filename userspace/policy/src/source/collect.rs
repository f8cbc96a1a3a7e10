//! Files of paths: which are policy files, in which order, and their text.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{FILE_BYTES, Source, TOTAL_BYTES, whole};
use crate::fault::Faults;
use crate::place::Place;

/// Deeper folders are refused.
const DEPTH: usize = 32;

/// More entries in one load are refused.
const ENTRIES: usize = 100_000;

/// The files of a load.
#[derive(Debug, Default)]
pub(super) struct Collected {
    /// Their texts.
    pub(super) sources: Vec<Source>,
    /// Their paths, in the same order.
    pub(super) files: Vec<PathBuf>,
}

/// Collects the files of these paths. What cannot be read is a fault.
pub(super) fn collect(paths: &[PathBuf], faults: &mut Faults) -> Collected {
    let mut collector = Collector {
        faults,
        collected: Collected::default(),
        seen: HashSet::new(),
        bytes: 0,
        entries: 0,
        found: 0,
        is_full: false,
    };
    for path in paths {
        let before = collector.found;
        collector.path(path);
        if collector.found == before && path.is_dir() {
            let place = place(path);
            collector.faults.warn(place, "this folder holds no *.yaml, *.yml or *.json file");
        }
    }
    collector.collected
}

/// The walk so far.
struct Collector<'f> {
    faults: &'f mut Faults,
    collected: Collected,
    /// Device and inode of each file read: one that is reached twice (by a link, or by its
    /// folder and by name) is read once.
    seen: HashSet<(u64, u64)>,
    bytes: u64,
    entries: usize,
    /// Names of policy files met, readable or not.
    found: usize,
    is_full: bool,
}

impl Collector<'_> {
    /// A path that the user named: whatever its file is called, it is read.
    fn path(&mut self, path: &Path) {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => self.folder(path, &mut Vec::new()),
            Ok(_) => self.file(path),
            Err(error) => self.fault(path, &describe(&error)),
        }
    }

    /// A folder; `above` are the folders that it is in, to notice a link back to one of them.
    fn folder(&mut self, path: &Path, above: &mut Vec<(u64, u64)>) {
        let identity = match fs::metadata(path) {
            Ok(metadata) => (metadata.dev(), metadata.ino()),
            Err(error) => return self.fault(path, &describe(&error)),
        };
        if above.contains(&identity) {
            return self.fault(path, "a link back to a folder that it is in");
        }
        if above.len() >= DEPTH {
            return self.fault(path, &format!("folders nested more than {DEPTH} deep"));
        }
        let names = match self.names(path) {
            Ok(names) => names,
            Err(error) => return self.fault(path, &describe(&error)),
        };
        above.push(identity);
        for name in names {
            self.entries += 1;
            if self.entries > ENTRIES && !self.is_full {
                self.is_full = true;
                self.fault(path, &format!("more than {ENTRIES} files and folders"));
            }
            if self.is_full {
                break;
            }
            let entry = path.join(&name);
            self.found += usize::from(is_policy(&name));
            match fs::metadata(&entry) {
                Ok(metadata) if metadata.is_dir() => self.folder(&entry, above),
                Ok(_) if is_policy(&name) => self.file(&entry),
                // A broken link, or one to itself, that is no policy file by its name is none
                // of our business.
                Err(error) if is_policy(&name) => self.fault(&entry, &describe(&error)),
                Ok(_) | Err(_) => {}
            }
        }
        above.pop();
    }

    /// The names in a folder that are not hidden, sorted. A name that is not UTF-8 is a fault.
    fn names(&mut self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)?.take(ENTRIES + 1) {
            match entry?.file_name().into_string() {
                Ok(name) if name.starts_with('.') => {}
                Ok(name) => names.push(name),
                Err(name) => self.fault(&path.join(name), "its name is not UTF-8"),
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn file(&mut self, path: &Path) {
        match self.read(path) {
            Ok(Some(bytes)) => self.take(path, bytes),
            Ok(None) => {}
            Err(error) => self.fault(path, &describe(&error)),
        }
    }

    /// The bytes of a file that was not read yet.
    fn read(&mut self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        // Opening a FIFO waits for its writer, unless told not to.
        let file: File = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("is neither a file nor a folder"));
        }
        if !self.seen.insert((metadata.dev(), metadata.ino())) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        file.take(FILE_BYTES + 1).read_to_end(&mut bytes)?;
        let length = bytes.len() as u64;
        if length > FILE_BYTES {
            return Err(io::Error::other(format!("larger than {} MiB: split it", FILE_BYTES >> 20)));
        }
        self.bytes += length;
        if self.bytes > TOTAL_BYTES {
            self.is_full = true;
            return Err(io::Error::other(format!(
                "all files together are larger than {} MiB",
                TOTAL_BYTES >> 20
            )));
        }
        Ok(Some(bytes))
    }

    fn take(&mut self, path: &Path, bytes: Vec<u8>) {
        match String::from_utf8(bytes) {
            Ok(text) => {
                self.collected.sources.push(Source { name: place(path).file.to_string(), text });
                self.collected.files.push(path.to_owned());
            }
            Err(error) => {
                let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let mut place = place(path);
                (place.line, place.column) = end_of(&String::from_utf8_lossy(valid));
                self.faults.error(place, "not UTF-8");
            }
        }
    }

    fn fault(&mut self, path: &Path, message: &str) {
        self.faults.error(place(path), message);
    }
}

/// Line and column behind a text, from 1.
fn end_of(text: &str) -> (u32, u32) {
    let line = text.matches('\n').count() + 1;
    let column = text.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX - 1), u32::try_from(column).unwrap_or(u32::MAX))
}

fn place(path: &Path) -> Place {
    // Control characters of a file's name would reach terminals with its faults.
    let name: String = path.to_string_lossy().replace(char::is_control, "\u{fffd}");
    whole(&Arc::from(name))
}

/// Whether a name in a folder is that of a policy file: editors' backups and lock files (`a~`,
/// `#a#`, `a.swp`) have other endings.
fn is_policy(name: &str) -> bool {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending);
    ending
        .is_some_and(|ending| ["yaml", "yml", "json"].iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or folder".to_owned(),
        io::ErrorKind::PermissionDenied => "cannot be read: permission denied".to_owned(),
        io::ErrorKind::Other => error.to_string(),
        _ => format!("cannot be read: {error}"),
    }
}
