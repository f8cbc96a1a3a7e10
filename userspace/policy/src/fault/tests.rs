//! Sentences about faults.

use super::*;

fn place(line: u32) -> Place {
    Place { file: "a.yaml".into(), line, column: 3 }
}

#[test]
fn a_fault_prints_its_place_and_its_message() {
    let mut faults = Faults::default();
    faults.error(place(7), "no such thing");
    assert_eq!(faults.into_sorted()[0].to_string(), "a.yaml:7:3: no such thing");
}

#[test]
fn faults_come_out_by_place() {
    let mut faults = Faults::default();
    faults.warn(place(9), "w");
    faults.error(place(8), "b");
    faults.error(place(2), "a");
    let lines: Vec<u32> = faults.into_sorted().iter().map(|fault| fault.place.line).collect();
    assert_eq!(lines, [2, 8, 9]);
}

#[test]
fn only_so_many_faults_are_kept_and_the_rest_are_counted() {
    let mut faults = Faults::default();
    for line in 1..=1_500 {
        faults.error(place(line), "x");
    }
    let sorted = faults.into_sorted();
    assert_eq!(sorted.len(), KEPT + 1);
    assert_eq!(sorted[KEPT].to_string(), "a.yaml: and at least 500 more errors");
}

#[test]
fn a_near_name_is_suggested_and_a_far_one_is_not() {
    let known = ["podSelector", "policyTypes", "ingress", "egress"];
    assert_eq!(nearest("podSelecter", known), Some("podSelector"));
    assert_eq!(nearest("podselector", known), Some("podSelector"));
    assert_eq!(nearest("igness", known), Some("ingress"));
    assert_eq!(nearest("ergess", known), Some("egress"));
    assert_eq!(nearest("from", known), None);
    assert_eq!(nearest(&"x".repeat(1_000_000), known), None);
}

#[test]
fn text_of_a_file_cannot_drive_the_terminal() {
    assert_eq!(quoted("a\u{1b}[31mb"), "`a\\u{1b}[31mb`");
    assert_eq!(quoted("a\u{202e}b"), "`a\\u{202e}b`");
    assert_eq!(quoted(&"x".repeat(100)).chars().count(), 67);
}
