//! Every panel asks for metrics that exist, of a job that exposes them.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use observability::catalogue::{SERVICES, all, exposed_by, of_series};
use observability::{dashboards, promql};

#[test]
fn each_panels_query_asks_for_metrics_that_exist() {
    let mut queries = 0;
    for dashboard in dashboards::all() {
        for panel in dashboard.rows.iter().flat_map(|row| &row.panels) {
            for query in &panel.queries {
                let place = format!("{} / {}", dashboard.title, panel.title);
                let series =
                    promql::series(&query.expression).unwrap_or_else(|error| panic!("{place}: {error}"));
                assert!(!series.is_empty(), "{place} asks for nothing");
                for name in series {
                    let metric =
                        of_series(&name).unwrap_or_else(|| panic!("{place}: there is no series {name}"));
                    if let Some(service) =
                        SERVICES.into_iter().find(|service| dashboard.uid == format!("tidings-{service}"))
                    {
                        assert!(exposed_by(service).any(|exposed| exposed == metric), "{place}: not {name}");
                        let of_job = query.expression.contains(&format!("{name}{{job=\"{service}\""));
                        assert!(of_job, "{place}: {name} of every service");
                    }
                    check_labels(&place, &query.expression, query.legend, metric.labels);
                }
                queries += 1;
            }
        }
    }
    println!("{queries} queries");
}

/// Prometheus' own parser reads them, as the recording rules that they could be.
#[test]
fn each_panels_query_is_promql() {
    let mut rules = String::from("groups:\n  - name: panels\n    rules:\n");
    let queries = dashboards::all()
        .into_iter()
        .flat_map(|dashboard| dashboard.rows)
        .flat_map(|row| row.panels)
        .flat_map(|panel| panel.queries);
    for (number, query) in queries.enumerate() {
        // Grafana's variables.
        let expression = query.expression.replace("$__rate_interval", "5m").replace("$__range", "1h");
        assert!(!expression.contains('$'), "{expression}: a variable that this test doesn't know");
        let expression = serde_json::to_string(&expression).unwrap();
        writeln!(rules, "      - record: panel:{number}\n        expr: {expression}").unwrap();
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("panels.yml");
    std::fs::write(&file, rules).unwrap();
    let promtool = Command::new(crate::root().join("tools/promtool.sh"))
        .args(["check", "rules"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(promtool.status.success(), "{}", String::from_utf8_lossy(&promtool.stderr));
}

/// A legend names labels that the answer has.
fn check_labels(place: &str, expression: &str, legend: &str, labels: &[&str]) {
    for label in legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()) {
        let scraped = ["job", "instance"].contains(&label);
        assert!(scraped || labels.contains(&label), "{place}: no label {label}");
        let kept = expression.split(" by (").skip(1).filter_map(|rest| rest.split(')').next());
        let mut kept = kept.peekable();
        if kept.peek().is_some() {
            assert!(kept.any(|by| by.split(", ").any(|one| one == label)), "{place}: {label} is summed away");
        }
    }
}

#[test]
fn each_metric_of_the_services_is_on_a_dashboard_or_in_an_alert() {
    let mut shown = BTreeSet::new();
    for dashboard in dashboards::all() {
        for query in dashboard.rows.iter().flat_map(|row| &row.panels).flat_map(|panel| &panel.queries) {
            let series = promql::series(&query.expression).unwrap();
            shown.extend(series.iter().filter_map(|name| of_series(name)).map(|metric| metric.name));
        }
    }
    for alert in crate::alerts::alerts() {
        let series = promql::series(&alert.expression).unwrap();
        shown.extend(series.iter().filter_map(|name| of_series(name)).map(|metric| metric.name));
    }
    // Detail for who asks by hand.
    let by_hand = ["outbox_table_partitions_dropped_total", "outbox_keys_blocked_total"];
    let missing: Vec<&str> = all()
        .map(|(_, metric)| metric.name)
        .filter(|name| !name.starts_with("process_") && !by_hand.contains(name) && !shown.contains(name))
        .collect();
    assert!(missing.is_empty(), "nobody looks at {missing:?}");
}

#[test]
fn panels_do_not_overlap() {
    for dashboard in dashboards::all() {
        let json = dashboard.to_json();
        let mut taken = BTreeSet::new();
        for panel in json["panels"].as_array().unwrap() {
            let at = |side: &str| panel["gridPos"][side].as_u64().unwrap();
            assert!(at("x") + at("w") <= 24, "{panel}");
            for x in at("x")..at("x") + at("w") {
                for y in at("y")..at("y") + at("h") {
                    assert!(taken.insert((x, y)), "{}: {} overlaps", dashboard.title, panel["title"]);
                }
            }
        }
    }
}
