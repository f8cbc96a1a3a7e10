//! From samples to medians, ratios and targets.

use super::end::Load;
use super::ground::Place;
use super::nftables::Layout;
use super::numbers::{Spread, float};
use super::pair::Measured;
use super::report::{Configuration, LoadKind, Report, Sample};
use super::rounds::{SIZES, TYPICAL};

/// All that is reported.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) rows: Vec<Row>,
    pub(crate) targets: Vec<Target>,
}

/// A configuration in a place.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) configuration: Configuration,
    pub(crate) place: Place,
    pub(crate) connections_per_s: Spread,
    pub(crate) exchange_p50_us: Spread,
    pub(crate) exchange_p99_us: Spread,
    pub(crate) stream_gbit_s: Spread,
    pub(crate) cpu_connection_us: Spread,
    /// The agent's own, for its events; `None` without one.
    pub(crate) agent_connection_us: Option<Spread>,
    pub(crate) cpu_exchange_us: Spread,
    pub(crate) cpu_stream_s_gb: Spread,
    /// Speed, no agent being 1; in the order of [`LoadKind::ALL`].
    pub(crate) ratios: [Option<Spread>; 3],
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

impl Summary {
    pub(crate) fn of(report: &Report) -> Self {
        let mut configurations: Vec<Configuration> = Vec::new();
        for sample in &report.samples {
            if !configurations.contains(&sample.configuration) {
                configurations.push(sample.configuration);
            }
        }
        configurations.sort_by_key(|configuration| order(*configuration));
        let rows = Place::ALL
            .into_iter()
            .flat_map(|place| configurations.iter().map(move |configuration| (place, *configuration)))
            .filter_map(|(place, configuration)| row(report, place, configuration))
            .collect();
        Self { rows, targets: targets(report) }
    }

    pub(crate) fn row(&self, place: Place, configuration: Configuration) -> Option<&Row> {
        self.rows.iter().find(|row| row.place == place && row.configuration == configuration)
    }
}

/// Reading order.
fn order(configuration: Configuration) -> (u8, usize) {
    match configuration {
        Configuration::Nothing => (0, 0),
        Configuration::NothingAgain => (1, 0),
        Configuration::Windrose { rules } => (2, rules),
        Configuration::Watched { rules } => (3, rules),
        Configuration::Nftables { layout: Layout::Sets, stateful: true, rules } => (4, rules),
        Configuration::Nftables { layout: Layout::Sets, stateful: false, rules } => (5, rules),
        Configuration::Nftables { layout: Layout::Chains, stateful: true, rules } => (6, rules),
        Configuration::Nftables { layout: Layout::Chains, stateful: false, rules } => (7, rules),
    }
}

fn row(report: &Report, place: Place, configuration: Configuration) -> Option<Row> {
    let samples: Vec<&Sample> = of(report, place, configuration).collect();
    let spread =
        |number: fn(&Sample) -> f64| Spread::of(samples.iter().map(|sample| number(sample)).collect());
    let per_count = |measured: &Measured| float(measured.cpu_ns) / float(measured.load.count);
    Some(Row {
        configuration,
        place,
        connections_per_s: spread(|sample| rate(&sample.loads.connections.load))?,
        exchange_p50_us: spread(|sample| float(sample.loads.exchanges.load.p50_ns) / 1e3)?,
        exchange_p99_us: spread(|sample| float(sample.loads.exchanges.load.p99_ns) / 1e3)?,
        stream_gbit_s: spread(|sample| rate(&sample.loads.stream.load) * 8.0 / 1e9)?,
        cpu_connection_us: Spread::of(
            samples.iter().map(|sample| per_count(&sample.loads.connections) / 1e3).collect(),
        )?,
        agent_connection_us: Spread::of(
            samples
                .iter()
                .map(|sample| &sample.loads.connections)
                .filter(|measured| measured.agent_ns > 0)
                .map(|measured| float(measured.agent_ns) / float(measured.load.count) / 1e3)
                .collect(),
        ),
        cpu_exchange_us: Spread::of(
            samples.iter().map(|sample| per_count(&sample.loads.exchanges) / 1e3).collect(),
        )?,
        // Nanoseconds a byte are seconds a gigabyte.
        cpu_stream_s_gb: Spread::of(samples.iter().map(|sample| per_count(&sample.loads.stream)).collect())?,
        ratios: LoadKind::ALL.map(|kind| match configuration {
            Configuration::Nothing => None,
            Configuration::NothingAgain => {
                ratio(report, place, kind, configuration, &[Configuration::Nothing])
            }
            _ => ratio(report, place, kind, configuration, &BASELINE),
        }),
    })
}

