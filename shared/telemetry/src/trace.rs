//! The W3C trace context (<https://www.w3.org/TR/trace-context/>) of a span, out of it and into it.

use std::collections::HashMap;

use cloudevents::TraceContext;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// The context of the current span: what an outbox row keeps. Empty outside any span, or without [`crate::init`].
pub fn current_trace() -> TraceContext {
    trace_of(&Span::current())
}

/// The context of `span`.
pub fn trace_of(span: &Span) -> TraceContext {
    let context = span.context();
    if !context.span().span_context().is_valid() {
        return TraceContext::default();
    }
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&context, &mut carrier);
    TraceContext {
        traceparent: carrier.remove(TRACEPARENT),
        tracestate: carrier.remove(TRACESTATE).filter(|state| !state.is_empty()),
    }
}

/// Makes `span` a child of `trace`. Call it before the span is entered; what is no valid context changes nothing.
pub fn set_parent(span: &Span, trace: &TraceContext) {
    let Some(traceparent) = &trace.traceparent else { return };
    let mut carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.clone())]);
    if let Some(tracestate) = &trace.tracestate {
        carrier.insert(TRACESTATE.to_owned(), tracestate.clone());
    }
    let parent = TraceContextPropagator::new().extract(&carrier);
    if parent.span().span_context().is_valid() {
        // Fails only where nothing is traced: without `init`, or for a span that the filter left out.
        let _ = span.set_parent(parent);
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    const TRACEPARENT_VALUE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn traced(test: impl FnOnce()) {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), test);
    }

    #[test]
    fn a_span_continues_the_trace_it_was_given() {
        traced(|| {
            let span = tracing::info_span!("consumed");
            let trace = TraceContext {
                traceparent: Some(TRACEPARENT_VALUE.to_owned()),
                tracestate: Some("vendor=value".to_owned()),
            };
            set_parent(&span, &trace);
            let continued = span.in_scope(current_trace);
            let traceparent = continued.traceparent.unwrap();
            assert!(traceparent.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{traceparent}");
            assert_ne!(traceparent, TRACEPARENT_VALUE, "the new span has an id of its own");
            assert_eq!(continued.tracestate.as_deref(), Some("vendor=value"));
        });
    }

    #[test]
    fn what_is_no_trace_context_begins_a_new_trace() {
        traced(|| {
            for nonsense in
                ["", "00-0-0-0", "garbage", "00-00000000000000000000000000000000-0000000000000000-01"]
            {
                let span = tracing::info_span!("consumed");
                set_parent(&span, &TraceContext { traceparent: Some(nonsense.to_owned()), tracestate: None });
                assert!(trace_of(&span).traceparent.is_some());
            }
        });
    }

    #[test]
    fn outside_any_span_there_is_no_trace() {
        assert_eq!(current_trace(), TraceContext::default());
        traced(|| assert_eq!(current_trace(), TraceContext::default()));
    }
}
