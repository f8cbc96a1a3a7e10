//! `OpenMetrics` text turned into Prometheus text format 0.0.4.

use std::fmt::Write as _;

/// The classic format names a counter's family with its `_total` and an info's with its `_info`,
/// and knows neither units nor an end.
pub(super) fn from_open_metrics(text: &str) -> String {
    let mut classic = String::with_capacity(text.len());
    let mut help: Option<(&str, &str)> = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                other => ("", other),
            };
            if let Some((_, help)) = help.take().filter(|(of, _)| *of == name) {
                let _ = writeln!(classic, "# HELP {name}{suffix} {help}");
            }
            // Writing to a String cannot fail.
            let _ = writeln!(classic, "# TYPE {name}{suffix} {kind}");
        } else if !line.starts_with('#') {
            classic += line;
            classic.push('\n');
        }
    }
    classic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_named_as_their_samples() {
        let open = "# HELP a A.\n# TYPE a counter\na_total 1\n# HELP b B.\n# TYPE b info\nb_info{v=\"1\"} 1\n# EOF\n";
        let classic = "# HELP a_total A.\n# TYPE a_total counter\na_total 1\n\
                       # HELP b_info B.\n# TYPE b_info gauge\nb_info{v=\"1\"} 1\n";
        assert_eq!(from_open_metrics(open), classic);
    }
}
