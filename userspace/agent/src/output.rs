//! What commands write: to standard output, in columns, in colour where a person reads.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// Writes to standard output.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write to standard output")
}

/// Writes indented JSON and a line end.
pub(crate) fn print_json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).context("cannot write JSON")?;
    print(&(text + "\n"))
}

/// Colours, or none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint {
    is_on: bool,
}

impl Paint {
    /// Colours where standard output is a terminal and `NO_COLOR` (<https://no-color.org>) is not set.
    pub(crate) fn for_stdout() -> Self {
        let is_refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { is_on: io::stdout().is_terminal() && !is_refused && !is_dumb }
    }

    /// Whether there are colours.
    pub(crate) const fn is_on(self) -> bool {
        self.is_on
    }

    /// No colours.
    pub(crate) const fn off() -> Self {
        Self { is_on: false }
    }

    /// A verdict or kind of event: green for what passes, red for what does not, else yellow.
    pub(crate) fn verdict(self, text: &str) -> String {
        let colour = match text.trim_end() {
            "allow" | "opened" | "closed" | "yes" => "32",
            "deny" | "refused" | "ended_late" | "no" => "31",
            _ => "33",
        };
        self.wrap(colour, text)
    }

    /// A status of HTTP: green for what went well, yellow for what the client did wrong, else red.
    pub(crate) fn status(self, status: u16, text: &str) -> String {
        let colour = match status {
            100..400 => "32",
            400..500 => "33",
            _ => "31",
        };
        self.wrap(colour, text)
    }

    /// A heading.
    pub(crate) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.is_on { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Rows as columns, two spaces apart; the column named `VERDICT` or `KIND` is painted.
pub(crate) fn columns(heads: &[&str], rows: &[Vec<String>], paint: Paint) -> String {
    let width = |column: usize, head: &str| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head.chars().count()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = heads.iter().enumerate().map(|(column, head)| width(column, head)).collect();
    let pad = |cell: &str, column: usize| {
        let is_last = column + 1 == heads.len();
        if is_last { cell.to_owned() } else { format!("{cell:<width$}", width = widths[column]) }
    };
    let mut text = String::new();
    let head: Vec<String> = heads.iter().enumerate().map(|(column, head)| pad(head, column)).collect();
    text += &paint.bold(head.join("  ").trim_end());
    text.push('\n');
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .enumerate()
            .take(heads.len())
            .map(|(column, cell)| match heads[column] {
                "VERDICT" | "KIND" => paint.verdict(&pad(cell, column)),
                _ => pad(cell, column),
            })
            .collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// Bytes for people: `512 B`, `1.5 KiB`, `20 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut unit = 0;
    // Hundredths of the unit, in integers: a `u64` has no exact `f64`.
    let mut hundredths = u128::from(count) * 100 / 1024;
    while hundredths >= 102_400 && unit + 1 < UNITS.len() {
        hundredths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", hundredths / 100, hundredths / 10 % 10, UNITS[unit])
}

/// Golden files of this package's unit tests.
#[cfg(test)]
pub(crate) mod golden {
    use std::fs;
    use std::path::Path;

    /// Compares with `tests/golden/<name>`; `BLESS=1` writes it.
    pub(crate) fn assert(name: &str, said: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
        if std::env::var_os("BLESS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, said).unwrap();
            return;
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(said, expected, "{name}: run with BLESS=1 if this is meant");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["a".to_owned(), "deny".to_owned()], vec!["long one".to_owned(), "allow".to_owned()]];
        let said = columns(&["NAME", "VERDICT"], &rows, Paint::off());
        assert_eq!(said, "NAME      VERDICT\na         deny\nlong one  allow\n");
    }

    #[test]
    fn a_verdict_is_painted_only_where_colour_is_on() {
        assert_eq!(Paint { is_on: true }.verdict("deny"), "\u{1b}[31mdeny\u{1b}[0m");
        assert_eq!(Paint::off().verdict("deny"), "deny");
    }

    #[test]
    fn bytes_are_written_in_binary_units() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (20 << 20, "20.0 MiB"),
            (u64::MAX, "16383.9 PiB"),
        ];
        for (count, expected) in cases {
            assert_eq!(bytes(count), expected);
        }
    }
}
