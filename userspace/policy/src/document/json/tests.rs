//! Sentences about JSON.

use super::*;
use crate::fault::Faults;

/// The values of a text, written out, or its first fault.
fn read_all(text: &str) -> Result<Vec<String>, String> {
    let mut faults = Faults::default();
    let mut reader = Reader::new("t.json".into(), &mut faults);
    let mut values = Vec::new();
    read(text, &mut reader, |_, node| values.push(show(node)));
    match faults.into_sorted().first() {
        Some(fault) => Err(fault.to_string()),
        None => Ok(values),
    }
}

fn show(node: &Node<'_>) -> String {
    match &node.value {
        Value::Scalar(scalar) if scalar.is_plain => scalar.text.to_string(),
        Value::Scalar(scalar) => format!("{:?}", scalar.text),
        Value::List(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(",")),
        Value::Map(entries) => {
            let entries = entries.iter().map(|entry| format!("{}:{}", entry.key.text, show(&entry.value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
        }
    }
}

#[test]
fn every_form_of_value_is_read() {
    let text = "\t{ \"a\" : [ 1 , -0.5e+3, true , false , \"x\" , {} , [] ], \"b\":{\"c\" :null } }\r\n";
    assert_eq!(read_all(text).unwrap(), ["{a:[1,-0.5e+3,true,false,\"x\",{},[]],b:{c:null}}"]);
}

#[test]
fn values_may_follow_each_other_and_null_is_none() {
    assert_eq!(read_all("{\"a\":1}{\"b\":2}\nnull [3]").unwrap(), ["{a:1}", "{b:2}", "[3]"]);
    assert!(read_all(" \n").unwrap().is_empty());
}

#[test]
fn escapes_are_resolved() {
    let text = r#"["\"\\\/\b\f\n\r\t", "\u00e4\u20AC", "\ud83d\ude00", "aä\u0041z"]"#;
    let expected = format!("[{:?},{:?},{:?},{:?}]", "\"\\/\u{8}\u{c}\n\r\t", "ä€", "😀", "aäAz");
    assert_eq!(read_all(text).unwrap(), [expected]);
}

#[test]
fn what_is_not_json_is_refused_with_its_place() {
    for (text, place) in [
        ("{", "1:2"),
        ("{\"a\"", "1:5"),
        ("{\"a\":}", "1:6"),
        ("{\"a\":1,}", "1:8"),
        ("{a:1}", "1:2"),
        ("{'a':1}", "1:2"),
        ("[1,]", "1:4"),
        ("[1 2]", "1:4"),
        ("[\n  01]", "2:3"),
        ("[1.]", "1:2"),
        ("[.5]", "1:2"),
        ("[+1]", "1:2"),
        ("[1e]", "1:2"),
        ("[NaN]", "1:2"),
        ("[True]", "1:2"),
        ("[\"a", "1:2"),
        ("[\"a\nb\"]", "1:4"),
        ("[\"\\x\"]", "1:3"),
        ("[\"\\u12g4\"]", "1:3"),
        ("[\"\\udc00\"]", "1:9"),
        ("[\"\\ud800\"]", "1:9"),
        ("[\"\\ud800\\u0041\"]", "1:15"),
        ("[\"ä\\", "1:4"),
        ("// a\n1", "1:1"),
    ] {
        let fault = read_all(text).unwrap_err();
        assert!(fault.starts_with(&format!("t.json:{place}: not valid JSON")), "{text}: {fault}");
    }
}

#[test]
fn the_nesting_that_is_allowed_is_read() {
    let text = format!("{}{}", "[".repeat(DEPTH), "]".repeat(DEPTH));
    assert_eq!(read_all(&text).unwrap(), [text]);
}
