//! From samples to medians, ratios and targets.

use super::end::Load;
use super::ground::Place;
use super::numbers::{Spread, float};
use super::report::{Case, LoadKind, Report, Sample};

/// All that is reported.
#[derive(Debug)]
pub(crate) struct Summary<C> {
    pub(crate) rows: Vec<Row<C>>,
    pub(crate) targets: Vec<Target>,
}

/// A case in a place.
#[derive(Debug)]
pub(crate) struct Row<C> {
    pub(crate) case: C,
    pub(crate) place: Place,
    pub(crate) cells: Vec<Cell>,
}

/// A load under a case in a place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) load: LoadKind,
    /// Connections, exchanges or bytes.
    pub(crate) per_s: Spread,
    /// Of one connection or exchange; 0 of a stream.
    pub(crate) p50_us: Spread,
    pub(crate) p99_us: Spread,
    /// Processor time of one connection, exchange or byte.
    pub(crate) cpu_ns: Spread,
    /// The agent's own, for its events; `None` without one.
    pub(crate) agent_ns: Option<Spread>,
    /// Speed, the baseline being 1; `None` where there is none.
    pub(crate) ratio: Option<Spread>,
}

/// What is asked for: of a load, the speed of one case by that of others.
#[derive(Debug)]
pub(crate) struct Requirement<C> {
    pub(crate) what: String,
    pub(crate) load: LoadKind,
    pub(crate) required: f64,
    pub(crate) measured: C,
    pub(crate) against: Vec<C>,
}

/// A requirement and what was reached.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) what: String,
    pub(crate) place: Place,
    pub(crate) required: f64,
    /// By the rounds' ratios.
    pub(crate) reached: Spread,
}

impl Target {
    /// By the median.
    pub(crate) fn is_met(&self) -> bool {
        self.reached.median >= self.required
    }

    /// The middle half of the rounds lies on both sides: another run may say otherwise.
    pub(crate) fn is_close(&self) -> bool {
        (self.reached.low..=self.reached.high).contains(&self.required)
    }
}

impl<C: Case> Summary<C> {
    /// Rows in reading order, place by place; requirements nobody measured are left out.
    pub(crate) fn of(report: &Report<C>, requirements: Vec<Requirement<C>>) -> Self {
        let mut cases: Vec<C> = Vec::new();
        for sample in &report.samples {
            if !cases.contains(&sample.case) {
                cases.push(sample.case);
            }
        }
        cases.sort_by_key(|case| case.order());
        let rows = Place::ALL
            .into_iter()
            .flat_map(|place| cases.iter().map(move |case| (place, *case)))
            .map(|(place, case)| Row { case, place, cells: cells(report, place, case) })
            .filter(|row| !row.cells.is_empty())
            .collect();
        let targets = requirements.into_iter().flat_map(|requirement| {
            Place::ALL.into_iter().filter_map(move |place| {
                let Requirement { load, measured, against, .. } = &requirement;
                let reached = ratio(report, place, *load, *measured, against)?;
                let Requirement { what, required, .. } = &requirement;
                Some(Target { what: what.clone(), place, required: *required, reached })
            })
        });
        Self { rows, targets: targets.collect() }
    }

    /// Places that something was measured in.
    pub(crate) fn places(&self) -> impl Iterator<Item = Place> {
        Place::ALL.into_iter().filter(|place| self.rows.iter().any(|row| row.place == *place))
    }

    /// Of all that was measured.
    pub(crate) fn cell(&self, place: Place, case: C, load: LoadKind) -> Option<&Cell> {
        self.rows.iter().find(|row| row.place == place && row.case == case)?.cell(load)
    }
}

impl<C> Row<C> {
    pub(crate) fn cell(&self, load: LoadKind) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.load == load)
    }
}

fn cells<C: Case>(report: &Report<C>, place: Place, case: C) -> Vec<Cell> {
    let mut loads: Vec<LoadKind> = Vec::new();
    for sample in report.samples.iter().filter(|sample| sample.place == place && sample.case == case) {
        if !loads.contains(&sample.load) {
            loads.push(sample.load);
        }
    }
    loads.into_iter().filter_map(|load| cell(report, place, case, load)).collect()
}

