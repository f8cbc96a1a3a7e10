//! What is counted of exchanges, by names from policy: gateway, listener, route.
//!
//! Series outlive snapshots: a counter does not go back because a file changed. Each worker counts in
//! cells of its own, so that no two processors write to one line of cache; a scrape adds them up.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use windrose_policy::model::ObjectName;

use crate::refusal::Blame;

/// Bounds of times: bucket n has those below 2^(n+8) us, the last one all others. 256 us to 16.8 s.
pub const TIMES: usize = 18;

/// The first bucket's bound is 2 to this, in microseconds.
const FIRST_BIT: usize = 8;

/// Classes of status: none (the client was gone before a response), then 1xx to 5xx.
pub const CLASSES: usize = 6;

/// Nobody, downstream, upstream, gateway.
const BLAMES: usize = 4;

/// The names of a series. All of them are from policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Names {
    /// `None`: the request was refused before its listener was known.
    pub gateway: Option<ObjectName>,
    /// The listener's name; empty as above.
    pub listener: String,
    /// `None`: no route took the request.
    pub route: Option<ObjectName>,
}

/// The exchanges of one set of names.
#[derive(Debug)]
pub struct Series {
    names: Names,
    /// By worker; a worker that never counted here has none.
    workers: Box<[OnceLock<Box<Cells>>]>,
}

#[derive(Debug, Default)]
struct Cells {
    exchanges: [[AtomicU64; BLAMES]; CLASSES],
    times: [AtomicU64; TIMES],
    sum_us: AtomicU64,
}

/// A series added up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Its names.
    pub names: Names,
    /// Exchanges by class of status (the first has none, the next is 1xx) and blame (the first is nobody's, then those
    /// of [`Blame::ALL`]).
    pub exchanges: [[u64; BLAMES]; CLASSES],
    /// How long they took, to the last byte, by bucket.
    pub times: [u64; TIMES],
    /// Microseconds of all of them.
    pub sum_us: u64,
}

impl Reading {
    /// The upper bound of a bucket of `times`; `None` is the last one, which has none.
    pub fn bound(bucket: usize) -> Option<Duration> {
        (bucket + 1 < TIMES).then(|| Duration::from_micros(1 << (bucket + FIRST_BIT)))
    }
}

impl Series {
    fn new(names: Names, workers: usize) -> Self {
        Self { names, workers: (0..workers.max(1)).map(|_| OnceLock::new()).collect() }
    }

    /// Its names.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Counts an exchange that has ended.
    pub(crate) fn count(&self, worker: usize, status: u16, blame: Option<Blame>, took: Duration) {
        let Some(slot) = self.workers.get(worker).or(self.workers.first()) else { return };
        let cells = slot.get_or_init(Box::default);
        let class = usize::from(status / 100).min(CLASSES - 1);
        let blame = blame.map_or(0, |blame| 1 + blame as usize);
        cells.exchanges[class][blame].fetch_add(1, Relaxed);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        cells.times[bucket(us)].fetch_add(1, Relaxed);
        cells.sum_us.fetch_add(us, Relaxed);
    }

    fn read(&self) -> Reading {
        let mut reading = Reading {
            names: self.names.clone(),
            exchanges: [[0; BLAMES]; CLASSES],
            times: [0; TIMES],
            sum_us: 0,
        };
        for cells in self.workers.iter().filter_map(OnceLock::get) {
            for (class, of_class) in cells.exchanges.iter().enumerate() {
                for (blame, count) in of_class.iter().enumerate() {
                    reading.exchanges[class][blame] += count.load(Relaxed);
                }
            }
            for (bucket, count) in cells.times.iter().enumerate() {
                reading.times[bucket] += count.load(Relaxed);
            }
            reading.sum_us = reading.sum_us.wrapping_add(cells.sum_us.load(Relaxed));
        }
        reading
    }
}

fn bucket(us: u64) -> usize {
    let bits = usize::try_from(u64::BITS - us.leading_zeros()).unwrap_or(0);
    bits.saturating_sub(FIRST_BIT).min(TIMES - 1)
}

/// Every series whose names a snapshot in use has.
#[derive(Debug)]
pub(crate) struct Book {
    workers: usize,
    series: Mutex<HashMap<Names, Weak<Series>>>,
}

impl Book {
    pub(crate) fn new(workers: usize) -> Self {
        Self { workers, series: Mutex::default() }
    }

    /// The series of these names: that of before if a snapshot still has it.
    pub(crate) fn series(&self, names: Names) -> Arc<Series> {
        let mut all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = all.get(&names).and_then(Weak::upgrade) {
            return series;
        }
        let series = Arc::new(Series::new(names.clone(), self.workers));
        all.insert(names, Arc::downgrade(&series));
        series
    }

    /// All of them, by names; those that nobody has any more are forgotten.
    pub(crate) fn read(&self) -> Vec<Reading> {
        let mut all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, series| series.strong_count() > 0);
        let mut readings: Vec<Reading> =
            all.values().filter_map(Weak::upgrade).map(|series| series.read()).collect();
        readings.sort_by(|a, b| a.names.cmp(&b.names));
        readings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_the_bucket_below_whose_bound_it_is() {
        for (us, expected) in [(0, 0), (255, 0), (256, 1), (511, 1), (512, 2), (16_777_215, 16)] {
            assert_eq!(bucket(us), expected, "{us}");
            let bound = Reading::bound(expected).unwrap();
            assert!(Duration::from_micros(us) < bound, "{us}");
        }
        assert_eq!(bucket(16_777_216), TIMES - 1);
        assert_eq!(bucket(u64::MAX), TIMES - 1);
        assert_eq!(Reading::bound(TIMES - 1), None);
    }

    #[test]
    fn a_series_is_that_of_before_and_ends_with_the_last_who_has_it() {
        let book = Book::new(2);
        let names = Names { listener: "web".to_owned(), ..Names::default() };
        let first = book.series(names.clone());
        first.count(0, 200, None, Duration::from_micros(1));
        let second = book.series(names);
        drop(first);
        second.count(1, 503, Some(Blame::Upstream), Duration::from_micros(300));
        let [reading] = &book.read()[..] else { panic!("one series") };
        assert_eq!((reading.exchanges[2][0], reading.exchanges[5][2], reading.sum_us), (1, 1, 301));
        assert_eq!(reading.times[..2], [1, 1]);
        drop(second);
        assert!(book.read().is_empty());
    }
}
