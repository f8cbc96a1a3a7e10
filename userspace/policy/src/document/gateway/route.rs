//! `gateway.networking.k8s.io/v1` `HTTPRoute`.

use std::time::Duration;

use super::super::meta::{self, Shape};
use super::super::node::{Mark, Node};
use super::super::reader::Reader;
use super::filter::{self, backend_of};
use super::matching;
use super::reference::{Target, decode_parent};
use super::text::{decode_duration, decode_hostname, decode_section};
use crate::fault::quoted;
use crate::model::{BackendRef, Filter, HttpRoute, ObjectName, PathChange, PathMatch, Retry, RouteRule};

/// Upstream's bound of matches of all rules together.
const MATCHES: usize = 128;

/// Upstream's bound of weights.
pub(super) const WEIGHT: u32 = 1_000_000;

/// More tries than this would only hide that an upstream is down.
const ATTEMPTS: u16 = 100;

/// Decodes an `HTTPRoute`.
pub(in crate::document) fn decode(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<HttpRoute> {
    let before = reader.errors();
    let mut metadata = None;
    let mut spec = None;
    let fields = ["apiVersion", "kind", "metadata", "spec", "status"];
    reader.fields(node, "HTTPRoute", &fields, |_, key, entry| match key {
        "metadata" => metadata = Some(&entry.value),
        "spec" => spec = Some(&entry.value),
        _ => {}
    });
    let meta = meta::decode(reader, node.mark, metadata, Shape::Workload);
    // Without a name the rest is read all the same: all faults in one run.
    let namespace = meta.as_ref().map_or("default", |meta| &meta.namespace).to_owned();
    let Some(spec) = spec else {
        if reader.errors() == before {
            reader.missing(node.mark, "HTTPRoute", "spec");
        }
        return None;
    };
    let (mut parents, mut hostnames, mut rules) = (Vec::new(), Vec::new(), Vec::new());
    reader.fields(spec, "spec", &["parentRefs", "hostnames", "rules"], |reader, key, entry| match key {
        "parentRefs" => {
            for item in reader.bounded_items(&entry.value, key, 0..=32) {
                parents.extend(decode_parent(reader, item, &namespace));
            }
        }
        "hostnames" => {
            for item in reader.bounded_items(&entry.value, key, 0..=16) {
                hostnames.extend(decode_hostname(reader, item));
            }
        }
        _ => rules = decode_rules(reader, &entry.value, &namespace),
    });
    let meta = meta?;
    if reader.errors() != before {
        return None;
    }
    if rules.is_empty() {
        rules.push(empty_rule(reader, spec.mark));
    }
    if parents.is_empty() {
        reader.warn(meta.mark, "this HTTPRoute has no `parentRefs`: it is attached to no gateway");
    }
    hostnames.sort();
    hostnames.dedup();
    Some(HttpRoute {
        name: ObjectName { namespace, name: meta.name },
        created: meta.created,
        parents,
        hostnames,
        rules,
        place: reader.place(meta.mark),
    })
}

fn empty_rule(reader: &Reader<'_>, mark: Mark) -> RouteRule {
    RouteRule {
        name: String::new(),
        matches: vec![matching::everything()],
        filters: Vec::new(),
        backends: Vec::new(),
        request_timeout: None,
        try_timeout: None,
        retry: None,
        place: reader.place(mark),
    }
}

fn decode_rules(reader: &mut Reader<'_>, node: &Node<'_>, namespace: &str) -> Vec<RouteRule> {
    let mut rules: Vec<RouteRule> = Vec::new();
    for item in reader.bounded_items(node, "rules", 1..=16) {
        let rule = decode_rule(reader, item, namespace);
        if let Some(first) = rules.iter().find(|other| !rule.name.is_empty() && other.name == rule.name) {
            let message = format!("rule {} is here twice, first at {}", quoted(&rule.name), first.place);
            reader.error(item.mark, message);
        }
        rules.push(rule);
    }
    let matches: usize = rules.iter().map(|rule| rule.matches.len()).sum();
    if matches > MATCHES {
        let message = format!(
            "the rules have {matches} matches together; at most {MATCHES} are allowed: split the route"
        );
        reader.error(node.mark, message);
    }
    rules
}

fn decode_rule(reader: &mut Reader<'_>, node: &Node<'_>, namespace: &str) -> RouteRule {
    const FIELDS: [&str; 7] =
        ["name", "matches", "filters", "backendRefs", "timeouts", "retry", "sessionPersistence"];
    let before = reader.errors();
    let mut rule = RouteRule { matches: Vec::new(), ..empty_rule(reader, node.mark) };
    let mut filters = Vec::new();
    reader.fields(node, "a rule", &FIELDS, |reader, key, entry| match key {
        "name" => rule.name = decode_section(reader, &entry.value, key).unwrap_or_default(),
        "matches" => {
            for item in reader.bounded_items(&entry.value, key, 0..=64) {
                rule.matches.push(matching::decode(reader, item));
            }
        }
        "filters" => filters = filter::decode_all(reader, &entry.value, namespace),
        "backendRefs" => {
            for item in reader.bounded_items(&entry.value, key, 0..=16) {
                rule.backends.extend(decode_backend(reader, item, namespace));
            }
        }
        "timeouts" => decode_timeouts(reader, &entry.value, &mut rule),
        "retry" => rule.retry = Some(decode_retry(reader, &entry.value)),
        _ => reader.error(entry.mark, "`sessionPersistence` is not served by this version: remove it"),
    });
    if rule.matches.is_empty() {
        rule.matches.push(matching::everything());
    }
    if reader.errors() == before {
        for (mark, filter) in &filters {
            check_filter(reader, *mark, filter, &rule);
        }
    }
    rule.filters = filters.into_iter().map(|(_, filter)| filter).collect();
    rule
}

/// What a filter asks of the rest of its rule.
fn check_filter(reader: &mut Reader<'_>, mark: Mark, filter: &Filter, rule: &RouteRule) {
    let path = match filter {
        Filter::Redirect(redirect) => {
            if !rule.backends.is_empty() {
                reader.error(mark, "a redirect is answered here: its rule has no `backendRefs`");
            }
            redirect.path.as_ref()
        }
        Filter::Rewrite(rewrite) => rewrite.path.as_ref(),
        Filter::RequestHeaders(_) | Filter::ResponseHeaders(_) | Filter::Mirror(_) | Filter::Cors(_) => None,
    };
    let has_one_prefix =
        matches!(rule.matches.as_slice(), [only] if matches!(only.path, PathMatch::Prefix(_)));
    if matches!(path, Some(PathChange::Prefix(_))) && !has_one_prefix {
        reader.error(mark, "ReplacePrefixMatch needs a rule with exactly one match, of type PathPrefix");
    }
}

fn decode_backend(reader: &mut Reader<'_>, node: &Node<'_>, namespace: &str) -> Option<BackendRef> {
    const FIELDS: [&str; 7] = ["group", "kind", "namespace", "name", "port", "weight", "filters"];
    let before = reader.errors();
    let mut target = Target::default();
    let mut weight = 1;
    let mut filters = Vec::new();
    reader.fields(node, "a backendRef", &FIELDS, |reader, key, entry| match key {
        "weight" => weight = reader.integer_up_to(&entry.value, key, 0..=WEIGHT).unwrap_or(weight),
        "filters" => filters = filter::decode_all(reader, &entry.value, namespace),
        _ => target.field(reader, key, &entry.value),
    });
    if reader.errors() != before {
        return None;
    }
    for (mark, filter) in &filters {
        if !matches!(filter, Filter::RequestHeaders(_) | Filter::ResponseHeaders(_)) {
            let message = "a backendRef's filters change headers only: write this one at its rule";
            reader.error(*mark, message);
        }
    }
    let mut backend = backend_of(reader, node, &target, namespace)?;
    backend.weight = weight;
    backend.filters = filters.into_iter().map(|(_, filter)| filter).collect();
    Some(backend)
}

fn decode_timeouts(reader: &mut Reader<'_>, node: &Node<'_>, rule: &mut RouteRule) {
    let mut at = node.mark;
    let (mut whole, mut of_try) = (None, None);
    reader.fields(node, "timeouts", &["request", "backendRequest"], |reader, key, entry| {
        let duration = decode_duration(reader, &entry.value, key);
        if key == "request" {
            whole = duration;
        } else {
            (at, of_try) = (entry.value.mark, duration);
        }
    });
    let bounded = |duration: Option<Duration>| duration.filter(|duration| !duration.is_zero());
    (rule.request_timeout, rule.try_timeout) = (bounded(whole), bounded(of_try));
    if let (Some(whole), Some(of_try)) = (rule.request_timeout, rule.try_timeout)
        && of_try > whole
    {
        reader.error(at, "backendRequest must not be longer than request");
    }
}

fn decode_retry(reader: &mut Reader<'_>, node: &Node<'_>) -> Retry {
    let mut retry = Retry { codes: Vec::new(), attempts: None, backoff: None };
    reader.fields(node, "retry", &["codes", "attempts", "backoff"], |reader, key, entry| match key {
        "codes" => {
            for item in reader.bounded_items(&entry.value, key, 0..=200) {
                retry.codes.extend(reader.integer(item, "a code", 400..=599));
            }
        }
        "attempts" => {
            retry.attempts = reader.integer(&entry.value, key, 1..=ATTEMPTS).map(u32::from);
        }
        _ => retry.backoff = decode_duration(reader, &entry.value, key),
    });
    retry.codes.sort_unstable();
    retry.codes.dedup();
    retry
}
