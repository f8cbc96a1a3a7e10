//! The view as characters: a pure function of the model and the size of the screen.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

use super::View;
use super::figures::{bytes, count, rate};
use super::gather::EDGE;
use super::model::{Model, VIEWS};
use super::rates::Reading;
use super::table::{Column, Row, columns, fit, rows};
use crate::quantile::float;

/// What each key does.
const HELP: &[&str] = &[
    "1 2 3 4 5, Tab    pairs, connections, drops, programs, services",
    "s, Right          sort by the next column",
    "S, Left           sort by the one before",
    "r                 sort the other way round",
    "/                 show only rows that contain a text; Esc shows all",
    "p, Space          pause, go on",
    "t                 have the kernel count what programs take, or no longer",
    "Up Down PgUp PgDn Home End",
    "q, Ctrl-C         quit",
    "",
    "Rates are since the sample before. Bytes are in powers of 1024; SENT goes from",
    "source to destination. RTT is of samples since then, known to a power of two.",
    "A row without a port counts refusals, which know none. At the top, dropped/s is",
    "packets that policy drops, edge/s frames dropped before the network stack.",
];

const KEYS: &str = "q quit  1-5 view  s S sort  r reverse  / filter  p pause  t statistics  ? help";

/// What a line of the screen is for, from the top; those that a low screen has no room for are missing.
#[derive(Debug, Default, PartialEq, Eq)]
struct Lines {
    title: Option<u16>,
    totals: Option<u16>,
    views: Option<u16>,
    note: Option<u16>,
    heads: Option<u16>,
    first_row: u16,
    rows: u16,
    foot: Option<u16>,
}

impl Lines {
    fn new(height: u16, has_note: bool) -> Self {
        let mut lines = Self::default();
        let mut next = 0;
        // Each line says how high the screen must be for it: rows come first.
        let mut place = |least: u16| {
            (height >= least).then(|| {
                next += 1;
                next - 1
            })
        };
        lines.title = place(1);
        lines.totals = place(7);
        lines.views = place(4);
        lines.note = if has_note { place(8) } else { None };
        lines.heads = place(3);
        lines.first_row = next;
        let foot = u16::from(height >= 6);
        lines.foot = (foot == 1).then(|| height - 1);
        lines.rows = height.saturating_sub(next + foot);
        lines
    }
}

/// A painter with a place to paint.
struct Canvas<'a> {
    area: Rect,
    buffer: &'a mut Buffer,
    is_coloured: bool,
}

impl Canvas<'_> {
    /// Writes from a column on, as far as there is room; says where it ended.
    fn write(&mut self, x: u16, y: u16, text: &str, style: Style) -> u16 {
        self.write_within(x, y, text, self.area.width, style)
    }

    /// Likewise, up to a column.
    fn write_within(&mut self, x: u16, y: u16, text: &str, end: u16, style: Style) -> u16 {
        let end = end.min(self.area.width);
        if x >= end || y >= self.area.height {
            return x.max(end);
        }
        let (ended, _) =
            self.buffer.set_stringn(self.area.x + x, self.area.y + y, text, usize::from(end - x), style);
        ended - self.area.x
    }

    fn colour(&self, colour: Color) -> Style {
        if self.is_coloured { Style::new().fg(colour) } else { Style::new() }
    }
}

/// How many rows are shown at a time on a screen of this height.
pub(super) fn page(model: &Model, height: u16) -> usize {
    usize::from(Lines::new(height, note(model).is_some()).rows)
}

/// The rows that the model shows, all of them.
pub(super) fn all_rows(model: &Model) -> Vec<Row> {
    let Some(reading) = &model.reading else { return Vec::new() };
    rows(reading, model.view, model.sort(), &model.filter)
}

