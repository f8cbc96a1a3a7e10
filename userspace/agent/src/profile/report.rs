//! A profile as JSON has it: what was measured, and what was taken off.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::book::RuleView;

/// The report of one profile. Every time is in nanoseconds, and what measuring takes is taken off
/// unless it says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// When it began, RFC 3339.
    pub(crate) began: String,
    /// How long verdicts were timed.
    pub(crate) seconds: f64,
    /// Of the agent.
    pub(crate) version: String,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// Processors of the machine.
    pub(crate) processors: usize,
    /// The policy in force at the end.
    pub(crate) generation: u64,
    /// What measuring took.
    pub(crate) measuring: Measuring,
    /// Every program, the most expensive first.
    pub(crate) hooks: Vec<HookCost>,
    /// Verdicts found among the decisions made a moment ago on the same processor.
    pub(crate) hits: VerdictCost,
    /// Verdicts that were decided.
    pub(crate) misses: VerdictCost,
    /// Verdicts by what decided, the most expensive first.
    pub(crate) rules: Vec<RuleCost>,
    /// Verdicts whose rule is none of `rules`, because there was no room for more of them.
    pub(crate) verdicts_of_other_rules: u64,
    /// Look-ups by what was looked into.
    pub(crate) look_ups: Vec<LookUpCost>,
    /// Runs of programs that looked at policy.
    pub(crate) runs: u64,
    /// Of them, those whose look-ups were timed one by one, drawn by lot.
    pub(crate) sampled_runs: u64,
    /// Every map, the largest first.
    pub(crate) maps: Vec<MapCost>,
}

/// What measuring took, as measured in this profile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the unit, as everywhere in JSON")]
pub(crate) struct Measuring {
    /// The kernel's run statistics: in the run time of every run, and taken off.
    pub(crate) statistics_in_run_time_ns: f64,
    /// By how much they make a run longer; `None`: they were on already.
    pub(crate) statistics_per_run_ns: Option<f64>,
    /// Reading the clock twice: in every timed verdict and look-up, and taken off (histograms have it).
    /// `None`: nothing was timed.
    pub(crate) clock_ns: Option<f64>,
}

/// What a program costs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct HookCost {
    pub(crate) program: String,
    /// Where it is attached.
    pub(crate) hook: String,
    pub(crate) runs: u64,
    pub(crate) runs_per_second: f64,
    /// `None`: it did not run.
    pub(crate) ns_per_run: Option<f64>,
    /// Share of one processor, 0 to 1 for each processor.
    pub(crate) cpu_share: f64,
    /// As the kernel counts it, with what statistics take.
    pub(crate) counted_run_time_ns: u64,
    /// Instructions that the verifier walked; it refuses more than a million.
    pub(crate) verified_instructions: u32,
    /// Instructions that it has.
    pub(crate) instructions: u32,
    pub(crate) machine_code_bytes: u32,
    /// Memory of its instructions by the kernel's account, in whole pages.
    pub(crate) memory_bytes: u64,
}

/// Verdicts of one sort, from the resolution of the peer's address to the decision.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct VerdictCost {
    pub(crate) verdicts: u64,
    pub(crate) per_second: f64,
    /// Those that the mean is of: not those of sampled runs, nor what was interrupted for long.
    pub(crate) timed: u64,
    pub(crate) mean_ns: Option<f64>,
    pub(crate) p50_ns: Option<f64>,
    pub(crate) p90_ns: Option<f64>,
    pub(crate) p99_ns: Option<f64>,
    /// From the first bucket that has some to the last. What reading the clock takes is in it.
    pub(crate) histogram: Vec<Bucket>,
}

/// A bucket of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bucket {
    /// The least time in it.
    pub(crate) from_ns: u64,
    /// The least time above it; the same as `from_ns` for the last, which has no end.
    pub(crate) to_ns: u64,
    pub(crate) count: u64,
}

/// Verdicts by one rule, or by what decided where no rule did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RuleCost {
    /// `None`: no rule decided, or it is of a policy long gone.
    pub(crate) rule: Option<Arc<RuleView>>,
    /// `rule`, `isolated`, `open`, ...
    pub(crate) origin: String,
    /// `ingress` or `egress`.
    pub(crate) direction: String,
    /// `allow` or `deny`.
    pub(crate) verdict: String,
    /// Verdicts that were remembered.
    pub(crate) hits: u64,
    /// Verdicts that were decided.
    pub(crate) misses: u64,
    pub(crate) ns_per_hit: Option<f64>,
    pub(crate) ns_per_miss: Option<f64>,
    /// All of its verdicts together, those that were not timed at the mean of the others.
    pub(crate) total_ns: f64,
}

impl RuleCost {
    /// `shop/cart ingress[0]`, or what decided.
    pub(crate) fn name(&self) -> String {
        match &self.rule {
            Some(rule) => format!("{} {}", rule.policy(), rule.rule()),
            None => format!("{}, {}", self.origin, self.direction),
        }
    }

    /// `file:line:column`, or nothing.
    pub(crate) fn place(&self) -> String {
        self.rule.as_ref().map(|rule| rule.place()).unwrap_or_default()
    }
}

/// Look-ups of one kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct LookUpCost {
    /// The map that was looked into.
    pub(crate) map: String,
    /// Look-ups that were timed.
    pub(crate) timed: u64,
    /// In a run that looks at policy, in the mean.
    pub(crate) per_run: f64,
    /// Of all runs, taking the sampled ones for all.
    pub(crate) per_second: f64,
    pub(crate) mean_ns: Option<f64>,
    /// Share of one processor, taking the sampled ones for all.
    pub(crate) cpu_share: f64,
}

/// A map.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MapCost {
    /// Its name; `.rodata` and `.bss` are the constants and variables of the programs.
    pub(crate) map: String,
    pub(crate) key_bytes: u32,
    /// Of one processor's where each has its own.
    pub(crate) value_bytes: u32,
    /// `None`: nobody counts them.
    pub(crate) entries: Option<usize>,
    /// 0: no limit.
    pub(crate) capacity: u32,
    /// By the kernel's account. Of socket storage only the heads.
    pub(crate) memory_bytes: u64,
}
