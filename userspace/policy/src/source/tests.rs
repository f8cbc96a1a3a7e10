//! Sentences about loading files and folders.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A folder that goes away with its test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("windrose-policy-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn put(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// A file with a namespace of this name.
    fn namespace(&self, file: &str, name: &str) -> PathBuf {
        self.put(file, format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n"))
    }

    fn load(&self) -> Result<Loaded, Vec<Fault>> {
        load(std::slice::from_ref(&self.0))
    }

    /// Names of the namespaces that loading the folder gives.
    fn namespaces(&self) -> Vec<String> {
        self.load().unwrap().model.namespaces.into_keys().collect()
    }

    /// Faults of loading the folder, with paths below it.
    fn faults(&self) -> Vec<String> {
        let prefix = format!("{}/", self.0.display());
        self.load().unwrap_err().iter().map(|fault| fault.to_string().replace(&prefix, "")).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn folders_are_read_recursively_and_in_order() {
    let folder = Folder::new();
    folder.namespace("b.yaml", "b");
    folder.namespace("a/z.yml", "z");
    folder.put("c.json", r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "c"}}"#);
    let loaded = folder.load().unwrap();
    let files: Vec<&Path> = loaded.files.iter().map(|path| path.strip_prefix(&folder.0).unwrap()).collect();
    assert_eq!(files, [Path::new("a/z.yml"), Path::new("b.yaml"), Path::new("c.json")]);
    assert_eq!(loaded.model.namespaces.len(), 3);
}

#[test]
fn hidden_files_backups_and_other_endings_are_skipped() {
    let folder = Folder::new();
    folder.namespace("a.yaml", "a");
    for name in
        [".hidden.yaml", ".git/b.yaml", "a.yaml~", "#a.yaml#", ".a.yaml.swp", "a.yaml.bak", "README.md"]
    {
        folder.put(name, "not a policy");
    }
    assert_eq!(folder.namespaces(), ["a"]);
}

#[test]
fn a_file_that_is_named_is_read_whatever_its_ending() {
    let folder = Folder::new();
    let path = folder.namespace("policy.txt", "a");
    assert_eq!(load(&[path]).unwrap().model.namespaces.len(), 1);
}

#[test]
fn a_mounted_config_map_is_read_once_through_its_links() {
    let folder = Folder::new();
    folder.namespace("..2024_05_01/policy.yaml", "a");
    symlink("..2024_05_01", folder.0.join("..data")).unwrap();
    symlink("..data/policy.yaml", folder.0.join("policy.yaml")).unwrap();
    assert_eq!(folder.namespaces(), ["a"]);
}

#[test]
fn a_file_that_is_reached_twice_is_read_once() {
    let folder = Folder::new();
    let path = folder.namespace("a.yaml", "a");
    let loaded = load(&[folder.0.clone(), path.clone(), path]).unwrap();
    assert_eq!(loaded.files.len(), 1);
    assert!(loaded.warnings.is_empty());
}

#[test]
fn a_missing_path_is_a_fault_and_hides_no_other() {
    let folder = Folder::new();
    folder.put("a.yaml", "kind: x\n");
    let missing = folder.0.join("missing");
    let faults = load(&[missing.clone(), folder.0.clone()]).unwrap_err();
    assert_eq!(faults.len(), 2);
    assert!(
        faults
            .iter()
            .any(|fault| fault.to_string() == format!("{}: no such file or folder", missing.display()))
    );
}

#[test]
fn a_link_back_to_its_own_folder_is_a_fault() {
    let folder = Folder::new();
    folder.namespace("a/a.yaml", "a");
    symlink("..", folder.0.join("a/up")).unwrap();
    assert_eq!(folder.faults(), ["a/up: a link back to a folder that it is in"]);
}

#[test]
fn a_link_to_itself_and_a_broken_one_are_faults() {
    let folder = Folder::new();
    symlink("loop.yaml", folder.0.join("loop.yaml")).unwrap();
    symlink("gone", folder.0.join("broken.yaml")).unwrap();
    let faults = folder.faults();
    assert_eq!(faults[0], "broken.yaml: no such file or folder");
    assert!(faults[1].starts_with("loop.yaml: cannot be read: "), "{faults:?}");
}

#[test]
fn what_is_no_file_is_a_fault_and_is_not_waited_for() {
    let folder = Folder::new();
    let path = folder.0.join("fifo.yaml");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    symlink("/dev/zero", folder.0.join("zero.yaml")).unwrap();
    let wrong = "is neither a file nor a folder";
    assert_eq!(folder.faults(), [format!("fifo.yaml: {wrong}"), format!("zero.yaml: {wrong}")]);
}

#[test]
fn text_that_is_not_utf_8_is_a_fault_with_its_place() {
    let folder = Folder::new();
    folder.put("a.yaml", b"a: b\n\xc3\xa4: \xff\n");
    assert_eq!(folder.faults(), ["a.yaml:2:4: not UTF-8"]);
}

#[test]
fn a_file_beyond_the_limit_is_a_fault() {
    let folder = Folder::new();
    let file = fs::File::create(folder.0.join("a.yaml")).unwrap();
    file.set_len(1 << 40).unwrap();
    assert_eq!(folder.faults(), ["a.yaml: larger than 16 MiB: split it"]);
}

#[test]
fn an_empty_folder_is_warned_of() {
    let folder = Folder::new();
    let warnings = folder.load().unwrap().warnings;
    assert!(warnings[0].message.contains("holds no *.yaml"));
}

#[test]
fn reading_on_several_threads_gives_the_same_as_on_one() {
    use std::fmt::Write as _;
    let mut text = String::new();
    for number in 0..5_000 {
        let kind = if number % 1_000 == 7 { "Namespac" } else { "Namespace" };
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: {kind}\nmetadata: {{name: n{number}, labels: {{a: b}}}}\n"
        );
    }
    assert!(text.len() > PARALLEL_BYTES);
    let file: Arc<str> = "t.yaml".into();
    let pieces = document::pieces(&file, &text).unwrap();
    let (mut one, mut many) = (Faults::default(), Faults::default());
    let on_one = read_on_this_thread(&pieces.iter().collect::<Vec<_>>(), &mut one);
    let on_many = read(&pieces.iter().collect::<Vec<_>>(), &mut many);
    assert_eq!(format!("{on_one:?}"), format!("{on_many:?}"));
    let (one, many) = (one.into_sorted(), many.into_sorted());
    assert_eq!(one.len(), 5);
    assert_eq!(one, many);
}

