//! The rules as Windrose reads them: workloads and network policies, many files.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;

use super::rules::{self, Direction, Peer, Rule};
use crate::bench::subject::{self, Subject};

/// Rules of one policy, at most.
const RULES_PER_POLICY: usize = 10;

/// Selectors by which policies select their subject, in turns: policies of one workload seldom agree.
const SUBJECTS: [&str; 3] = ["", "app", "tier"];

/// Writes both ends, the remote workloads that rules name, and `count` rules into an empty folder.
pub(crate) fn write(folder: &Path, client: &Subject, server: &Subject, count: usize) -> Result<()> {
    let mut documents = vec![client.document(), server.document()];
    let egress = rules::of(Direction::Egress, count);
    let ingress = rules::of(Direction::Ingress, count);
    let mut remotes: Vec<u32> = egress
        .iter()
        .chain(&ingress)
        .filter_map(|rule| if let Peer::Remote(number) = rule.peer { Some(number) } else { None })
        .collect();
    remotes.sort_unstable();
    remotes.dedup();
    documents.extend(remotes.into_iter().map(remote));
    documents.extend(policies(Direction::Egress, &egress));
    documents.extend(policies(Direction::Ingress, &ingress));
    subject::write(folder, &documents)
}

fn remote(number: u32) -> String {
    format!(
        "apiVersion: windrose.dev/v1alpha1\nkind: Workload\n\
         metadata: {{name: remote-{number:05}, namespace: fleet, labels: {{app: remote-{number:05}}}}}\n\
         spec: {{addresses: [{}]}}\n",
        rules::remote(number)
    )
}

fn policies(direction: Direction, rules: &[Rule]) -> impl Iterator<Item = String> {
    let per_policy = rules.len().div_ceil(SUBJECTS.len()).clamp(1, RULES_PER_POLICY);
    rules.chunks(per_policy).enumerate().map(move |(number, some)| policy(direction, number, some))
}

fn policy(direction: Direction, number: usize, rules: &[Rule]) -> String {
    let (subject, other, kind, section, side) = match direction {
        Direction::Egress => ("client", "server", "Egress", "egress", "to"),
        Direction::Ingress => ("server", "client", "Ingress", "ingress", "from"),
    };
    let selector = match SUBJECTS[number % SUBJECTS.len()] {
        "app" => format!("{{matchLabels: {{app: {subject}}}}}"),
        "tier" => "{matchLabels: {tier: measured}}".to_owned(),
        _ => "{}".to_owned(),
    };
    let mut text = format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {{name: {section}-{number:05}, namespace: {subject}s}}\n\
         spec:\n  podSelector: {selector}\n  policyTypes: [{kind}]\n  {section}:\n"
    );
    for rule in rules {
        let pods = |namespace: &str, app: &str| {
            format!(
                "{{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}, \
                 podSelector: {{matchLabels: {{app: {app}}}}}}}"
            )
        };
        let peer = match rule.peer {
            Peer::OtherEnd => pods(&format!("{other}s"), other),
            Peer::Remote(number) => pods("fleet", &format!("remote-{number:05}")),
            Peer::Block(number) => format!("{{ipBlock: {{cidr: {}}}}}", rules::block(number)),
        };
        let &Rule { first_port, last_port, .. } = rule;
        let end = if last_port > first_port { format!(", endPort: {last_port}") } else { String::new() };
        // Writing to a String cannot fail.
        let _ =
            writeln!(text, "  - {side}: [{peer}]\n    ports: [{{protocol: TCP, port: {first_port}{end}}}]");
    }
    text
}
