//! A row of the outbox as every relay sees it.

use chrono::{DateTime, Utc};
use contracts::{Envelope, TraceContext, ambient};
use messaging::Record;
use telemetry::spans;
use tracing::Span;
use uuid::Uuid;

/// An unfinished row.
#[derive(Clone, Debug, PartialEq, Eq, sqlx_macros::FromRow)]
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) topic: String,
    pub(crate) key: String,
    pub(crate) sequence: i64,
    pub(crate) event_id: Uuid,
    pub(crate) event_type: String,
    pub(crate) source: String,
    pub(crate) occurred_at: DateTime<Utc>,
    pub(crate) correlation_id: Uuid,
    pub(crate) causation_id: Option<Uuid>,
    pub(crate) user_id: Option<String>,
    pub(crate) traceparent: Option<String>,
    pub(crate) tracestate: Option<String>,
    pub(crate) value: Vec<u8>,
    /// When it was appended.
    pub(crate) created_at: DateTime<Utc>,
    /// Whether its predecessor was finished in the snapshot that showed it; none when there was no predecessor. True for
    /// a key's first row.
    pub(crate) predecessor_finished: Option<bool>,
}

impl Row {
    /// The span of publishing this row, and the record: the key, the value and the headers that were committed. Only
    /// the trace context is the span's, where there is one: consumers continue it.
    pub(crate) fn to_record(&self) -> (Span, Record) {
        let mut envelope = self.envelope();
        let span = spans::publish(&self.topic, &envelope, self.created_at, ambient::now());
        envelope.trace = spans::continued(&span, &envelope.trace);
        let record = Record {
            topic: self.topic.clone(),
            key: self.key.clone(),
            value: self.value.clone(),
            headers: envelope.to_headers(),
        };
        (span, record)
    }

    fn envelope(&self) -> Envelope {
        Envelope {
            event_id: self.event_id,
            event_type: self.event_type.clone(),
            source: self.source.clone(),
            occurred_at: self.occurred_at,
            subject: self.key.clone(),
            sequence: self.sequence,
            correlation_id: self.correlation_id,
            causation_id: self.causation_id,
            user_id: self.user_id.clone(),
            trace: TraceContext {
                traceparent: self.traceparent.clone(),
                tracestate: self.tracestate.clone(),
            },
        }
    }
}

#[cfg(test)]
pub(crate) fn row(id: i64, key: &str, sequence: i64) -> Row {
    Row {
        id,
        topic: "orders".to_owned(),
        key: key.to_owned(),
        sequence,
        event_id: Uuid::from_u128(u128::from(id.unsigned_abs())),
        event_type: "tidings.order.OrderPlaced".to_owned(),
        source: "order".to_owned(),
        occurred_at: DateTime::UNIX_EPOCH,
        correlation_id: Uuid::nil(),
        causation_id: None,
        user_id: None,
        traceparent: None,
        tracestate: None,
        value: vec![0],
        created_at: DateTime::UNIX_EPOCH,
        predecessor_finished: (sequence == 1).then_some(true),
    }
}
