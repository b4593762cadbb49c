//! Appending to the outbox: the size check happens here, before the caller's commit.
//!
//! The order in the caller's transaction: lock the aggregates, [`Outbox::number`] their messages, store the aggregates
//! with the ids of their last messages, [`Outbox::append`]. A sequence is given once, even where a lock was forgotten,
//! because the aggregate's row is updated only where it still names the message that the new one continues
//! ([`expect_stored`], docs/adr/0017).

use std::collections::HashMap;
use std::sync::Arc;

use cloudevents::Envelope;
use sqlx::PgConnection;
use tokio::sync::Notify;
use uuid::Uuid;

/// One message: exactly the bytes and headers that every relay will publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub(crate) topic: String,
    pub(crate) envelope: Envelope,
    pub(crate) value: Vec<u8>,
    /// The last message of its key before this transaction, as the aggregate's row has it.
    pub(crate) last_message_id: Option<i64>,
}

/// Messages with their ids, each linked to the one before it of its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbered {
    messages: Vec<NumberedMessage>,
    /// By topic and key.
    last: HashMap<String, HashMap<String, i64>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct NumberedMessage {
    id: i64,
    previous_id: Option<i64>,
    message: Message,
}

/// A service's outbox. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outbox {
    content_type: Arc<str>,
    max_message_bytes: usize,
    wake: Arc<Notify>,
}

/// Why an event could not be appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The event would exceed the broker's limit; `causation_id` names the event that led to it, if one did.
    #[error("{event_type} of {key} has {bytes} bytes, more than the broker's limit of {limit}")]
    TooLarge {
        /// The type's full name.
        event_type: String,
        /// The record's key.
        key: String,
        /// Its size with headers.
        bytes: usize,
        /// The largest size that the broker takes.
        limit: usize,
        /// The event that led to it.
        causation_id: Option<Uuid>,
    },
    /// An aggregate has published since it was read: its row was not locked. Repeat the transaction.
    #[error("stored {stored} of {expected} aggregates: the others changed since they were read")]
    Stale {
        /// How many aggregates there are to store.
        expected: usize,
        /// How many rows were as they had been read.
        stored: u64,
    },
    /// The database refused.
    #[error("appending to the outbox")]
    Database(#[from] sqlx::Error),
}

/// Holds what was stored against what was to be stored. Aggregates are updated
/// `WHERE last_message_id IS NOT DISTINCT FROM` the one that was read.
///
/// # Errors
/// When fewer rows were updated than there are aggregates.
pub fn expect_stored(stored: u64, expected: usize) -> Result<(), AppendError> {
    if stored == expected as u64 { Ok(()) } else { Err(AppendError::Stale { expected, stored }) }
}

impl Outbox {
    /// An outbox of messages whose values are of this media type, such as `application/json`. It refuses what is larger
    /// than `max_message_bytes` with its headers.
    #[must_use]
    pub fn new(content_type: &str, max_message_bytes: usize) -> Self {
        Self { content_type: content_type.into(), max_message_bytes, wake: Arc::new(Notify::new()) }
    }

    /// A message for the topic with this full name. Pure: needs no database, so that a caller can refuse before it writes.
    /// `last_message_id` is the value in the aggregate's row, however many messages it gets in this transaction.
    ///
    /// # Errors
    /// When it exceeds the broker's limit.
    pub fn message(
        &self,
        topic: impl Into<String>,
        envelope: Envelope,
        value: Vec<u8>,
        last_message_id: Option<i64>,
    ) -> Result<Message, AppendError> {
        let message = Message { topic: topic.into(), envelope, value, last_message_id };
        let bytes = message.size_on_the_wire(&self.content_type);
        if bytes > self.max_message_bytes {
            let Envelope { event_type, subject: key, causation_id, .. } = message.envelope;
            let limit = self.max_message_bytes;
            return Err(AppendError::TooLarge { event_type, key, bytes, limit, causation_id });
        }
        Ok(message)
    }

