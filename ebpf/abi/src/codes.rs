//! Closed sets of codes; appended, never renumbered.

codes! {
    /// Whether traffic passes.
    pub enum Verdict {
        /// It passes.
        Allow = 0 => "allow",
        /// It does not.
        Deny = 1 => "deny",
    }
}

codes! {
    /// Relative to the workload that is the subject of the decision.
    pub enum Direction {
        /// It accepts.
        Ingress = 0 => "ingress",
        /// It opens.
        Egress = 1 => "egress",
    }
}

codes! {
    /// What a matching rule does. 0 in a row's slot means that the row does not exist in it.
    pub enum Action {
        /// Final: pass.
        Allow = 1 => "allow",
        /// Final: refuse.
        Deny = 2 => "deny",
        /// Go on with the next tier.
        Pass = 3 => "pass",
    }
}

codes! {
    /// The tiers in the order in which they are asked.
    pub enum Tier {
        /// `ClusterNetworkPolicy`, tier Admin.
        Admin = 0 => "admin",
        /// `NetworkPolicy`.
        Network = 1 => "network",
        /// `ClusterNetworkPolicy`, tier Baseline.
        Baseline = 2 => "baseline",
    }
}

codes! {
    /// What decided, where no rule id says it.
    pub enum Origin {
        /// A rule, named by its id.
        Rule = 0 => "rule",
        /// No policy is concerned.
        Open = 1 => "open",
        /// Source and destination are one workload, or a loopback address of none.
        Itself = 2 => "itself",
        /// Ingress from the workload's own host.
        Host = 3 => "host",
        /// The workload is isolated and no rule allows; the id names the isolating policy.
        Isolated = 4 => "isolated",
        /// It would be denied, but the namespace or the agent is in audit.
        Audit = 5 => "audit",
        /// Not policy: see the drop reason.
        None = 6 => "none",
    }
}

codes! {
    /// Why traffic was refused. Each has its own counter.
    pub enum DropReason {
        /// It was not.
        None = 0 => "none",
        /// A rule denies.
        Rule = 1 => "rule",
        /// The workload is isolated and no rule allows.
        Isolated = 2 => "isolated",
        /// The packet could not be parsed.
        Unparsable = 3 => "unparsable",
        /// A table for state had no room.
        NoRoom = 4 => "no_room",
        /// A table for policy lacks a row that another one names.
        TornTables = 5 => "torn_tables",
        /// A later fragment whose first was not seen or not allowed.
        Fragment = 6 => "fragment",
        /// The workload sends with an address of another workload.
        Spoofed = 7 => "spoofed_source",
        /// The connection was allowed once and is no longer.
        LateDenial = 8 => "late_denial",
        /// An answer of the kernel to traffic that policy refuses.
        Answer = 9 => "answer_to_refused",
        /// A code that this program does not know.
        UnknownCode = 10 => "unknown_code",
        /// A service has no ready endpoint.
        NoEndpoint = 11 => "no_endpoint",
    }
}

codes! {
    /// What an event reports.
    pub enum EventKind {
        /// A connection was established.
        Opened = 0 => "opened",
        /// It ended by itself.
        Closed = 1 => "closed",
        /// It was refused.
        Refused = 2 => "refused",
        /// It was ended because policy no longer allows it.
        EndedLate = 3 => "ended_late",
        /// Its verdict would differ if nothing were in audit.
        Audited = 4 => "audited",
        /// Nothing new: a packet of an attempt that is counted already, to be answered.
        Unanswered = 5 => "unanswered",
    }
}

codes! {
    /// How far a TCP connection is.
    pub enum Phase {
        /// The row belongs to a listener and waits to be cloned into a connection.
        Listener = 0 => "listener",
        /// The handshake is under way.
        Opening = 1 => "opening",
        /// Established, or closing.
        Open = 2 => "open",
        /// Over; the counters are final.
        Closed = 3 => "closed",
    }
}

/// IP protocol numbers.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
}
