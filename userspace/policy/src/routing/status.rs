//! Conditions of gateway objects, with the reasons that upstream names.

use std::collections::BTreeMap;

use crate::model::{ObjectName, RouteKind};

/// The conditions of every gateway object that is ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statuses {
    /// By name.
    pub classes: BTreeMap<String, ClassStatus>,
    /// By (namespace, name).
    pub gateways: BTreeMap<ObjectName, GatewayStatus>,
    /// `HTTPRoute`s by (namespace, name); routes that ask for none of our gateways are not here.
    pub routes: BTreeMap<ObjectName, RouteStatus>,
    /// `TCPRoute`s and `UDPRoute`s, likewise, by kind and (namespace, name).
    pub transport_routes: BTreeMap<(RouteKind, ObjectName), RouteStatus>,
}

/// Of a `GatewayClass`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassStatus {
    /// Accepted.
    pub conditions: Vec<Condition>,
}

/// Of a Gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayStatus {
    /// Accepted and Programmed.
    pub conditions: Vec<Condition>,
    /// In the order of writing.
    pub listeners: Vec<ListenerStatus>,
}

/// Of one listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// The kinds of routes it takes.
    pub supported_kinds: Vec<&'static str>,
    /// So many routes were accepted here.
    pub attached_routes: u32,
    /// Accepted, Conflicted, `ResolvedRefs` and Programmed.
    pub conditions: Vec<Condition>,
}

/// Of a route.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteStatus {
    /// For each `parentRef` to a gateway of ours, in the order of writing.
    pub parents: Vec<ParentStatus>,
}

/// What one parent says of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentStatus {
    /// The index in `parentRefs`.
    pub index: usize,
    /// The gateway.
    pub gateway: ObjectName,
    /// Accepted and `ResolvedRefs`.
    pub conditions: Vec<Condition>,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Of what.
    pub kind: ConditionType,
    /// Whether it holds.
    pub is_true: bool,
    /// Why, as upstream names it.
    pub reason: Reason,
    /// Why, in words; empty where the reason says it all.
    pub message: String,
}

impl Condition {
    /// One that holds, without further words.
    pub(super) fn yes(kind: ConditionType, reason: Reason) -> Self {
        Self { kind, is_true: true, reason, message: String::new() }
    }

    /// One that does not hold.
    pub(super) fn no(kind: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        Self { kind, is_true: false, reason, message: message.into() }
    }
}

/// What a condition is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "upstream's names")]
pub enum ConditionType {
    Accepted,
    Conflicted,
    ResolvedRefs,
    Programmed,
}

impl ConditionType {
    /// As upstream writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Conflicted => "Conflicted",
            Self::ResolvedRefs => "ResolvedRefs",
            Self::Programmed => "Programmed",
        }
    }
}

macro_rules! reasons {
    ($($name:ident),* $(,)?) => {
        /// Why a condition is as it is: upstream's names.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "upstream's names")]
        pub enum Reason {
            $($name),*
        }

        impl Reason {
            /// As upstream writes it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name)),*
                }
            }
        }
    };
}

reasons! {
    Accepted,
    AddressNotUsable,
    BackendNotFound,
    HostnameConflict,
    Invalid,
    InvalidCertificateRef,
    InvalidKind,
    InvalidParameters,
    InvalidRouteKinds,
    ListenersNotValid,
    NoConflicts,
    NoMatchingListenerHostname,
    NoMatchingParent,
    NotAllowedByListeners,
    Pending,
    PortUnavailable,
    Programmed,
    ProtocolConflict,
    RefNotPermitted,
    ResolvedRefs,
    UnsupportedAddress,
    UnsupportedProtocol,
}
