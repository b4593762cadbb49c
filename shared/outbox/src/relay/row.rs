//! A message of the outbox as every relay sees it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use cloudevents::{EnvelopeRef, clock, propagation};
use messaging::{Headers, RecordRef};
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
    pub(crate) key: Option<Arc<[u8]>>,
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
            key: row.try_get::<Option<&[u8]>, _>(3)?.map(Arc::from),
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
        self.key.as_ref().map_or(QueueKey::Message(self.id), |key| QueueKey::Key(Arc::clone(key)))
    }

    /// About how much memory its key, value and headers take.
    pub(crate) fn bytes(&self) -> usize {
        let names = self.header_names.iter().flatten().map(String::len);
        let values = self.header_values.iter().flatten().map(Vec::len);
        self.key.as_ref().map_or(0, |key| key.len())
            + self.value.as_ref().map_or(0, Vec::len)
            + names.sum::<usize>()
            + values.sum::<usize>()
    }

    /// The record of this message: the key and the value that were committed, and these headers.
    pub(crate) fn record<'a>(&'a self, headers: &'a Headers) -> RecordRef<'a> {
        RecordRef { topic: &self.topic, key: self.key.as_deref(), value: self.value.as_deref(), headers }
    }

    /// Replaces `headers` by those that were committed, and begins the span of publishing, if one may be recorded. Only
    /// the trace context is that of the span, where there is one: consumers continue it.
    pub(crate) fn publish(&self, content_type: &str, headers: &mut Headers) -> Span {
        headers.clear();
        let mut span = Span::none();
        if let Some(envelope) = self.envelope() {
            let put = |name: &'static str, value: &[u8]| headers.push(name, value);
            match propagation::unrecorded(envelope.traceparent) {
                Some(Cow::Borrowed(_)) => envelope.each_header(content_type, put),
                Some(Cow::Owned(begun)) => {
                    let begun = EnvelopeRef { traceparent: Some(&begun), tracestate: None, ..envelope };
                    begun.each_header(content_type, put);
                }
                None => {
                    let mut envelope = envelope.to_envelope();
                    span = spans::publish(&self.topic, &envelope, self.created_at, clock::now());
                    envelope.trace = propagation::continued(&span, &envelope.trace);
                    envelope.borrowed().each_header(content_type, put);
                }
            }
        }
        for (name, value) in self.header_names.iter().flatten().zip(self.header_values.iter().flatten()) {
            headers.push(name, value);
        }
        span
    }

    fn envelope(&self) -> Option<EnvelopeRef<'_>> {
        Some(EnvelopeRef {
            event_id: self.event_id?,
            event_type: self.event_type.as_deref()?,
            source: self.source.as_deref()?,
            occurred_at: self.event_time?,
            subject: self.subject.as_deref()?,
            sequence: self.sequence?,
            correlation_id: self.correlation_id?,
            causation_id: self.causation_id,
            user_id: self.user_id.as_deref(),
            traceparent: self.traceparent.as_deref(),
            tracestate: self.tracestate.as_deref(),
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
        key: Some(key.as_bytes().into()),
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
