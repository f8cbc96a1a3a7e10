//! Tables that were compiled are verified, and those with one wrong row are refused.
#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test, outside of its function")]

#[path = "generate/world.rs"]
mod generate;

use std::path::PathBuf;
use std::sync::Arc;

use windrose_policy::model::Model;
use windrose_policy::source::load;
use windrose_policy::tables::{Compiler, Settings};
use windrose_policy::verify::{Compiled, Order, Verified, verify};

fn examples() -> Vec<(String, Model)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../policies");
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
        .into_iter()
        .map(|folder| {
            let name = folder.file_name().unwrap().to_string_lossy().into_owned();
            (name, load(&[folder]).unwrap().model)
        })
        .collect()
}

#[test]
fn what_is_compiled_is_verified() {
    for (name, model) in examples() {
        let settings = Settings::default();
        let mut compiler = Compiler::new();
        compiler.update(Arc::new(model.clone()), &settings).unwrap();
        let compiled = Compiled {
            model: &model,
            settings: &settings,
            tables: compiler.tables(),
            names: compiler.names(),
        };
        let start = std::time::Instant::now();
        let verified = verify(&compiled, Order { before: None, seed: 1 }, &mut |_| true)
            .unwrap_or_else(|m| panic!("{m}"));
        println!("{name} {verified:?} {:?}", start.elapsed());
    }
    for seed in 0..300 {
        let model = generate::model(seed);
        let settings = Settings::default();
        let mut compiler = Compiler::new();
        compiler.update(Arc::new(model.clone()), &settings).unwrap();
        let compiled = Compiled {
            model: &model,
            settings: &settings,
            tables: compiler.tables(),
            names: compiler.names(),
        };
        let start = std::time::Instant::now();
        let verified = verify(&compiled, Order { before: None, seed: 1 }, &mut |_| true)
            .unwrap_or_else(|m| panic!("{seed} {m}"));
        if seed < 20 {
            println!("{seed} {verified:?} {:?}", start.elapsed());
        }
    }
}
