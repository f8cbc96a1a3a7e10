//! Numbers in few characters.

/// A rate by the second; nothing is `-`.
pub(super) fn rate(value: f64) -> String {
    if value <= 0.0 {
        return "-".to_owned();
    }
    if value < 9.95 { format!("{value:.1}") } else { scaled(value, 1000.0) }
}

/// A number; nothing is `-`.
pub(super) fn count(value: f64) -> String {
    if value < 0.5 { "-".to_owned() } else { scaled(value, 1000.0) }
}

/// Bytes, in powers of 1024; nothing is `-`.
pub(super) fn bytes(value: f64) -> String {
    if value < 0.5 { "-".to_owned() } else { scaled(value, 1024.0) }
}

/// Three or four digits and a unit.
fn scaled(value: f64, step: f64) -> String {
    const UNITS: [&str; 6] = ["", "K", "M", "G", "T", "P"];
    let (mut value, mut unit) = (value, 0);
    // Up to four digits are written out.
    while value >= 9999.5 && unit + 1 < UNITS.len() {
        value /= step;
        unit += 1;
        if value < 9.95 {
            return format!("{value:.1}{}", UNITS[unit]);
        }
    }
    format!("{value:.0}{}", UNITS[unit])
}

/// Microseconds.
pub(super) fn micros(value: f64) -> String {
    match value {
        ..9.95 => format!("{value:.1}us"),
        ..999.5 => format!("{value:.0}us"),
        ..9_950.0 => format!("{:.1}ms", value / 1e3),
        ..999_500.0 => format!("{:.0}ms", value / 1e3),
        _ => format!("{:.1}s", value / 1e6),
    }
}

/// A share of a processor.
pub(super) fn share(value: f64) -> String {
    if value <= 0.0 { "-".to_owned() } else { format!("{:.2}%", value * 100.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let rates =
            [(0.0, "-"), (0.04, "0.0"), (9.94, "9.9"), (9.96, "10"), (9999.0, "9999"), (12_345.0, "12K")];
        for (value, expected) in rates {
            assert_eq!(rate(value), expected);
        }
        let sizes =
            [(0.0, "-"), (1.0, "1"), (9999.0, "9999"), (10_000.0, "9.8K"), (20e6, "19M"), (1e18, "888P")];
        for (value, expected) in sizes {
            assert_eq!(bytes(value), expected);
        }
        let times = [(5.04, "5.0us"), (54.4, "54us"), (1500.0, "1.5ms"), (20_000.0, "20ms"), (2e6, "2.0s")];
        for (value, expected) in times {
            assert_eq!(micros(value), expected);
        }
        assert_eq!((share(0.0), share(0.012_34), count(1e6)), ("-".into(), "1.23%".into(), "1000K".into()));
    }
}
