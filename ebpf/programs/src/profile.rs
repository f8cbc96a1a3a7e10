//! What verdicts and look-ups cost, measured by programs that are loaded to do so.
//!
//! [`PROFILED`] is a constant to the verifier. In programs that are not to measure it removes whatever
//! hangs on it, so that they neither run nor verify any of this.
//!
//! A time has in it what reading the clock twice takes, and whatever interrupted the program
//! meanwhile. One run in [`SAMPLED_OF`], drawn by lot, times its look-ups one by one; its verdict has
//! all those clocks in it and is counted only.

use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_get_smp_processor_id};
use core::cell::UnsafeCell;
use windrose_abi::profile::{INTERRUPTED_NS, LOOKUPS, PROCESSORS, SAMPLED_OF};
use windrose_abi::{ControlSlot, LookUpTimes, Lookup, RuleTimes, RuleTimesKey, Times};
use windrose_engine::histogram::time_bucket;

use crate::account::add;
use crate::case::Case;
use crate::{events, maps};

/// Not 0: these programs measure. Userspace writes it before they are loaded.
#[unsafe(no_mangle)]
static PROFILED: u32 = 0;

/// Whether these programs measure. Volatile, or LLVM would know the answer.
#[inline(always)]
pub(crate) fn is_on() -> bool {
    // SAFETY: a static.
    unsafe { core::ptr::read_volatile(&raw const PROFILED) != 0 }
}

/// A key that is not there is made from this; it is larger than what is left of a stack.
static NO_TIMES: RuleTimes = RuleTimes::ZERO;

/// Counts a run and draws its lot: whether it times its look-ups.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn draw_lot() -> i32 {
    let Some(row) = maps::VERDICT_TIMES.get_ptr_mut(0) else { return 0 };
    // SAFETY: a live entry, as everywhere below.
    add(unsafe { &raw mut (*row).runs }, 1);
    // SAFETY: the helper takes nothing.
    if unsafe { bpf_get_prandom_u32() } & (SAMPLED_OF - 1) != 0 {
        return 0;
    }
    // SAFETY: as above.
    add(unsafe { &raw mut (*row).sampled_runs }, 1);
    begin_look_up(Lookup::Clock as u32);
    end_look_up(Lookup::Clock as u32);
    1
}

/// [`ControlSlot::SAMPLED`] if this run is to time its look-ups, else 0.
#[inline(always)]
pub(crate) fn draw() -> u32 {
    if is_on() && draw_lot() != 0 { ControlSlot::SAMPLED } else { 0 }
}

/// Times of look-ups by processor. No map: a look-up of that would have its key on the stack, and the
/// innermost loop of a decision has no room for it.
struct LookUps(UnsafeCell<[LookUpTimes; PROCESSORS]>);

// SAFETY: programs add to it atomically, and what else they write is read on the same processor.
unsafe impl Sync for LookUps {}

#[unsafe(no_mangle)]
#[unsafe(link_section = ".bss.look_ups")]
static LOOK_UPS: LookUps = LookUps(UnsafeCell::new([LookUpTimes::ZERO; PROCESSORS]));

#[inline(always)]
fn of_this_processor() -> *mut LookUpTimes {
    // SAFETY: the helper takes nothing.
    let processor = unsafe { bpf_get_smp_processor_id() } as usize & (PROCESSORS - 1);
    // SAFETY: an entry of the array.
    unsafe { LOOK_UPS.0.get().cast::<LookUpTimes>().add(processor) }
}

/// Whether this run times its look-ups. Volatile: LLVM would follow each of the two answers to the end
/// of its function, and write that twice.
#[inline(always)]
fn is_sampled(flags: &u32) -> bool {
    // SAFETY: a reference.
    unsafe { core::ptr::from_ref(flags).read_volatile() & ControlSlot::SAMPLED != 0 }
}

#[inline(always)]
fn begin(kind: u32) {
    let (times, kind) = (of_this_processor(), kind as usize & (LOOKUPS - 1));
    // SAFETY: a live entry.
    unsafe { (&raw mut (*times).began_ns[kind]).write_volatile(events::now()) };
}

#[inline(always)]
fn end(kind: u32) {
    let (times, kind) = (of_this_processor(), kind as usize & (LOOKUPS - 1));
    let now = events::now();
    // SAFETY: as above.
    let took = now.saturating_sub(unsafe { (&raw const (*times).began_ns[kind]).read_volatile() });
    if took < INTERRUPTED_NS {
        // SAFETY: as above.
        unsafe {
            add(&raw mut (*times).sums_ns[kind], took);
            add(&raw mut (*times).counts[kind], 1);
        }
    }
}

