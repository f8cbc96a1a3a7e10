//! Plots of docs/benchmarks.md, as SVG: panels of numbers with their spreads.

use std::fmt::Write as _;

use super::ground::Place;
use super::numbers::{Spread, grouped};
use super::report::{Case, LoadKind, Tool};
use super::summary::Summary;

const PANEL_WIDTH: f64 = 300.0;
const PANEL_HEIGHT: f64 = 200.0;
const LEFT: f64 = 54.0;
const TOP: f64 = 64.0;
const GAP_X: f64 = 36.0;
const GAP_Y: f64 = 76.0;

/// Widths of a series in the legend, and of the note behind it.
const LEGEND: f64 = 130.0;
const NOTE: f64 = 370.0;

/// Between the marks of one series and the next.
const SHIFT: f64 = 6.0;

/// Of series, told apart also by the colour-blind.
const COLOURS: [&str; 4] = ["#0072b2", "#e69f00", "#6b6b6b", "#cc79a7"];

/// Everything that is drawn.
#[derive(Debug)]
pub(crate) struct Plot {
    pub(crate) title: &'static str,
    /// Beside the legend.
    pub(crate) note: &'static str,
    pub(crate) series: Vec<&'static str>,
    /// Rows of panels.
    pub(crate) panels: Vec<Vec<Panel>>,
}

/// Some numbers of every series.
#[derive(Debug)]
pub(crate) struct Panel {
    pub(crate) title: String,
    /// Behind the title.
    pub(crate) detail: String,
    pub(crate) scale: Scale,
    /// Below the points, and below those.
    pub(crate) labels: Vec<String>,
    pub(crate) axis: &'static str,
    /// Of each series a number for each label.
    pub(crate) points: Vec<Vec<Option<Spread>>>,
}

/// What the bottom and the top of a panel mean; numbers beyond are drawn at its edge.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
    /// Between lines.
    pub(crate) step: f64,
    /// Of the numbers beside the lines.
    pub(crate) digits: usize,
}

impl Scale {
    /// Of ratios.
    pub(crate) const RATIO: Self = Self { lowest: 0.4, highest: 1.1, step: 0.2, digits: 1 };
}

/// A panel for each place and usual load: speed against the baseline by size.
pub(crate) fn by_size<C: Case>(
    summary: &Summary<C>,
    (title, note): (&'static str, &'static str),
    (sizes, noun): (&[usize], &'static str),
    tools: &[Tool<C>],
) -> Plot {
    let panel = |place: Place, load: LoadKind| {
        let of_tool = |Tool { case, .. }: &Tool<C>| {
            sizes.iter().map(|size| summary.cell(place, case(*size), load)?.ratio).collect()
        };
        Panel {
            title: load.name().to_owned(),
            detail: place.short().to_owned(),
            scale: Scale::RATIO,
            labels: sizes.iter().map(|size| grouped(*size)).collect(),
            axis: noun,
            points: tools.iter().map(of_tool).collect(),
        }
    };
    Plot {
        title,
        note,
        series: tools.iter().map(|tool| tool.title).collect(),
        panels: summary.places().map(|place| LoadKind::USUAL.map(|load| panel(place, load)).into()).collect(),
    }
}

impl Plot {
    /// On white: pages may be dark.
    pub(crate) fn render(&self) -> String {
        let columns = self.panels.iter().map(Vec::len).max().unwrap_or(0);
        let legend = across(self.series.len(), LEGEND) + NOTE;
        let width = LEFT + legend.max(across(columns, PANEL_WIDTH + GAP_X) - GAP_X + 20.0);
        let height = TOP + across(self.panels.len(), PANEL_HEIGHT + GAP_Y) - GAP_Y + 60.0;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n<title>{}</title>\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n",
            self.title
        );
        let mut x = LEFT;
        for (series, colour) in self.series.iter().zip(COLOURS) {
            // Writing to a String cannot fail, here and below.
            let _ = writeln!(
                svg,
                "<circle cx=\"{x}\" cy=\"18\" r=\"4\" fill=\"{colour}\"/><text x=\"{}\" y=\"22\">{series}</text>",
                x + 9.0
            );
            x += LEGEND;
        }
        let _ = writeln!(
            svg,
            "<text x=\"{x}\" y=\"22\">{}; bars: the middle half of the rounds</text>",
            self.note
        );
        for (row, panels) in self.panels.iter().enumerate() {
            for (column, panel) in panels.iter().enumerate() {
                let left = LEFT + across(column, PANEL_WIDTH + GAP_X);
                let top = TOP + across(row, PANEL_HEIGHT + GAP_Y);
                let _ = writeln!(svg, "<g transform=\"translate({left} {top})\">");
                panel.render(&mut svg);
                svg.push_str("</g>\n");
            }
        }
        svg.push_str("</svg>\n");
        svg
    }
}

