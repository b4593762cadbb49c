//! Appending to the outbox: encoding and the size check happen here, before the caller's commit.

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

    /// Encodes `event` and checks its size. Pure: needs no database, so that a caller can refuse before it writes.
    ///
    /// # Errors
    /// When the event doesn't fit its schema or the broker's limit.
    pub fn seal(&self, event: &AnyEvent, cause: &Cause) -> Result<Message, AppendError> {
        let _ = (event, cause, &self.codec, &self.source, self.max_message_bytes);
        todo!()
    }

    /// Appends `messages` in this order, in the caller's transaction. The caller holds the lock of every aggregate
    /// concerned: ids are drawn here, and their order must follow the sequences.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn append(&self, conn: &mut PgConnection, messages: &[Message]) -> Result<(), AppendError> {
        let _ = (conn, messages);
        todo!()
    }

    /// Wakes the relay. Call it after the commit.
    pub fn wake(&self) {
        self.wake.notify_one();
    }
}
