//! Names, units and labels follow Prometheus' rules.

use std::collections::BTreeSet;

use observability::catalogue::all;
use telemetry::metrics::Kind;

/// Labels whose values are few. Ids, SKUs and customers can't be among them.
const LABELS: [&str; 18] = [
    "cause",
    "change",
    "currency",
    "method",
    "operation",
    "outcome",
    "partition",
    "reason",
    "route",
    "service",
    "state",
    "status",
    "step",
    "table",
    "topic",
    "version",
    "worker",
    "le",
];

#[test]
fn each_metric_is_listed_once_and_named_by_prometheus_rules() {
    let mut names = BTreeSet::new();
    for (section, metric) in all() {
        let name = metric.name;
        assert!(names.insert(name), "{name} is listed twice");
        assert!(
            name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'),
            "{name} in {}",
            section.source
        );
        assert_eq!(
            name.ends_with("_total"),
            metric.kind == Kind::Counter,
            "{name}: counters end with _total"
        );
        for part in name.split('_') {
            let other = ["ms", "milliseconds", "minutes", "kb", "mb", "minor", "cents", "percent"];
            assert!(!other.contains(&part), "{name} is not in a base unit");
        }
        for end in ["_bucket", "_sum", "_count", "_info_total"] {
            assert!(!name.ends_with(end), "{name} looks like a part of another metric");
        }
        let times = ["age", "latency", "duration", "time"];
        let is_time = name.split('_').any(|part| times.contains(&part));
        assert!(!is_time || name.trim_end_matches("_total").ends_with("_seconds"), "{name} is in seconds");
        assert!(metric.help.ends_with('.') && !metric.help.contains(['|', '\n']), "{name}: {}", metric.help);
        for label in metric.labels {
            assert!(LABELS.contains(label), "{name}: the label {label} is not known to be bounded");
        }
    }
}
