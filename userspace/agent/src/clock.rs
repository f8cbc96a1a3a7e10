//! Times: the kernel's monotonic clock as calendar time, RFC 3339, and durations for people.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// A moment at which both clocks were read; turns one into the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    monotonic: Duration,
    system: SystemTime,
}

impl Clock {
    /// Reads both clocks. The kernel stamps events with `CLOCK_MONOTONIC` (`bpf_ktime_get_ns`).
    pub(crate) fn now() -> Self {
        let monotonic = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
        Self { monotonic, system: SystemTime::now() }
    }

    /// What the monotonic clock showed.
    pub(crate) fn monotonic_ns(&self) -> u64 {
        u64::try_from(self.monotonic.as_nanos()).unwrap_or(u64::MAX)
    }

    /// When the monotonic clock showed `ns`; `None` for 0, which means never.
    pub(crate) fn time_of(&self, ns: u64) -> Option<SystemTime> {
        let at = Duration::from_nanos(ns);
        match (ns, at.checked_sub(self.monotonic)) {
            (0, _) => None,
            (_, Some(later)) => self.system.checked_add(later),
            (_, None) => self.system.checked_sub(self.monotonic.saturating_sub(at)),
        }
    }

    /// How long ago the monotonic clock showed `ns`; zero if that is to come.
    pub(crate) fn age_of(&self, ns: u64) -> Duration {
        self.monotonic.saturating_sub(Duration::from_nanos(ns))
    }

    /// What the monotonic clock shows at a time; 1 for one before it began, since 0 means never.
    pub(crate) fn ns_of(&self, time: SystemTime) -> u64 {
        let at = match time.duration_since(self.system) {
            Ok(later) => self.monotonic.saturating_add(later),
            Err(earlier) => self.monotonic.saturating_sub(earlier.duration()),
        };
        u64::try_from(at.as_nanos()).unwrap_or(u64::MAX - 1).max(1)
    }

    /// [`Self::time_of`] as text.
    pub(crate) fn text_of(&self, ns: u64) -> Option<String> {
        self.time_of(ns).map(rfc3339)
    }
}

/// A time in UTC with microseconds, RFC 3339.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:06}Z", since.subsec_micros())
}

