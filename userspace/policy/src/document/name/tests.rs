//! Sentences about names.

use super::*;

#[test]
fn names_are_valid_as_in_kubernetes() {
    let longest = "a".repeat(63);
    for name in ["a", "a-b", "0", "a0-9b", &longest] {
        assert!(check_label(name).is_ok(), "{name}");
    }
    for name in ["", "-a", "a-", "A", "a.b", "a_b", "ä", &format!("{longest}a")] {
        assert!(check_label(name).is_err(), "{name}");
    }
    for name in ["a.b-c.0", &format!("{longest}.{longest}")] {
        assert!(check_subdomain(name).is_ok(), "{name}");
    }
    for name in ["", ".", "a..b", "a.", "a.-b", &"a.".repeat(127)] {
        assert!(check_subdomain(name).is_err(), "{name}");
    }
}

#[test]
fn labels_are_valid_as_in_kubernetes() {
    for key in ["a", "A_b.c-D", "example.com/app", "0/0"] {
        assert!(check_label_key(key).is_ok(), "{key}");
    }
    for key in ["", "/a", "a/", "a/b/c", "Example.com/a", "_a", "a b", &"a".repeat(64)] {
        assert!(check_label_key(key).is_err(), "{key}");
    }
    assert!(check_label_value("").is_ok() && check_label_value("A.b_c-1").is_ok());
    for value in ["-a", "a b", "a/b", &"a".repeat(64)] {
        assert!(check_label_value(value).is_err(), "{value}");
    }
}

#[test]
fn port_names_are_service_names() {
    for name in ["a", "http", "x-1", "123456789012a45"] {
        assert!(check_port_name(name).is_ok(), "{name}");
    }
    for name in ["", "80", "Http", "a--b", "-a", "a-", "a_b", "1234567890123456", "abcdefghijklmnop"] {
        assert!(check_port_name(name).is_err(), "{name}");
    }
}
