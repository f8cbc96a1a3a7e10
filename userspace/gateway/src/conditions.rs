//! What policy cannot know of conditions: whether a certificate can be used, whether a socket is open.

use windrose_policy::model::ObjectName;
use windrose_policy::routing::{Condition, ConditionType, GatewayStatus, ListenerStatus, Reason, Statuses};

/// A listener, by its gateway and its name.
pub(crate) type Which<'a> = (&'a ObjectName, &'a str);

/// Sets a condition of a listener that does not hold, and with it that of its gateway.
pub(crate) fn refuse(
    statuses: &mut Statuses,
    (gateway, listener): Which<'_>,
    kind: ConditionType,
    (reason, message): (Reason, String),
) {
    let Some(status) = statuses.gateways.get_mut(gateway) else { return };
    let Some(of) = status.listeners.iter_mut().find(|status| status.name == listener) else { return };
    set(&mut of.conditions, Condition { kind, is_true: false, reason, message });
    if kind == ConditionType::Programmed {
        sum_up(status);
    }
}

fn set(conditions: &mut Vec<Condition>, condition: Condition) {
    match conditions.iter_mut().find(|this| this.kind == condition.kind) {
        Some(this) => *this = condition,
        None => conditions.push(condition),
    }
}

/// A gateway is programmed if one of its listeners is; the message tells of those that are not.
fn sum_up(gateway: &mut GatewayStatus) {
    let programmed = |listener: &ListenerStatus| {
        listener.conditions.iter().find(|condition| condition.kind == ConditionType::Programmed).cloned()
    };
    let of: Vec<(&str, Condition)> = gateway
        .listeners
        .iter()
        .filter_map(|listener| Some((listener.name.as_str(), programmed(listener)?)))
        .collect();
    let failed: Vec<&(&str, Condition)> = of.iter().filter(|(_, condition)| !condition.is_true).collect();
    let Some((_, first)) = failed.first() else { return };
    let message = failed
        .iter()
        .filter(|(_, condition)| !condition.message.is_empty())
        .map(|(name, condition)| format!("listener {name}: {}", condition.message))
        .collect::<Vec<_>>()
        .join("; ");
    let is_true = failed.len() < of.len();
    let reason = if is_true { Reason::Programmed } else { first.reason };
    set(&mut gateway.conditions, Condition { kind: ConditionType::Programmed, is_true, reason, message });
}
