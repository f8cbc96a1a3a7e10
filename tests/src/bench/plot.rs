//! The plot of docs/benchmarks.md: speed by number of rules, as SVG.

use std::fmt::Write as _;

use super::ground::Place;
use super::nftables::Layout;
use super::numbers::{Spread, grouped};
use super::report::{Configuration, LoadKind};
use super::rounds::SIZES;
use super::summary::{Summary, name};

const PANEL_WIDTH: f64 = 300.0;
const PANEL_HEIGHT: f64 = 200.0;
const LEFT: f64 = 54.0;
const TOP: f64 = 64.0;
const GAP_X: f64 = 36.0;
const GAP_Y: f64 = 76.0;

/// Ratios at the bottom and at the top of a panel.
const LOWEST: f64 = 0.4;
const HIGHEST: f64 = 1.1;

/// A tool, its colour (told apart also by the colour-blind) and the mark of its points.
struct Series {
    title: &'static str,
    colour: &'static str,
    shift: f64,
    configuration: fn(usize) -> Configuration,
}

const SERIES: [Series; 3] = [
    Series {
        title: "Windrose",
        colour: "#0072b2",
        shift: 0.0,
        configuration: |rules| Configuration::Windrose { rules },
    },
    Series {
        title: "nftables sets",
        colour: "#e69f00",
        shift: 6.0,
        configuration: |rules| Configuration::Nftables { layout: Layout::Sets, stateful: true, rules },
    },
    Series {
        title: "nftables chains",
        colour: "#6b6b6b",
        shift: 12.0,
        configuration: |rules| Configuration::Nftables { layout: Layout::Chains, stateful: true, rules },
    },
];

/// A panel for each load and place, on white: pages may be dark.
pub(crate) fn render(summary: &Summary) -> String {
    let kinds = LoadKind::ALL;
    let width = LEFT + 3.0 * PANEL_WIDTH + 2.0 * GAP_X + 20.0;
    let height = TOP + 2.0 * PANEL_HEIGHT + GAP_Y + 60.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\" fill=\"#222\">\n<title>Speed against no agent, by number of rules</title>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    let mut x = LEFT;
    for series in &SERIES {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(
            svg,
            "<circle cx=\"{x}\" cy=\"18\" r=\"4\" fill=\"{}\"/><text x=\"{}\" y=\"22\">{}</text>",
            series.colour,
            x + 9.0,
            series.title
        );
        x += 130.0;
    }
    let _ =
        writeln!(svg, "<text x=\"{x}\" y=\"22\">no agent = 1; bars: the middle half of the rounds</text>");
    for (row, place) in (0_u8..).zip(Place::ALL) {
        for (column, kind) in (0_u8..).zip(kinds) {
            let left = LEFT + f64::from(column) * (PANEL_WIDTH + GAP_X);
            let top = TOP + f64::from(row) * (PANEL_HEIGHT + GAP_Y);
            let _ = writeln!(svg, "<g transform=\"translate({left} {top})\">");
            panel(&mut svg, summary, place, kind, usize::from(column));
            svg.push_str("</g>\n");
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn panel(svg: &mut String, summary: &Summary, place: Place, kind: LoadKind, column: usize) {
    let _ = writeln!(
        svg,
        "<text x=\"0\" y=\"-10\" font-weight=\"bold\">{}<tspan font-weight=\"normal\">, {}</tspan></text>",
        name(kind),
        if place == Place::Veth { "over veth" } else { "on one host" }
    );
    for tenth in (4_u8..=11).filter(|tenth| tenth % 2 == 0) {
        let ratio = f64::from(tenth) / 10.0;
        let (y, is_one) = (height_of(ratio), tenth == 10);
        let colour = if is_one { "#222" } else { "#ddd" };
        let _ = write!(svg, "<path d=\"M0 {y:.1}H{PANEL_WIDTH}\" stroke=\"{colour}\"/>");
        let _ = writeln!(svg, "<text x=\"-8\" y=\"{:.1}\" text-anchor=\"end\">{ratio:.1}</text>", y + 4.0);
    }
    for (at, size) in (0_u8..).zip(SIZES) {
        let (x, y) = (across(at), PANEL_HEIGHT + 18.0);
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{}</text>", grouped(size));
    }
    if column == 1 {
        let (x, y) = (PANEL_WIDTH / 2.0, PANEL_HEIGHT + 36.0);
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">rules</text>");
    }
    let index = LoadKind::ALL.iter().position(|other| *other == kind).unwrap_or(0);
    for series in &SERIES {
        let points: Vec<(f64, Spread)> = (0_u8..)
            .zip(SIZES)
            .filter_map(|(at, size)| {
                let row = summary.row(place, (series.configuration)(size))?;
                Some((across(at) + series.shift - 6.0, row.ratios[index]?))
            })
            .collect();
        draw(svg, series.colour, &points);
    }
}

fn draw(svg: &mut String, colour: &str, points: &[(f64, Spread)]) {
    let line: Vec<String> =
        points.iter().map(|(x, spread)| format!("{x:.1} {:.1}", height_of(spread.median))).collect();
    if line.is_empty() {
        return;
    }
    let _ = writeln!(
        svg,
        "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
        line.join("L")
    );
    for (x, spread) in points {
        let (y, low, high) = (height_of(spread.median), height_of(spread.low), height_of(spread.high));
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} {low:.1}V{high:.1}\" stroke=\"{colour}\"/>\
             <circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"><title>{:.3}</title></circle>",
            spread.median
        );
    }
}

fn across(at: u8) -> f64 {
    PANEL_WIDTH * (f64::from(at) + 0.5) / 4.0
}

/// Ratios beyond the panel are drawn at its edge.
fn height_of(ratio: f64) -> f64 {
    PANEL_HEIGHT * (HIGHEST - ratio.clamp(LOWEST, HIGHEST)) / (HIGHEST - LOWEST)
}