/// A time by RFC 3339, with `Z` or an offset; years from 1970 to 9999. Fractions of a second are
/// passed over.
pub(crate) fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    let number = |from: usize, to: usize| -> Option<u64> {
        let digits = text.get(from..to)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let is = |at: usize, among: &[u8]| text.as_bytes().get(at).is_some_and(|byte| among.contains(byte));
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let is_written = is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":");
    let is_time = hour < 24 && minute < 60 && second < 61;
    let days = days_of(year, month, day)?;
    if !is_written || !is_time || civil(days) != (year, month, day) {
        return None;
    }
    let local = days * 86_400 + hour * 3600 + minute * 60 + second;
    let rest = text.get(19..)?;
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => rest,
    };
    let at = text.len() - zone.len();
    let seconds = match zone.as_bytes().first()? {
        b'Z' | b'z' if zone.len() == 1 => local,
        sign @ (b'+' | b'-') if zone.len() == 6 && is(at + 3, b":") => {
            let offset = number(at + 1, at + 3)? * 3600 + number(at + 4, at + 6)? * 60;
            if *sign == b'+' { local.checked_sub(offset)? } else { local + offset }
        }
        _ => return None,
    };
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Days since 1970 of a date (Howard Hinnant, as below, `days_from_civil`).
fn days_of(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let shifted_year = if month > 2 { year } else { year - 1 };
    let (era, year_of_era) = (shifted_year / 400, shifted_year % 400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// A whole number of seconds, minutes, hours or days: `30s`, `10m`, `12h`, `7d`; up to ten years.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    const LONGEST_SECONDS: u64 = 10 * 366 * 86_400;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    count.checked_mul(seconds).filter(|total| (1..=LONGEST_SECONDS).contains(total)).map(Duration::from_secs)
}

/// Year, month and day of a day since 1970 (Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// A duration with two of its units at most: `3d 4h`, `12m 5s`, `1.50s`, `20ms`, `15us`.
pub(crate) fn short(seconds: f64) -> String {
    let Ok(duration) = Duration::try_from_secs_f64(seconds) else { return "-".to_owned() };
    let whole = duration.as_secs();
    match whole {
        0 if duration.is_zero() => "0s".to_owned(),
        86_400.. => format!("{}d {}h", whole / 86_400, whole / 3600 % 24),
        3600.. => format!("{}h {}m", whole / 3600, whole / 60 % 60),
        60.. => format!("{}m {}s", whole / 60, whole % 60),
        1.. => format!("{:.2}s", duration.as_secs_f64()),
        0 if duration.as_millis() > 0 => format!("{}ms", duration.as_millis()),
        0 => format!("{}us", duration.as_micros()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_by_rfc_3339() {
        let at = |seconds, micros: u32| rfc3339(UNIX_EPOCH + Duration::new(seconds, micros * 1000));
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(at(951_782_400, 7), "2000-02-29T00:00:00.000007Z");
        assert_eq!(at(1_735_689_599, 999_999), "2024-12-31T23:59:59.999999Z");
        assert_eq!(at(4_107_542_400, 0), "2100-03-01T00:00:00.000000Z");
    }

    #[test]
    fn the_monotonic_clock_is_turned_into_calendar_time() {
        let clock =
            Clock { monotonic: Duration::from_secs(10), system: UNIX_EPOCH + Duration::from_secs(100) };
        assert_eq!(clock.text_of(9_000_000_000).unwrap(), "1970-01-01T00:01:39.000000Z");
        assert_eq!(clock.text_of(11_500_000_000).unwrap(), "1970-01-01T00:01:41.500000Z");
        assert_eq!(clock.text_of(0), None);
        assert_eq!(clock.age_of(9_000_000_000), Duration::from_secs(1));
        assert_eq!(clock.age_of(11_500_000_000), Duration::ZERO);
    }

    #[test]
    fn a_duration_is_short() {
        let cases = [
            (0.0, "0s"),
            (0.000_015, "15us"),
            (0.02, "20ms"),
            (1.5, "1.50s"),
            (725.0, "12m 5s"),
            (273_600.0, "3d 4h"),
            (-1.0, "-"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(short(seconds), expected);
        }
    }

    #[test]
    fn what_is_written_by_rfc_3339_is_read() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T00:00:00Z", 951_782_400),
            ("2100-03-01t00:00:00.25z", 4_107_542_400),
            ("2024-12-31T23:59:59+00:00", 1_735_689_599),
            ("2025-01-01T01:59:59+02:00", 1_735_689_599),
            ("2024-12-31T18:29:59-05:30", 1_735_689_599),
        ] {
            assert_eq!(parse_rfc3339(text), Some(UNIX_EPOCH + Duration::from_secs(seconds)), "{text}");
        }
        for wrong in [
            "",
            "2024",
            "2024-13-01T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:00:00",
            "2024-01-01T00:00:00+1",
            "1969-01-01T00:00:00Z",
            "2024-01-01T00:00:00Zx",
            "2024/01/01T00:00:00Z",
            "+024-01-01T00:00:00Z",
            "2024-01-01T00:00:00é",
        ] {
            assert_eq!(parse_rfc3339(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn durations_are_read_and_slips_are_not() {
        for (text, seconds) in [("30s", 30), ("10m", 600), ("12h", 43_200), ("7d", 604_800)] {
            assert_eq!(parse_duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in ["", "s", "10", "0s", "-1m", "1.5h", "1y", "99999d", "10 m", "١m", "10é"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn calendar_time_is_turned_into_the_monotonic_clock() {
        let clock =
            Clock { monotonic: Duration::from_secs(10), system: UNIX_EPOCH + Duration::from_secs(100) };
        let at = |seconds| clock.ns_of(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!((at(99), at(105), at(0)), (9_000_000_000, 15_000_000_000, 1));
    }
}
