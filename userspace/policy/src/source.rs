//! From paths or texts to the model, with every fault of every file in one run.

use std::collections::HashMap;
use std::mem;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use crate::document::{self, Object, Piece};
use crate::fault::{Fault, Faults};
use crate::model::Model;
use crate::place::Place;
use crate::{advice, bind};

mod collect;

#[cfg(test)]
mod tests;

/// A larger file is refused.
pub const FILE_BYTES: u64 = 16 << 20;

/// More text in one load is refused.
pub const TOTAL_BYTES: u64 = 256 << 20;

/// Less text than this is read on one thread: starting another costs more than it saves.
const PARALLEL_BYTES: usize = 256 << 10;

/// A policy text and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The name that faults and rules give as their file. A name that ends in `.json` is read
    /// as JSON, every other one as YAML.
    pub name: String,
    /// The text.
    pub text: String,
}

/// What [`parse`] makes of texts.
#[derive(Debug, Clone, Default)]
pub struct Parsed {
    /// What they mean.
    pub model: Model,
    /// What their author should know, by place.
    pub warnings: Vec<Fault>,
}

/// What [`load`] makes of paths.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// What the files mean.
    pub model: Model,
    /// What their author should know, by place.
    pub warnings: Vec<Fault>,
    /// The files that were read, in the order in which they were.
    pub files: Vec<PathBuf>,
}

/// Reads files, and folders recursively for `*.yaml`, `*.yml` and `*.json`.
///
/// Hidden files (so Kubernetes' `..data`, whose files are reached by their own links) and
/// editors' backups are skipped. An error is a fault of any file: then nothing is loaded, and
/// all faults are returned by place, warnings among them.
pub fn load(paths: &[PathBuf]) -> Result<Loaded, Vec<Fault>> {
    Loader::default().load(paths)
}

/// Reads texts. It never panics, whatever they hold, and takes time in proportion to their
/// length. Faults as in [`load`].
pub fn parse(sources: &[Source]) -> Result<Parsed, Vec<Fault>> {
    let mut faults = Faults::default();
    let pieces = cut(sources, &mut faults);
    let read = read(&pieces.iter().collect::<Vec<_>>(), &mut faults);
    interpret(read.iter().flat_map(|read| read.objects.iter()), faults)
}

/// Loads again and again, and reads only what has changed: a document (of YAML; of JSON a file)
/// that says the same at the same place becomes the same `Arc` of the model.
#[derive(Debug, Default)]
pub struct Loader {
    known: HashMap<(Arc<str>, u32), Known>,
}

/// A piece that was read without a fault.
#[derive(Debug)]
struct Known {
    text: Box<str>,
    read: Read,
}

impl Loader {
    /// As [`load`].
    pub fn load(&mut self, paths: &[PathBuf]) -> Result<Loaded, Vec<Fault>> {
        let mut faults = Faults::default();
        let collected = collect::collect(paths, &mut faults);
        let Parsed { model, warnings } = self.interpret(&collected.sources, faults)?;
        Ok(Loaded { model, warnings, files: collected.files })
    }

    fn interpret(&mut self, sources: &[Source], mut faults: Faults) -> Result<Parsed, Vec<Fault>> {
        let pieces = cut(sources, &mut faults);
        let mut before = mem::take(&mut self.known);
        let mut kept: Vec<Option<Known>> = pieces
            .iter()
            .map(|piece| {
                before
                    .remove(&(piece.file.clone(), piece.first_line))
                    .filter(|known| *known.text == *piece.text)
            })
            .collect();
        drop(before);
        let changed: Vec<&Piece<'_>> =
            pieces.iter().zip(&kept).filter(|(_, kept)| kept.is_none()).map(|(piece, _)| piece).collect();
        let mut changed = read(&changed, &mut faults).into_iter();
        let mut all: Vec<Read> = Vec::with_capacity(pieces.len());
        for (piece, kept) in pieces.iter().zip(&mut kept) {
            let Some(known) = kept.take().or_else(|| {
                let read = changed.next()?;
                Some(Known { text: piece.text.into(), read })
            }) else {
                continue;
            };
            all.push(known.read.clone());
            // One with a fault is read again, to have its fault again.
            if known.read.is_clean {
                self.known.insert((piece.file.clone(), piece.first_line), known);
            }
        }
        interpret(all.iter().flat_map(|read| read.objects.iter()), faults)
    }
}

