//! What travels beside an event: CloudEvents 1.0 attributes in binary mode, and the W3C trace context.
//!
//! Source: CloudEvents 1.0 Kafka protocol binding (headers `ce_*`), its sequence extension, W3C Trace Context.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::event::AnyEvent;

/// The W3C trace context under which a fact was recorded; empty when nothing is traced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceContext {
    /// The header `traceparent`.
    pub traceparent: Option<String>,
    /// The header `tracestate`.
    pub tracestate: Option<String>,
}

/// Everything that routing, idempotence and tracing need, readable without decoding the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// `ce_id`: the event's id, a UUIDv7.
    pub event_id: Uuid,
    /// `ce_type`: the record's full name, such as `tidings.order.OrderPlaced`.
    pub event_type: String,
    /// `ce_source`: the service that published it.
    pub source: String,
    /// `ce_time`: when the fact happened.
    pub occurred_at: DateTime<Utc>,
    /// `ce_subject`, the record's key: an order id or a SKU.
    pub subject: String,
    /// `ce_sequence`: 1, 2, 3, ... within topic and key.
    pub sequence: i64,
    /// `ce_correlationid`: the whole story's id, born with the request.
    pub correlation_id: Uuid,
    /// `ce_causationid`: the event that led to this one.
    pub causation_id: Option<Uuid>,
    /// `ce_userid`: who asked, where known.
    pub user_id: Option<String>,
    /// `traceparent` and `tracestate`.
    pub trace: TraceContext,
}

/// The header that names the event's type.
pub const CE_TYPE: &str = "ce_type";

/// The value of the header `content-type` on every record.
pub const CONTENT_TYPE: &str = "application/avro";

impl Envelope {
    /// The headers in which this envelope travels.
    #[must_use]
    pub fn to_headers(&self) -> Vec<(String, Vec<u8>)> {
        let mut headers: Vec<(String, Vec<u8>)> = Vec::with_capacity(13);
        let mut put = |name: &str, value: String| headers.push((name.to_owned(), value.into_bytes()));
        put("ce_specversion", "1.0".to_owned());
        put("ce_id", self.event_id.to_string());
        put(CE_TYPE, self.event_type.clone());
        put("ce_source", self.source.clone());
        put("ce_time", self.occurred_at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true));
        put("ce_subject", self.subject.clone());
        put("content-type", CONTENT_TYPE.to_owned());
        put("ce_sequence", self.sequence.to_string());
        put("ce_correlationid", self.correlation_id.to_string());
        if let Some(causation_id) = self.causation_id {
            put("ce_causationid", causation_id.to_string());
        }
        if let Some(user_id) = &self.user_id {
            put("ce_userid", user_id.clone());
        }
        if let Some(traceparent) = &self.trace.traceparent {
            put("traceparent", traceparent.clone());
        }
        if let Some(tracestate) = &self.trace.tracestate {
            put("tracestate", tracestate.clone());
        }
        headers
    }
}

/// Why something is about to be published: what a new event inherits from the request or event that led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The whole story's id.
    pub correlation_id: Uuid,
    /// The event that leads to the new one; none when a request does.
    pub causation_id: Option<Uuid>,
    /// Who asked, where known.
    pub user_id: Option<String>,
    /// The trace that the new event continues.
    pub trace: TraceContext,
}

impl Envelope {
    /// The envelope of `event`, published by `source` because of `cause`.
    #[must_use]
    pub fn of(event: &AnyEvent, source: &str, cause: &Cause) -> Self {
        Self {
            event_id: event.event_id(),
            event_type: event.event_type().to_owned(),
            source: source.to_owned(),
            occurred_at: event.occurred_at(),
            subject: event.key(),
            sequence: event.sequence(),
            correlation_id: cause.correlation_id,
            causation_id: cause.causation_id,
            user_id: cause.user_id.clone(),
            trace: cause.trace.clone(),
        }
    }

    /// This event as the cause of what follows from it.
    #[must_use]
    pub fn as_cause(&self) -> Cause {
        Cause {
            correlation_id: self.correlation_id,
            causation_id: Some(self.event_id),
            user_id: self.user_id.clone(),
            trace: self.trace.clone(),
        }
    }
}
