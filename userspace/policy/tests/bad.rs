//! Every bad policy's messages, word for word. `BLESS=1` writes them anew.

use std::fs;
use std::path::{Path, PathBuf};

use windrose_policy::source::{Source, parse};

#[test]
fn every_bad_policy_is_refused_with_all_its_faults() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let is_blessing = std::env::var_os("BLESS").is_some();
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending != "faults"))
        .collect();
    files.sort();
    assert!(files.len() >= 9);
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let Err(faults) = parse(&[Source { name: name.clone(), text }]) else { panic!("{name} is taken") };
        let said = faults
            .iter()
            .fold(String::new(), |said, fault| said + &format!("{:?} {fault}\n", fault.severity));
        let golden = folder.join(format!("{name}.faults"));
        if is_blessing {
            fs::write(&golden, said).unwrap();
        } else {
            let expected = fs::read_to_string(&golden).unwrap_or_default();
            assert_eq!(said, expected, "{name}: run with BLESS=1 if this is meant");
        }
    }
}