#[test]
fn loading_again_reads_only_what_has_changed() {
    let folder = Folder::new();
    let policy = |name: &str, port: u16| {
        format!(
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}}}\nspec: {{ingress: [{{ports: [{{port: {port}}}]}}]}}\n"
        )
    };
    let mut loader = Loader::default();
    let mut load = |text: String| {
        folder.put("a.yaml", text);
        loader.load(std::slice::from_ref(&folder.0))
    };
    let first = load(policy("a", 1) + &policy("b", 1) + &policy("c", 1)).unwrap().model.network_policies;
    let second = load(policy("a", 1) + &policy("b", 2) + &policy("c", 1)).unwrap().model.network_policies;
    let is_same: Vec<bool> =
        first.values().zip(second.values()).map(|(one, other)| Arc::ptr_eq(one, other)).collect();
    assert_eq!(is_same, [true, false, true]);
    // A load that fails forgets nothing, and says its fault each time.
    for _ in 0..2 {
        assert_eq!(load(policy("a", 1) + &policy("b", 0) + &policy("c", 1)).unwrap_err().len(), 1);
    }
    let third = load(policy("a", 1)).unwrap().model.network_policies;
    assert_eq!(third.len(), 1);
    assert!(Arc::ptr_eq(third.values().next().unwrap(), first.values().next().unwrap()));
}
