//! Appending to the outbox: encoding and the size check happen here, before the caller's commit.

use std::collections::BTreeSet;
use std::sync::Arc;

use contracts::{AnyEvent, Cause, Codec, EncodeError, Envelope};
use sqlx::PgConnection;
use tokio::sync::Notify;
use uuid::Uuid;

/// One event, sealed: exactly the bytes and headers that every relay will publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub(crate) topic: String,
    pub(crate) envelope: Envelope,
    pub(crate) value: Vec<u8>,
}

/// A service's outbox. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outbox {
    codec: Arc<Codec>,
    source: Arc<str>,
    max_message_bytes: usize,
    wake: Arc<Notify>,
}

/// Why an event could not be appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The event would exceed the broker's limit; `causation_id` names the event that led to it, if one did.
    #[error("{event_type} of {key} has {bytes} bytes, more than the broker's limit of {limit}")]
    TooLarge {
        /// The record's full name.
        event_type: &'static str,
        /// The record's key.
        key: String,
        /// Its size with headers.
        bytes: usize,
        /// The largest size that the broker takes.
        limit: usize,
        /// The event that led to it.
        causation_id: Option<Uuid>,
    },
    /// The event does not fit its schema.
    #[error("event of {causation_id:?} can't be encoded")]
    Encode {
        /// What Avro said.
        #[source]
        source: EncodeError,
        /// The event that led to it.
        causation_id: Option<Uuid>,
    },
    /// The database refused.
    #[error("appending to the outbox")]
    Database(#[from] sqlx::Error),
}

impl Outbox {
    /// An outbox that publishes as `source` and refuses what is larger than `max_message_bytes` with its headers.
    #[must_use]
    pub fn new(codec: Arc<Codec>, source: &str, max_message_bytes: usize) -> Self {
        Self { codec, source: source.into(), max_message_bytes, wake: Arc::new(Notify::new()) }
    }

    /// The topics that its rows may be for.
    #[must_use]
    pub fn topics(&self) -> BTreeSet<String> {
        self.codec.published_topics()
    }

    /// Encodes `event` and checks its size. Pure: needs no database, so that a caller can refuse before it writes.
    ///
    /// # Errors
    /// When the event doesn't fit its schema or the broker's limit.
    pub fn seal(&self, event: &AnyEvent, cause: &Cause) -> Result<Message, AppendError> {
        let causation_id = cause.causation_id;
        let value =
            self.codec.encode(event).map_err(|source| AppendError::Encode { source, causation_id })?;
        let topic = self.codec.topics().name(event.topic());
        let message = Message { topic, envelope: Envelope::of(event, &self.source, cause), value };
        let bytes = message.size_on_the_wire();
        if bytes > self.max_message_bytes {
            return Err(AppendError::TooLarge {
                event_type: event.event_type(),
                key: message.envelope.subject,
                bytes,
                limit: self.max_message_bytes,
                causation_id,
            });
        }
        Ok(message)
    }

    /// Appends `messages` in this order, in the caller's transaction. The caller holds the lock of every aggregate
    /// concerned: ids are drawn here, and their order must follow the sequences.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn append(&self, conn: &mut PgConnection, messages: &[Message]) -> Result<(), AppendError> {
        if messages.is_empty() {
            return Ok(());
        }
        let column = Columns::of(messages);
        // INSERT ... SELECT ... ORDER BY evaluates the default of `id` above the sort, row by row in its order.
        sqlx::query(
            "INSERT INTO outbox.messages (topic, key, sequence, event_id, event_type, source, occurred_at,
                 correlation_id, causation_id, user_id, traceparent, tracestate, value)
             SELECT topic, key, sequence, event_id, event_type, source, occurred_at,
                 correlation_id, causation_id, user_id, traceparent, tracestate, value
             FROM unnest($1::text[], $2::text[], $3::bigint[], $4::uuid[], $5::text[], $6::text[],
                 $7::timestamptz[], $8::uuid[], $9::uuid[], $10::text[], $11::text[], $12::text[], $13::bytea[])
                 WITH ORDINALITY AS message (topic, key, sequence, event_id, event_type, source, occurred_at,
                     correlation_id, causation_id, user_id, traceparent, tracestate, value, position)
             ORDER BY position",
        )
        .bind(column.topic)
        .bind(column.key)
        .bind(column.sequence)
        .bind(column.event_id)
        .bind(column.event_type)
        .bind(column.source)
        .bind(column.occurred_at)
        .bind(column.correlation_id)
        .bind(column.causation_id)
        .bind(column.user_id)
        .bind(column.traceparent)
        .bind(column.tracestate)
        .bind(column.value)
        .execute(conn)
        .await?;
        Ok(())
    }

    /// Wakes the relay. Call it after the commit.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    pub(crate) fn wakes(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }
}