fn cell<C: Case>(report: &Report<C>, place: Place, case: C, load: LoadKind) -> Option<Cell> {
    let samples: Vec<&Sample<C>> = of(report, place, case, load).collect();
    let spread =
        |number: fn(&Sample<C>) -> f64| Spread::of(samples.iter().map(|sample| number(sample)).collect());
    let is_watched = samples.iter().any(|sample| sample.measured.agent_ns > 0);
    let against: Vec<C> = case.baseline().iter().copied().filter(|other| *other != case).collect();
    Some(Cell {
        load,
        per_s: spread(|sample| rate(&sample.measured.load))?,
        p50_us: spread(|sample| float(sample.measured.load.p50_ns) / 1e3)?,
        p99_us: spread(|sample| float(sample.measured.load.p99_ns) / 1e3)?,
        cpu_ns: spread(|sample| float(sample.measured.cpu_ns) / float(sample.measured.load.count))?,
        agent_ns: spread(|sample| float(sample.measured.agent_ns) / float(sample.measured.load.count))
            .filter(|_| is_watched),
        ratio: ratio(report, place, load, case, &against),
    })
}

fn of<C: Case>(
    report: &Report<C>,
    place: Place,
    case: C,
    load: LoadKind,
) -> impl Iterator<Item = &Sample<C>> {
    let is_meant =
        move |sample: &&Sample<C>| sample.place == place && sample.case == case && sample.load == load;
    report.samples.iter().filter(is_meant)
}

/// Of each round: the speed of one case, the mean of `against` being 1.
fn ratio<C: Case>(
    report: &Report<C>,
    place: Place,
    load: LoadKind,
    case: C,
    against: &[C],
) -> Option<Spread> {
    let ratios = of(report, place, case, load).filter_map(|sample| {
        let others: Vec<f64> = against
            .iter()
            .flat_map(|other| of(report, place, *other, load))
            .filter(|other| other.round == sample.round)
            .map(speed)
            .collect();
        let count = u32::try_from(others.len()).ok().filter(|count| *count > 0)?;
        Some(speed(sample) * f64::from(count) / others.iter().sum::<f64>())
    });
    Spread::of(ratios.collect())
}

/// More is better; of exchanges one at a time by the median, which a busy machine disturbs least.
fn speed<C>(sample: &Sample<C>) -> f64 {
    match sample.load {
        LoadKind::Exchanges { connections: 1, .. } => 1e9 / float(sample.measured.load.p50_ns),
        _ => rate(&sample.measured.load),
    }
}

/// Count per second.
fn rate(load: &Load) -> f64 {
    float(load.count) * 1e9 / float(load.elapsed_ns)
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::bench::options::Options;
    use crate::bench::page::Bench;
    use crate::bench::pair::Measured;

    #[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
    enum Tool {
        None,
        Ours,
    }

    impl Case for Tool {
        fn title(self) -> String {
            format!("{self:?}")
        }

        fn order(self) -> (u8, usize) {
            (self as u8, 0)
        }

        fn baseline(self) -> &'static [Self] {
            if self == Self::None { &[] } else { &[Self::None] }
        }
    }

    fn sample(round: usize, case: Tool, count: u64) -> Sample<Tool> {
        let load = Load { count, elapsed_ns: 1_000_000_000, p50_ns: 1_000, p99_ns: 2_000 };
        let measured = Measured { load, cpu_ns: count * 10, agent_ns: 0 };
        Sample { round, case, place: Place::Veth, load: LoadKind::Connections, measured }
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let mut report = Report::new(&Options::parse(Bench::Policy, &[]).unwrap());
        for (round, base, ours) in [(0, 100, 90), (1, 1_000, 900), (2, 200, 180)] {
            report.samples.extend([sample(round, Tool::Ours, ours), sample(round, Tool::None, base)]);
        }
        let require = |required| Requirement {
            what: "enough".to_owned(),
            load: LoadKind::Connections,
            required,
            measured: Tool::Ours,
            against: vec![Tool::None],
        };
        let summary = Summary::of(&report, vec![require(0.8), require(0.95)]);
        let cell = summary.cell(Place::Veth, Tool::Ours, LoadKind::Connections).unwrap();
        assert_eq!(cell.ratio, Some(Spread { low: 0.9, median: 0.9, high: 0.9 }));
        assert_eq!(
            (cell.per_s.median.to_string(), cell.cpu_ns.median.to_string()),
            ("180".into(), "10".into())
        );
        assert_eq!(summary.rows.iter().map(|row| row.case).collect::<Vec<_>>(), [Tool::None, Tool::Ours]);
        assert_eq!(summary.targets.iter().map(Target::is_met).collect::<Vec<_>>(), [true, false]);
        assert_eq!(summary.places().collect::<Vec<_>>(), [Place::Veth]);
    }
}
