//! The system on one page: whether anything is stuck, then how it flows.

use crate::catalogue::SERVICES;

use super::model::{Dashboard, Panel, Query, Row};

/// The page.
pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "tidings-system".to_owned(),
        title: "Tidings: the system".to_owned(),
        rows: vec![stuck(), stopped(), orders(), requests(), events(), processes()],
    }
}

fn stuck() -> Row {
    Row {
        title: "Is anything stuck?",
        panels: vec![
            Panel::number(
                "Oldest unpublished message",
                "s",
                "The worst of all outboxes.",
                30.0,
                "max(outbox_oldest_unpublished_age_seconds)",
            ),
            Panel::number(
                "Services without a leading relay",
                "short",
                "Their messages wait. A service without a replica counts.",
                1.0,
                &format!("{} - (count(sum by (job) (outbox_relay_leader) > 0) or vector(0))", SERVICES.len()),
            ),
            Panel::number(
                "Largest lag of a partition",
                "short",
                "Records that a service has not applied yet.",
                1_000.0,
                "max(max by (job, topic, partition) (inbox_lag_records))",
            ),
            Panel::number(
                "Orders past their deadline",
                "short",
                "Open although their deadline has passed.",
                1.0,
                "max(orders_past_deadline)",
            ),
        ],
    }
}

fn stopped() -> Row {
    Row {
        title: "Does anything wait for a person?",
        panels: vec![
            Panel::number(
                "Dead letters",
                "short",
                "Could not be applied; they and those behind them wait.",
                1.0,
                "sum(max by (job, topic, reason) (inbox_dead_letters))",
            ),
            Panel::number(
                "Blocked keys",
                "short",
                "The broker will not take their next message, or the one before it is missing.",
                1.0,
                "sum(max by (job) (outbox_blocked_keys))",
            ),
            Panel::number(
                "Stopped partitions",
                "short",
                "Records are missing where reading should go on.",
                1.0,
                "sum(inbox_partitions{state=\"stopped\"})",
            ),
            Panel::number(
                "Spans lost in 5 minutes",
                "short",
                "The collector is slow or gone; nothing else suffers.",
                1.0,
                "sum(increase(telemetry_spans_dropped_total[5m]))",
            ),
        ],
    }
}

fn orders() -> Row {
    Row {
        title: "Orders",
        panels: vec![
            Panel::graph(
                "Orders per second",
                "reqps",
                "Accepted, and ended by status and reason.",
                vec![
                    Query::new("sum(rate(orders_placed_total[$__rate_interval]))", "placed"),
                    Query::new(
                        "sum by (status, reason) (rate(orders_ended_total[$__rate_interval]))",
                        "{{status}} {{reason}}",
                    ),
                ],
            ),
            Panel::graph(
                "Time from placed to ended",
                "s",
                "Half of the orders, and all but one in a hundred.",
                vec![
                    Query::new(quantile(0.5, "orders_time_to_end_seconds", "status"), "half, {{status}}"),
                    Query::new(quantile(0.99, "orders_time_to_end_seconds", "status"), "99 %, {{status}}"),
                ],
            ),
            Panel::graph(
                "Revenue",
                "short",
                "All confirmed orders, by currency.",
                vec![Query::new("max by (currency) (analytics_revenue)", "{{currency}}")],
            ),
            Panel::graph(
                "SKUs that fell low per minute",
                "short",
                "",
                vec![Query::new("sum(rate(inventory_stock_alerts_total[$__rate_interval])) * 60", "alerts")],
            ),
        ],
    }
}

fn requests() -> Row {
    Row {
        title: "Requests",
        panels: vec![
            Panel::graph(
                "Requests per second",
                "reqps",
                "",
                vec![Query::new("sum by (job) (rate(http_requests_total[$__rate_interval]))", "{{job}}")],
            ),
            Panel::graph(
                "Requests that failed, per second",
                "reqps",
                "Answered 5xx.",
                vec![Query::new(
                    "sum by (job, status) (rate(http_requests_total{status=~\"5..\"}[$__rate_interval]))",
                    "{{job}} {{status}}",
                )],
            ),
            Panel::graph(
                "Time to an answer, 99 %",
                "s",
                "",
                vec![Query::new(quantile(0.99, "http_request_duration_seconds", "job"), "{{job}}")],
            ),
        ],
    }
}

fn events() -> Row {
    Row {
        title: "Events",
        panels: vec![
            Panel::graph(
                "Publish latency, 99 %",
                "s",
                "From the message's insertion to the broker's acknowledgement.",
                vec![Query::new(quantile(0.99, "outbox_publish_latency_seconds", "job"), "{{job}}")],
            ),
            Panel::graph(
                "Age of an event at its effect, 99 %",
                "s",
                "From the time at which it happened to the commit of what follows from it.",
                vec![Query::new(quantile(0.99, "inbox_event_age_seconds", "job"), "{{job}}")],
            ),
            Panel::graph(
                "Lag",
                "short",
                "Records not applied yet.",
                vec![Query::new(
                    "sum by (job) (max by (job, topic, partition) (inbox_lag_records))",
                    "{{job}}",
                )],
            ),
            Panel::graph(
                "Unpublished messages",
                "short",
                "",
                vec![Query::new("max by (job) (outbox_unpublished_messages)", "{{job}}")],
            ),
        ],
    }
}

fn processes() -> Row {
    Row {
        title: "Processes",
        panels: vec![
            Panel::graph(
                "CPU",
                "percentunit",
                "1 is one core.",
                vec![Query::new("rate(process_cpu_seconds_total[$__rate_interval])", "{{job}} {{instance}}")],
            ),
            Panel::graph(
                "Memory",
                "bytes",
                "Resident.",
                vec![Query::new("process_resident_memory_bytes", "{{job}} {{instance}}")],
            ),
            Panel::graph(
                "Versions",
                "short",
                "Processes of each version.",
                vec![Query::new("count by (service, version) (build_info)", "{{service}} {{version}}")],
            ),
        ],
    }
}

fn quantile(share: f64, histogram: &str, by: &str) -> String {
    format!("histogram_quantile({share}, sum by (le, {by}) (rate({histogram}_bucket[$__rate_interval])))")
}