/// Draws everything. Any size will do.
pub(super) fn draw(model: &Model, area: Rect, buffer: &mut Buffer) {
    let area = area.intersection(buffer.area);
    let lines = Lines::new(area.height, note(model).is_some());
    let mut canvas = Canvas { area, buffer, is_coloured: model.is_coloured };
    if let Some(y) = lines.title {
        title(&mut canvas, y, model);
    }
    if let (Some(y), Some(reading)) = (lines.totals, &model.reading) {
        canvas.write(0, y, &totals(reading), Style::new());
    }
    if model.is_helping {
        for (y, line) in (lines.heads.unwrap_or(lines.first_row)..area.height).zip(HELP) {
            canvas.write(0, y, line, Style::new());
        }
        return;
    }
    if let Some(y) = lines.views {
        views(&mut canvas, y, model);
    }
    if let (Some(y), Some(note)) = (lines.note, note(model)) {
        canvas.write(0, y, note, canvas.colour(Color::Yellow));
    }
    table(&mut canvas, &lines, model);
    if let Some(y) = lines.foot {
        foot(&mut canvas, y, model);
    }
}

fn title(canvas: &mut Canvas<'_>, y: u16, model: &Model) {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let x = canvas.write(0, y, "windrose top", bold);
    let x = canvas.write(x + 2, y, &model.admin, Style::new());
    let alarm = canvas.colour(Color::Red).add_modifier(Modifier::BOLD);
    if let Some(trouble) = &model.trouble {
        canvas.write(x + 2, y, trouble, alarm);
        return;
    }
    let Some(reading) = &model.reading else {
        canvas.write(x + 2, y, "asking the agent", Style::new());
        return;
    };
    // The time of day of an RFC 3339 time.
    let time = reading.time.get(11..19).unwrap_or_default();
    let x = canvas.write(x + 2, y, time, Style::new());
    let x = canvas.write(x + 2, y, &format!("generation {}", reading.generation), Style::new());
    let x = if model.is_paused {
        canvas.write(x + 2, y, "paused", bold.patch(canvas.colour(Color::Yellow)))
    } else {
        x
    };
    if let Some(why) = &reading.not_ready {
        canvas.write(x + 2, y, &format!("not ready: {why}"), alarm);
    } else if reading.lost_events > 0 {
        canvas.write(x + 2, y, &format!("{} events lost", count(float(reading.lost_events))), alarm);
    }
}

fn totals(reading: &Reading) -> String {
    let sum = |of: fn(&super::rates::PairRates) -> f64| reading.pairs.iter().map(of).sum::<f64>();
    let live: u64 = reading.pairs.iter().map(|pair| pair.active).sum();
    let at_edge: Vec<f64> = reading
        .drops
        .iter()
        .filter(|row| row.drop.direction == EDGE)
        .map(|row| row.attempts_per_second)
        .collect();
    let at_edge =
        if at_edge.is_empty() { String::new() } else { format!("  edge/s {}", rate(at_edge.iter().sum())) };
    format!(
        "live {}  open/s {}  sent/s {}  recv/s {}  refused/s {}  dropped/s {}{at_edge}",
        count(float(live)),
        rate(sum(|pair| pair.opened_per_second)),
        bytes(sum(|pair| pair.bytes_sent_per_second)),
        bytes(sum(|pair| pair.bytes_received_per_second)),
        rate(sum(|pair| pair.refused_per_second)),
        rate(reading.dropped_packets_per_second),
    )
}

const fn view_name(view: View) -> &'static str {
    match view {
        View::Pairs => "pairs",
        View::Connections => "connections",
        View::Drops => "drops",
        View::Programs => "programs",
        View::Services => "services",
    }
}

