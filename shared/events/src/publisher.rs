//! A service's integration events on their way into the outbox: encoded and checked before the caller's commit.

use std::sync::Arc;

use cloudevents::{Cause, Envelope};
use contracts::envelope::CONTENT_TYPE;
use contracts::{AnyEvent, Codec, EncodeError, Topic};
use inbox::{HandlerError, Rejection};
use outbox::{AppendError, Message, Numbered, Outbox};
use sqlx::PgConnection;
use uuid::Uuid;

/// Publishes a service's events. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Publisher {
    codec: Arc<Codec>,
    source: Arc<str>,
    outbox: Outbox,
}

/// The last event under an aggregate's key, as the aggregate's row has it. Whoever publishes holds the row locked, so that the
/// sequence has no gap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastEvent {
    /// Its sequence; 0 before the first event. Counts the events of this transaction.
    pub sequence: i64,
    /// Its message in the outbox, before this transaction.
    pub message_id: Option<i64>,
}

/// An aggregate as its row has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row<A> {
    /// The aggregate.
    pub aggregate: A,
    /// The last event under its key.
    pub last_event: LastEvent,
}

/// An event that a transaction publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The event.
    pub event: AnyEvent,
    /// What led to it.
    pub cause: Cause,
    /// The last message under its key before this transaction.
    pub last_message_id: Option<i64>,
}

impl LastEvent {
    /// Takes the next sequence, if `event` makes an event of it.
    pub fn publish(
        &mut self,
        cause: &Cause,
        event: impl FnOnce(i64) -> Option<AnyEvent>,
    ) -> Option<Publication> {
        let event = event(self.sequence + 1)?;
        self.sequence += 1;
        Some(Publication { event, cause: cause.clone(), last_message_id: self.message_id })
    }

    /// The last message under `key` once the messages of `numbered` are appended: what the row has from then on.
    pub fn message_id_after(&self, numbered: &Numbered, topic: Topic, key: &str) -> Option<i64> {
        numbered.last_message_id(topic.suffix(), key).or(self.message_id)
    }
}

/// Why an event could not be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The event does not fit its schema.
    #[error("event of {causation_id:?} can't be encoded")]
    Encode {
        /// What Avro said.
        #[source]
        source: EncodeError,
        /// The event that led to it.
        causation_id: Option<Uuid>,
    },
    /// The outbox refused.
    #[error(transparent)]
    Append(AppendError),
    /// The database refused.
    #[error("publishing through the outbox")]
    Database(#[from] sqlx::Error),
}

impl From<AppendError> for PublishError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Database(error) => Self::Database(error),
            other => Self::Append(other),
        }
    }
}

/// A database at fault repeats the batch; an event at fault, the one that led to this one, becomes a dead letter.
impl From<PublishError> for HandlerError {
    fn from(error: PublishError) -> Self {
        let error = match error {
            PublishError::Database(error) => return error.into(),
            other => other,
        };
        let (reason, event_id) = match &error {
            PublishError::Append(AppendError::TooLarge { causation_id: Some(event_id), .. }) => {
                ("outgoing_event_too_large", *event_id)
            }
            PublishError::Encode { causation_id: Some(event_id), .. } => {
                ("outgoing_event_not_encodable", *event_id)
            }
            PublishError::Append(_) | PublishError::Encode { .. } | PublishError::Database(_) => {
                return Self::Retry(Box::new(error));
            }
        };
        Self::Rejected { event_id, rejection: Rejection::new(reason, error.to_string()) }
    }
}

impl Publisher {
    /// A publisher of `source`, a service's name, of events of at most `max_message_bytes` with their headers.
    pub fn new(codec: Arc<Codec>, source: &str, max_message_bytes: usize) -> Self {
        Self { codec, source: source.into(), outbox: Outbox::new(CONTENT_TYPE, max_message_bytes) }
    }

    /// The outbox that holds what is not published yet.
    pub const fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Encodes an event and checks its size. Pure: needs no database, so that a caller can refuse before it writes.
    ///
    /// # Errors
    /// When the event doesn't fit its schema or the broker's limit.
    pub fn encode(&self, publication: &Publication) -> Result<Message, PublishError> {
        let Publication { event, cause, last_message_id } = publication;
        let causation_id = cause.causation_id;
        let value =
            self.codec.encode(event).map_err(|source| PublishError::Encode { source, causation_id })?;
        let topic = self.codec.topics().name(event.topic());
        let envelope = Envelope::of(event, &self.source, cause);
        Ok(self.outbox.message(topic, envelope, value, *last_message_id)?)
    }

    /// Gives each message its id; see [`Outbox::number`].
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn number(
        &self,
        conn: &mut PgConnection,
        messages: Vec<Message>,
    ) -> Result<Numbered, PublishError> {
        Ok(self.outbox.number(conn, messages).await?)
    }

    /// Appends the messages in the caller's transaction; see [`Outbox::append`].
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn append(&self, conn: &mut PgConnection, numbered: &Numbered) -> Result<(), PublishError> {
        Ok(self.outbox.append(conn, numbered).await?)
    }

    /// Wakes the relay. Call it after the commit.
    pub fn wake(&self) {
        self.outbox.wake();
    }
}
