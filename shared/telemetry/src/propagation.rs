//! OpenTelemetry under the libraries' facade for traces: continued over Kafka, described by what we look spans up by.

use std::borrow::Cow;
use std::time::Duration;

use cloudevents::propagation::Waited;
use cloudevents::{Envelope, Propagation, TraceContext};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::trace::{set_parent, trace_of};

/// What spans of messages get from this system.
pub(crate) struct OpenTelemetry {
    /// Whether a trace that begins here may be recorded.
    pub(crate) records: bool,
}

impl Propagation for OpenTelemetry {
    fn context_of(&self, span: &Span) -> TraceContext {
        trace_of(span)
    }

    fn set_parent(&self, span: &Span, trace: &TraceContext) {
        set_parent(span, trace);
    }

    fn unrecorded<'t>(&self, traceparent: Option<&'t str>) -> Option<Cow<'t, str>> {
        match traceparent {
            Some(traceparent) => is_unrecorded(traceparent).then_some(Cow::Borrowed(traceparent)),
            None if self.records => None,
            None => {
                let ids = RandomIdGenerator::default();
                Some(Cow::Owned(format!("00-{}-{}-00", ids.new_trace_id(), ids.new_span_id())))
            }
        }
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

/// Whether it is a valid context of the format's version 00 that says that nothing of its trace is recorded.
fn is_unrecorded(traceparent: &str) -> bool {
    let is_id = |text: &str, digits: usize| {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        text.len() == digits && text.bytes().all(is_digit) && text.bytes().any(|byte| byte != b'0')
    };
    let mut parts = traceparent.split('-');
    let version = parts.next();
    let (trace_id, span_id, flags) = (parts.next(), parts.next(), parts.next());
    version == Some("00")
        && trace_id.is_some_and(|id| is_id(id, 32))
        && span_id.is_some_and(|id| is_id(id, 16))
        && flags == Some("00")
        && parts.next().is_none()
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const UNRECORDED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    #[test]
    fn a_trace_that_is_not_recorded_goes_on_without_a_span() {
        for records in [false, true] {
            let system = OpenTelemetry { records };
            assert_eq!(system.unrecorded(Some(UNRECORDED)).as_deref(), Some(UNRECORDED));
            let zeros = "00-00000000000000000000000000000000-0000000000000000-00";
            for other in [
                RECORDED,
                "",
                "00-0-0-0",
                zeros,
                &format!("{UNRECORDED}-1"),
                &format!("01{}", &UNRECORDED[2..]),
            ] {
                assert_eq!(system.unrecorded(Some(other)), None, "{other}");
            }
        }
    }

    #[test]
    fn a_trace_begins_without_a_span_where_nothing_is_recorded() {
        assert_eq!(OpenTelemetry { records: true }.unrecorded(None), None);
        let system = OpenTelemetry { records: false };
        let [one, other] = [(), ()].map(|()| system.unrecorded(None).unwrap());
        assert!(is_unrecorded(&one) && is_unrecorded(&other), "{one} {other}");
        assert_ne!(one, other);
    }
}
