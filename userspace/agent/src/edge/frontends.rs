//! `windrose edge frontends`: what is balanced at the edge, for people or programs.

use std::fmt::Write as _;

use anyhow::Result;

use super::{EndpointView, FrontendView};
use crate::cli::{AskArgs, Format};
use crate::client;
use crate::output::{self, Paint, bytes, columns};

/// Where the agent answers about frontends.
const PATH: &str = "/edge/frontends";

/// Asks, and shows the answer.
pub(super) fn show(ask: &AskArgs) -> Result<()> {
    if ask.output == Format::Json {
        return output::print_json(&client::get::<serde_json::Value>(ask.admin, PATH, &[])?);
    }
    let frontends: Vec<FrontendView> = client::get(ask.admin, PATH, &[])?;
    output::print(&text(&frontends, Paint::for_stdout()))
}

fn text(frontends: &[FrontendView], paint: Paint) -> String {
    if frontends.is_empty() {
        return "policy exposes nothing\n".to_owned();
    }
    let mut text = String::new();
    for (turn, frontend) in frontends.iter().enumerate() {
        if turn != 0 {
            text.push('\n');
        }
        let FrontendView { protocol, source, place, forwarding, .. } = frontend;
        let at = at(&frontend.address, frontend.port);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{}  {source} ({place}), {forwarding}{}",
            paint.bold(&format!("{at}/{protocol}")),
            more(frontend)
        );
        let rows: Vec<Vec<String>> = frontend.endpoints.iter().map(row).collect();
        if rows.is_empty() {
            text += "  no endpoint: connections are refused\n";
            continue;
        }
        let table = columns(
            &["ENDPOINT", "NAME", "SHARE", "READY", "FLOWS", "PACKETS", "BYTES", "WHY"],
            &rows,
            paint,
        );
        text.extend(table.lines().map(|line| format!("  {line}\n")));
    }
    text
}

/// What not every frontend has.
fn more(frontend: &FrontendView) -> String {
    let by_client = if frontend.by_client { ", by client" } else { "" };
    let sources = match frontend.sources.as_deref() {
        None => String::new(),
        Some([]) => ", for nobody of this family".to_owned(),
        Some(sources) => format!(", for {}", sources.join(" ")),
    };
    let refused = match frontend.refused_share {
        0 => String::new(),
        share => format!(", a share of {share} is refused"),
    };
    format!("{by_client}{sources}{refused}")
}

fn row(endpoint: &EndpointView) -> Vec<String> {
    vec![
        at(&endpoint.address, endpoint.port),
        endpoint.name.clone().unwrap_or_else(|| "-".to_owned()),
        endpoint.share.to_string(),
        if endpoint.ready { "yes" } else { "no" }.to_owned(),
        endpoint.flows.to_string(),
        endpoint.packets.to_string(),
        bytes(endpoint.bytes),
        endpoint.why.clone(),
    ]
}

fn at(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(ready: bool, why: &str) -> EndpointView {
        EndpointView {
            address: "10.84.0.11".to_owned(),
            port: 2525,
            name: Some("office/mail-1".to_owned()),
            share: 3,
            ready,
            why: why.to_owned(),
            flows: 5,
            packets: 40,
            bytes: 6_144,
        }
    }

    #[test]
    fn golden_frontends_for_people() {
        let first = FrontendView {
            address: "203.0.113.25".to_owned(),
            port: 25,
            protocol: "TCP".to_owned(),
            source: "Service office/mail".to_owned(),
            place: "policy.yaml:36:11".to_owned(),
            forwarding: "nat".to_owned(),
            by_client: true,
            sources: Some(vec!["198.51.100.0/24".to_owned()]),
            refused_share: 0,
            all_down: false,
            endpoints: vec![
                endpoint(true, "passes its checks"),
                endpoint(false, "fails its checks: Connection refused (os error 111)"),
            ],
        };
        let second = FrontendView {
            address: "2001:db8::25".to_owned(),
            by_client: false,
            sources: Some(Vec::new()),
            refused_share: 1_000,
            endpoints: Vec::new(),
            ..first.clone()
        };
        output::golden::assert("frontends.txt", &text(&[first, second], Paint::off()));
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        assert_eq!(text(&[], Paint::off()), "policy exposes nothing\n");
    }
}
