//! Which of the two text formats a scraper takes.

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exposition {
    /// `OpenMetrics` 1.0.
    OpenMetrics,
    /// Prometheus text format 0.0.4.
    Classic,
}

impl Exposition {
    /// By the `Accept` field: `OpenMetrics` for whoever names it without refusing it.
    pub(crate) fn accepted(accept: &str) -> Self {
        let is_open_metrics = accept.split(',').any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let is_named =
                parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/openmetrics-text"));
            is_named && !parts.any(|part| matches!(part, "q=0" | "q=0.0"))
        });
        if is_open_metrics { Self::OpenMetrics } else { Self::Classic }
    }

    /// The type of its content.
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_what_the_scraper_accepts() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4";
        assert_eq!(Exposition::accepted(prometheus), Exposition::OpenMetrics);
        for accept in ["", "*/*", "text/plain", "application/openmetrics-text;q=0"] {
            assert_eq!(Exposition::accepted(accept), Exposition::Classic, "{accept}");
        }
    }
}
