//! Which connections and events an operator wants to see.

use crate::record::Decided;

/// Only records that have all of these.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filter {
    kind: Option<String>,
    workload: Option<String>,
    peer: Option<String>,
    protocol: Option<String>,
    direction: Option<String>,
    verdict: Option<String>,
    reason: Option<String>,
    port: Option<u16>,
}

/// What `/connections` and `/flows` can be asked for.
pub(super) const FIELDS: &[&str] =
    &["kind", "workload", "peer", "protocol", "direction", "verdict", "reason", "port"];

impl Filter {
    /// Of a query.
    ///
    /// # Errors
    ///
    /// An unknown field, or a value that no record can have.
    pub(super) fn new(query: Vec<(String, String)>) -> Result<Self, String> {
        let mut filter = Self::default();
        for (name, value) in query {
            match name.as_str() {
                "kind" => filter.kind = Some(value),
                "workload" => filter.workload = Some(value),
                "peer" => filter.peer = Some(value),
                "protocol" => filter.protocol = Some(value),
                "direction" => filter.direction = Some(one_of(&name, value, &["ingress", "egress"])?),
                "verdict" => filter.verdict = Some(one_of(&name, value, &["allow", "deny"])?),
                "reason" => filter.reason = Some(value),
                "port" => {
                    let port = value
                        .parse()
                        .map_err(|_| format!("port is `{value}`: it must be a number up to 65535"))?;
                    filter.port = Some(port);
                }
                _ => return Err(format!("unknown field `{name}`: there are {}", FIELDS.join(", "))),
            }
        }
        Ok(filter)
    }

    /// Whether a record has all that is asked for.
    pub(super) fn takes(&self, record: &Decided) -> bool {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(found))
        };
        let is_workload = |wanted: &str| {
            [&record.source, &record.destination]
                .into_iter()
                .any(|end| end.workload.as_deref() == Some(wanted))
        };
        let is_peer = |wanted: &str| {
            let peer = record.peer();
            let is_address = wanted.parse().is_ok_and(|wanted| peer.address == Some(wanted));
            peer.workload.as_deref() == Some(wanted) || is_address
        };
        is(&self.kind, &record.kind)
            && is(&self.protocol, &record.protocol)
            && is(&self.direction, &record.direction)
            && is(&self.verdict, &record.verdict)
            && is(&self.reason, &record.reason)
            && self.port.is_none_or(|port| record.destination.port == port)
            && self.workload.as_deref().is_none_or(is_workload)
            && self.peer.as_deref().is_none_or(is_peer)
    }
}

fn one_of(name: &str, value: String, known: &[&str]) -> Result<String, String> {
    if known.contains(&value.as_str()) {
        Ok(value)
    } else {
        Err(format!("{name} is `{value}`: it must be {}", known.join(" or ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::Book;
    use crate::clock::Clock;
    use windrose_datapath::abi::{Address, Event};

    fn record() -> Decided {
        let peer = Address::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1]);
        let event = Event {
            peer,
            peer_port: 443,
            protocol: 6,
            direction: 1,
            verdict: 1,
            reason: 2,
            kind: 2,
            ..Event::ZERO
        };
        crate::record::event(&event, &Book::default(), &Clock::now()).decided
    }

    fn takes(query: &str) -> bool {
        Filter::new(super::super::query::parse(query).unwrap()).unwrap().takes(&record())
    }

    #[test]
    fn every_field_narrows() {
        for query in [
            "",
            "kind=refused",
            "peer=10.0.0.1",
            "protocol=tcp",
            "direction=egress",
            "verdict=deny",
            "reason=isolated",
            "port=443",
        ] {
            assert!(takes(query), "{query}");
        }
        for query in [
            "kind=opened",
            "peer=10.0.0.2",
            "peer=a/b",
            "workload=a/b",
            "protocol=UDP",
            "direction=ingress",
            "verdict=allow",
            "reason=rule",
            "port=80",
            "verdict=deny&port=80",
        ] {
            assert!(!takes(query), "{query}");
        }
    }

    #[test]
    fn an_unknown_field_or_value_is_refused() {
        let refused =
            |name: &str, value: &str| Filter::new(vec![(name.to_owned(), value.to_owned())]).unwrap_err();
        assert!(refused("prot", "TCP").contains("unknown field `prot`"));
        assert!(refused("direction", "both").contains("ingress or egress"));
        assert!(refused("port", "99999").contains("65535"));
    }
}
