//! The spans of services; those of messages are outbox's and inbox's. Names and attributes follow OpenTelemetry's semantic
//! conventions 1.37; what those don't have is under `tidings.`.
//!
//! One order is one trace: request, transaction, publish, process, publish, ... to the mail. No attribute carries personal
//! data or a body.

use cloudevents::TraceContext;
pub use cloudevents::propagation::{failed, link};
use tracing::{Span, field};

use crate::trace::set_parent;

/// The conventions' version that these names are taken from.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.37.0";

/// What became of a step, in one word.
pub fn outcome(span: &Span, outcome: &'static str) {
    span.record("tidings.outcome", outcome);
}

/// A transaction of the service's own database, of this name; a child of the current span.
pub fn transaction(what: &'static str, database: &str) -> Span {
    tracing::info_span!(
        "transaction",
        otel.name = format!("transaction: {what}"),
        otel.kind = "client",
        otel.status_code = field::Empty,
        db.system.name = "postgresql",
        db.namespace = database,
        db.operation.name = "transaction",
        tidings.order_id = field::Empty,
    )
}

/// Work on one order that a worker does after the fact: a child of the span that asked for it.
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
