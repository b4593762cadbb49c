//! What the five services expose is what docs/metrics.md says, both ways, and their numbers are true.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context;
use observability::catalogue::{SERVICES, exposed_by};
use serde_json::Value;
use system::System;
use telemetry::metrics::Kind;
use testkit::exposition::Exposition;
use testkit::wait::eventually;
use tidings::services::ServiceName;

/// Gauges that need the database are read every five seconds.
const SAMPLED_WITHIN: Duration = Duration::from_secs(30);

fn service(name: &str) -> ServiceName {
    ServiceName::named(name).unwrap_or_else(|| panic!("there is no service {name}"))
}

async fn scrape(system: &System, name: &str) -> anyhow::Result<Exposition> {
    let url = format!("{}/metrics", system.client(service(name))?.base());
    let text = contracts::http::client().build()?.get(url).send().await?.error_for_status()?.text().await?;
    Exposition::parse(&text).map_err(|line| anyhow::anyhow!("{name}: {line}"))
}

async fn becomes(system: &System, name: &str, metric: &str, labels: &[(&str, &str)], wanted: f64) {
    eventually(&format!("{name}'s {metric} {labels:?} becomes {wanted}"), SAMPLED_WITHIN, async || {
        match scrape(system, name).await?.sum(metric, labels) {
            Some(found) if (found - wanted).abs() < f64::EPSILON => Ok(()),
            found => Err(anyhow::anyhow!("{found:?}")),
        }
    })
    .await;
}

/// Exposed and not documented, documented and not exposed, of another type, with other labels, without its help.
fn differences(name: &str, exposed: &Exposition) -> Vec<String> {
    let kind = |kind| match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let documented: BTreeMap<&str, &str> =
        exposed_by(name).map(|metric| (metric.name, kind(metric.kind))).collect();
    let found = exposed.families();
    let mut differences = Vec::new();
    for (metric, kind) in &found {
        if documented.get(metric) != Some(kind) {
            differences
                .push(format!("{name} exposes the {kind} {metric}, which docs/metrics.md does not list"));
        }
    }
    for metric in exposed_by(name) {
        if !found.contains_key(metric.name) {
            differences.push(format!("{name} does not expose {}", metric.name));
        } else if !exposed.is_described(metric.name) {
            differences.push(format!("{name}: {} has no help", metric.name));
        } else {
            let labels: BTreeSet<&str> = metric.labels.iter().copied().collect();
            let found = exposed.labels(metric.name);
            if found != labels {
                differences.push(format!("{name}: {} has the labels {found:?}", metric.name));
            }
        }
    }
    differences
}

#[tokio::test(flavor = "multi_thread")]
async fn every_service_exposes_what_is_documented_and_nothing_else_and_the_numbers_are_true()
-> anyhow::Result<()> {
    let system = System::start().await;
    system.replenish("TEAPOT", 100).await?;
    let mut orders = Vec::new();
    for (sku, token) in [
        ("TEAPOT", "tok_visa"),
        ("TEAPOT", "tok_visa"),
        ("TEAPOT", "tok_declined"),
        ("NO SUCH THING", "tok_visa"),
    ] {
        orders.push(system.place(sku, 2, token).await?);
    }
    // Takes the SKU below its threshold.
    orders.push(system.place("TEAPOT", 90, "tok_visa").await?);
    for order_id in orders {
        system.ended(order_id).await;
    }

    becomes(&system, "order", "orders_placed_total", &[], 5.0).await;
    for (end, reason, count) in [
        ("confirmed", "none", 3.0),
        ("cancelled", "payment_declined", 1.0),
        ("cancelled", "out_of_stock", 1.0),
        ("cancelled", "customer_request", 0.0),
        ("cancelled", "timed_out", 0.0),
    ] {
        becomes(&system, "order", "orders_ended_total", &[("status", end), ("reason", reason)], count).await;
    }
    becomes(&system, "order", "orders_time_to_end_seconds_count", &[], 5.0).await;
    becomes(&system, "inventory", "inventory_stock_alerts_total", &[], 1.0).await;
    for (outcome, count) in [("completed", 3.0), ("declined", 1.0), ("voided", 0.0), ("refunded", 0.0)] {
        becomes(&system, "payment", "payments_total", &[("outcome", outcome)], count).await;
    }
    // One that an order was received and one how it ended, each.
    becomes(&system, "notification", "mails_ended_total", &[("status", "sent")], 10.0).await;
    becomes(&system, "notification", "mails_ended_total", &[("status", "failed")], 0.0).await;
    becomes(&system, "notification", "mails_time_to_end_seconds_count", &[("status", "sent")], 10.0).await;
    // 94 units at 12.50.
    becomes(&system, "analytics", "analytics_revenue", &[("currency", "EUR")], 1_175.0).await;
    for name in SERVICES {
        becomes(&system, name, "inbox_lag_records", &[], 0.0).await;
        becomes(&system, name, "outbox_unpublished_messages", &[], 0.0).await;
        becomes(&system, name, "outbox_relay_leader", &[], 1.0).await;
        becomes(&system, name, "inbox_dead_letters", &[], 0.0).await;
        let ready: Value = system.client(service(name))?.get("/health/ready").await.into_result()?;
        assert_eq!(ready["components"]["relay"]["detail"], "leading", "{name}: {ready}");
    }

    let mut differing = Vec::new();
    for name in SERVICES {
        differing.extend(differences(name, &scrape(&system, name).await.context("scraping")?));
    }
    assert!(differing.is_empty(), "{differing:#?}");
    system.stop().await
}
