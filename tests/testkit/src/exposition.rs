//! What a process says at `/metrics`, read back; and a recorder of a test's own.

use std::collections::{BTreeMap, BTreeSet};

use metrics::LocalRecorderGuard;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

/// Prometheus' text format, parsed.
#[derive(Clone, Debug, Default)]
pub struct Exposition {
    types: BTreeMap<String, String>,
    helped: BTreeSet<String>,
    samples: Vec<Sample>,
}

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Exposition {
    /// Reads the text.
    ///
    /// # Errors
    /// The first line that is none of the format's.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut read = Self::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let taken = if let Some(described) = line.strip_prefix("# HELP ") {
                let (name, help) = described.split_once(' ').unwrap_or((described, ""));
                !help.is_empty() && read.helped.insert(name.to_owned())
            } else if let Some(typed) = line.strip_prefix("# TYPE ") {
                typed
                    .split_once(' ')
                    .is_some_and(|(name, kind)| read.types.insert(name.to_owned(), kind.to_owned()).is_none())
            } else {
                sample(line).map(|sample| read.samples.push(sample)).is_some()
            };
            if !taken {
                return Err(line.to_owned());
            }
        }
        Ok(read)
    }

    /// The metrics that have samples, each with its type.
    pub fn families(&self) -> BTreeMap<&str, &str> {
        let has_samples = |name: &str, kind: &str| {
            let end = if kind == "histogram" { "_count" } else { "" };
            self.samples.iter().any(|sample| sample.name.strip_suffix(end) == Some(name))
        };
        self.types
            .iter()
            .map(|(name, kind)| (name.as_str(), kind.as_str()))
            .filter(|(name, kind)| has_samples(name, kind))
            .collect()
    }

    /// Whether the metric has a `# HELP`.
    pub fn is_described(&self, name: &str) -> bool {
        self.helped.contains(name)
    }

    /// The names of the labels of this metric's samples; a histogram's own `le` aside.
    pub fn labels(&self, name: &str) -> BTreeSet<&str> {
        let of_metric = |sample: &&Sample| {
            sample.name.strip_prefix(name).is_some_and(|end| ["", "_bucket", "_sum", "_count"].contains(&end))
        };
        let labels = self.samples.iter().filter(of_metric).flat_map(|sample| sample.labels.keys());
        labels.map(String::as_str).filter(|label| *label != "le").collect()
    }

    /// The sum of all samples of this name that have these labels; `None` when there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let fits = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(label, value)| sample.labels.get(*label).is_some_and(|is| is == value))
        };
        let values: Vec<f64> = self.samples.iter().filter(fits).map(|sample| sample.value).collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }
}

/// `name value` or `name{label="value",...} value`; our labels hold neither quotes nor commas.
fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        None => (series, BTreeMap::new()),
        Some((name, labels)) => {
            let labels = labels.strip_suffix('}')?.split("\",").map(|pair| {
                let (label, value) = pair.split_once("=\"")?;
                Some((label.to_owned(), value.trim_end_matches('"').to_owned()))
            });
            (name, labels.collect::<Option<_>>()?)
        }
    };
    Some(Sample { name: name.to_owned(), labels, value: value.parse().ok()? })
}

/// A recorder of one test: of everything that happens on its thread, so of a test on a runtime of one thread.
pub struct Recorded {
    handle: PrometheusHandle,
    _installed: LocalRecorderGuard<'static>,
}

impl Recorded {
    /// Records from now on, until it is dropped.
    pub fn start() -> Self {
        // A test process ends soon; the guard needs a recorder that outlives it.
        let builder = PrometheusBuilder::new();
        #[expect(clippy::expect_used, reason = "there are bounds")]
        let builder = builder.set_buckets(&[1.0, 60.0]).expect("bounds are not empty");
        let recorder = Box::leak(Box::new(builder.build_recorder()));
        Self { handle: recorder.handle(), _installed: metrics::set_default_local_recorder(recorder) }
    }

    /// What was recorded so far.
    ///
    /// # Panics
    /// When the exporter writes what is not its format.
    #[expect(clippy::expect_used, reason = "the exporter's own format")]
    pub fn read(&self) -> Exposition {
        Exposition::parse(&self.handle.render()).expect("the exporter writes its own format")
    }

    /// The sum of all samples of this name that have these labels; 0 when there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.read().sum(name, labels).unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_by_name_and_labels() {
        let text = "# HELP a_total All.\n# TYPE a_total counter\na_total{x=\"1\",y=\"/b/{c}\"} 2\na_total{x=\"2\",y=\"\"} 3\n\n\
                    # TYPE d histogram\nd_bucket{le=\"1\"} 1\nd_sum 0.5\nd_count 1\n";
        let read = Exposition::parse(text).unwrap();
        assert_eq!(read.sum("a_total", &[]), Some(5.0));
        assert_eq!(read.sum("a_total", &[("y", "/b/{c}")]), Some(2.0));
        assert_eq!(read.sum("a_total", &[("x", "3")]), None);
        assert_eq!(read.families(), [("a_total", "counter"), ("d", "histogram")].into());
        assert_eq!(read.labels("a_total"), ["x", "y"].into());
        assert!(read.labels("d").is_empty() && read.is_described("a_total") && !read.is_described("d"));
        assert!(Exposition::parse("no sample").is_err());
    }
}
