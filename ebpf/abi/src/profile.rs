//! What the kernel measures of its own decisions while a profile runs.

/// Buckets of a histogram of times. Each power of two has four: bucket `4 * n + m` counts from
/// `(4 + m) * 2^(n - 2)` ns on, for `n` of 2 and more; below, bucket `4 * n` counts from `2^n` ns on,
/// bucket 0 also 0. The last one counts everything above.
pub const TIME_BUCKETS: usize = 128;

/// The least time that a bucket counts, nanoseconds. The three buckets after bucket 0 and those after
/// bucket 4 count nothing.
pub const fn floor_ns(bucket: usize) -> u64 {
    let (octave, quarter) = (bucket / 4, bucket as u64 % 4);
    match octave {
        0 if quarter == 0 => 0,
        0 | 1 => (octave as u64 + (quarter != 0) as u64) * 2,
        _ => (4 + quarter) << (octave - 2),
    }
}

/// Room for kinds of look-ups.
pub const LOOKUPS: usize = 16;

/// One run in so many times its look-ups one by one, a power of two. Its verdict is counted and not
/// timed.
pub const SAMPLED_OF: u32 = 16;

/// A verdict or look-up that took so long, in nanoseconds, was interrupted by something else. Histograms
/// have it, sums do not: one of them would outweigh hundreds of others.
pub const INTERRUPTED_NS: u64 = 1 << 16;

/// Rules that `RULE_TIMES` has room for.
pub const RULES_TIMED: usize = 4096;

codes! {
    /// A kind of look-up, by what it looks into.
    pub enum Lookup {
        /// Nothing: what reading the clock twice takes, which is in every other time.
        Clock = 0 => "clock",
        /// `CGROUPS`, once for each level at which workloads are, until one is found.
        Cgroup = 1 => "cgroups",
        /// `WORKLOADS`.
        Workload = 2 => "workloads",
        /// `ADDRESSES`.
        Address = 3 => "addresses",
        /// `PREFIXES`.
        Prefix = 4 => "prefixes",
        /// `PEER_LISTS`.
        PeerList = 5 => "peer_lists",
        /// `POLICY_SETS`.
        PolicySet = 6 => "policy_sets",
        /// `RULE_SETS`.
        RuleSet = 7 => "rule_sets",
        /// `RULES`.
        Rule = 8 => "rules",
        /// `PORT_NAMES`.
        PortNames = 9 => "port_names",
        /// `DECISIONS`, the decisions made a moment ago on the same processor.
        Decision = 10 => "decisions",
        /// `SERVICES`.
        Service = 11 => "services",
        /// `ENDPOINTS`.
        Endpoint = 12 => "endpoints",
        /// `BALANCE_TABLES`.
        BalanceTable = 13 => "balance_tables",
    }
}

const _: () = assert!(Lookup::ALL.len() <= LOOKUPS);

layout! {
    /// Verdicts of one sort and the time they took, from the resolution of the peer's address to the
    /// decision.
    pub struct Times {
        /// Verdicts.
        pub verdicts: u64,
        /// Of them, those that were timed: all but those of sampled runs and the interrupted.
        pub timed: u64,
        /// Sum of their times, nanoseconds.
        pub sum_ns: u64,
    }
}

layout! {
    /// The one value of `VERDICT_TIMES`, per processor.
    pub struct VerdictTimes {
        /// When the verdict under way began. Here and not on the stack, which has no room for it: a
        /// verdict that is interrupted by another one on its processor is taken for shorter.
        pub verdict_began_ns: u64,
        /// Verdicts found among the decisions made a moment ago.
        pub hits: Times,
        /// Verdicts that were decided.
        pub misses: Times,
        /// Verdicts whose rule found no room in `RULE_TIMES`.
        pub unnamed: u64,
        /// Runs that looked at policy.
        pub runs: u64,
        /// Of them, those whose look-ups were timed.
        pub sampled_runs: u64,
        /// Histogram of `hits`, nanoseconds, without those of sampled runs.
        pub hit_times: [u64; TIME_BUCKETS],
        /// Histogram of `misses`, nanoseconds.
        pub miss_times: [u64; TIME_BUCKETS],
    }
}

layout! {
    /// Look-ups of sampled runs of one processor: an entry of the section `.bss.look_ups`.
    pub struct LookUpTimes {
        /// When the last look-up began, by [`Lookup`]. One that another interrupts is taken for shorter.
        pub began_ns: [u64; LOOKUPS],
        /// How many have ended, without the interrupted.
        pub counts: [u64; LOOKUPS],
        /// The time they took, nanoseconds.
        pub sums_ns: [u64; LOOKUPS],
    }
}

/// Processors that time their look-ups apart, a power of two; those above share an entry.
pub const PROCESSORS: usize = 256;

layout! {
    /// Key of `RULE_TIMES`.
    pub struct RuleTimesKey {
        /// The rule that decided; 0 if `origin` is not a rule.
        pub rule: u32,
        /// See [`crate::Origin`].
        pub origin: u8,
        /// See [`crate::Direction`].
        pub direction: u8,
        /// See [`crate::Verdict`].
        pub verdict: u8,
        /// Zero.
        pub reserved: u8,
    }
}

layout! {
    /// Value of `RULE_TIMES`, per processor.
    pub struct RuleTimes {
        /// Verdicts found among the decisions made a moment ago.
        pub hits: Times,
        /// Verdicts that were decided.
        pub misses: Times,
    }
}
