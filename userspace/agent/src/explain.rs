//! `windrose explain`: what the policy decides about a connection, and why.

use std::net::IpAddr;

use anyhow::{Context as _, Result, anyhow};
use serde::{Deserialize, Serialize};
use windrose_policy::decision::{Decision, Endpoint, Flow, RuleRef, Verdict};
use windrose_policy::model::{Direction, Model};
use windrose_policy::reference;
use windrose_policy::source;

use crate::book::RuleView;
use crate::cli::{ExplainArgs, Format};
use crate::client;
use crate::output::{self, Paint};
use crate::refused::Refused;

mod question;
pub(crate) mod request;
mod text;

#[cfg(test)]
mod tests;

pub(crate) use question::Question;

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Explanation {
    /// `allow` or `deny`: both directions must allow.
    pub(crate) verdict: String,
    /// Who opens.
    pub(crate) source: EndView,
    /// Who accepts.
    pub(crate) destination: EndView,
    /// Destination port; 0 where the protocol has none.
    pub(crate) port: u16,
    /// `TCP`, `UDP`, ... or a number.
    pub(crate) protocol: String,
    /// The source's egress.
    pub(crate) egress: Side,
    /// The destination's ingress.
    pub(crate) ingress: Side,
    /// What else is to be known of the answer.
    pub(crate) notes: Vec<String>,
}

/// One end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EndView {
    /// `namespace/name`, if it is a workload.
    pub(crate) workload: Option<String>,
    /// The address that was explained.
    pub(crate) address: IpAddr,
    /// It is the workloads' own host.
    pub(crate) host: bool,
}

/// One direction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Side {
    /// `allow` or `deny`.
    pub(crate) verdict: String,
    /// `rule`, `isolated`, `open`, `itself`, `host` or `audit`.
    pub(crate) origin: String,
    /// The rule that decided, or the policy that isolates.
    pub(crate) rule: Option<RuleView>,
    /// Were nothing in audit, where that differs.
    pub(crate) would_be: Option<WouldBe>,
    /// For a denial: the rule nearest to allowing.
    pub(crate) nearest: Option<NearView>,
}

/// The decision were nothing in audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WouldBe {
    /// `allow` or `deny`.
    pub(crate) verdict: String,
    /// As in [`Side`].
    pub(crate) origin: String,
    /// As in [`Side`].
    pub(crate) rule: Option<RuleView>,
}

/// A rule that would have allowed, and what differed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NearView {
    /// The rule.
    pub(crate) rule: RuleView,
    /// What differed.
    pub(crate) differences: Vec<DifferenceView>,
}

/// A field that differed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DifferenceView {
    /// As policies call it.
    pub(crate) field: String,
    /// What the rule asks for.
    pub(crate) wanted: String,
    /// What the connection has.
    pub(crate) found: String,
}

/// Explains by the files, or asks the agent.
pub(crate) fn run(args: &ExplainArgs) -> Result<()> {
    if let Some(url) = &args.url {
        return run_request(args, url);
    }
    let (from, to) = (args.from.clone().unwrap_or_default(), args.to.clone().unwrap_or_default());
    let explanation = if args.policy.is_empty() {
        let mut query = vec![("from", from), ("to", to)];
        query.extend(args.port.map(|port| ("port", port.to_string())));
        query.push(("protocol", args.protocol.clone()));
        client::get(args.admin, "/explain", &query)?
    } else {
        let model = source::load(&args.policy).map_err(|faults| Refused::policy(&faults))?.model;
        let question = Question::parse(&from, &to, args.port, &args.protocol)
            .map_err(|why| anyhow!(why))
            .context("cannot explain this")?;
        explain(&model, &question, &args.host_address, false)
            .map_err(|why| anyhow!(why))
            .context("cannot explain this")?
    };
    match args.output {
        Format::Json => output::print_json(&explanation),
        Format::Text => output::print(&text::render(&explanation, Paint::for_stdout())),
    }
}