/// What a piece holds.
#[derive(Debug, Clone)]
struct Read {
    objects: Arc<Vec<Object>>,
    /// Without a fault, not even a warning.
    is_clean: bool,
}

/// Binds objects and adds the advice.
fn interpret<'o>(
    objects: impl Iterator<Item = &'o Object>,
    mut faults: Faults,
) -> Result<Parsed, Vec<Fault>> {
    let model = bind::bind(objects, &mut faults);
    if faults.is_refusal() {
        return Err(faults.into_sorted());
    }
    advice::advise(&model, &mut faults);
    Ok(Parsed { model, warnings: faults.into_sorted() })
}

/// Cuts texts into pieces, within the limits.
fn cut<'s>(sources: &'s [Source], faults: &mut Faults) -> Vec<Piece<'s>> {
    let mut pieces = Vec::new();
    let mut total = 0;
    for source in sources {
        let file: Arc<str> = source.name.as_str().into();
        let length = source.text.len() as u64;
        total += length;
        if length > FILE_BYTES {
            faults.error(whole(&file), format!("larger than {} MiB: split it", FILE_BYTES >> 20));
        } else if total <= TOTAL_BYTES {
            match document::pieces(&file, &source.text) {
                Ok(some) => pieces.extend(some),
                Err(why) => faults.error(whole(&file), why),
            }
        } else {
            faults
                .error(whole(&file), format!("all files together are larger than {} MiB", TOTAL_BYTES >> 20));
            break;
        }
    }
    pieces
}

/// A place that is the file as a whole.
fn whole(file: &Arc<str>) -> Place {
    Place { file: file.clone(), line: 0, column: 0 }
}

/// Reads the pieces, on all cores if that pays; the results are in the order of the pieces.
fn read(pieces: &[&Piece<'_>], faults: &mut Faults) -> Vec<Read> {
    let bytes: usize = pieces.iter().map(|piece| piece.text.len()).sum();
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    if cores == 1 || bytes < PARALLEL_BYTES {
        return read_on_this_thread(pieces, faults);
    }
    let mut all = Vec::with_capacity(pieces.len());
    thread::scope(|scope| {
        let readers: Vec<_> = shares(pieces, bytes / cores + 1)
            .into_iter()
            .map(|share| {
                let read = move || {
                    let mut faults = Faults::default();
                    let read = read_on_this_thread(share, &mut faults);
                    (read, faults)
                };
                // Where no thread is to be had, its share is read below.
                (share, thread::Builder::new().name("policy".to_owned()).spawn_scoped(scope, read).ok())
            })
            .collect();
        for (share, reader) in readers {
            match reader.map(thread::ScopedJoinHandle::join) {
                Some(Ok((read, found))) => {
                    all.extend(read);
                    faults.append(found);
                }
                Some(Err(panic)) => std::panic::resume_unwind(panic),
                None => all.extend(read_on_this_thread(share, faults)),
            }
        }
    });
    all
}

/// Runs of pieces of about `share` bytes each.
fn shares<'p, 'a>(mut pieces: &'p [&'p Piece<'a>], share: usize) -> Vec<&'p [&'p Piece<'a>]> {
    let mut shares = Vec::new();
    while !pieces.is_empty() {
        let mut bytes = 0;
        let count = pieces.iter().take_while(|piece| {
            let is_in = bytes < share;
            bytes += piece.text.len();
            is_in
        });
        let (first, rest) = pieces.split_at(count.count().max(1));
        shares.push(first);
        pieces = rest;
    }
    shares
}

fn read_on_this_thread(pieces: &[&Piece<'_>], faults: &mut Faults) -> Vec<Read> {
    pieces
        .iter()
        .map(|piece| {
            let mut objects = Vec::new();
            let before = faults.count();
            // Behind a thousand errors the rest only costs time.
            if !faults.is_full_of_errors() {
                document::read(piece, faults, &mut objects);
            }
            Read {
                objects: Arc::new(objects),
                is_clean: faults.count() == before && !faults.is_full_of_errors(),
            }
        })
        .collect()
}
