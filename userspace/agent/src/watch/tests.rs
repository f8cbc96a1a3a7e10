//! Every way in which files change, on a real folder.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::mpsc::{Receiver, channel};

use super::*;

/// Longer than any change may take to be seen.
const SOON: Duration = Duration::from_secs(1);

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("windrose-watch-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn watch(path: &Path) -> (Watch, Receiver<()>) {
    let (sender, receiver) = channel();
    let report = move || {
        let _ = sender.send(());
    };
    (Watch::start(&[path.to_owned()], report), receiver)
}

fn assert_seen(changes: &Receiver<()>) {
    changes.recv_timeout(SOON).expect("the change is reported");
    while changes.recv_timeout(Duration::from_millis(50)).is_ok() {}
}

#[test]
fn a_file_that_is_written_in_place_is_seen() {
    let folder = Folder::new("write");
    let file = folder.0.join("a.yaml");
    fs::write(&file, "1").unwrap();
    let (_watch, changes) = watch(&file);
    fs::write(&file, "2").unwrap();
    assert_seen(&changes);
}

#[test]
fn a_file_that_is_renamed_over_is_seen_each_time() {
    let folder = Folder::new("rename");
    let file = folder.0.join("a.yaml");
    fs::write(&file, "1").unwrap();
    let (mut watch, changes) = watch(&file);
    for content in ["2", "3"] {
        let new = folder.0.join(".a.yaml.swp");
        fs::write(&new, content).unwrap();
        fs::rename(&new, &file).unwrap();
        assert_seen(&changes);
        watch.renew(std::slice::from_ref(&file));
    }
}

#[test]
fn a_swap_of_a_kubernetes_volume_is_seen() {
    let folder = Folder::new("swap");
    for (version, content) in [("..1", "1"), ("..2", "2")] {
        fs::create_dir(folder.0.join(version)).unwrap();
        fs::write(folder.0.join(version).join("a.yaml"), content).unwrap();
    }
    symlink("..1", folder.0.join("..data")).unwrap();
    symlink("..data/a.yaml", folder.0.join("a.yaml")).unwrap();
    for root in [folder.0.clone(), folder.0.join("a.yaml")] {
        let (_watch, changes) = watch(&root);
        symlink("..2", folder.0.join("..data_tmp")).unwrap();
        fs::rename(folder.0.join("..data_tmp"), folder.0.join("..data")).unwrap();
        assert_seen(&changes);
    }
}

#[test]
fn a_folder_that_is_replaced_is_seen_and_watched_again() {
    let folder = Folder::new("replace");
    let policy = folder.0.join("policy");
    fs::create_dir(&policy).unwrap();
    let (mut watch, changes) = watch(&policy);
    fs::remove_dir(&policy).unwrap();
    fs::create_dir(&policy).unwrap();
    assert_seen(&changes);
    watch.renew(std::slice::from_ref(&policy));
    fs::write(policy.join("a.yaml"), "1").unwrap();
    assert_seen(&changes);
}

#[test]
fn a_file_beside_the_policy_and_reading_are_no_changes() {
    let folder = Folder::new("beside");
    let file = folder.0.join("a.yaml");
    fs::write(&file, "1").unwrap();
    let (_watch, changes) = watch(&file);
    fs::write(folder.0.join("b.yaml"), "1").unwrap();
    fs::read(&file).unwrap();
    assert!(changes.recv_timeout(Duration::from_millis(300)).is_err());
}
