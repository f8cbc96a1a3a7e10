//! Reading the text format of Prometheus.

/// A scrape.
#[derive(Debug, Clone)]
pub struct Metrics {
    text: String,
}

impl Metrics {
    /// As scraped.
    pub fn new(text: String) -> Self {
        Self { text }
    }

    /// The lines of samples whose names begin so.
    pub fn lines(&self, name: &str) -> String {
        self.text.lines().filter(|line| line.starts_with(name)).collect::<Vec<_>>().join("\n")
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The sum of all samples of a name that have all these labels; 0 if there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.samples(name, labels).into_iter().sum()
    }

    /// Whether there is such a sample.
    pub fn has(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        !self.samples(name, labels).is_empty()
    }

    fn samples(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        self.text
            .lines()
            .filter_map(|line| {
                let rest = line.strip_prefix(name)?;
                let (set, value) = match rest.strip_prefix('{') {
                    Some(rest) => rest.rsplit_once("} ")?,
                    None => ("", rest.strip_prefix(' ')?),
                };
                let is_asked = labels.iter().all(|(key, value)| {
                    let pair = format!("{key}=\"{value}\"");
                    set.match_indices(&pair).any(|(at, _)| at == 0 || set[..at].ends_with(','))
                });
                if !is_asked {
                    return None;
                }
                value.split(' ').next()?.parse().ok()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_by_name_and_labels() {
        let metrics = Metrics::new(
            "# TYPE a_total counter\na_total{x=\"1\",y=\"2\"} 3\na_total{x=\"1\",y=\"3\"} 4\na_totals 9\nb 5\n"
                .to_owned(),
        );
        assert_eq!(metrics.sum("a_total", &[("x", "1")]).to_string(), "7");
        assert_eq!(metrics.sum("a_total", &[("x", "1"), ("y", "3")]).to_string(), "4");
        assert_eq!(metrics.sum("b", &[]).to_string(), "5");
        assert!(!metrics.has("a", &[]));
    }
}
