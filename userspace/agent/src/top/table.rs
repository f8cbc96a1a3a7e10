//! Each view as a table: what its columns are, what is in them, what is left of them on a narrow screen.

use std::cmp::Ordering;

use super::View;
use super::figures::{bytes, count, micros, rate, share};
use super::rates::{ConnectionRates, DropRates, PairRates, ProgramRates, Reading, ServiceRates};
use super::sample::ServiceTotals;
use crate::clock::short;

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) head: &'static str,
    /// Characters that it has at least.
    pub(super) width: u16,
    /// It may have more, as its content needs.
    pub(super) grows: bool,
    /// Numbers stand at the right.
    pub(super) is_number: bool,
    /// Where there is no room for all, those with the lowest rank go first; 255 stay.
    pub(super) rank: u8,
}

const fn text(head: &'static str, width: u16, rank: u8) -> Column {
    Column { head, width, grows: true, is_number: false, rank }
}

const fn number(head: &'static str, width: u16, rank: u8) -> Column {
    Column { head, width, grows: false, is_number: true, rank }
}

const fn word(head: &'static str, width: u16, rank: u8) -> Column {
    Column { head, width, grows: false, is_number: false, rank }
}

const PAIRS: &[Column] = &[
    text("SOURCE", 12, 255),
    text("DESTINATION", 12, 255),
    number("PORT", 5, 250),
    word("PROTO", 5, 40),
    number("LIVE", 6, 90),
    number("OPEN/s", 6, 100),
    number("SENT/s", 7, 220),
    number("RECV/s", 7, 210),
    number("RTT p50", 7, 120),
    number("p99", 6, 110),
    number("RESENT/s", 8, 20),
    number("REFUSED/s", 9, 150),
    number("OPENED", 8, 10),
    number("REFUSED", 8, 15),
];

const CONNECTIONS: &[Column] = &[
    text("SOURCE", 14, 255),
    text("DESTINATION", 14, 255),
    word("PROTO", 5, 50),
    word("SEEN AT", 7, 60),
    word("STATE", 11, 40),
    word("PATH", 5, 45),
    number("SENT/s", 7, 220),
    number("RECV/s", 7, 210),
    number("SENT", 7, 100),
    number("RECEIVED", 8, 90),
    number("RTT", 7, 120),
    number("RESENT", 6, 20),
    number("AGE", 8, 70),
    text("SERVICE", 10, 75),
    text("DECIDED BY", 16, 80),
];

const DROPS: &[Column] = &[
    word("REASON", 12, 240),
    text("RULE", 18, 220),
    text("PLACE", 14, 100),
    text("SOURCE", 12, 230),
    text("DESTINATION", 12, 230),
    word("PROTO", 5, 50),
    word("WHERE", 13, 60),
    number("ATTEMPTS", 8, 245),
    number("RATE/s", 6, 250),
];

const PROGRAMS: &[Column] = &[
    text("PROGRAM", 18, 255),
    text("HOOK", 14, 10),
    number("RUNS/s", 9, 100),
    number("NS/RUN", 9, 200),
    number("CPU", 7, 210),
];

const SERVICES: &[Column] = &[
    text("SERVICE", 14, 255),
    number("PORT", 5, 230),
    word("PROTO", 5, 20),
    text("ENDPOINT", 14, 240),
    number("LIVE", 6, 200),
    number("OPEN/s", 6, 220),
    number("REFUSED/s", 9, 210),
    number("OPENED", 8, 100),
    number("REFUSED", 8, 90),
    number("ENDED", 6, 80),
];

/// The columns of a view.
pub(super) const fn columns(view: View) -> &'static [Column] {
    match view {
        View::Pairs => PAIRS,
        View::Connections => CONNECTIONS,
        View::Drops => DROPS,
        View::Programs => PROGRAMS,
        View::Services => SERVICES,
    }
}

/// The column that a view is sorted by at first.
pub(super) const fn first_sort(view: View) -> usize {
    match view {
        View::Pairs | View::Connections => 6,
        View::Drops => 8,
        View::Programs => 4,
        View::Services => 5,
    }
}

/// What is in a cell, and what it is sorted by.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell {
    pub(super) text: String,
    /// `None`: by its text.
    value: Option<f64>,
}

impl Cell {
    fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), value: None }
    }

    fn number(text: String, value: f64) -> Self {
        Self { text, value: Some(value) }
    }

    fn of(format: fn(f64) -> String, value: f64) -> Self {
        Self::number(format(value), value)
    }

    fn maybe(format: fn(f64) -> String, value: Option<f64>) -> Self {
        value.map_or_else(|| Self::number("-".to_owned(), -1.0), |value| Self::of(format, value))
    }

    fn compare(&self, other: &Self) -> Ordering {
        match (self.value, other.value) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            _ => self.text.cmp(&other.text),
        }
    }
}

/// A row, a cell for each column.
pub(super) type Row = Vec<Cell>;

