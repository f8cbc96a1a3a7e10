//! A report in each of its forms, word for word.

use std::sync::Arc;

use super::report::{MapCost, RuleCost};
use super::*;
use crate::book::{Book, RuleView};
use crate::output::golden;

/// A report of known counts, with a rule whose names need escaping.
fn report() -> Report {
    let mut report = reckon::reckon(&reckon::tests::taken(), &Book::default());
    "6.18.0-test".clone_into(&mut report.kernel);
    "0.0.0".clone_into(&mut report.version);
    report.rules[0].rule = Some(Arc::new(RuleView {
        kind: "NetworkPolicy".to_owned(),
        namespace: Some("shop".to_owned()),
        name: "cart".to_owned(),
        direction: "egress".to_owned(),
        index: None,
        file: "policies/<b>\"&.yaml".to_owned(),
        line: 11,
        column: 18,
    }));
    report
}

#[test]
fn golden_reports() {
    golden::assert("profile.txt", &text::text(&report(), Paint::off()));
    golden::assert("profile.html", &html::page(&report()));
    let json = serde_json::to_string_pretty(&report()).unwrap() + "\n";
    golden::assert("profile.json", &json);
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report());
}

#[test]
fn the_page_stands_alone_and_escapes_every_name() {
    let page = html::page(&report());
    for foreign in ["http://", "https://", "<script", "src=", "href=", "url(", "@import", "<b>"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert!(page.contains("policies/&lt;b&gt;&quot;&amp;.yaml:11:18"));
    for tag in ["svg", "table", "html", "body", "h2", "dl"] {
        let count = |text: String| page.matches(&text).count();
        assert_eq!(count(format!("<{tag}")), count(format!("</{tag}>")), "{tag}");
    }
}

#[test]
fn an_idle_machine_has_a_report_too() {
    let idle =
        Report { maps: vec![MapCost::default()], rules: vec![RuleCost::default()], ..Report::default() };
    for report in [Report::default(), idle] {
        let page = html::page(&report);
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
        assert!(text::text(&report, Paint::off()).contains("remembered"));
    }
}
