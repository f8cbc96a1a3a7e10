//! Hostile text: a fault, in bounded time and memory, and never a panic.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

/// Generous, for a debug build on a busy machine; quadratic work on these texts takes minutes.
const DEADLINE: Duration = Duration::from_secs(20);

/// The first fault of a text that must be refused in time.
fn first_fault(name: &str, text: &str) -> String {
    let start = Instant::now();
    let found = faults(name, text);
    assert!(start.elapsed() < DEADLINE, "{:?} for {} bytes: {}", start.elapsed(), text.len(), found[0]);
    assert!(found.len() < 2_100);
    found[0].clone()
}

#[test]
fn deep_nesting_is_refused() {
    for open in ["[", "{a: ", "- ", "? ", "[{a: ", "- - "] {
        let fault = first_fault("t.yaml", &open.repeat(100_000));
        assert!(fault.contains("nested more than 64 deep"), "{open}: {fault}");
    }
    for open in ["[", "{\"a\":", "[{\"a\":"] {
        let fault = first_fault("t.json", &open.repeat(100_000));
        assert!(fault.contains("nested more than 64 deep"), "{open}: {fault}");
    }
    let mut steps = String::new();
    for depth in 0..1_000 {
        let _ = writeln!(steps, "{}a:", " ".repeat(depth));
    }
    assert!(first_fault("t.yaml", &steps).contains("nested more than 64 deep"));
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut text = "a0: &a0 [x, x]\n".to_owned();
    for level in 1..100 {
        let below = level - 1;
        let _ = writeln!(text, "a{level}: &a{level} [{}*a{below}]", format!("*a{below}, ").repeat(9));
    }
    let fault = first_fault("t.yaml", &text);
    assert!(fault.contains("the document has no `apiVersion`") || fault.contains("anchors"), "{fault}");
    assert!(faults("t.yaml", &text).iter().any(|fault| fault.contains("aliases are not supported")));
}

#[test]
fn megabytes_of_anything_are_refused_in_time() {
    for (unit, count) in [
        ("- 1\n", 500_000),
        ("a: 1\n", 200_000),
        ("? a\n", 200_000),
        ("- &a 1\n", 100_000),
        ("- !t 1\n", 100_000),
        ("---\n- a\n", 50_000),
        ("--- &a *a\n", 50_000),
        ("'a' ", 200_000),
        ("\"a\nb\" ", 200_000),
        (":", 1_000_000),
        ("a:\n", 200_000),
        ("%a\n", 200_000),
        ("|", 500_000),
        ("*a ", 200_000),
        ("{}", 200_000),
        ("[a, ", 200_000),
        ("\u{0}", 100_000),
        ("a\u{85}", 100_000),
    ] {
        let text = unit.repeat(count);
        for name in ["t.yaml", "t.json"] {
            first_fault(name, &text);
        }
    }
}

#[test]
fn a_million_keys_with_a_duplicate_are_refused_in_time() {
    let mut text = String::from("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n  labels:\n");
    for key in 0..200_000 {
        let _ = writeln!(text, "    k{key}: v");
    }
    text.push_str("    k7: v\n");
    let fault = first_fault("t.yaml", &text);
    assert_eq!(fault, "t.yaml:200006:5: `k7` is here twice, first on line 13");
}

#[test]
fn one_long_line_of_json_is_read_in_time() {
    let items = "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"nam\":\"ä\"}},".repeat(50_000);
    let text = format!("{{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[{items}{{}}]}}");
    assert!(first_fault("t.json", &text).contains("unknown field `nam`"));
}

#[test]
fn too_many_values_are_refused() {
    let fault = first_fault("t.yaml", &format!("[{}]", "a,".repeat(600_000)));
    assert!(fault.contains("split it"), "{fault}");
    let fault = first_fault("t.json", &format!("[{}1]", "1,".repeat(1_100_000)));
    assert!(fault.contains("more than 1000000 values"), "{fault}");
}

#[test]
fn too_many_documents_are_refused() {
    assert_eq!(
        first_fault("t.yaml", &"---\n".repeat(1_000_000)),
        "t.yaml: more than 200000 documents: split it"
    );
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    let fault = first_fault("t.yaml", &" ".repeat((16 << 20) + 1));
    assert_eq!(fault, "t.yaml: larger than 16 MiB: split it");
}

/// Pieces that texts are made of, so that random ones get past the first byte.
fn shuffled() -> impl Strategy<Value = String> {
    let pieces = [
        "apiVersion: networking.k8s.io/v1\n",
        "kind: NetworkPolicy\n",
        "metadata: {name: p}\n",
        "spec:\n",
        "  podSelector: {}\n",
        "  ingress:\n",
        "  - from:\n",
        "    - ipBlock: {cidr: 10.0.0.0/8}\n",
        "---\n",
        "...\n",
        "- ",
        "? ",
        ": ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "\"",
        "'",
        "&a ",
        "*a",
        "!t ",
        "|\n",
        ">-\n",
        "# c\n",
        "\t",
        "\r",
        "\n",
        " ",
        "%YAML 1.2\n",
        "\u{feff}",
        "\u{0}",
        "ä",
        "\u{2028}",
        "<<",
        "\\u",
        "\\ud800",
        "1e9",
        "0x1",
        "\"apiVersion\": \"v1\",",
        "null",
        "true",
        "-",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_reader_panic(text in shuffled(), noise in ".{0,40}") {
        for name in ["t.yaml", "t.json"] {
            let _ = read(name, &text);
            let _ = read(name, &noise);
        }
    }
}

#[test]
fn a_selector_of_many_requirements_is_refused() {
    let mut text = format!("{POLICY}spec: {{podSelector: {{matchExpressions: [\n");
    for key in 0..100_000 {
        let _ = writeln!(text, "{{key: k{key}, operator: DoesNotExist}},");
    }
    text.push_str("]}}\n");
    let fault = first_fault("t.yaml", &text);
    assert_eq!(fault, "t.yaml:4:21: podSelector has 100000 requirements; at most 256 are allowed");
}
