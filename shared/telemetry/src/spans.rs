//! The spans of the system, in one place: their names and attributes follow OpenTelemetry's semantic conventions 1.37
//! for HTTP, messaging, Kafka and databases; what those don't have is under `tidings.`.
//!
//! One order is one trace: request, transaction, publish, process, publish, ... to the mail. A batch and its transaction
//! concern many orders, so they are a trace of their own, and the batch and its messages' spans link to each other.
//! No attribute carries personal data or a body.

use chrono::{DateTime, Utc};
use contracts::{Envelope, TraceContext};
use opentelemetry::trace::TraceContextExt;
use tracing::{Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::trace::{set_parent, trace_of};

/// The conventions' version that these names are taken from.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.37.0";

/// Where a record stands on its topic.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The topic's full name.
    pub topic: &'a str,
    /// The partition.
    pub partition: i32,
    /// The offset within it.
    pub offset: i64,
}

/// Publishing one outbox row: a child of what recorded the fact, long ended by now. `recorded_at` is when the row was
/// written.
#[must_use]
pub fn publish(topic: &str, envelope: &Envelope, recorded_at: DateTime<Utc>, now: DateTime<Utc>) -> Span {
    let span = tracing::info_span!(
        "publish",
        otel.name = format!("publish {topic}"),
        otel.kind = "producer",
        otel.status_code = field::Empty,
        messaging.system = "kafka",
        messaging.operation.name = "publish",
        messaging.operation.type = "send",
        messaging.destination.name = topic,
        messaging.destination.partition.id = field::Empty,
        messaging.kafka.offset = field::Empty,
        messaging.kafka.message.key = envelope.subject,
        messaging.message.id = %envelope.event_id,
        messaging.message.conversation_id = %envelope.correlation_id,
        cloudevents.event_type = envelope.event_type,
        tidings.order_id = field::Empty,
        tidings.outbox.wait_ms = wait_ms(recorded_at, now),
    );
    about(&span, envelope);
    set_parent(&span, &envelope.trace);
    span
}

/// The broker has taken the record of this publish span.
pub fn published(span: &Span, partition: i32, offset: i64) {
    span.record("messaging.destination.partition.id", partition);
    span.record("messaging.kafka.offset", offset);
}

/// Something went wrong under this span. What it was is an event of the span, and a log line.
pub fn failed(span: &Span) {
    span.record("otel.status_code", "ERROR");
}

/// Processing one message in `group`: a child of its publish span. `sent_at` is the record's timestamp.
#[must_use]
pub fn process(
    group: &str,
    place: Place<'_>,
    envelope: &Envelope,
    sent_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Span {
    let span = tracing::info_span!(
        "process",
        otel.name = format!("process {}", place.topic),
        otel.kind = "consumer",
        otel.status_code = field::Empty,
        messaging.system = "kafka",
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.consumer.group.name = group,
        messaging.destination.name = place.topic,
        messaging.destination.partition.id = place.partition,
        messaging.kafka.offset = place.offset,
        messaging.kafka.message.key = envelope.subject,
        messaging.message.id = %envelope.event_id,
        messaging.message.conversation_id = %envelope.correlation_id,
        cloudevents.event_type = envelope.event_type,
        tidings.order_id = field::Empty,
        tidings.outcome = field::Empty,
        tidings.topic.wait_ms = sent_at.map(|sent_at| wait_ms(sent_at, now)),
    );
    about(&span, envelope);
    set_parent(&span, &envelope.trace);
    span
}

/// What became of a message: `applied`, `duplicate` or `dead_lettered`.
pub fn outcome(span: &Span, outcome: &'static str) {
    span.record("tidings.outcome", outcome);
}

/// A batch of one partition, with `messages` that have a reaction: the root of a trace of its own.
#[must_use]
pub fn batch(group: &str, topic: &str, partition: i32, messages: usize) -> Span {
    tracing::info_span!(
        parent: None,
        "batch",
        otel.name = format!("process batch {topic}"),
        otel.kind = "consumer",
        otel.status_code = field::Empty,
        messaging.system = "kafka",
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.consumer.group.name = group,
        messaging.destination.name = topic,
        messaging.destination.partition.id = partition,
        messaging.batch.message_count = messages,
    )
}

/// A batch and one of its messages know each other.
pub fn link(batch: &Span, message: &Span) {
    for (from, to) in [(batch, message), (message, batch)] {
        let context = to.context().span().span_context().clone();
        if context.is_valid() {
            from.add_link(context);
        }
    }
}

/// A transaction of the service's own database, a child of the current span.
#[must_use]
pub fn transaction(what: &'static str) -> Span {
    tracing::info_span!(
        "transaction",
        otel.name = format!("transaction: {what}"),
        otel.kind = "client",
        otel.status_code = field::Empty,
        db.system.name = "postgresql",
        db.operation.name = "transaction",
        tidings.order_id = field::Empty,
    )
}

/// Work on one order that a worker does after the fact: a child of the span that asked for it.
#[must_use]
pub fn step(name: &str, order_id: &impl std::fmt::Display, trace: &TraceContext) -> Span {
    let span = tracing::info_span!(
        "step",
        otel.name = name,
        otel.kind = "client",
        otel.status_code = field::Empty,
        tidings.order_id = %order_id,
        tidings.outcome = field::Empty,
    );
    set_parent(&span, trace);
    span
}

/// The context under which the next fact is recorded: `span`'s, or what was there before where nothing is traced.
#[must_use]
pub fn continued(span: &Span, before: &TraceContext) -> TraceContext {
    let context = trace_of(span);
    if context.traceparent.is_some() { context } else { before.clone() }
}

/// An order can be found by its id. The key of the stock topic is a SKU.
fn about(span: &Span, envelope: &Envelope) {
    if uuid::Uuid::try_parse(&envelope.subject).is_ok() {
        span.record("tidings.order_id", &envelope.subject);
    }
}

fn wait_ms(from: DateTime<Utc>, to: DateTime<Utc>) -> i64 {
    (to - from).num_milliseconds().max(0)
}
