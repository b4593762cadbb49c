//! What the code counts is in the tables, and what is in the tables is counted: also what no test run reaches.

use std::collections::BTreeMap;
use std::path::Path;

use observability::catalogue::all;
use regex_lite::Regex;
use telemetry::metrics::Kind;

use crate::root;

/// Every `counter!("name"`, `gauge!("name"` and `histogram!("name"` of the services and their shared crates.
fn recorded() -> BTreeMap<String, Kind> {
    let call = Regex::new(r#"\b(counter|gauge|histogram)!\(\s*"([^"]+)""#).unwrap();
    let mut found = BTreeMap::new();
    for layer in ["services", "shared"] {
        for member in std::fs::read_dir(root().join(layer)).unwrap() {
            let member = member.unwrap().path();
            if !member.ends_with("testkit") {
                read(&member.join("src"), &call, &mut found);
            }
        }
    }
    found
}

fn read(folder: &Path, call: &Regex, found: &mut BTreeMap<String, Kind>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, call, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            for captured in call.captures_iter(&std::fs::read_to_string(&path).unwrap()) {
                let kind = match &captured[1] {
                    "counter" => Kind::Counter,
                    "gauge" => Kind::Gauge,
                    _ => Kind::Histogram,
                };
                let before = found.insert(captured[2].to_owned(), kind);
                assert!(before.is_none_or(|before| before == kind), "{} is of two kinds", &captured[2]);
            }
        }
    }
}

#[test]
fn what_the_code_records_is_listed_and_what_is_listed_is_recorded() {
    let recorded = recorded();
    let listed: BTreeMap<String, Kind> = all()
        // These come from the crate metrics-process.
        .filter(|(_, metric)| !metric.name.starts_with("process_"))
        .map(|(_, metric)| (metric.name.to_owned(), metric.kind))
        .collect();
    assert_eq!(recorded, listed);
}
