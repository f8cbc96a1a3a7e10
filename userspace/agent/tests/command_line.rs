//! The binary as an operator calls it: exit codes, and what goes to which stream.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};

fn fixture(name: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name).display().to_string()
}

fn windrose(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_windrose")).args(arguments).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// An address on which nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn a_valid_policy_is_summed_up_in_one_line() {
    let said = windrose(&["check", &fixture("shop.yaml")]);
    assert_eq!(said.status.code(), Some(0));
    assert_eq!(out(&said).lines().count(), 1);
    assert!(out(&said).starts_with("valid: "), "{}", out(&said));
}

#[test]
fn a_bad_policy_fails_with_every_fault_on_standard_error() {
    let said = windrose(&["check", &fixture("bad.yaml")]);
    assert_eq!(said.status.code(), Some(1));
    assert_eq!(out(&said), "");
    for place in ["bad.yaml:5:3: ", "bad.yaml:7:31: ", "bad.yaml:8:22: "] {
        assert!(err(&said).contains(place), "{place} in {}", err(&said));
    }
}

#[test]
fn check_as_json_has_the_faults_and_the_same_exit_code() {
    let said = windrose(&["check", "--output", "json", &fixture("bad.yaml")]);
    assert_eq!(said.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_str(&out(&said)).unwrap();
    assert_eq!(report["valid"], false);
    assert_eq!(report["faults"].as_array().unwrap().len(), 3);
    assert_eq!(report["faults"][0]["line"], 5);
}

#[test]
fn explain_answers_a_denial_with_exit_code_0() {
    let policy = fixture("shop.yaml");
    let said = windrose(&[
        "explain",
        "--policy",
        &policy,
        "--from",
        "shop/intruder",
        "--to",
        "shop/cart",
        "--port",
        "8080",
        "--output",
        "json",
    ]);
    assert_eq!(said.status.code(), Some(0), "{}", err(&said));
    let answer: serde_json::Value = serde_json::from_str(&out(&said)).unwrap();
    assert_eq!(answer["verdict"], "deny");
    assert_eq!(answer["ingress"]["nearest"]["differences"][0]["field"], "podSelector");
}

#[test]
fn a_wrong_command_line_has_an_exit_code_of_its_own() {
    assert_eq!(windrose(&["chek"]).status.code(), Some(2));
    assert_eq!(windrose(&["run", "--policy", "x", "--admin", "nowhere"]).status.code(), Some(2));
}

#[test]
fn without_an_agent_its_address_is_named() {
    let admin = nobody();
    for command in ["status", "connections", "flows"] {
        let said = windrose(&[command, "--admin", &admin]);
        assert_eq!(said.status.code(), Some(1));
        assert!(err(&said).contains(&admin), "{}", err(&said));
    }
}

#[test]
fn a_port_in_use_is_told_before_anything_else_is_tried() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = listener.local_addr().unwrap().to_string();
    let said = windrose(&[
        "run",
        "--policy",
        &fixture("shop.yaml"),
        "--admin",
        &admin,
        "--pins",
        "windrose-test-port",
    ]);
    assert_eq!(said.status.code(), Some(1));
    assert!(err(&said).contains(&admin) && err(&said).contains("nothing is attached"), "{}", err(&said));
}

#[test]
fn a_bad_configuration_is_told_with_its_places() {
    let path = std::env::temp_dir().join(format!("windrose-config-{}.yaml", std::process::id()));
    std::fs::write(&path, "audti: true\n").unwrap();
    let path_text = path.display().to_string();
    let said = windrose(&["run", "--policy", &fixture("shop.yaml"), "--config", &path_text]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(said.status.code(), Some(1));
    assert!(err(&said).contains(":1:1: unknown field `audti`"), "{}", err(&said));
}

#[test]
fn the_version_is_that_of_the_package() {
    assert_eq!(out(&windrose(&["--version"])), format!("windrose {}\n", env!("CARGO_PKG_VERSION")));
}