/// Likewise for a request to the gateway.
fn run_request(args: &ExplainArgs, url: &str) -> Result<()> {
    let explanation = if args.policy.is_empty() {
        let mut query = vec![("method", args.method.clone()), ("url", url.to_owned())];
        query.extend(args.header.iter().map(|header| ("header", header.clone())));
        client::get(args.admin, "/explain", &query)?
    } else {
        let model = source::load(&args.policy).map_err(|faults| Refused::policy(&faults))?.model;
        let asked = request::Asked::parse(&args.method, url, &args.header)
            .map_err(|why| anyhow!(why))
            .context("cannot explain this")?;
        request::explain(&model, &asked)
    };
    match args.output {
        Format::Json => output::print_json(&explanation),
        Format::Text => output::print(&request::text(&explanation, Paint::for_stdout())),
    }
}

/// Asks the reference evaluator, and for denials looks for the nearest rule.
///
/// # Errors
///
/// Why there is no answer: an unknown workload, or ends without addresses of one family.
pub(crate) fn explain(
    model: &Model,
    question: &Question,
    host_addresses: &[IpAddr],
    agent_audit: bool,
) -> Result<Explanation, String> {
    let mut flows = question.flows(model, host_addresses)?.into_iter();
    let flow = flows.next().ok_or("the two ends have no addresses of one family")?;
    let decision = reference::evaluate(model, &flow, agent_audit);
    let verdict = decision.verdict();
    let mut notes = question.notes(model);
    for other in flows {
        let differs = reference::evaluate(model, &other, agent_audit).verdict();
        if differs != verdict {
            notes.push(format!(
                "between {} and {} the verdict is {}",
                other.source.address,
                other.destination.address,
                verdict_name(differs)
            ));
        }
    }
    Ok(Explanation {
        verdict: verdict_name(verdict).to_owned(),
        egress: side(model, &flow, Direction::Egress, &decision.egress),
        ingress: side(model, &flow, Direction::Ingress, &decision.ingress),
        port: flow.destination_port,
        protocol: reference::protocol_name(flow.protocol),
        source: end(flow.source),
        destination: end(flow.destination),
        notes,
    })
}

fn end(endpoint: Endpoint) -> EndView {
    EndView {
        workload: endpoint.workload.map(|name| format!("{}/{}", name.namespace, name.name)),
        address: endpoint.address,
        host: endpoint.is_host,
    }
}

fn side(model: &Model, flow: &Flow, direction: Direction, decision: &Decision) -> Side {
    let denied_by = match (&decision.verdict, &decision.would_be) {
        (Verdict::Deny, _) => Some(&decision.rule),
        (Verdict::Allow, Some((Verdict::Deny, rule))) => Some(rule),
        (Verdict::Allow, _) => None,
    };
    let near = denied_by.and_then(|rule| reference::nearest(model, flow, direction, rule));
    Side {
        verdict: verdict_name(decision.verdict).to_owned(),
        origin: origin(&decision.rule).to_owned(),
        rule: view(model, &decision.rule),
        would_be: decision.would_be.as_ref().map(|(verdict, rule)| WouldBe {
            verdict: verdict_name(*verdict).to_owned(),
            origin: origin(rule).to_owned(),
            rule: view(model, rule),
        }),
        nearest: near.and_then(|near| {
            let differences = near.differences.into_iter().map(|difference| DifferenceView {
                field: difference.field.to_owned(),
                wanted: difference.wanted,
                found: difference.found,
            });
            Some(NearView {
                rule: RuleView::new(&near.rule, &near.place)?,
                differences: differences.collect(),
            })
        }),
    }
}

fn view(model: &Model, rule: &RuleRef) -> Option<RuleView> {
    RuleView::new(rule, rule.place(model)?)
}

const fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "deny",
    }
}

const fn origin(rule: &RuleRef) -> &'static str {
    match rule {
        RuleRef::Open => "open",
        RuleRef::Itself => "itself",
        RuleRef::Host => "host",
        RuleRef::Network { .. } | RuleRef::Cluster { .. } => "rule",
        RuleRef::Isolated { .. } => "isolated",
        RuleRef::Audit => "audit",
    }
}
