//! The text that Prometheus scrapes, in its format 0.0.4.

use super::histogram::Distribution;

/// The media type of the text.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family of series measures.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

/// Names and values.
pub(crate) type Labels<'a> = [(&'a str, &'a str)];

/// A text in the making.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    text: String,
}

impl Exposition {
    /// Begins the family `name`. Its series follow, each with labels of its own.
    pub(crate) fn family(
        &mut self,
        name: &'static str,
        kind: Kind,
        help: &'static str,
    ) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.text
            .push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        Family {
            text: &mut self.text,
            name,
        }
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// A family whose series are being written.
#[derive(Debug)]
pub(crate) struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Family<'_> {
    pub(crate) fn sample(&mut self, labels: &Labels<'_>, value: u64) {
        self.line("", labels, &value.to_string());
    }

    pub(crate) fn distribution(&mut self, labels: &Labels<'_>, distribution: &Distribution) {
        let Distribution {
            buckets,
            count,
            sum,
        } = distribution;
        let bounded = buckets
            .iter()
            .map(|(bound, count)| (bound.as_secs_f64().to_string(), count));
        for (bound, count) in bounded.chain([("+Inf".to_owned(), count)]) {
            let mut labels = labels.to_vec();
            labels.push(("le", &bound));
            self.line("_bucket", &labels, &count.to_string());
        }
        self.line("_sum", labels, &sum.as_secs_f64().to_string());
        self.line("_count", labels, &count.to_string());
    }

    fn line(&mut self, suffix: &str, labels: &Labels<'_>, value: &str) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        if !labels.is_empty() {
            let labels: Vec<_> = labels
                .iter()
                .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
                .collect();
            self.text.push_str(&format!("{{{}}}", labels.join(",")));
        }
        self.text.push_str(&format!(" {value}\n"));
    }
}

/// A label's value: any text, on one line and between quotes.
fn escaped(value: &str) -> String {
    value
        .replace('\\', r"\\")
        .replace('"', r#"\""#)
        .replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_label_may_hold_any_text() {
        let mut exposition = Exposition::default();
        let mut family = exposition.family("m", Kind::Gauge, "Help.");
        family.sample(&[], 1);
        family.sample(&[("a", "x\\n\"y\"\nz"), ("b", "ä")], 2);
        assert_eq!(
            exposition.into_text(),
            "# HELP m Help.\n# TYPE m gauge\nm 1\nm{a=\"x\\\\n\\\"y\\\"\\nz\",b=\"ä\"} 2\n"
        );
    }

    #[test]
    fn a_distribution_ends_with_its_sum_and_its_count() {
        let mut exposition = Exposition::default();
        let distribution = Distribution {
            buckets: vec![
                (Duration::from_micros(100), 2),
                (Duration::from_millis(2_500), 3),
            ],
            count: 4,
            sum: Duration::from_nanos(12_000_000_001),
        };
        exposition
            .family("m", Kind::Histogram, "Help.")
            .distribution(&[("a", "x")], &distribution);
        let lines = [
            "# HELP m Help.",
            "# TYPE m histogram",
            "m_bucket{a=\"x\",le=\"0.0001\"} 2",
            "m_bucket{a=\"x\",le=\"2.5\"} 3",
            "m_bucket{a=\"x\",le=\"+Inf\"} 4",
            "m_sum{a=\"x\"} 12.000000001",
            "m_count{a=\"x\"} 4",
            "",
        ];
        assert_eq!(exposition.into_text(), lines.join("\n"));
    }
}
