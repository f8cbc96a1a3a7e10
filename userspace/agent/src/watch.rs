//! Watching policy files: whatever way an editor, a rename or a Kubernetes volume changes them.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use notify::{Event, EventKind, PollWatcher, RecommendedWatcher, RecursiveMode, Watcher};

/// How often files are looked at where the kernel cannot watch them.
const POLL: Duration = Duration::from_millis(500);

type Report = Arc<dyn Fn() + Send + Sync>;

/// Watches folders, never files: an editor that renames over a file leaves a watch of the file on
/// the old one.
pub(crate) struct Watch {
    watcher: Option<Box<dyn Watcher + Send>>,
    interest: Arc<RwLock<Interest>>,
    report: Report,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("interest", &self.interest).finish_non_exhaustive()
    }
}

/// Which changes concern the policy.
#[derive(Debug, Default)]
struct Interest {
    /// The paths as given, and where links lead.
    roots: Vec<PathBuf>,
}

impl Interest {
    fn of(paths: &[PathBuf]) -> Self {
        let mut roots = Vec::new();
        for path in paths {
            roots.extend(std::path::absolute(path));
            roots.extend(path.canonicalize());
        }
        roots.sort();
        roots.dedup();
        Self { roots }
    }

    /// Below a root, or a root itself; or a link beside one whose name begins with two dots, by
    /// which Kubernetes swaps all files of a volume at once (`..data`).
    fn concerns(&self, path: &Path) -> bool {
        let is_swap = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".."));
        self.roots.iter().any(|root| path.starts_with(root) || (is_swap && path.parent() == root.parent()))
    }

    /// The folders to watch, and whether with everything below.
    fn folders(&self) -> BTreeSet<(PathBuf, bool)> {
        let mut folders = BTreeSet::new();
        for root in &self.roots {
            if root.is_dir() {
                folders.insert((root.clone(), true));
            }
            // The folder itself can be replaced, too.
            folders.extend(root.parent().map(|parent| (parent.to_owned(), false)));
        }
        folders
    }
}

impl Watch {
    /// Starts watching; `report` is called for each change, on the watcher's thread.
    pub(crate) fn start(paths: &[PathBuf], report: impl Fn() + Send + Sync + 'static) -> Self {
        let mut watch = Self { watcher: None, interest: Arc::default(), report: Arc::new(report) };
        watch.watcher = match RecommendedWatcher::new(watch.handler(), notify::Config::default()) {
            Ok(watcher) => Some(Box::new(watcher)),
            Err(error) => watch.poll(&error),
        };
        watch.renew(paths);
        watch
    }

    /// Watches what is there now: folders that were replaced have lost their watch.
    pub(crate) fn renew(&mut self, paths: &[PathBuf]) {
        let interest = Interest::of(paths);
        let folders = interest.folders();
        *self.interest.write().unwrap_or_else(PoisonError::into_inner) = interest;
        if let Err(error) = self.add(&folders) {
            self.watcher = self.poll(&error);
            if let Err(error) = self.add(&folders) {
                tracing::warn!(%error, "cannot watch the policy files; SIGHUP reads them again");
            }
        }
    }

    fn add(&mut self, folders: &BTreeSet<(PathBuf, bool)>) -> notify::Result<()> {
        let Some(watcher) = &mut self.watcher else { return Ok(()) };
        for (folder, is_recursive) in folders {
            let mode = if *is_recursive { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
            match watcher.watch(folder, mode) {
                // Gone since it was looked at: its parent is watched and will tell.
                Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// A watcher that looks by itself, where inotify is out of watches or not there.
    fn poll(&self, why: &notify::Error) -> Option<Box<dyn Watcher + Send>> {
        tracing::warn!(error = %why, "cannot watch by inotify; looking at the policy files every {POLL:?}");
        let config = notify::Config::default().with_poll_interval(POLL).with_compare_contents(true);
        match PollWatcher::new(self.handler(), config) {
            Ok(watcher) => Some(Box::new(watcher)),
            Err(error) => {
                tracing::warn!(%error, "cannot watch the policy files; SIGHUP reads them again");
                None
            }
        }
    }

    fn handler(&self) -> impl Fn(notify::Result<Event>) + Send + 'static {
        let interest = Arc::clone(&self.interest);
        let report = Arc::clone(&self.report);
        move |event| {
            let is_change = match &event {
                // Reading the files is what a reload does.
                Ok(event) if matches!(event.kind, EventKind::Access(kind) if !is_written(kind)) => false,
                Ok(event) => {
                    let interest = interest.read().unwrap_or_else(PoisonError::into_inner);
                    event.need_rescan() || event.paths.iter().any(|path| interest.concerns(path))
                }
                // Events were lost: something may have changed.
                Err(_) => true,
            };
            if is_change {
                report();
            }
        }
    }
}

fn is_written(kind: notify::event::AccessKind) -> bool {
    kind == notify::event::AccessKind::Close(notify::event::AccessMode::Write)
}

#[cfg(test)]
mod tests;