impl Panel {
    fn render(&self, svg: &mut String) {
        let _ = writeln!(
            svg,
            "<text x=\"0\" y=\"-10\" font-weight=\"bold\">{}<tspan font-weight=\"normal\">, {}</tspan></text>",
            self.title, self.detail
        );
        let Scale { lowest, highest, step, digits } = self.scale;
        for line in
            (0..100).map(|line| lowest + across(line, step)).take_while(|value| *value < highest + 1e-9)
        {
            let y = self.height_of(line);
            // Where nothing is gained or lost.
            let colour = if (line - 1.0).abs() < 1e-9 { "#222" } else { "#ddd" };
            let _ = write!(svg, "<path d=\"M0 {y:.1}H{PANEL_WIDTH}\" stroke=\"{colour}\"/>");
            let text = y + 4.0;
            let _ =
                writeln!(svg, "<text x=\"-8\" y=\"{text:.1}\" text-anchor=\"end\">{line:.digits$}</text>");
        }
        for (at, label) in self.labels.iter().enumerate() {
            let (x, y) = (self.across(at), PANEL_HEIGHT + 18.0);
            let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{label}</text>");
        }
        let (x, y) = (PANEL_WIDTH / 2.0, PANEL_HEIGHT + 36.0);
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{}</text>", self.axis);
        for (number, (points, colour)) in self.points.iter().zip(COLOURS).enumerate() {
            let place = |(at, spread): (usize, &Option<Spread>)| {
                Some((self.across(at) + across(number, SHIFT) - SHIFT, (*spread)?))
            };
            self.draw(svg, colour, &points.iter().enumerate().filter_map(place).collect::<Vec<_>>());
        }
    }

    fn draw(&self, svg: &mut String, colour: &str, points: &[(f64, Spread)]) {
        let line: Vec<String> =
            points.iter().map(|(x, spread)| format!("{x:.1} {:.1}", self.height_of(spread.median))).collect();
        if line.is_empty() {
            return;
        }
        let _ = writeln!(
            svg,
            "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            line.join("L")
        );
        for (x, spread) in points {
            let [y, low, high] = [spread.median, spread.low, spread.high].map(|value| self.height_of(value));
            let _ = writeln!(
                svg,
                "<path d=\"M{x:.1} {low:.1}V{high:.1}\" stroke=\"{colour}\"/>\
                 <circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"><title>{:.3}</title></circle>",
                spread.median
            );
        }
    }

    fn across(&self, at: usize) -> f64 {
        let (count, at) = (small(self.labels.len().max(1)), small(at));
        PANEL_WIDTH * (at + 0.5) / count
    }

    fn height_of(&self, value: f64) -> f64 {
        let Scale { lowest, highest, .. } = self.scale;
        PANEL_HEIGHT * (highest - value.clamp(lowest, highest)) / (highest - lowest)
    }
}

/// So many times.
fn across(count: usize, step: f64) -> f64 {
    small(count) * step
}

/// A count of what is drawn.
fn small(count: usize) -> f64 {
    u32::try_from(count).map_or(0.0, f64::from)
}