fn views(canvas: &mut Canvas<'_>, y: u16, model: &Model) {
    let mut x = 0;
    for (number, view) in VIEWS.into_iter().enumerate() {
        let is_shown = view == model.view;
        let style = if is_shown { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        // Marked by a character, too: not every screen shows reversed text.
        let mark = if is_shown { '>' } else { ' ' };
        x = canvas.write(x, y, &format!("{mark}{} {} ", number + 1, view_name(view)), style);
    }
    let listed = match (&model.reading, model.view) {
        (Some(reading), View::Connections) if reading.live > reading.connections.len() => {
            format!("{} of {}, active last", reading.connections.len(), reading.live)
        }
        _ => String::new(),
    };
    x = canvas.write(x + 1, y, &listed, Style::new());
    if !model.filter.is_empty() && !model.is_typing {
        canvas.write(x + 1, y, &format!("filter: {}", model.filter), canvas.colour(Color::Yellow));
    }
}

/// A line about the view, if it needs one.
fn note(model: &Model) -> Option<&'static str> {
    let is_on = model.reading.as_ref().is_some_and(|reading| reading.statistics);
    match (model.view, is_on, model.wants_statistics) {
        (View::Programs, true, true) => Some(
            "statistics are on: every run of every BPF program costs about 75 ns more, half of it shown; t: off",
        ),
        (View::Programs, true, false) => {
            Some("statistics are on, by the agent's configuration or another `windrose top`")
        }
        (View::Programs, false, true) => Some("statistics are being switched on"),
        (View::Programs, false, false) => {
            Some("statistics are off; t switches them on: about 75 ns a run of every BPF program")
        }
        _ => None,
    }
}

fn table(canvas: &mut Canvas<'_>, lines: &Lines, model: &Model) {
    let all = all_rows(model);
    let (columns, sort) = (columns(model.view), model.sort());
    let fitted = fit(columns, &all, canvas.area.width);
    if let Some(y) = lines.heads {
        let mut x = 0;
        for (n, width) in &fitted {
            let column = &columns[*n];
            let is_sorted = *n == sort.column;
            let arrow = if sort.is_descending { 'v' } else { '^' };
            let head = if is_sorted { format!("{arrow}{}", column.head) } else { column.head.to_owned() };
            let mut style = Style::new().add_modifier(Modifier::BOLD);
            if is_sorted {
                style = style.patch(canvas.colour(Color::Cyan));
            }
            // A head that fills its column has its arrow in the gap before.
            let is_full = x > 0 && head.chars().count() > usize::from(*width);
            let gap = u16::from(is_full && column.is_number);
            cell(canvas, (x - gap, y), &head, column, *width + gap, style);
            x += width + 1;
        }
    }
    let first = model.first.min(all.len().saturating_sub(usize::from(lines.rows)));
    let shown = all.iter().skip(first).take(usize::from(lines.rows));
    for (y, row) in (lines.first_row..).zip(shown) {
        let mut x = 0;
        for (n, width) in &fitted {
            let column = &columns[*n];
            let Some(content) = row.get(*n) else { continue };
            let style = match column.head {
                "REFUSED/s" | "RATE/s" | "REASON" if content.text != "-" => canvas.colour(Color::Red),
                _ => Style::new(),
            };
            cell(canvas, (x, y), &content.text, column, *width, style);
            x += width + 1;
        }
    }
    if all.is_empty() && lines.rows > 0 && model.reading.is_some() {
        let why = if model.filter.is_empty() { "nothing yet" } else { "nothing contains the filter's text" };
        canvas.write(0, lines.first_row, why, Style::new().add_modifier(Modifier::DIM));
    }
}

/// A cell; what is too long loses its end, and says so.
fn cell(canvas: &mut Canvas<'_>, (x, y): (u16, u16), text: &str, column: &Column, width: u16, style: Style) {
    let length = u16::try_from(text.chars().count()).unwrap_or(u16::MAX);
    if length <= width {
        let indent = if column.is_number { width - length } else { 0 };
        canvas.write_within(x + indent, y, text, x + width, style);
        return;
    }
    let short: String = text.chars().take(usize::from(width.saturating_sub(1))).collect();
    canvas.write_within(x, y, &format!("{short}~"), x + width, style);
}

fn foot(canvas: &mut Canvas<'_>, y: u16, model: &Model) {
    if model.is_typing {
        canvas.write(0, y, &format!("filter: {}_  (Enter: done, Esc: show all)", model.filter), Style::new());
        return;
    }
    canvas.write(0, y, KEYS, Style::new().add_modifier(Modifier::DIM));
}

#[cfg(test)]
mod tests;