    /// Draws an id for each message, in this order, and links each to the one before it of its key. The caller holds the
    /// lock of every aggregate concerned: the order of ids must follow the sequences.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn number(
        &self,
        conn: &mut PgConnection,
        messages: Vec<Message>,
    ) -> Result<Numbered, AppendError> {
        if messages.is_empty() {
            return Ok(Numbered::default());
        }
        let mut ids: Vec<i64> =
            sqlx::query_scalar("SELECT nextval('outbox.message_ids') FROM generate_series(1, $1)")
                .bind(i64::try_from(messages.len()).unwrap_or(i64::MAX))
                .fetch_all(conn)
                .await?;
        ids.sort_unstable();
        let mut last: HashMap<String, HashMap<String, i64>> = HashMap::new();
        let messages = ids
            .into_iter()
            .zip(messages)
            .map(|(id, message)| {
                let of_topic = last.entry(message.topic.clone()).or_default();
                let before = of_topic.insert(message.envelope.subject.clone(), id);
                NumberedMessage { id, previous_id: before.or(message.last_message_id), message }
            })
            .collect();
        Ok(Numbered { messages, last })
    }

    /// Appends the messages in the caller's transaction, after the aggregates that name them.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn append(&self, conn: &mut PgConnection, numbered: &Numbered) -> Result<(), AppendError> {
        let messages = &numbered.messages;
        if messages.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO outbox.messages (id, previous_id, topic, key, sequence, value, event_id, event_type, source,
                 subject, event_time, correlation_id, causation_id, user_id, traceparent, tracestate)
             SELECT id, previous_id, topic, convert_to(subject, 'UTF8'), sequence, value, event_id, event_type, source,
                 subject, event_time, correlation_id, causation_id, user_id, traceparent, tracestate
             FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::bytea[], $6::uuid[], $7::text[],
                 $8::text[], $9::text[], $10::timestamptz[], $11::uuid[], $12::uuid[], $13::text[], $14::text[],
                 $15::text[])
                 AS message (id, previous_id, topic, sequence, value, event_id, event_type, source, subject,
                     event_time, correlation_id, causation_id, user_id, traceparent, tracestate)",
        )
        .bind(column(messages, |numbered| numbered.id))
        .bind(column(messages, |numbered| numbered.previous_id))
        .bind(column(messages, |numbered| numbered.message.topic.as_str()))
        .bind(column(messages, |numbered| numbered.message.envelope.sequence))
        .bind(column(messages, |numbered| numbered.message.value.as_slice()))
        .bind(column(messages, |numbered| numbered.message.envelope.event_id))
        .bind(column(messages, |numbered| numbered.message.envelope.event_type.as_str()))
        .bind(column(messages, |numbered| numbered.message.envelope.source.as_str()))
        .bind(column(messages, |numbered| numbered.message.envelope.subject.as_str()))
        .bind(column(messages, |numbered| numbered.message.envelope.occurred_at))
        .bind(column(messages, |numbered| numbered.message.envelope.correlation_id))
        .bind(column(messages, |numbered| numbered.message.envelope.causation_id))
        .bind(column(messages, |numbered| numbered.message.envelope.user_id.as_deref()))
        .bind(column(messages, |numbered| numbered.message.envelope.trace.traceparent.as_deref()))
        .bind(column(messages, |numbered| numbered.message.envelope.trace.tracestate.as_deref()))
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

    pub(crate) fn content_type(&self) -> Arc<str> {
        Arc::clone(&self.content_type)
    }
}

impl Numbered {
    /// The id of the last message of this topic and key, which its aggregate's row has to name; none where it got no
    /// message. The topic is named in full, or by its last part.
    #[must_use]
    pub fn last_message_id(&self, topic: &str, key: &str) -> Option<i64> {
        let is_meant = |name: &str| name == topic || name.rsplit('.').next() == Some(topic);
        let (_, of_topic) = self.last.iter().find(|(name, _)| is_meant(name))?;
        of_topic.get(key).copied()
    }

    /// Whether there is nothing to append.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

impl Message {
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
    fn size_on_the_wire(&self, content_type: &str) -> usize {
        const BATCH_OVERHEAD_BYTES: usize = 61;
        const RECORD_OVERHEAD_BYTES: usize = 21;
        const HEADER_OVERHEAD_BYTES: usize = 10;
        const TRACEPARENT_BYTES: usize = "traceparent".len() + 55 + HEADER_OVERHEAD_BYTES;
        let mut headers = 0;
        self.envelope.borrowed().each_header(content_type, |name, value| {
            headers += name.len() + value.len() + HEADER_OVERHEAD_BYTES;
        });
        let traceparent = if self.envelope.trace.traceparent.is_none() { TRACEPARENT_BYTES } else { 0 };
        BATCH_OVERHEAD_BYTES
            + RECORD_OVERHEAD_BYTES
            + self.envelope.subject.len()
            + self.value.len()
            + headers
            + traceparent
    }
}

/// One value of each message, for a column of the table.
fn column<'a, T>(messages: &'a [NumberedMessage], of: impl Fn(&'a NumberedMessage) -> T) -> Vec<T> {
    messages.iter().map(of).collect()
}
