//! `windrose edge`: denies, takes back and shows, by asking the running agent.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

use super::config::default_limits;
use super::entries::{AddedView, AnswerView, DenyView, Ended, EntryView};
use super::fetch::{self, Limits, Url};
use super::{frontends, lists, prefix};
use crate::cli::{AskArgs, Format};
use crate::client::{self, Method};
use crate::clock;
use crate::output::{self, Paint, columns};
use crate::refused::{FaultView, Refused, count};

/// Where the agent answers about denied sources.
pub(crate) const PATH: &str = "/edge/deny";

/// `windrose edge`.
#[derive(Debug, Args)]
pub(crate) struct EdgeArgs {
    #[command(subcommand)]
    command: EdgeCommand,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum EdgeCommand {
    /// Drop every packet from an address or prefix, from now on
    Deny(DenyArgs),
    /// Take back what `deny` or the gateway has added; lists are edited where they come from
    Undeny(PrefixArgs),
    /// Show what was added and which lists are in force, or all that is known of an address
    List(ListArgs),
    /// Show what is balanced at the edge: frontends, their endpoints and what went to each
    Frontends(FrontendsArgs),
    /// Say whether deny lists are valid: all faults of all of them
    Check(CheckArgs),
}

/// `windrose edge deny`.
#[derive(Debug, Args)]
struct DenyArgs {
    #[command(flatten)]
    prefix: PrefixArgs,
    /// For how long, such as 30s, 10m, 12h or 7d [default: until it is taken back]
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
    ttl: Option<String>,
    /// Why; shown by `windrose edge list`
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// What is meant, and whom to ask.
#[derive(Debug, Args)]
struct PrefixArgs {
    /// An address, or a prefix such as 192.0.2.0/24
    #[arg(value_name = "ADDR|CIDR", value_parser = parse_prefix)]
    prefix: String,
    #[command(flatten)]
    ask: AskArgs,
}

/// `windrose edge list`.
#[derive(Debug, Args)]
struct ListArgs {
    /// Only what is known of this address or prefix
    #[arg(value_name = "ADDR|CIDR", value_parser = parse_prefix)]
    prefix: Option<String>,
    #[command(flatten)]
    ask: AskArgs,
}

/// `windrose edge frontends`.
#[derive(Debug, Args)]
struct FrontendsArgs {
    #[command(flatten)]
    ask: AskArgs,
}

/// `windrose edge check`.
#[derive(Debug, Args)]
struct CheckArgs {
    /// Lists with an address or prefix a line; what is at a URL is fetched
    #[arg(value_name = "FILE|URL", required = true)]
    lists: Vec<PathBuf>,
    /// Certificate authorities in PEM to trust in place of the system's, for lists by https
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

fn parse_time(text: &str) -> Result<String, String> {
    match clock::parse_duration(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err("it must be such as 30s, 10m, 12h or 7d".to_owned()),
    }
}

fn parse_prefix(text: &str) -> Result<String, String> {
    prefix::parse(text).map(|parsed| prefix::text(&parsed))
}

/// Asks, and shows the answer.
pub(crate) fn run(args: &EdgeArgs) -> Result<()> {
    match &args.command {
        EdgeCommand::Deny(args) => {
            let PrefixArgs { prefix, ask } = &args.prefix;
            let mut query = vec![("prefix", prefix.clone())];
            query.extend(args.reason.clone().map(|reason| ("reason", reason)));
            query.extend(args.ttl.clone().map(|ttl| ("for", ttl)));
            show(ask, Method::POST, &query, |answer: &AnswerView| answer_text(answer))
        }
        EdgeCommand::Undeny(PrefixArgs { prefix, ask }) => {
            show(ask, Method::DELETE, &[("prefix", prefix.clone())], ended_text)
        }
        EdgeCommand::List(ListArgs { prefix: Some(prefix), ask }) => {
            show(ask, Method::GET, &[("prefix", prefix.clone())], |answer: &AnswerView| answer_text(answer))
        }
        EdgeCommand::Frontends(FrontendsArgs { ask }) => frontends::show(ask),
        EdgeCommand::Check(args) => check(args),
        EdgeCommand::List(ListArgs { prefix: None, ask }) => show(ask, Method::GET, &[], list_text),
    }
}

fn check(args: &CheckArgs) -> Result<()> {
    let limits = Limits { ca_file: args.ca_file.clone(), ..default_limits() };
    let mut faults = Vec::new();
    for list in &args.lists {
        let text = list.to_string_lossy();
        let (name, read) = if Url::is_meant(&text) {
            match Url::parse(&text) {
                Ok(url) => {
                    let name = url.to_string();
                    let read = client::runtime()?.block_on(fetch::check(&name, &url, &limits));
                    (name, read.map(|entries| entries.len()))
                }
                // Not repeated: it may hold a secret.
                Err(why) => ("a URL".to_owned(), Err(vec![FaultView::without_place(why)])),
            }
        } else {
            let name = list.display().to_string();
            let read = lists::read(&name, list);
            (name, read.map(|entries| entries.len()))
        };
        match read {
            Ok(entries) => output::print(&format!("{name}: {}\n", count(entries, "entry")))?,
            Err(found) => faults.extend(found),
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(Refused { what: "deny list", faults }.into()) }
}

fn show<T: serde::de::DeserializeOwned + serde::Serialize>(
    ask: &AskArgs,
    method: Method,
    query: &[(&str, String)],
    text: impl Fn(&T) -> String,
) -> Result<()> {
    let answer: T = client::call(ask.admin, method, PATH, query)?;
    if ask.output == Format::Json { output::print_json(&answer) } else { output::print(&text(&answer)) }
}

fn answer_text(answer: &AnswerView) -> String {
    let state = match (answer.denied, answer.allowed) {
        (true, _) => "denied",
        (false, true) => "not denied: it is in `edge.allow` of the configuration",
        (false, false) => "not denied",
    };
    let mut text = format!("{}  {state}\n", answer.prefix);
    for EntryView { prefix, added, listed } in &answer.entries {
        if let Some(added) = added {
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "  {prefix}  added by {}{}{}",
                added.origin,
                end(added.until.as_ref()),
                why(&added.reason)
            );
        }
        if let Some(listed) = listed {
            let list = listed.list.as_deref().unwrap_or("a list that is no longer configured");
            let reason = listed.reason.as_deref().unwrap_or_default();
            let _ = writeln!(text, "  {prefix}  on {list}{}{}", end(listed.until.as_ref()), why(reason));
        }
    }
    text
}

fn ended_text(ended: &Ended) -> String {
    let said = if ended.removed { "taken back" } else { "nothing was added under exactly this prefix" };
    format!("{said}\n{}", answer_text(&ended.left))
}

fn end(until: Option<&String>) -> String {
    // Seconds are enough for people.
    until.map_or_else(String::new, |until| format!(", until {}Z", until.get(..19).unwrap_or(until)))
}

fn why(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

fn list_text(view: &DenyView) -> String {
    let added: Vec<Vec<String>> = view
        .added
        .iter()
        .map(|AddedView { prefix, origin, reason, until, .. }| {
            let until = until
                .as_ref()
                .map_or("-".to_owned(), |until| format!("{}Z", until.get(..19).unwrap_or(until)));
            vec![prefix.clone(), origin.clone(), until, reason.clone()]
        })
        .collect();
    let lists: Vec<Vec<String>> = view
        .lists
        .iter()
        .map(|list| {
            let entries = list.entries.map_or("?".to_owned(), |entries| entries.to_string());
            vec![list.list.clone(), entries, list.state()]
        })
        .collect();
    let paint = Paint::for_stdout();
    columns(&["ADDED", "BY", "UNTIL", "REASON"], &added, paint)
        + "\n"
        + &columns(&["LIST", "ENTRIES", "STATE"], &lists, paint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::entries::ListedView;

    #[test]
    fn an_answer_names_every_entry_and_who_made_it() {
        let added = AddedView {
            prefix: "192.0.2.7".to_owned(),
            origin: "operator".to_owned(),
            reason: "noisy".to_owned(),
            since: None,
            until: Some("2026-11-23T12:00:00.123456Z".to_owned()),
        };
        let listed = ListedView { list: Some("feed.txt".to_owned()), until: None, reason: None };
        let answer = AnswerView {
            prefix: "192.0.2.7".to_owned(),
            denied: true,
            allowed: false,
            entries: vec![
                EntryView { prefix: "192.0.2.7".to_owned(), added: Some(added), listed: None },
                EntryView { prefix: "192.0.2.0/24".to_owned(), added: None, listed: Some(listed) },
            ],
        };
        assert_eq!(
            answer_text(&answer),
            "192.0.2.7  denied\n  192.0.2.7  added by operator, until 2026-11-23T12:00:00Z: noisy\n  \
             192.0.2.0/24  on feed.txt\n"
        );
    }
}
