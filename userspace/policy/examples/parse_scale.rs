//! Measures how long it takes to read 10,000 workloads and 100,000 rules.

use std::fmt::Write as _;
use std::time::Instant;

use windrose_policy::source::{Loader, Source, parse};

const WORKLOADS: usize = 10_000;
const POLICIES: usize = 10_000;
const RULES: usize = 10;

fn main() {
    let flow = |style: bool| {
        let mut text = String::new();
        for number in 0..WORKLOADS {
            let (namespace, app, high, low) = (number % 100, number % 1_000, number / 250, number % 250 + 1);
            let _ = write!(
                text,
                "---\napiVersion: windrose.dev/v1alpha1\nkind: Workload\nmetadata:\n  name: w{number}\n  namespace: n{namespace}\n  labels: {{app: a{app}, tier: t{low}}}\nspec:\n  cgroup: n{namespace}/w{number}\n  addresses: [10.0.{high}.{low}]\n  ports: [{{name: http, port: 8080}}]\n"
            );
        }
        for number in 0..POLICIES {
            let namespace = number % 100;
            let _ = write!(
                text,
                "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: p{number}\n  namespace: n{namespace}\nspec:\n  podSelector:\n    matchLabels:\n      app: a{}\n  ingress:\n",
                number % 1_000
            );
            for rule in 0..RULES {
                let peer = (number * 7 + rule) % 1_000;
                let _ = if style {
                    writeln!(
                        text,
                        "  - {{from: [{{podSelector: {{matchLabels: {{app: a{peer}}}}}}}], ports: [{{port: 80}}]}}"
                    )
                } else {
                    write!(
                        text,
                        "  - from:\n    - podSelector:\n        matchLabels:\n          app: a{peer}\n    ports:\n    - port: 80\n      protocol: TCP\n"
                    )
                };
            }
        }
        text
    };
    for (what, style) in [("block", false), ("flow", true)] {
        let text = flow(style);
        let bytes = text.len();
        // Files of at most 4 MiB, as a person would cut them.
        let mut sources: Vec<Source> = Vec::new();
        for document in text.split_inclusive("\n---") {
            match sources.last_mut() {
                Some(source) if source.text.len() < 4 << 20 => source.text.push_str(document),
                _ => sources
                    .push(Source { name: format!("{}.yaml", sources.len()), text: document.to_owned() }),
            }
        }
        reload(&sources);
        for _ in 0..3 {
            let start = Instant::now();
            let parsed = parse(&sources);
            let elapsed = start.elapsed();
            match parsed {
                Ok(parsed) => println!(
                    "{what}: {bytes} bytes, {} workloads, {} policies, {} warnings in {elapsed:?}",
                    parsed.model.workloads.len(),
                    parsed.model.network_policies.len(),
                    parsed.warnings.len()
                ),
                Err(faults) => println!("{what}: {}", faults[0]),
            }
        }
    }
}

/// Loads the texts as files, and once more after one policy has changed.
fn reload(sources: &[Source]) {
    let folder = std::env::temp_dir().join(format!("windrose-parse-scale-{}", std::process::id()));
    let write = |number: usize, text: &str| std::fs::write(folder.join(format!("{number:03}.yaml")), text);
    let mut loader = Loader::default();
    let prepared = std::fs::create_dir_all(&folder).and_then(|()| {
        sources.iter().enumerate().try_for_each(|(number, source)| write(number, &source.text))
    });
    for change in ["whole", "unchanged", "one policy changed"] {
        if change == "one policy changed" {
            let last = sources.len() - 1;
            let _ = write(last, &sources[last].text.replacen("port: 80\n", "port: 81\n", 1));
        }
        let start = Instant::now();
        let is_loaded = loader.load(std::slice::from_ref(&folder)).is_ok();
        println!(
            "load, {change}: {:?} (loaded: {is_loaded}, prepared: {})",
            start.elapsed(),
            prepared.is_ok()
        );
    }
    let _ = std::fs::remove_dir_all(&folder);
}
