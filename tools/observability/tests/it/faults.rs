//! Each fault of the table in docs/operations.md has its test by promtool, with the alert and the time that the table names.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use yaml_rust2::{Yaml, YamlLoader};

use crate::root;

/// When each fault of the tests begins, and the last evaluation before it.
const BEGIN_MINUTES: u64 = 10;
const BEFORE: &str = "9m30s";

/// What is said of a fault: its alert, and within how many minutes it fires.
type Reported = (String, u64);

fn table() -> BTreeMap<String, Reported> {
    let text = std::fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let (_, rows) = text.split_once("| fault | alert | within |\n|---|---|---|\n").unwrap();
    let mut faults = BTreeMap::new();
    for row in rows.lines().take_while(|row| row.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [fault, alert, within] = cells[..] else { panic!("{row}") };
        let (name, link) = alert.trim_start_matches('[').split_once("](#").unwrap();
        assert_eq!(link, format!("{})", name.to_lowercase()), "{row}");
        let minutes = within.strip_suffix(" min").unwrap().parse().unwrap();
        let before = faults.insert(fault.to_owned(), (name.to_owned(), minutes));
        assert!(before.is_none(), "{fault} stands there twice");
    }
    faults
}

fn tested() -> BTreeMap<String, Reported> {
    let text = std::fs::read_to_string(root().join("observability/prometheus/tests/faults.yml")).unwrap();
    let yaml = YamlLoader::load_from_str(&text).unwrap();
    let mut faults = BTreeMap::new();
    for test in yaml[0]["tests"].as_vec().unwrap() {
        let fault = test["name"].as_str().unwrap();
        let cases = test["promql_expr_test"].as_vec().unwrap();
        let [before, after] = &cases[..] else { panic!("{fault}: not two cases") };
        let before_expression = before["expr"].as_str().unwrap();
        let alert = before_expression
            .strip_prefix("ALERTS{alertname=\"")
            .and_then(|rest| rest.strip_suffix("\", alertstate=\"firing\"}"))
            .unwrap_or_else(|| panic!("{fault}: {before_expression}"));
        assert_eq!(before["eval_time"].as_str(), Some(BEFORE), "{fault}");
        assert_eq!(before["exp_samples"].as_vec().map(Vec::len), Some(0), "{fault}: silent before it begins");
        assert_eq!(after["expr"].as_str().unwrap(), format!("count({before_expression})"), "{fault}");
        assert_eq!(after["exp_samples"][0]["value"], Yaml::Integer(1), "{fault}: one alert fires");
        let at = after["eval_time"].as_str().unwrap();
        let minutes: u64 = at.strip_suffix('m').unwrap().parse().unwrap();
        faults.insert(fault.to_owned(), (alert.to_owned(), minutes - BEGIN_MINUTES));
    }
    faults
}

#[test]
fn each_fault_of_the_table_is_tested_with_its_alert_and_its_time() {
    assert_eq!(table(), tested());
}

#[test]
fn each_alert_stands_in_the_table_of_faults() {
    let named: BTreeSet<String> = table().into_values().map(|(alert, _)| alert).collect();
    let names: BTreeSet<String> = crate::alerts::alerts().into_iter().map(|alert| alert.name).collect();
    assert_eq!(named, names);
}

/// Prometheus' own evaluation of the rules, by which each fault's alert fires in its time.
#[test]
fn each_fault_raises_its_alert_in_its_time() {
    let promtool = Command::new(root().join("tools/promtool.sh"))
        .args(["test", "rules"])
        .arg(root().join("observability/prometheus/tests/faults.yml"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&promtool.stdout);
    assert!(promtool.status.success(), "{said}{}", String::from_utf8_lossy(&promtool.stderr));
}
