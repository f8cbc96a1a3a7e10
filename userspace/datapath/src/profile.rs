//! What verdicts and look-ups cost, as the kernel measures it while it is told to.

use std::mem::offset_of;
use std::ops::{AddAssign, Sub};
use std::os::fd::AsFd as _;

use aya::maps::{Map, MapData, PerCpuArray, PerCpuHashMap, PerCpuValues};
use windrose_abi::profile::{PROCESSORS, TIME_BUCKETS};
use windrose_abi::{LookUpTimes, Lookup, RuleTimes, RuleTimesKey, Times, VerdictTimes};

use crate::datapath::{Datapath, Loaded};
use crate::error::DatapathError;
use crate::maps::Capacities;
use crate::pins::Pins;
use crate::sys;

/// The section of the object that holds times of look-ups.
const LOOK_UPS: &str = ".bss.look_ups";

/// Verdicts of one sort: how many, how many of them were timed, and their times. Each time has in it
/// what reading the clock twice takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// Verdicts.
    pub verdicts: u64,
    /// Of them, those that were timed: neither in a sampled run nor interrupted.
    pub timed: u64,
    /// Sum of their times, nanoseconds.
    pub sum_ns: u64,
}

/// Look-ups of one kind that were timed. Each time has in it what reading the clock twice takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LookUps {
    /// What was looked into.
    pub kind: Lookup,
    /// How many, without the interrupted.
    pub count: u64,
    /// Sum of the times, nanoseconds.
    pub sum_ns: u64,
}

/// Everything measured since the programs were loaded, summed over processors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// Verdicts found among the decisions made a moment ago.
    pub hits: Spent,
    /// Verdicts that were decided.
    pub misses: Spent,
    /// Histogram of hits: see [`TIME_BUCKETS`].
    pub hit_times: [u64; TIME_BUCKETS],
    /// Histogram of misses.
    pub miss_times: [u64; TIME_BUCKETS],
    /// Verdicts by what decided.
    pub rules: Vec<(RuleTimesKey, [Spent; 2])>,
    /// Verdicts for whose rule there was no room.
    pub unnamed: u64,
    /// Runs that looked at policy.
    pub runs: u64,
    /// Of them, those whose look-ups were timed.
    pub sampled_runs: u64,
    /// Look-ups of sampled runs.
    pub look_ups: Vec<LookUps>,
}

impl AddAssign<&Times> for Spent {
    fn add_assign(&mut self, times: &Times) {
        self.verdicts += times.verdicts;
        self.timed += times.timed;
        self.sum_ns += times.sum_ns;
    }
}

impl Sub for Spent {
    type Output = Self;

    /// What came since `before`; nothing where it was more.
    fn sub(self, before: Self) -> Self {
        Self {
            verdicts: self.verdicts.saturating_sub(before.verdicts),
            timed: self.timed.saturating_sub(before.timed),
            sum_ns: self.sum_ns.saturating_sub(before.sum_ns),
        }
    }
}

impl Default for Measured {
    /// Nothing.
    fn default() -> Self {
        let none = |kind: Lookup| LookUps { kind, count: 0, sum_ns: 0 };
        Self {
            hits: Spent::default(),
            misses: Spent::default(),
            hit_times: [0; TIME_BUCKETS],
            miss_times: [0; TIME_BUCKETS],
            rules: Vec::new(),
            unnamed: 0,
            runs: 0,
            sampled_runs: 0,
            look_ups: Lookup::ALL.iter().copied().map(none).collect(),
        }
    }
}

/// What is needed to load programs that measure.
#[derive(Debug)]
pub struct Timer {
    pins: Pins,
    capacities: Capacities,
}

/// Programs that measure, attached nowhere.
#[derive(Debug)]
pub struct TimedPrograms(Loaded);

impl Timer {
    /// Loads them; blocks for as long as the verifier takes, a second or more.
    pub fn load(self) -> Result<TimedPrograms, DatapathError> {
        Loaded::new(&self.pins, &self.capacities, true).map(TimedPrograms)
    }
}

impl Measured {
    /// What was measured since `before`, which was read from the same programs.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let times = |now: &[u64; TIME_BUCKETS], before: &[u64; TIME_BUCKETS]| {
            std::array::from_fn(|n| now[n].saturating_sub(before[n]))
        };
        let rules = self.rules.iter().filter_map(|(key, now)| {
            let was = before.rules.iter().find(|(known, _)| known == key);
            let was = was.map_or_else(Default::default, |(_, spent)| *spent);
            let spent = [now[0] - was[0], now[1] - was[1]];
            (spent[0].verdicts + spent[1].verdicts > 0).then_some((*key, spent))
        });
        let look_ups = self.look_ups.iter().map(|now| {
            let was = before.look_ups.iter().find(|was| was.kind == now.kind);
            LookUps {
                kind: now.kind,
                count: now.count.saturating_sub(was.map_or(0, |was| was.count)),
                sum_ns: now.sum_ns.saturating_sub(was.map_or(0, |was| was.sum_ns)),
            }
        });
        Self {
            hits: self.hits - before.hits,
            misses: self.misses - before.misses,
            hit_times: times(&self.hit_times, &before.hit_times),
            miss_times: times(&self.miss_times, &before.miss_times),
            rules: rules.collect(),
            unnamed: self.unnamed.saturating_sub(before.unnamed),
            runs: self.runs.saturating_sub(before.runs),
            sampled_runs: self.sampled_runs.saturating_sub(before.sampled_runs),
            look_ups: look_ups.collect(),
        }
    }
}