impl Message {
    /// A message from parts that were encoded before, to be published as they are: for what did not come from an
    /// event of this process.
    #[must_use]
    pub const fn from_parts(topic: String, envelope: Envelope, value: Vec<u8>) -> Self {
        Self { topic, envelope, value }
    }

    /// The full name of the topic that it goes to.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// What travels beside the value, as headers.
    #[must_use]
    pub const fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The value's bytes.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// What the record takes in a batch: key, value and headers, each with its length, and the batch's own header
    /// (61 bytes in Kafka's record batch v2). The publish span may add a traceparent where there was none.
    fn size_on_the_wire(&self) -> usize {
        const BATCH_OVERHEAD_BYTES: usize = 61;
        const RECORD_OVERHEAD_BYTES: usize = 21;
        const HEADER_OVERHEAD_BYTES: usize = 10;
        const TRACEPARENT_BYTES: usize = "traceparent".len() + 55 + HEADER_OVERHEAD_BYTES;
        let headers: usize = self
            .envelope
            .to_headers()
            .iter()
            .map(|(name, value)| name.len() + value.len() + HEADER_OVERHEAD_BYTES)
            .sum();
        let traceparent = if self.envelope.trace.traceparent.is_none() { TRACEPARENT_BYTES } else { 0 };
        BATCH_OVERHEAD_BYTES
            + RECORD_OVERHEAD_BYTES
            + self.envelope.subject.len()
            + self.value.len()
            + headers
            + traceparent
    }
}

/// The messages turned by ninety degrees: one array per column.
#[derive(Default)]
struct Columns<'a> {
    topic: Vec<&'a str>,
    key: Vec<&'a str>,
    sequence: Vec<i64>,
    event_id: Vec<Uuid>,
    event_type: Vec<&'a str>,
    source: Vec<&'a str>,
    occurred_at: Vec<chrono::DateTime<chrono::Utc>>,
    correlation_id: Vec<Uuid>,
    causation_id: Vec<Option<Uuid>>,
    user_id: Vec<Option<&'a str>>,
    traceparent: Vec<Option<&'a str>>,
    tracestate: Vec<Option<&'a str>>,
    value: Vec<&'a [u8]>,
}

impl<'a> Columns<'a> {
    fn of(messages: &'a [Message]) -> Self {
        let mut columns = Self::default();
        for Message { topic, envelope, value } in messages {
            columns.topic.push(topic);
            columns.key.push(&envelope.subject);
            columns.sequence.push(envelope.sequence);
            columns.event_id.push(envelope.event_id);
            columns.event_type.push(&envelope.event_type);
            columns.source.push(&envelope.source);
            columns.occurred_at.push(envelope.occurred_at);
            columns.correlation_id.push(envelope.correlation_id);
            columns.causation_id.push(envelope.causation_id);
            columns.user_id.push(envelope.user_id.as_deref());
            columns.traceparent.push(envelope.trace.traceparent.as_deref());
            columns.tracestate.push(envelope.trace.tracestate.as_deref());
            columns.value.push(value);
        }
        columns
    }
}
