//! `windrose status`, `connections` and `flows`: the agent's answers for people or programs.

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::cli::{AskArgs, ConnectionsArgs, FilterArgs, FlowsArgs, Format, StatusArgs};
use crate::client;
use crate::clock::short;
use crate::edge::{BalanceView, EdgeView};
use crate::north;
use crate::output::{self, Paint, bytes, columns};
use crate::record::{ConnectionView, EventView, decided_by};
use crate::refused::count;
use crate::status::Status;

/// What a follower of events reads.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Event(Box<EventView>),
    Lost { events: u64 },
}

/// Shows the status.
pub(crate) fn status(args: &StatusArgs) -> Result<()> {
    let AskArgs { admin, output } = args.ask;
    if output == Format::Json {
        return output::print_json(&client::get::<serde_json::Value>(admin, "/status", &[])?);
    }
    output::print(&status_text(&client::get(admin, "/status", &[])?, Paint::for_stdout()))
}

/// Shows live connections.
pub(crate) fn connections(args: &ConnectionsArgs) -> Result<()> {
    let AskArgs { admin, output } = args.ask;
    let query = query(&args.filter);
    if output == Format::Json {
        return output::print_json(&client::get::<serde_json::Value>(admin, "/connections", &query)?);
    }
    let views: Vec<ConnectionView> = client::get(admin, "/connections", &query)?;
    output::print(&connections_text(&views, Paint::for_stdout()))
}

/// Shows recent events, or follows them.
pub(crate) fn flows(args: &FlowsArgs) -> Result<()> {
    let AskArgs { admin, output } = args.ask;
    let paint = Paint::for_stdout();
    let mut query = query(&args.filter);
    query.extend(args.kind.clone().map(|kind| ("kind", kind)));
    query.extend(args.reason.clone().map(|reason| ("reason", reason)));
    if args.follow {
        query.push(("follow", String::new()));
        return client::follow(admin, "/flows", &query, |line| {
            if output == Format::Json {
                return output::print(&(String::from_utf8_lossy(line) + "\n"));
            }
            match serde_json::from_slice(line)
                .context("the agent writes a line that this version does not know")?
            {
                Line::Event(event) => output::print(&event_line(&event, paint)),
                Line::Lost { events } => output::print(&format!("... {} lost: too slow\n", count_of(events))),
            }
        });
    }
    if output == Format::Json {
        return output::print_json(&client::get::<serde_json::Value>(admin, "/flows", &query)?);
    }
    let events: Vec<EventView> = client::get(admin, "/flows", &query)?;
    output::print(&events.iter().map(|event| event_line(event, paint)).collect::<String>())
}

