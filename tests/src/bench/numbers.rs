//! Medians and spreads.

use serde::{Deserialize, Serialize};

/// The middle of some numbers, and the middle half around it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Spread {
    /// `None` of no numbers.
    pub(crate) fn of(mut numbers: Vec<f64>) -> Option<Self> {
        if numbers.is_empty() {
            return None;
        }
        numbers.sort_by(f64::total_cmp);
        let quantile = |quarters: usize| {
            // Between two neighbours in proportion, as in R's type 7.
            let at = (numbers.len() - 1) * quarters;
            let (below, part) = (at / 4, at % 4);
            let (a, b) = (numbers[below], numbers[(below + 1).min(numbers.len() - 1)]);
            a + (b - a) * [0.0, 0.25, 0.5, 0.75][part]
        };
        Some(Self { low: quantile(1), median: quantile(2), high: quantile(3) })
    }
}

/// The number below which `per_mille` of sorted numbers are; 0 of none.
pub(crate) fn quantile(sorted: &[u64], per_mille: usize) -> u64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get(last * per_mille / 1000).copied().unwrap_or(0)
}

/// As a float: what is measured here stays far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "see above")]
pub(crate) fn float(number: u64) -> f64 {
    number as f64
}

/// Whole nanoseconds.
pub(crate) fn nanoseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// With commas between thousands.
pub(crate) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// In the largest binary unit that divides it.
pub(crate) fn bytes(number: usize) -> String {
    let units = [(1 << 20, "MiB"), (1 << 10, "KiB")];
    let found = units.into_iter().find(|(unit, _)| number > 0 && number.is_multiple_of(*unit));
    found.map_or_else(|| format!("{number} B"), |(unit, name)| format!("{} {name}", number / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_middle_half() {
        let spread = Spread::of(vec![5.0, 1.0, 3.0, 2.0, 4.0]).unwrap();
        assert_eq!(spread, Spread { low: 2.0, median: 3.0, high: 4.0 });
        assert_eq!(Spread::of(vec![1.0, 2.0]).unwrap().median.to_string(), "1.5");
        assert_eq!(Spread::of(vec![]), None);
    }

    #[test]
    fn quantiles_are_taken_from_the_numbers_themselves() {
        let numbers: Vec<u64> = (1..=100).collect();
        assert_eq!((quantile(&numbers, 500), quantile(&numbers, 990), quantile(&[], 500)), (50, 99, 0));
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([10, 1_000, 100_000, 1_234_567].map(grouped), ["10", "1,000", "100,000", "1,234,567"]);
    }

    #[test]
    fn bytes_are_told_in_the_unit_that_divides_them() {
        assert_eq!([64, 1_500, 4 << 10, 1 << 20].map(bytes), ["64 B", "1500 B", "4 KiB", "1 MiB"]);
    }
}
