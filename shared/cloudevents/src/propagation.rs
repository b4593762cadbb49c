//! How a trace goes on from one process to another: a facade, as `metrics` is one for metrics. The program says once with
//! [`install`] which tracing system it has; without one, spans are `tracing`'s alone and no context travels.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::Duration;

use tracing::Span;

use crate::envelope::Envelope;
use crate::trace_context::TraceContext;

/// A tracing system that knows the W3C trace context, such as OpenTelemetry's.
pub trait Propagation: Send + Sync + 'static {
    /// The context of `span`; empty when it is not traced.
    fn context_of(&self, span: &Span) -> TraceContext;

    /// Makes `span` a child of `trace`, before it is entered. A context that is not valid changes nothing.
    fn set_parent(&self, span: &Span, trace: &TraceContext);

    /// The `traceparent` with which a message of this trace travels on without a span, because none would be recorded: its
    /// own, or that of a trace that begins here. None where a span may be recorded.
    fn unrecorded<'t>(&self, traceparent: Option<&'t str>) -> Option<Cow<'t, str>> {
        let _ = traceparent;
        None
    }

    /// Links `from` to `to`, which may be of another trace.
    fn link(&self, from: &Span, to: &Span);

    /// Adds what this system wants to find spans of messages by, such as an attribute with the aggregate's id.
    fn describe(&self, span: &Span, envelope: &Envelope, waited: Option<Waited>) {
        let _ = (span, envelope, waited);
    }

    /// Adds what became of the message: `applied`, `duplicate` or `dead_lettered`.
    fn outcome(&self, span: &Span, outcome: &'static str) {
        let _ = (span, outcome);
    }
}

/// Where a message waited before the work of a span began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// In the outbox, from its insertion to its publication.
    InOutbox(Duration),
    /// On the topic, from its publication to its processing.
    OnTopic(Duration),
}

static INSTALLED: OnceLock<Box<dyn Propagation>> = OnceLock::new();

/// Makes `propagation` that of this process. The first call counts; whether this was it.
pub fn install(propagation: impl Propagation) -> bool {
    INSTALLED.set(Box::new(propagation)).is_ok()
}

/// The context under which what follows from `span` is recorded: the span's, or `before` where nothing is traced.
#[must_use]
pub fn continued(span: &Span, before: &TraceContext) -> TraceContext {
    let context = INSTALLED.get().map(|installed| installed.context_of(span)).unwrap_or_default();
    if context.traceparent.is_some() { context } else { before.clone() }
}

/// The `traceparent` with which a message of this trace travels on without a span: see [`Propagation::unrecorded`].
#[must_use]
pub fn unrecorded(traceparent: Option<&str>) -> Option<Cow<'_, str>> {
    INSTALLED.get()?.unrecorded(traceparent)
}

/// Makes `span` the span of a message: a child of what published it, described as the system wants it.
pub fn about(span: &Span, envelope: &Envelope, waited: Option<Waited>) {
    if let Some(installed) = INSTALLED.get() {
        installed.set_parent(span, &envelope.trace);
        installed.describe(span, envelope, waited);
    }
}

/// Links two spans to each other.
pub fn link(one: &Span, other: &Span) {
    if let Some(installed) = INSTALLED.get() {
        installed.link(one, other);
        installed.link(other, one);
    }
}

/// Records the outcome of the message of this span.
pub fn outcome(span: &Span, outcome: &'static str) {
    if let Some(installed) = INSTALLED.get() {
        installed.outcome(span, outcome);
    }
}

/// Marks a span as failed, by the field `otel.status_code` that it has to declare.
pub fn failed(span: &Span) {
    span.record("otel.status_code", "ERROR");
}
