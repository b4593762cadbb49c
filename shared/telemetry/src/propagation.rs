//! OpenTelemetry under the libraries' facade for traces: continued over Kafka, described by what we look spans up by.

use std::time::Duration;

use cloudevents::propagation::Waited;
use cloudevents::{Envelope, Propagation, TraceContext};
use opentelemetry::trace::TraceContextExt;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::trace::{set_parent, trace_of};

/// What spans of messages get from this system.
pub(crate) struct OpenTelemetry;

impl Propagation for OpenTelemetry {
    fn context_of(&self, span: &Span) -> TraceContext {
        trace_of(span)
    }

    fn set_parent(&self, span: &Span, trace: &TraceContext) {
        set_parent(span, trace);
    }

    fn link(&self, from: &Span, to: &Span) {
        let context = to.context().span().span_context().clone();
        if context.is_valid() {
            from.add_link(context);
        }
    }

    /// An order can be found by its id. The key of the stock topic is a SKU.
    fn describe(&self, span: &Span, envelope: &Envelope, waited: Option<Waited>) {
        if uuid::Uuid::try_parse(&envelope.subject).is_ok() {
            span.set_attribute("tidings.order_id", envelope.subject.clone());
        }
        match waited {
            Some(Waited::InOutbox(time)) => span.set_attribute("tidings.outbox.wait_ms", milliseconds(time)),
            Some(Waited::OnTopic(time)) => span.set_attribute("tidings.topic.wait_ms", milliseconds(time)),
            None => {}
        }
    }

    fn outcome(&self, span: &Span, outcome: &'static str) {
        span.set_attribute("tidings.outcome", outcome);
    }
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