/// Both measurements without an agent are the baseline of the others.
const BASELINE: [Configuration; 2] = [Configuration::Nothing, Configuration::NothingAgain];

fn targets(report: &Report) -> Vec<Target> {
    let mut targets = Vec::new();
    let mut add = |what: String, required, kind, measured, against: &[Configuration]| {
        for place in Place::ALL {
            if let Some(reached) = ratio(report, place, kind, measured, against) {
                targets.push(Target { what: what.clone(), place, required, reached });
            }
        }
    };
    let windrose = |rules| Configuration::Windrose { rules };
    let requirements = [(LoadKind::Exchanges, 0.98), (LoadKind::Stream, 0.98), (LoadKind::Connections, 0.93)];
    for (kind, required) in requirements {
        for rules in SIZES {
            let what = format!("{}: {} against no agent", name(kind), windrose(rules).title());
            add(what, required, kind, windrose(rules), &BASELINE);
        }
    }
    for (kind, _) in requirements {
        let what = format!("{}: 100,000 rules against 10", name(kind));
        add(what, 0.97, kind, windrose(SIZES[3]), &[windrose(SIZES[0])]);
    }
    for (kind, _) in requirements {
        for rules in SIZES {
            let sets = Configuration::Nftables { layout: Layout::Sets, stateful: true, rules };
            let what = format!("{}: {} against {}", name(kind), windrose(rules).title(), sets.title());
            add(what, 1.0, kind, windrose(rules), &[sets]);
        }
    }
    let watched = Configuration::Watched { rules: TYPICAL };
    let what = format!("{}: metrics read four times a second against not at all", name(LoadKind::Exchanges));
    add(what, 0.99, LoadKind::Exchanges, watched, &[windrose(TYPICAL)]);
    targets
}

/// For headings and targets.
pub(crate) const fn name(kind: LoadKind) -> &'static str {
    match kind {
        LoadKind::Connections => "connections per second",
        LoadKind::Exchanges => "request-response",
        LoadKind::Stream => "bulk",
    }
}

fn of(report: &Report, place: Place, configuration: Configuration) -> impl Iterator<Item = &Sample> {
    report.samples.iter().filter(move |sample| sample.place == place && sample.configuration == configuration)
}

/// Of each round: the speed of one configuration, the mean of `against` being 1.
fn ratio(
    report: &Report,
    place: Place,
    kind: LoadKind,
    configuration: Configuration,
    against: &[Configuration],
) -> Option<Spread> {
    let ratios = of(report, place, configuration).filter_map(|sample| {
        let others: Vec<f64> = against
            .iter()
            .flat_map(|other| of(report, place, *other))
            .filter(|other| other.round == sample.round)
            .map(|other| speed(kind, other))
            .collect();
        let count = u32::try_from(others.len()).ok().filter(|count| *count > 0)?;
        Some(speed(kind, sample) * f64::from(count) / others.iter().sum::<f64>())
    });
    Spread::of(ratios.collect())
}

/// More is better; of exchanges by the median, which a busy machine disturbs least.
fn speed(kind: LoadKind, sample: &Sample) -> f64 {
    match kind {
        LoadKind::Connections => rate(&sample.loads.connections.load),
        LoadKind::Exchanges => 1e9 / float(sample.loads.exchanges.load.p50_ns),
        LoadKind::Stream => rate(&sample.loads.stream.load),
    }
}

/// Count per second.
fn rate(load: &Load) -> f64 {
    float(load.count) * 1e9 / float(load.elapsed_ns)
}
