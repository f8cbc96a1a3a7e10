//! Sentences about scalars.

use super::*;

fn kind(text: &str) -> ScalarKind {
    Scalar { text: text.into(), is_plain: true }.kind()
}

#[test]
fn plain_scalars_are_what_the_core_schema_says() {
    for text in ["", "~", "null", "Null", "NULL"] {
        assert_eq!(kind(text), ScalarKind::Null, "{text}");
    }
    for text in ["0", "-1", "+12", "0o17", "0xfF", "123456789012345678901234567890", "007"] {
        assert_eq!(kind(text), ScalarKind::Integer, "{text}");
    }
    for text in ["1.0", ".5", "5.", "1e3", "-1.5E-3", ".inf", "-.INF", ".nan", "+.5"] {
        assert_eq!(kind(text), ScalarKind::Float, "{text}");
    }
    for text in ["yes", "Off", "NO", "on"] {
        assert_eq!(kind(text), ScalarKind::OldBoolean, "{text}");
    }
    for text in [
        "nULL", "tRUE", "y", "n", ".", "-", "+", "e3", "1e", "1.2.3", "10.0.0.1", "0x", "0b1", "0o8", "--1",
        "1_000", "1:20", ".e1", "Inf", "web", "-.nan",
    ] {
        assert_eq!(kind(text), ScalarKind::Text, "{text}");
    }
    assert_eq!(kind("True"), ScalarKind::Boolean(true));
    assert_eq!(kind("false"), ScalarKind::Boolean(false));
}

#[test]
fn quoted_scalars_are_text() {
    for text in ["", "null", "true", "80", "on"] {
        assert_eq!(Scalar { text: text.into(), is_plain: false }.kind(), ScalarKind::Text, "{text}");
    }
}
