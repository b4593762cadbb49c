//! One page a service.

mod backlogs;
mod workers;

use super::model::{Dashboard, Panel, Query, Row};
use crate::catalogue::{PUBLISHERS, WITH_CORRUPT_ROWS, WITH_WORKERS};

/// The page of `service`.
pub(super) fn dashboard(service: &'static str) -> Dashboard {
    let page = Page(service);
    let mut rows = page.own();
    rows.push(page.requests());
    rows.push(page.consumers());
    rows.push(page.batches());
    if PUBLISHERS.contains(&service) {
        rows.push(page.outbox());
    }
    let mut database = page.database();
    if WITH_WORKERS.contains(&service) {
        database.panels.push(page.progress());
    }
    if WITH_CORRUPT_ROWS.contains(&service) {
        database.panels.push(page.corrupt_rows());
    }
    rows.push(database);
    rows.push(page.process());
    Dashboard { uid: format!("tidings-{service}"), title: format!("Tidings: {service}"), rows }
}

/// A service's page: all questions are about its job.
struct Page(&'static str);

impl Page {
    /// `JOB` stands for the service.
    fn query(&self, expression: &str, legend: &'static str) -> Query {
        Query::new(expression.replace("JOB", &format!("job=\"{}\"", self.0)), legend)
    }

    fn rate(&self, counter: &str, by: &str, legend: &'static str) -> Query {
        self.query(&format!("sum by ({by}) (rate({counter}{{JOB}}[$__rate_interval]))"), legend)
    }

    /// Half of the observations, and 99 %.
    fn quantiles(&self, histogram: &str, by: &'static str, legends: [&'static str; 2]) -> Vec<Query> {
        let of = |share, legend| {
            let rate = format!("rate({histogram}_bucket{{JOB}}[$__rate_interval])");
            self.query(&format!("histogram_quantile({share}, sum by (le, {by}) ({rate}))"), legend)
        };
        vec![of("0.5", legends[0]), of("0.99", legends[1])]
    }

    /// What only this service measures.
    fn own(&self) -> Vec<Row> {
        let panels = match self.0 {
            "order" => vec![
                Panel::graph(
                    "Orders per second",
                    "reqps",
                    "",
                    vec![
                        self.query("sum(rate(orders_placed_total{JOB}[$__rate_interval]))", "placed"),
                        self.rate("orders_ended_total", "status, reason", "{{status}} {{reason}}"),
                    ],
                ),
                Panel::graph(
                    "Time from placed to ended",
                    "s",
                    "",
                    self.quantiles(
                        "orders_time_to_end_seconds",
                        "status",
                        ["half, {{status}}", "99 %, {{status}}"],
                    ),
                ),
                Panel::graph(
                    "Orders past their deadline",
                    "short",
                    "",
                    vec![self.query("max(orders_past_deadline{JOB})", "orders")],
                ),
            ],
            "inventory" => {
                vec![Panel::graph(
                    "SKUs that fell low per minute",
                    "short",
                    "",
                    vec![self.query(
                        "sum(rate(inventory_stock_alerts_total{JOB}[$__rate_interval])) * 60",
                        "alerts",
                    )],
                )]
            }
            "payment" => self.payments(),
            "notification" => self.mails(),
            "analytics" => vec![Panel::graph(
                "Revenue",
                "short",
                "All confirmed orders, by currency.",
                vec![self.query("max by (currency) (analytics_revenue{JOB})", "{{currency}}")],
            )],
            _ => return Vec::new(),
        };
        vec![Row { title: "Business", panels }]
    }

    fn requests(&self) -> Row {
        Row {
            title: "Requests",
            panels: vec![
                Panel::graph(
                    "Requests per second",
                    "reqps",
                    "",
                    vec![self.rate("http_requests_total", "route, status", "{{route}} {{status}}")],
                ),
                Panel::graph(
                    "Time to an answer, 99 %",
                    "s",
                    "",
                    self.quantiles(
                        "http_request_duration_seconds",
                        "route",
                        ["half, {{route}}", "99 %, {{route}}"],
                    ),
                ),
                Panel::graph(
                    "In flight, and rejected per second",
                    "short",
                    "",
                    vec![
                        self.query("sum(http_requests_in_flight{JOB})", "in flight"),
                        self.query(
                            "sum(rate(http_requests_rejected_total{JOB}[$__rate_interval]))",
                            "rejected",
                        ),
                    ],
                ),
            ],
        }
    }

    fn consumers(&self) -> Row {
        Row {
            title: "Consumers",
            panels: vec![
                Panel::graph(
                    "Lag",
                    "short",
                    "Records not applied yet.",
                    vec![self.query(
                        "max by (topic, partition) (inbox_lag_records{JOB})",
                        "{{topic}}/{{partition}}",
                    )],
                ),
                Panel::graph(
                    "Age of an event at its effect",
                    "s",
                    "",
                    self.quantiles(
                        "inbox_event_age_seconds",
                        "topic",
                        ["half, {{topic}}", "99 %, {{topic}}"],
                    ),
                ),
                Panel::graph(
                    "Records per second",
                    "reqps",
                    "",
                    vec![self.rate("inbox_records_total", "topic, outcome", "{{topic}} {{outcome}}")],
                ),
                Panel::graph(
                    "Dead letters",
                    "short",
                    "Wait for a person.",
                    vec![
                        self.query(
                            "max by (topic, reason) (inbox_dead_letters{JOB})",
                            "{{topic}} {{reason}}",
                        ),
                    ],
                ),
            ],
        }
    }

    fn batches(&self) -> Row {
        Row {
            title: "Batches",
            panels: vec![
                Panel::graph(
                    "Time to apply a batch",
                    "s",
                    "",
                    self.quantiles(
                        "inbox_batch_duration_seconds",
                        "topic",
                        ["half, {{topic}}", "99 %, {{topic}}"],
                    ),
                ),
                Panel::graph(
                    "Records in a batch",
                    "short",
                    "",
                    self.quantiles("inbox_batch_records", "topic", ["half, {{topic}}", "99 %, {{topic}}"]),
                ),
                Panel::graph(
                    "Retries, rebalances, stopped partitions per second",
                    "short",
                    "",
                    vec![
                        self.rate("inbox_retries_total", "topic", "retries, {{topic}}"),
                        self.rate("inbox_rebalances_total", "change", "partitions {{change}}"),
                        self.rate("inbox_memberships_given_up_total", "cause", "left the group, {{cause}}"),
                        self.rate(
                            "inbox_partitions_stopped_total",
                            "topic, reason",
                            "stopped, {{topic}} {{reason}}",
                        ),
                    ],
                ),
                Panel::graph(
                    "Partitions",
                    "short",
                    "",
                    vec![
                        self.query("sum by (state) (inbox_partitions{JOB})", "{{state}}"),
                        self.query("sum(messaging_paused_partitions{JOB})", "paused"),
                    ],
                ),
            ],
        }
    }

    fn outbox(&self) -> Row {
        Row {
            title: "Outbox and relay",
            panels: vec![
                Panel::graph(
                    "Published per second",
                    "reqps",
                    "",
                    vec![
                        self.rate("outbox_messages_published_total", "topic", "{{topic}}"),
                        self.rate("outbox_delivery_failures_total", "topic", "failures, {{topic}}"),
                    ],
                ),
                Panel::graph(
                    "Publish latency",
                    "s",
                    "From the message's insertion to the broker's acknowledgement.",
                    self.quantiles(
                        "outbox_publish_latency_seconds",
                        "topic",
                        ["half, {{topic}}", "99 %, {{topic}}"],
                    ),
                ),
                Panel::graph(
                    "Oldest unpublished message",
                    "s",
                    "",
                    vec![self.query("max(outbox_oldest_unpublished_age_seconds{JOB})", "age")],
                ),
                Panel::graph(
                    "Log held by the relay's slot",
                    "bytes",
                    "Of the relay `wal`: what the broker has not acknowledged holds the write-ahead log.",
                    vec![self.query("max(outbox_slot_lag_bytes{JOB})", "lag")],
                ),
                Panel::graph(
                    "Messages and relays",
                    "short",
                    "",
                    vec![
                        self.query("max(outbox_unpublished_messages{JOB})", "unpublished messages"),
                        self.query("sum(outbox_relay_leader{JOB})", "leading relays"),
                        self.query(
                            "sum(increase(outbox_leads_given_up_total{JOB}[1h]))",
                            "leads given up in an hour",
                        ),
                        self.query("max(outbox_blocked_keys{JOB})", "blocked keys"),
                        self.query("sum(outbox_stalled_partitions{JOB})", "stalled partitions"),
                        self.query("sum(outbox_refused_topics{JOB})", "refused topics"),
                        self.query("min(outbox_table_partitions{JOB})", "table partitions"),
                    ],
                ),
            ],
        }
    }

    fn database(&self) -> Row {
        Row {
            title: "Database and workers",
            panels: vec![
                Panel::graph(
                    "Connections",
                    "short",
                    "",
                    vec![
                        self.query("sum by (state) (database_pool_connections{JOB})", "{{state}}"),
                        self.query("sum(database_pool_max_connections{JOB})", "at most"),
                    ],
                ),
                Panel::graph(
                    "Time to get a connection",
                    "s",
                    "",
                    self.quantiles("database_pool_acquire_duration_seconds", "job", ["half", "99 %"]),
                ),
                Panel::graph(
                    "Sessions that fell silent, per second",
                    "short",
                    "conversations that exceeded their bound; sessions that held locks and were ended",
                    vec![
                        self.rate("database_timeouts_total", "operation", "{{operation}}"),
                        self.query(
                            "sum(rate(database_stuck_sessions_ended_total{JOB}[$__rate_interval]))",
                            "ended",
                        ),
                    ],
                ),
                Panel::graph(
                    "Workers that failed per second",
                    "short",
                    "",
                    vec![self.rate("worker_failures_total", "worker", "{{worker}}")],
                ),
            ],
        }
    }

    fn process(&self) -> Row {
        Row {
            title: "Process",
            panels: vec![
                Panel::graph(
                    "CPU",
                    "percentunit",
                    "1 is one core.",
                    vec![
                        self.query("rate(process_cpu_seconds_total{JOB}[$__rate_interval])", "{{instance}}"),
                    ],
                ),
                Panel::graph(
                    "Memory",
                    "bytes",
                    "Resident.",
                    vec![self.query("process_resident_memory_bytes{JOB}", "{{instance}}")],
                ),
                Panel::graph(
                    "Open files",
                    "short",
                    "",
                    vec![self.query("process_open_fds{JOB}", "{{instance}}")],
                ),
                Panel::graph(
                    "Spans and suppressed log lines per second",
                    "short",
                    "",
                    vec![
                        self.rate("telemetry_spans_exported_total", "job", "exported"),
                        self.rate("telemetry_spans_dropped_total", "reason", "lost: {{reason}}"),
                        self.rate("log_lines_suppressed_total", "job", "log lines"),
                    ],
                ),
            ],
        }
    }
}
