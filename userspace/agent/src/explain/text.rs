//! An explanation for people.

use std::fmt::Write as _;

use super::{EndView, Explanation, NearView, Side};
use crate::book::RuleView;
use crate::output::Paint;

/// The verdict, both directions, and notes.
pub(crate) fn render(explanation: &Explanation, paint: Paint) -> String {
    let mut text = String::new();
    let port = if explanation.port == 0 { String::new() } else { format!(" port {}", explanation.port) };
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(
        text,
        "{}  {} -> {}  {}{port}",
        paint.verdict(&explanation.verdict),
        both(&explanation.source),
        both(&explanation.destination),
        explanation.protocol,
    );
    side(&mut text, "egress of", &explanation.source, &explanation.egress, paint);
    side(&mut text, "ingress of", &explanation.destination, &explanation.ingress, paint);
    for note in &explanation.notes {
        let _ = writeln!(text, "\nnote: {note}");
    }
    text
}

fn both(end: &EndView) -> String {
    match &end.workload {
        Some(workload) => format!("{workload} ({})", end.address),
        None => end.address.to_string(),
    }
}

fn side(text: &mut String, what: &str, end: &EndView, side: &Side, paint: Paint) {
    let name = end.workload.clone().unwrap_or_else(|| end.address.to_string());
    let _ = writeln!(text, "\n{what} {name}: {}", paint.verdict(&side.verdict));
    let _ = writeln!(text, "  {}", why(end, &side.origin, side.rule.as_ref()));
    if let Some(would_be) = &side.would_be {
        let why = why(end, &would_be.origin, would_be.rule.as_ref());
        let _ = writeln!(text, "  without audit: {}, {why}", paint.verdict(&would_be.verdict));
    }
    let is_denied =
        side.verdict == "deny" || side.would_be.as_ref().is_some_and(|would_be| would_be.verdict == "deny");
    match &side.nearest {
        Some(near) => nearest(text, near),
        None if is_denied => {
            let _ = writeln!(text, "  no rule would allow this, whichever field were another");
        }
        None => {}
    }
}

fn nearest(text: &mut String, near: &NearView) {
    let _ = writeln!(text, "  nearest rule that would allow: {}", rule(&near.rule));
    for difference in &near.differences {
        let _ = writeln!(
            text,
            "    {}: wants {}; here {}",
            difference.field, difference.wanted, difference.found
        );
    }
}

fn why(end: &EndView, origin: &str, decided: Option<&RuleView>) -> String {
    match (origin, decided) {
        ("rule", Some(decided)) => format!("decided by {}", rule(decided)),
        ("isolated", Some(policy)) => format!(
            "isolated by {} {} ({}), and no rule allows this",
            policy.kind,
            policy.policy(),
            policy.place()
        ),
        ("open", _) if end.workload.is_none() => "no workload: not Windrose's to decide".to_owned(),
        ("open", _) => "no policy concerns this: open".to_owned(),
        ("itself", _) => "a workload always reaches itself".to_owned(),
        ("host", _) => "traffic from the workload's own host is always allowed in".to_owned(),
        ("audit", _) => "it would be denied, but is in audit".to_owned(),
        (other, _) => other.to_owned(),
    }
}

fn rule(rule: &RuleView) -> String {
    format!("{} {} {} ({})", rule.kind, rule.policy(), rule.rule(), rule.place())
}