fn query(filter: &FilterArgs) -> Vec<(&'static str, String)> {
    let texts = [
        ("workload", &filter.workload),
        ("peer", &filter.peer),
        ("protocol", &filter.protocol),
        ("direction", &filter.direction),
        ("verdict", &filter.verdict),
    ];
    let mut query: Vec<(&'static str, String)> =
        texts.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect();
    query.extend(filter.port.map(|port| ("port", port.to_string())));
    query
}

fn count_of(events: u64) -> String {
    count(usize::try_from(events).unwrap_or(usize::MAX), "event")
}

fn status_text(status: &Status, paint: Paint) -> String {
    let mut lines = summary(status, paint);
    if let Some(gateway) = &status.gateway {
        lines.push(String::new());
        lines.push(north::text(gateway, paint).trim_end().to_owned());
    }
    lines.push(String::new());
    if !status.kernel_half {
        return lines.join("\n");
    }
    let maps: Vec<Vec<String>> = status
        .maps
        .iter()
        .map(|map| vec![map.map.to_lowercase(), map.entries.to_string(), map.capacity.to_string()])
        .collect();
    lines.push(columns(&["MAP", "ENTRIES", "CAPACITY"], &maps, paint));
    let programs: Vec<Vec<String>> = status
        .programs
        .iter()
        .map(|program| {
            let mean = program.run_time_ns.checked_div(program.run_count).map(|mean| format!("{mean} ns"));
            vec![
                program.name.clone(),
                program.id.to_string(),
                program.verified_instructions.to_string(),
                program.run_count.to_string(),
                mean.unwrap_or_else(|| "-".to_owned()),
            ]
        })
        .collect();
    lines.push(columns(&["PROGRAM", "ID", "VERIFIED", "RUNS", "MEAN"], &programs, paint));
    lines.join("\n")
}

fn summary(status: &Status, paint: Paint) -> Vec<String> {
    let state = match &status.not_ready {
        None if !status.kernel_half => "serving, and enforcing nothing (--gateway-only)".to_owned(),
        None => "enforcing".to_owned(),
        Some(why) => format!("not ready: {why}"),
    };
    let audit = if status.audit { ", whole agent in audit" } else { "" };
    let answers = match status.refused_ingress.as_str() {
        "drop" => String::new(),
        how => format!(", refused ingress is answered: {how}"),
    };
    let adopted = if status.adopted { ", adopted from an earlier agent" } else { "" };
    #[expect(clippy::cast_precision_loss, reason = "an uptime for people")]
    let uptime = short(status.uptime_seconds.max(1) as f64);
    let Status { counts, lost, .. } = status;
    let mut lines = vec![
        format!("{}  generation {}{audit}{answers}", paint.bold(&state), status.generation),
        format!("version {} (ABI {}), up {uptime}{adopted}", status.version, status.abi),
        format!(
            "{}, {}, {}, {}",
            count(counts.namespaces, "namespace"),
            count(counts.workloads, "workload"),
            count(counts.policies, "policy"),
            count(counts.rules, "rule"),
        ),
    ];
    if counts.services != 0 {
        lines.push(format!(
            "{} with {}",
            count(counts.services, "service"),
            count(counts.endpoints, "endpoint")
        ));
    }
    if let Some(verified) = &status.verified {
        let extent = if verified.complete { "all" } else { "some of about" };
        lines
            .push(format!("verified on {} flows: {extent} {} classes", verified.witnesses, verified.classes));
    }
    if let Some(reload) = &status.last_reload {
        let how = if reload.ok { "in force" } else { "refused" };
        lines.push(format!(
            "last read {}: {how}; compiled in {} ms, verified in {} ms, written in {} ms, {} ended",
            reload.at,
            reload.compile_ms,
            reload.verify_ms,
            reload.apply_ms,
            count(reload.ended_connections, "connection"),
        ));
        lines.extend(reload.faults.iter().map(|fault| format!("  {fault}")));
    }
    lines.extend(status.edge.iter().flat_map(edge_lines));
    lines.push(format!("reloads {}, refused {}", status.reloads, status.reload_failures));
    if !status.kernel_half {
        return lines;
    }
    lines.push(format!(
        "dropped packets {}, lost events {} (followers {}), no room for {} edges, {} refusals, {} connections, \
         {} loads",
        lost.dropped_packets,
        lost.events,
        lost.follower_events,
        lost.unnamed_edges,
        lost.unnamed_refusals,
        lost.no_connection_row + lost.no_balanced_row,
        lost.uncounted_loads,
    ));
    let unused = status.kernel.unused.iter();
    lines.extend(unused.map(|unused| format!("not used: {}: {}", unused.feature, unused.why)));
    lines
}

fn edge_lines(edge: &EdgeView) -> Vec<String> {
    let interfaces = edge.interfaces.iter().map(|interface| {
        let mode = interface.mode.as_deref().unwrap_or("not attached");
        format!("edge {}: {mode}: {}", interface.interface, interface.why)
    });
    let lists = edge.lists.iter().map(|list| {
        let entries = list.entries.map_or("entries of an earlier agent".to_owned(), |n| {
            if n == 1 { "1 entry".to_owned() } else { format!("{n} entries") }
        });
        let state = match (list.faults.is_empty(), &list.fetch) {
            (false, None) => "in force; what is on disk is refused".to_owned(),
            (false, Some(_)) => "in force; what was fetched is refused".to_owned(),
            (true, _) => list.state(),
        };
        format!("deny list {}: {entries} {state}", list.list)
    });
    interfaces.chain(lists).chain(edge.balance.iter().flat_map(balance_lines)).collect()
}

fn balance_lines(balance: &BalanceView) -> Vec<String> {
    let BalanceView { frontends, endpoints, down, all_down, .. } = balance;
    let open = match all_down {
        0 => String::new(),
        1 => "; of 1 frontend every endpoint fails, and all are used".to_owned(),
        _ => format!("; of {all_down} frontends every endpoint fails, and all are used"),
    };
    let summary = format!(
        "balanced: {}, {}, {down} failing{open}",
        count(*frontends, "frontend"),
        count(*endpoints, "endpoint")
    );
    let fault = balance.fault.iter().map(|fault| format!("  not in force as policy has it: {fault}"));
    let warnings = balance.warnings.iter().map(|warning| format!("  warning: {warning}"));
    std::iter::once(summary).chain(fault).chain(warnings).collect()
}

fn connections_text(views: &[ConnectionView], paint: Paint) -> String {
    let heads = [
        "SOURCE",
        "DESTINATION",
        "SERVICE",
        "PROTOCOL",
        "SEEN FROM",
        "STATE",
        "SENT",
        "RECEIVED",
        "RTT",
        "VERDICT",
        "DECIDED BY",
    ];
    let rows: Vec<Vec<String>> = views
        .iter()
        .map(|view| {
            let decided = &view.decided;
            let rtt = if view.rtt_seconds > 0.0 { short(view.rtt_seconds) } else { "-".to_owned() };
            vec![
                decided.source.name_and_port(),
                decided.destination.name_and_port(),
                view.service
                    .as_ref()
                    .map_or("-".to_owned(), |service| format!("{}:{}", service.name, service.port)),
                decided.protocol.clone(),
                decided.direction.clone(),
                view.state.clone(),
                bytes(decided.bytes_sent),
                bytes(decided.bytes_received),
                rtt,
                decided.verdict.clone(),
                decided_by(decided),
            ]
        })
        .collect();
    columns(&heads, &rows, paint)
}

fn event_line(event: &EventView, paint: Paint) -> String {
    let decided = &event.decided;
    // The time of day; the date is in the JSON.
    let time = decided.time.as_deref().and_then(|time| time.get(11..23)).unwrap_or("-");
    let moved = match decided.kind.as_str() {
        "closed" | "ended_late" => format!(
            "  {} sent, {} received in {}",
            bytes(decided.bytes_sent),
            bytes(decided.bytes_received),
            short(event.lifetime_seconds)
        ),
        _ => String::new(),
    };
    let reason = if decided.reason == "none" { String::new() } else { format!("  {}", decided.reason) };
    format!(
        "{time}  {}  {:7}  {} -> {}  {}{reason}  {}{moved}\n",
        paint.verdict(&format!("{:10}", decided.kind)),
        decided.direction,
        decided.source.name_and_port(),
        decided.destination.name_and_port(),
        decided.protocol,
        decided_by(decided),
    )
}

#[cfg(test)]
mod tests;