impl Datapath {
    /// What is needed to load the programs that measure; `None`: that was done before. For whoever does
    /// not want to have the data path meanwhile.
    pub fn timer(&self) -> Option<Timer> {
        self.timed.is_none().then(|| Timer { pins: self.pins.clone(), capacities: self.capacities.clone() })
    }

    /// Keeps programs that measure for when they are needed.
    pub fn keep_timed(&mut self, timed: TimedPrograms) {
        self.timed.get_or_insert(timed.0);
    }

    /// Has verdicts timed from now on, or no longer, whatever policy comes: other programs take the
    /// place of those that are attached, one after the other and none of them missing for a moment.
    /// Blocks for as long as the verifier takes where they are not loaded yet. If it fails it is as
    /// before.
    pub fn set_profiling(&mut self, is_on: bool) -> Result<(), DatapathError> {
        if is_on && let Some(timer) = self.timer() {
            self.keep_timed(timer.load()?);
        }
        let switched = self.switch(is_on);
        if switched.is_err() && is_on {
            // Some may measure already. What is said is why that was not wanted of all.
            self.is_timed = true;
            let _ = self.switch(false);
        }
        switched
    }

    /// Waits until every program that was running at the call has ended.
    pub fn settle(&self) -> Result<(), DatapathError> {
        sys::wait_for_programs().map_err(DatapathError::call("waiting for running programs"))
    }

    /// Forgets the times of rules, so that there is room for those to come.
    pub fn clear_rule_times(&mut self) -> Result<(), DatapathError> {
        let Some(timed) = &mut self.timed else { return Ok(()) };
        let map = timed.ebpf.map_mut("RULE_TIMES").ok_or_else(|| missing("RULE_TIMES"))?;
        let mut rules = PerCpuHashMap::<_, RuleTimesKey, RuleTimes>::try_from(map).map_err(reading)?;
        let keys: Vec<RuleTimesKey> = rules.keys().collect::<Result<_, _>>().map_err(reading)?;
        for key in keys {
            match rules.remove(&key) {
                Ok(()) | Err(aya::maps::MapError::KeyNotFound) => {}
                Err(error) => return Err(reading(error)),
            }
        }
        Ok(())
    }

    /// What the programs have measured so far.
    pub fn measured(&self) -> Result<Measured, DatapathError> {
        let mut measured = Measured::default();
        let Some(programs) = &self.timed else { return Ok(measured) };
        measured.look_ups = programs.look_ups()?;
        let verdicts: PerCpuArray<&MapData, VerdictTimes> =
            programs.map("VERDICT_TIMES")?.try_into().map_err(reading)?;
        let rules: PerCpuHashMap<&MapData, RuleTimesKey, RuleTimes> =
            programs.map("RULE_TIMES")?.try_into().map_err(reading)?;
        for times in verdicts.get(&0, 0).map_err(reading)?.iter() {
            measured.hits += &times.hits;
            measured.misses += &times.misses;
            measured.unnamed += times.unnamed;
            measured.runs += times.runs;
            measured.sampled_runs += times.sampled_runs;
            for (sum, count) in measured.hit_times.iter_mut().zip(times.hit_times) {
                *sum += count;
            }
            for (sum, count) in measured.miss_times.iter_mut().zip(times.miss_times) {
                *sum += count;
            }
        }
        for rule in &rules {
            let (key, times): (_, PerCpuValues<RuleTimes>) = rule.map_err(reading)?;
            let mut spent = [Spent::default(); 2];
            for times in times.iter() {
                spent[0] += &times.hits;
                spent[1] += &times.misses;
            }
            measured.rules.push((key, spent));
        }
        Ok(measured)
    }
}

impl Loaded {
    fn map(&self, name: &'static str) -> Result<&Map, DatapathError> {
        self.ebpf.map(name).ok_or_else(|| missing(name))
    }

    fn look_ups(&self) -> Result<Vec<LookUps>, DatapathError> {
        const WORDS: usize = size_of::<LookUpTimes>() / 8;
        let Map::Array(map) = self.map(LOOK_UPS)? else { return Err(missing(LOOK_UPS)) };
        let mut words = vec![0_u64; PROCESSORS * WORDS];
        sys::map_lookup_words(map.fd().as_fd(), 0, &mut words)
            .map_err(DatapathError::call(format!("reading map {LOOK_UPS}")))?;
        let sum = |at: usize| words.chunks_exact(WORDS).map(|times| times[at]).sum();
        let counts_at = offset_of!(LookUpTimes, counts) / 8;
        let sums_at = offset_of!(LookUpTimes, sums_ns) / 8;
        let of = |kind: Lookup| LookUps {
            kind,
            count: sum(counts_at + kind as usize),
            sum_ns: sum(sums_at + kind as usize),
        };
        Ok(Lookup::ALL.iter().copied().map(of).collect())
    }
}

fn missing(name: &'static str) -> DatapathError {
    DatapathError::Object { what: "map", name }
}

fn reading(error: aya::maps::MapError) -> DatapathError {
    DatapathError::call("reading what programs have measured")(std::io::Error::other(error))
}
