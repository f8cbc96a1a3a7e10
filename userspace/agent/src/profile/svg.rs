//! Plots as inline SVG: horizontal bars and a histogram. Colours are the page's, by class.

use std::fmt::Write as _;

use super::report::Bucket;

/// A bar.
#[derive(Debug, Clone)]
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) value: f64,
    /// The value as it is written.
    pub(super) text: String,
}

const WIDTH: f64 = 720.0;
const NAME: f64 = 220.0;
const LINE: f64 = 22.0;
/// Room for the value behind the longest bar.
const VALUE: f64 = 110.0;

/// Text as it may stand in HTML and SVG, in attributes, too.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // What is no character of a page shows as one that says so.
            character if character.is_control() && character != '\n' => escaped.push('\u{fffd}'),
            character => escaped.push(character),
        }
    }
    escaped
}

/// Horizontal bars, one below the other; nothing for none.
pub(super) fn bars(title: &str, bars: &[Bar]) -> String {
    if bars.is_empty() {
        return String::new();
    }
    let most = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    #[expect(clippy::cast_precision_loss, reason = "a few bars")]
    let height = bars.len() as f64 * LINE;
    let mut svg = open(title, height);
    let mut y = 0.0;
    for bar in bars {
        let share = if most > 0.0 { bar.value / most } else { 0.0 };
        let width = share * (WIDTH - NAME - VALUE);
        // Writing to a String cannot fail.
        let _ = write!(
            svg,
            "<text class=\"name\" x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect class=\"bar\" x=\"{NAME:.0}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.0}\" rx=\"2\"/>\
             <text class=\"value\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            NAME - 8.0,
            y + LINE / 2.0,
            escape(&shortened(&bar.name)),
            y + 4.0,
            width.max(1.0),
            LINE - 8.0,
            NAME + width.max(1.0) + 6.0,
            y + LINE / 2.0,
            escape(&bar.text),
        );
        y += LINE;
    }
    svg += "</svg>\n";
    svg
}

/// A name as long as there is room for it; the table beside has all of it.
fn shortened(name: &str) -> String {
    const MOST: usize = 32;
    if name.chars().count() <= MOST {
        return name.to_owned();
    }
    name.chars().take(MOST - 1).chain(['\u{2026}']).collect()
}

/// A histogram of two sorts, one above the other, on one axis of time, each in the share of its own.
pub(super) fn histogram(title: &str, rows: [(&str, &[Bucket]); 2]) -> String {
    const ROW: f64 = 120.0;
    const AXIS: f64 = 26.0;
    const LEFT: f64 = 90.0;
    let used = || rows.iter().flat_map(|(_, buckets)| buckets.iter()).filter(|bucket| bucket.count > 0);
    let (Some(first), Some(last)) =
        (used().map(|bucket| bucket.from_ns).min(), used().map(|bucket| bucket.to_ns).max())
    else {
        return String::new();
    };
    // Octaves: a bucket that is twice as late is as wide.
    let octaves = |ns: u64| crate::quantile::float(ns.max(1)).log2();
    let (from, to) = (octaves(first).floor(), octaves(last).ceil().max(octaves(first).floor() + 1.0));
    let x_of = |ns: u64| LEFT + (octaves(ns) - from) / (to - from) * (WIDTH - LEFT - 10.0);
    let mut svg = open(title, 2.0 * ROW + AXIS);
    for (n, (name, buckets)) in rows.iter().enumerate() {
        let base = if n == 0 { ROW } else { 2.0 * ROW };
        let all: u64 = buckets.iter().map(|bucket| bucket.count).sum();
        // Of buckets of different width, what counts is the density: the same for all but the first few.
        let most = buckets.iter().map(|bucket| bucket.count).max().unwrap_or(0);
        let _ = write!(
            svg,
            "<text class=\"name\" x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>\
             <line class=\"axis\" x1=\"{LEFT:.0}\" x2=\"{:.0}\" y1=\"{base:.0}\" y2=\"{base:.0}\"/>",
            LEFT - 8.0,
            base - ROW / 2.0,
            escape(name),
            WIDTH - 10.0,
        );
        for bucket in buckets.iter().filter(|bucket| bucket.count > 0) {
            let (x, end) = (x_of(bucket.from_ns), x_of(bucket.to_ns.max(bucket.from_ns + 1)));
            let height = crate::quantile::float(bucket.count) / crate::quantile::float(most) * (ROW - 14.0);
            let share = crate::quantile::float(bucket.count) / crate::quantile::float(all) * 100.0;
            let _ = write!(
                svg,
                "<rect class=\"bar sort{n}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\">\
                 <title>{} to {} ns: {} ({share:.1}%)</title></rect>",
                base - height.max(1.0),
                (end - x - 0.6).max(0.8),
                height.max(1.0),
                bucket.from_ns,
                bucket.to_ns,
                bucket.count,
            );
        }
    }
    let mut octave = from;
    while octave <= to {
        let ns = octave.exp2();
        let x = LEFT + (octave - from) / (to - from) * (WIDTH - LEFT - 10.0);
        let text = if ns < 1000.0 {
            format!("{ns:.0} ns")
        } else if ns < 1e6 {
            format!("{:.1} \u{b5}s", ns / 1e3)
        } else {
            format!("{:.1} ms", ns / 1e6)
        };
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{:.0}\"/>\
             <text class=\"tick\" x=\"{x:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{text}</text>",
            2.0 * ROW,
            2.0 * ROW + 17.0,
        );
        // Labels must not run into each other.
        octave += ((to - from) / 9.0).ceil().max(1.0);
    }
    svg += "</svg>\n";
    svg
}

fn open(title: &str, height: f64) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH:.0} {height:.0}\" role=\"img\" aria-label=\"{0}\"><title>{0}</title>",
        escape(title)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped() {
        assert_eq!(escape("<b a=\"'\">&\u{7}"), "&lt;b a=&quot;&#39;&quot;&gt;&amp;\u{fffd}");
        let bar = Bar { name: "</svg><script>".to_owned(), value: 1.0, text: "<i>".to_owned() };
        let svg = bars("<t>", &[bar]);
        assert!(!svg.contains("<script>") && !svg.contains("<i>") && !svg.contains("<t>"), "{svg}");
    }

    #[test]
    fn nothing_is_plotted_as_nothing() {
        assert_eq!(bars("t", &[]), "");
        assert_eq!(histogram("t", [("a", &[]), ("b", &[Bucket { from_ns: 1, to_ns: 2, count: 0 }])]), "");
    }

    #[test]
    fn plots_have_numbers_only() {
        let zero = Bar { name: "a".to_owned(), value: 0.0, text: "0".to_owned() };
        let buckets = [
            Bucket { from_ns: 0, to_ns: 2, count: 1 },
            Bucket { from_ns: 512, to_ns: 640, count: u64::MAX / 4 },
            Bucket { from_ns: 1 << 31, to_ns: 1 << 31, count: 3 },
        ];
        for svg in [bars("t", &[zero]), histogram("t", [("a", &buckets), ("b", &[])])] {
            assert!(!svg.is_empty() && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
