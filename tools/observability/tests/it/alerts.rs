//! Every alert asks for metrics that exist, is explained in docs/operations.md, and is tested.

use std::collections::BTreeSet;

use observability::catalogue::of_series;
use observability::promql;
use yaml_rust2::YamlLoader;

use crate::root;

/// The series of the recording rule that names the services which have to be there.
const EXPECTED: &str = "job:expected:bool";

/// What this test reads of an alert.
pub(crate) struct Alert {
    pub(crate) name: String,
    pub(crate) expression: String,
    runbook: String,
    severity: String,
}

pub(crate) fn alerts() -> Vec<Alert> {
    let text = std::fs::read_to_string(root().join("observability/prometheus/alerts.yml")).unwrap();
    let yaml = YamlLoader::load_from_str(&text).unwrap();
    let mut alerts = Vec::new();
    for group in yaml[0]["groups"].as_vec().unwrap() {
        for rule in group["rules"].as_vec().unwrap() {
            // A recording rule, for the alerts below.
            if rule["alert"].is_badvalue() {
                continue;
            }
            let text =
                |value: &yaml_rust2::Yaml| value.as_str().unwrap_or_else(|| panic!("{rule:?}")).to_owned();
            alerts.push(Alert {
                name: text(&rule["alert"]),
                expression: text(&rule["expr"]),
                runbook: text(&rule["annotations"]["runbook_url"]),
                severity: text(&rule["labels"]["severity"]),
            });
        }
    }
    alerts
}

#[test]
fn each_alert_asks_for_metrics_that_exist() {
    for alert in alerts() {
        for name in promql::series(&alert.expression).unwrap() {
            // Prometheus' own.
            let known = name == "up" || name == EXPECTED || of_series(&name).is_some();
            assert!(known, "{}: there is no series {name}", alert.name);
        }
        assert!(["critical", "warning"].contains(&alert.severity.as_str()), "{}", alert.name);
    }
}

#[test]
fn each_alert_has_its_section_in_the_runbook_and_each_section_its_alert() {
    let text = std::fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let mut sections = BTreeSet::new();
    for section in text.split("\n## ").skip(1) {
        let name = section.lines().next().unwrap();
        for part in ["**It means:**", "**Look:**", "**Do:**"] {
            assert!(section.contains(part), "{name} lacks {part}");
        }
        sections.insert(name.to_owned());
    }
    let mut names = BTreeSet::new();
    for alert in alerts() {
        assert_eq!(alert.runbook, format!("docs/operations.md#{}", alert.name.to_lowercase()));
        names.insert(alert.name);
    }
    assert_eq!(names, sections);
}

#[test]
fn each_alert_is_tested_when_it_fires_and_when_it_does_not() {
    let text = std::fs::read_to_string(root().join("observability/prometheus/tests/alerts.yml")).unwrap();
    let yaml = YamlLoader::load_from_str(&text).unwrap();
    let (mut fires, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for test in yaml[0]["tests"].as_vec().unwrap() {
        for case in test["alert_rule_test"].as_vec().unwrap() {
            let name = case["alertname"].as_str().unwrap().to_owned();
            let expected = case["exp_alerts"].as_vec().unwrap();
            if expected.is_empty() {
                silent.insert(name)
            } else {
                fires.insert(name)
            };
        }
    }
    let names: BTreeSet<String> = alerts().into_iter().map(|alert| alert.name).collect();
    assert_eq!((&fires, &silent), (&names, &names));
}