/// By which column rows are sorted, and which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sort {
    pub(super) column: usize,
    pub(super) is_descending: bool,
}

/// The rows of a view that contain a text, sorted. Case makes no difference.
pub(super) fn rows(reading: &Reading, view: View, sort: Sort, filter: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = match view {
        View::Pairs => sorted(&reading.pairs, |row| row.bytes_sent.max(row.refused)).map(pair).collect(),
        View::Connections => {
            sorted(&reading.connections, |row| row.connection.bytes_sent).map(connection).collect()
        }
        View::Drops => sorted(&reading.drops, |row| row.attempts).map(drop).collect(),
        View::Programs => reading.programs.iter().map(program).collect(),
        View::Services => reading.services.iter().map(service).collect(),
    };
    if !filter.is_empty() {
        let wanted = filter.to_lowercase();
        rows.retain(|row| row.iter().any(|cell| cell.text.to_lowercase().contains(&wanted)));
    }
    rows.sort_by(|a, b| {
        let order = match (a.get(sort.column), b.get(sort.column)) {
            (Some(a), Some(b)) => a.compare(b),
            _ => Ordering::Equal,
        };
        if sort.is_descending { order.reverse() } else { order }
    });
    rows
}

/// The largest first: the order of rows that are equal in the column they are sorted by.
fn sorted<T>(rows: &[T], by: impl Fn(&T) -> u64) -> impl Iterator<Item = &T> {
    let mut sorted: Vec<&T> = rows.iter().collect();
    sorted.sort_by_key(|row| std::cmp::Reverse(by(row)));
    sorted.into_iter()
}

fn pair(row: &PairRates) -> Row {
    let port = if row.pair.port == 0 { "-".to_owned() } else { row.pair.port.to_string() };
    vec![
        Cell::text(&row.pair.source),
        Cell::text(&row.pair.destination),
        Cell::number(port, f64::from(row.pair.port)),
        Cell::text(&row.pair.protocol),
        Cell::of(count, crate::quantile::float(row.active)),
        Cell::of(rate, row.opened_per_second),
        Cell::of(bytes, row.bytes_sent_per_second),
        Cell::of(bytes, row.bytes_received_per_second),
        Cell::maybe(micros, row.rtt_p50_us),
        Cell::maybe(micros, row.rtt_p99_us),
        Cell::of(rate, row.retransmits_per_second),
        Cell::of(rate, row.refused_per_second),
        Cell::of(count, crate::quantile::float(row.opened)),
        Cell::of(count, crate::quantile::float(row.refused)),
    ]
}

fn connection(row: &ConnectionRates) -> Row {
    let connection = &row.connection;
    let rtt = (connection.rtt_us > 0).then(|| f64::from(connection.rtt_us));
    vec![
        Cell::text(&connection.source),
        Cell::text(&connection.destination),
        Cell::text(&connection.protocol),
        Cell::text(&connection.direction),
        Cell::text(&connection.state),
        Cell::text(&connection.path),
        Cell::of(bytes, row.bytes_sent_per_second),
        Cell::of(bytes, row.bytes_received_per_second),
        Cell::of(bytes, crate::quantile::float(connection.bytes_sent)),
        Cell::of(bytes, crate::quantile::float(connection.bytes_received)),
        Cell::maybe(micros, rtt),
        Cell::of(count, crate::quantile::float(connection.retransmits)),
        Cell::maybe(short, (connection.age_seconds > 0.0).then_some(connection.age_seconds)),
        Cell::text(&connection.service),
        Cell::text(&connection.decided_by),
    ]
}

fn drop(row: &DropRates) -> Row {
    let drop = &row.drop;
    let place = if drop.audited { format!("{}, audit", drop.direction) } else { drop.direction.clone() };
    vec![
        Cell::text(&drop.reason),
        Cell::text(&drop.rule),
        Cell::text(&drop.place),
        Cell::text(&drop.source),
        Cell::text(&drop.destination),
        Cell::text(&drop.protocol),
        Cell::text(place),
        Cell::of(count, crate::quantile::float(row.attempts)),
        Cell::of(rate, row.attempts_per_second),
    ]
}

fn service(row: &ServiceRates) -> Row {
    let ServiceTotals { port, live, connections, refused, ended } = &row.totals;
    let is_sum = port.endpoint.is_empty();
    // An endpoint refuses nobody: who finds none is counted with the port.
    let of_all = |cell: Cell| if is_sum { cell } else { Cell::number(String::new(), 0.0) };
    vec![
        Cell::text(&port.service),
        Cell::number(port.port.to_string(), f64::from(port.port)),
        Cell::text(&port.protocol),
        Cell::text(if is_sum { "all" } else { &port.endpoint }),
        Cell::of(count, crate::quantile::float(*live)),
        Cell::of(rate, row.connections_per_second),
        of_all(Cell::of(rate, row.refused_per_second)),
        Cell::of(count, crate::quantile::float(*connections)),
        of_all(Cell::of(count, crate::quantile::float(*refused))),
        of_all(Cell::of(count, crate::quantile::float(*ended))),
    ]
}

