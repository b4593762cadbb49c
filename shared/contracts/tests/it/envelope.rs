//! Envelopes to headers and back, and what becomes of a foreign producer's headers.

use contracts::envelope::CONTENT_TYPE;
use contracts::{Envelope, EnvelopeError, Event, TraceContext};
use proptest::option;
use proptest::prelude::*;
use uuid::Uuid;

use crate::samples;

prop_compose! {
    fn envelope()(
        ids in any::<[u128; 3]>(),
        texts in any::<[String; 3]>(),
        micros in 0..4_102_444_800_000_000_i64,
        sequence in any::<i64>(),
        caused in any::<bool>(),
        user_id in option::of(any::<String>()),
        traceparent in option::of("[ -~]{0,60}"),
        tracestate in option::of("[ -~]{0,60}"),
    ) -> Envelope {
        let [event_type, source, subject] = texts;
        let [event_id, correlation_id, causation_id] = ids.map(Uuid::from_u128);
        Envelope {
            event_id,
            event_type,
            source,
            occurred_at: chrono::DateTime::from_timestamp_micros(micros).unwrap(),
            subject,
            sequence,
            correlation_id,
            causation_id: caused.then_some(causation_id),
            user_id,
            trace: TraceContext { traceparent, tracestate },
        }
    }
}

fn header(name: &str, value: &[u8]) -> (String, Vec<u8>) {
    (name.to_owned(), value.to_vec())
}

/// What each header says, written as the formats define it.
fn expected(envelope: &Envelope) -> Vec<(String, Vec<u8>)> {
    let text = |name: &str, value: &str| header(name, value.as_bytes());
    let time = envelope.occurred_at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    let mut headers = vec![
        text("ce_specversion", "1.0"),
        text("ce_id", &envelope.event_id.to_string()),
        text("ce_type", &envelope.event_type),
        text("ce_source", &envelope.source),
        text("ce_time", &time),
        text("ce_subject", &envelope.subject),
        text("content-type", CONTENT_TYPE),
        text("ce_sequence", &envelope.sequence.to_string()),
        text("ce_correlationid", &envelope.correlation_id.to_string()),
    ];
    let optional = [
        ("ce_causationid", envelope.causation_id.map(|id| id.to_string())),
        ("ce_userid", envelope.user_id.clone()),
        ("traceparent", envelope.trace.traceparent.clone()),
        ("tracestate", envelope.trace.tracestate.clone()),
    ];
    headers.extend(optional.into_iter().filter_map(|(name, value)| Some(text(name, &value?))));
    headers
}

proptest! {
    #[test]
    fn headers_are_written_in_order_and_as_their_formats_define_them(envelope in envelope()) {
        prop_assert_eq!(envelope.to_headers(CONTENT_TYPE), expected(&envelope));
        prop_assert_eq!(envelope.borrowed().to_envelope(), envelope);
    }

    #[test]
    fn an_envelope_survives_its_headers(envelope in envelope(), others in any::<Vec<(String, Vec<u8>)>>()) {
        let mut headers = others;
        headers.extend(envelope.to_headers(CONTENT_TYPE));
        prop_assert_eq!(Envelope::from_headers(&headers), Ok(envelope.clone()));
        prop_assert_eq!(Envelope::event_type_of(&headers), Some(envelope.event_type.as_str()));
    }

    #[test]
    fn any_headers_at_all_give_an_envelope_of_a_delivered_event(
        names in prop::collection::vec("(ce_(id|time|source|sequence|correlationid|causationid|userid)|traceparent)", 0..9),
        values in any::<[Vec<u8>; 9]>(),
    ) {
        let headers: Vec<_> = names.into_iter().zip(values).collect();
        let event = samples::order_placed().into_any();
        let envelope = Envelope::from_delivered(&headers, &event);
        prop_assert_eq!(envelope.event_id, event.event_id());
        prop_assert_eq!(envelope.sequence, event.sequence());
        // And never a panic here.
        let _ = Envelope::from_headers(&headers);
    }
}

#[test]
fn an_event_without_headers_has_its_own_id_for_correlation() {
    let event = samples::order_placed().into_any();
    let envelope = Envelope::from_delivered(&[], &event);
    assert_eq!(envelope.correlation_id, event.event_id());
    assert_eq!((envelope.source.as_str(), envelope.causation_id, envelope.user_id), ("unknown", None, None));
    assert_eq!((envelope.subject, envelope.event_type), (event.key(), event.event_type().to_owned()));
    assert_eq!(envelope.trace, TraceContext::default());
}

#[test]
fn headers_that_contradict_their_event_are_not_believed() {
    let event = samples::order_placed().into_any();
    let headers = [
        header("ce_id", samples::id(99).to_string().as_bytes()),
        header("ce_sequence", b"7"),
        header("ce_subject", b"another"),
        header("ce_time", b"2001-01-01T00:00:00Z"),
        header("ce_type", b"tidings.order.OrderCancelled"),
        header("ce_source", b"order"),
        header("ce_correlationid", samples::id(42).to_string().as_bytes()),
    ];
    let envelope = Envelope::from_delivered(&headers, &event);
    assert_eq!(envelope.event_id, event.event_id());
    assert_eq!((envelope.sequence, envelope.subject), (1, event.key()));
    assert_eq!(
        (envelope.occurred_at, envelope.event_type),
        (event.occurred_at(), event.event_type().to_owned())
    );
    assert_eq!((envelope.source.as_str(), envelope.correlation_id), ("order", samples::id(42)));
}

#[test]
fn a_missing_or_broken_header_is_named() {
    let event = samples::order_placed().into_any();
    let complete = Envelope::from_delivered(&[], &event).to_headers(CONTENT_TYPE);
    for name in ["ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time", "ce_subject", "ce_sequence"] {
        let without: Vec<_> = complete.iter().filter(|(other, _)| other != name).cloned().collect();
        assert_eq!(Envelope::from_headers(&without), Err(EnvelopeError::Missing { name }));
        let mut broken = complete.clone();
        broken.push(header(name, b"\xff"));
        let error = Envelope::from_headers(&broken).unwrap_err();
        assert!(matches!(error, EnvelopeError::Invalid { name: found, .. } if found == name), "{error}");
    }
    let mut newer = complete;
    newer.push(header("ce_specversion", b"2.0"));
    assert!(Envelope::from_headers(&newer).is_err());
}