/// In a function of its own, which takes no registers of its caller: each would go to the stack. A
/// global one, as are those below, for the reason of `judge_case`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn begin_look_up(kind: u32) -> i32 {
    begin(kind);
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn end_look_up(kind: u32) -> i32 {
    end(kind);
    0
}

/// Looks up; with its time in a run that times its look-ups.
#[inline(always)]
pub(crate) fn look_up<T>(flags: &u32, kind: Lookup, look: impl FnOnce() -> T) -> T {
    if !is_on() {
        return look();
    }
    if is_sampled(flags) {
        begin_look_up(kind as u32);
    }
    let found = look();
    if is_sampled(flags) {
        end_look_up(kind as u32);
    }
    found
}

/// Likewise, without another call: for the innermost loop, which is as deep as calls may be.
#[inline(always)]
pub(crate) fn look_up_deep<T>(flags: &u32, kind: Lookup, look: impl FnOnce() -> T) -> T {
    if !is_on() {
        return look();
    }
    if is_sampled(flags) {
        begin(kind as u32);
    }
    let found = look();
    if is_sampled(flags) {
        end(kind as u32);
    }
    found
}

/// Notes when a verdict begins.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn begin_verdict() -> i32 {
    if let Some(row) = maps::VERDICT_TIMES.get_ptr_mut(0) {
        // SAFETY: as above.
        unsafe { (&raw mut (*row).verdict_began_ns).write_volatile(events::now()) };
    }
    0
}

/// Counts the verdict that has begun, as one that was remembered. Its caller has no register to keep
/// which of the two it was.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn end_hit(case: *const Case) -> i32 {
    // SAFETY: checked for null; the only caller passes a live reference.
    if let Some(case) = unsafe { case.as_ref() } {
        end_verdict(case, true);
    }
    0
}

/// Counts the verdict that has begun, as one that was decided.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn end_miss(case: *const Case) -> i32 {
    // SAFETY: as above.
    if let Some(case) = unsafe { case.as_ref() } {
        end_verdict(case, false);
    }
    0
}

#[inline(never)]
fn end_verdict(case: &Case, is_hit: bool) {
    let now = events::now();
    let is_sampled = case.tables.flags & ControlSlot::SAMPLED != 0;
    let Some(row) = maps::VERDICT_TIMES.get_ptr_mut(0) else { return };
    // SAFETY: as above.
    let took = now.saturating_sub(unsafe { (&raw const (*row).verdict_began_ns).read_volatile() });
    let is_timed = !is_sampled && took < INTERRUPTED_NS;
    let bucket = time_bucket(took);
    // SAFETY: a live entry; a bucket is less than the number of buckets.
    unsafe {
        let (times, histogram) = if is_hit {
            (&raw mut (*row).hits, &raw mut (*row).hit_times[bucket])
        } else {
            (&raw mut (*row).misses, &raw mut (*row).miss_times[bucket])
        };
        count(times, is_timed, took);
        if !is_sampled {
            add(histogram, 1);
        }
    }
    let key = RuleTimesKey {
        rule: case.decision.enforced.rule,
        origin: case.decision.enforced.origin as u8,
        direction: case.question.direction as u8,
        verdict: case.decision.enforced.verdict as u8,
        reserved: 0,
    };
    let Some(rule) = of_rule(&key) else {
        // SAFETY: as above.
        add(unsafe { &raw mut (*row).unnamed }, 1);
        return;
    };
    // SAFETY: as above.
    let times = unsafe { if is_hit { &raw mut (*rule).hits } else { &raw mut (*rule).misses } };
    count(times, is_timed, took);
}

#[inline(always)]
fn count(times: *mut Times, is_timed: bool, took: u64) {
    // SAFETY: the callers pass a field of a live entry.
    unsafe {
        add(&raw mut (*times).verdicts, 1);
        if is_timed {
            add(&raw mut (*times).timed, 1);
            add(&raw mut (*times).sum_ns, took);
        }
    }
}

#[inline(always)]
fn of_rule(key: &RuleTimesKey) -> Option<*mut RuleTimes> {
    if let Some(row) = maps::RULE_TIMES.get_ptr_mut(key) {
        return Some(row);
    }
    // Another processor may insert between the calls: then the second look finds its entry.
    let _ = maps::RULE_TIMES.insert(key, &NO_TIMES, 1);
    maps::RULE_TIMES.get_ptr_mut(key)
}
