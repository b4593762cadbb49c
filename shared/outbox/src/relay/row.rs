//! A message of the outbox as every relay sees it.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use cloudevents::{Envelope, TraceContext, clock, propagation};
use messaging::Record;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row as _};
use tracing::Span;
use uuid::Uuid;

use super::spans;

/// An unpublished message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) previous_id: Option<i64>,
    pub(crate) topic: String,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) sequence: Option<i64>,
    pub(crate) value: Option<Vec<u8>>,
    /// An event has all columns from here to `correlation_id`, and a sequence; another message has none of them.
    pub(crate) event_id: Option<Uuid>,
    pub(crate) event_type: Option<String>,
    pub(crate) source: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) event_time: Option<DateTime<Utc>>,
    pub(crate) correlation_id: Option<Uuid>,
    pub(crate) causation_id: Option<Uuid>,
    pub(crate) user_id: Option<String>,
    pub(crate) traceparent: Option<String>,
    pub(crate) tracestate: Option<String>,
    /// Other headers, in order; names may stand twice.
    pub(crate) header_names: Option<Vec<String>>,
    pub(crate) header_values: Option<Vec<Vec<u8>>>,
    /// When it was appended.
    pub(crate) created_at: DateTime<Utc>,
    /// Whether the message before it was published in the snapshot that showed this one; none when there is no such
    /// message. True for the first of its key.
    pub(crate) predecessor_published: Option<bool>,
}

/// By the columns' places in the statement of `table.rs`: looking them up by name costs more than reading them.
impl<'r> FromRow<'r, PgRow> for Box<Row> {
    fn from_row(row: &'r PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self::new(Row {
            id: row.try_get(0)?,
            previous_id: row.try_get(1)?,
            topic: row.try_get(2)?,
            key: row.try_get(3)?,
            sequence: row.try_get(4)?,
            value: row.try_get(5)?,
            event_id: row.try_get(6)?,
            event_type: row.try_get(7)?,
            source: row.try_get(8)?,
            subject: row.try_get(9)?,
            event_time: row.try_get(10)?,
            correlation_id: row.try_get(11)?,
            causation_id: row.try_get(12)?,
            user_id: row.try_get(13)?,
            traceparent: row.try_get(14)?,
            tracestate: row.try_get(15)?,
            header_names: row.try_get(16)?,
            header_values: row.try_get(17)?,
            created_at: row.try_get(18)?,
            predecessor_published: row.try_get(19)?,
        }))
    }
}

/// What orders messages: those of one topic and key follow each other, one without a key follows none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum QueueKey {
    Key(Arc<[u8]>),
    Message(i64),
}

impl fmt::Display for QueueKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => f.write_str(&String::from_utf8_lossy(key)),
            Self::Message(id) => write!(f, "(none, message {id})"),
        }
    }
}

impl Row {
    pub(crate) fn queue_key(&self) -> QueueKey {
        self.key.as_deref().map_or(QueueKey::Message(self.id), |key| QueueKey::Key(key.into()))
    }

    /// About how much memory its key, value and headers take.
    pub(crate) fn bytes(&self) -> usize {
        let names = self.header_names.iter().flatten().map(String::len);
        let values = self.header_values.iter().flatten().map(Vec::len);
        self.key.as_ref().map_or(0, Vec::len)
            + self.value.as_ref().map_or(0, Vec::len)
            + names.sum::<usize>()
            + values.sum::<usize>()
    }

    /// The span of publishing this message, and the record: the key, the value and the headers that were committed. Only
    /// the trace context is the span's, where there is one: consumers continue it.
    pub(crate) fn to_record(&self, content_type: &str) -> (Span, Record) {
        let mut headers = Vec::new();
        let mut span = Span::none();
        if let Some(mut envelope) = self.envelope() {
            span = spans::publish(&self.topic, &envelope, self.created_at, clock::now());
            envelope.trace = propagation::continued(&span, &envelope.trace);
            headers = envelope.to_headers(content_type);
        }
        let others = self.header_names.iter().flatten().cloned();
        headers.extend(others.zip(self.header_values.iter().flatten().cloned()));
        let record =
            Record { topic: self.topic.clone(), key: self.key.clone(), value: self.value.clone(), headers };
        (span, record)
    }

    fn envelope(&self) -> Option<Envelope> {
        Some(Envelope {
            event_id: self.event_id?,
            event_type: self.event_type.clone()?,
            source: self.source.clone()?,
            occurred_at: self.event_time?,
            subject: self.subject.clone()?,
            sequence: self.sequence?,
            correlation_id: self.correlation_id?,
            causation_id: self.causation_id,
            user_id: self.user_id.clone(),
            trace: TraceContext {
                traceparent: self.traceparent.clone(),
                tracestate: self.tracestate.clone(),
            },
        })
    }
}

/// The message that follows `previous_id`; the first of its key if that is none.
#[cfg(test)]
pub(crate) fn row(id: i64, key: &str, previous_id: Option<i64>) -> Box<Row> {
    Box::new(Row {
        id,
        previous_id,
        topic: "orders".to_owned(),
        key: Some(key.as_bytes().to_vec()),
        sequence: Some(1),
        value: Some(vec![0]),
        event_id: Some(Uuid::from_u128(u128::from(id.unsigned_abs()))),
        event_type: Some("example.parcels.ParcelSent".to_owned()),
        source: Some("order".to_owned()),
        subject: Some(key.to_owned()),
        event_time: Some(DateTime::UNIX_EPOCH),
        correlation_id: Some(Uuid::nil()),
        causation_id: None,
        user_id: None,
        traceparent: None,
        tracestate: None,
        header_names: None,
        header_values: None,
        created_at: DateTime::UNIX_EPOCH,
        predecessor_published: previous_id.is_none().then_some(true),
    })
}

#[cfg(test)]
pub(crate) fn queue_key(key: &str) -> QueueKey {
    QueueKey::Key(key.as_bytes().into())
}