fn program(row: &ProgramRates) -> Row {
    vec![
        Cell::text(&row.program),
        Cell::text(&row.hook),
        Cell::of(rate, row.runs_per_second),
        Cell::maybe(count, row.ns_per_run),
        Cell::of(share, row.cpu_share),
    ]
}

/// The columns for which there is room, and the width of each: those that may grow share what is left
/// by what their content needs.
pub(super) fn fit(columns: &[Column], rows: &[Row], width: u16) -> Vec<(usize, u16)> {
    let needs = |kept: &[usize]| {
        let gaps = u16::try_from(kept.len().saturating_sub(1)).unwrap_or(u16::MAX);
        kept.iter().map(|n| columns[*n].width).fold(gaps, u16::saturating_add)
    };
    let mut kept: Vec<usize> = (0..columns.len()).collect();
    while needs(&kept) > width && kept.len() > 1 {
        let Some(least) = kept.iter().enumerate().rev().min_by_key(|(_, n)| columns[**n].rank) else { break };
        kept.remove(least.0);
    }
    let mut left = width.saturating_sub(needs(&kept));
    let mut fitted: Vec<(usize, u16)> = kept.iter().map(|n| (*n, columns[*n].width)).collect();
    let wanted = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.chars().count());
        u16::try_from(cells.max().unwrap_or(0)).unwrap_or(u16::MAX)
    };
    // One character at a time to whoever lacks most: nobody is left with nothing.
    let mut lacking: Vec<u16> = fitted
        .iter()
        .map(
            |(column, width)| if columns[*column].grows { wanted(*column).saturating_sub(*width) } else { 0 },
        )
        .collect();
    while left > 0 {
        let Some((n, most)) = lacking.iter().copied().enumerate().max_by_key(|(_, lack)| *lack) else {
            break;
        };
        if most == 0 {
            break;
        }
        lacking[n] -= 1;
        fitted[n].1 += 1;
        left -= 1;
    }
    fitted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::model::VIEWS;

    fn reading() -> Reading {
        let pair = |source: &str, sent| PairRates {
            pair: super::super::sample::Pair { source: source.to_owned(), ..Default::default() },
            bytes_sent_per_second: sent,
            ..PairRates::default()
        };
        Reading {
            pairs: vec![pair("shop/web", 5.0), pair("bank/ledger", 70.0), pair("shop/cart", 600.0)],
            ..Reading::default()
        }
    }

    fn sources(sort: Sort, filter: &str) -> Vec<String> {
        rows(&reading(), View::Pairs, sort, filter).into_iter().map(|mut row| row.remove(0).text).collect()
    }

    #[test]
    fn rows_are_sorted_by_value_and_not_by_text() {
        let sort = Sort { column: 6, is_descending: true };
        assert_eq!(sources(sort, ""), ["shop/cart", "bank/ledger", "shop/web"]);
        assert_eq!(
            sources(Sort { is_descending: false, ..sort }, ""),
            ["shop/web", "bank/ledger", "shop/cart"]
        );
        assert_eq!(sources(Sort { column: 0, is_descending: false }, "")[0], "bank/ledger");
    }

    #[test]
    fn a_filter_takes_rows_that_contain_it_in_any_case() {
        let sort = Sort { column: 0, is_descending: false };
        assert_eq!(sources(sort, "SHOP"), ["shop/cart", "shop/web"]);
        assert!(sources(sort, "nobody").is_empty());
    }

    #[test]
    fn every_view_has_a_cell_for_each_column() {
        let reading = Reading {
            pairs: vec![PairRates::default()],
            connections: vec![ConnectionRates::default()],
            drops: vec![DropRates::default()],
            programs: vec![ProgramRates::default()],
            services: vec![ServiceRates::default()],
            ..Reading::default()
        };
        for view in VIEWS {
            let sort = Sort { column: first_sort(view), is_descending: true };
            let rows = rows(&reading, view, sort, "");
            assert_eq!(rows[0].len(), columns(view).len(), "{view:?}");
            assert!(columns(view)[sort.column].is_number);
        }
    }

    #[test]
    fn columns_go_by_their_rank_until_the_rest_fits() {
        for view in VIEWS {
            for width in 0..300 {
                let fitted = fit(columns(view), &[], width);
                let sum: u16 = fitted.iter().map(|(_, width)| width + 1).sum();
                assert!(sum <= width + 1 || fitted.len() == 1, "{view:?} at {width}: {fitted:?}");
                assert!(fitted.is_sorted_by_key(|(column, _)| *column));
            }
        }
        let at_80: Vec<&str> =
            fit(PAIRS, &[], 80).into_iter().map(|(column, _)| PAIRS[column].head).collect();
        for head in ["SOURCE", "DESTINATION", "PORT", "SENT/s", "RECV/s", "RTT p50", "p99", "REFUSED/s"] {
            assert!(at_80.contains(&head), "{head} in {at_80:?}");
        }
    }
}
