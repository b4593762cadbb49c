//! The one place that decides whether the world is at fault (retry) or the event (a dead letter).

use contracts::DecodeError;
use outbox::AppendError;
use uuid::Uuid;

/// A typed rejection of an event: impossible by the domain's rules. It becomes a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Rejection {
    /// A stable code, such as `unexpected_event`; a metric's label, so few and fixed.
    pub reason: &'static str,
    /// What an operator reads: which state met which event.
    pub detail: String,
}

impl Rejection {
    /// A rejection with a stable code and its detail.
    #[must_use]
    pub fn new(reason: &'static str, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// What went wrong while a batch was applied.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// The world is at fault: back off and repeat the same batch, for as long as it lasts.
    #[error("to be retried: {0}")]
    Retry(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// This event is at fault: dead-letter it, apply the others.
    #[error("event {event_id} is to be dead-lettered: {rejection}")]
    Rejected {
        /// The event at fault.
        event_id: Uuid,
        /// Why.
        #[source]
        rejection: Rejection,
    },
    /// The database refuses the data itself (SQLSTATE classes 22 and 23): some event of the batch is at fault.
    /// The runtime finds out which by applying them one by one.
    #[error("the database refuses the data: {0}")]
    Data(#[source] sqlx::Error),
}

impl From<sqlx::Error> for HandlerError {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error().and_then(sqlx::error::DatabaseError::code) {
            // An id is refused: no table partition takes it any more, or the sequence lies behind its table. No event is at
            // fault, and the next try has new ids.
            Some(code) if code == "23514" && is_of_ids(&error) => Self::Retry(Box::new(error)),
            // A unique violation is a version conflict of an event stream: somebody else was faster.
            Some(code) if code == "23505" => Self::Retry(Box::new(error)),
            Some(code) if code.starts_with("22") || code.starts_with("23") => Self::Data(error),
            _ => Self::Retry(Box::new(error)),
        }
    }
}

/// Refusals by the tables of outbox and inbox that blame no event. PostgreSQL names no constraint where a row fits no table
/// partition, or the default one no longer.
fn is_of_ids(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| match error.constraint() {
        None => matches!(error.table(), Some("messages" | "events_default")),
        Some(constraint) => constraint.starts_with("messages_"),
    })
}

impl From<AppendError> for HandlerError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Database(error) => error.into(),
            AppendError::TooLarge { causation_id: Some(event_id), .. } => Self::Rejected {
                event_id,
                rejection: Rejection::new("outgoing_event_too_large", error.to_string()),
            },
            AppendError::Encode { causation_id: Some(event_id), .. } => Self::Rejected {
                event_id,
                rejection: Rejection::new("outgoing_event_not_encodable", error.to_string()),
            },
            AppendError::Stale { .. }
            | AppendError::TooLarge { causation_id: None, .. }
            | AppendError::Encode { causation_id: None, .. } => Self::Retry(Box::new(error)),
        }
    }
}

/// A record that could not be decoded: the registry's silence is the world's fault, everything else the event's.
pub(crate) fn of_decoding(error: DecodeError) -> Result<Rejection, HandlerError> {
    let reason = match &error {
        DecodeError::RegistryUnavailable { .. } => return Err(HandlerError::Retry(Box::new(error))),
        DecodeError::Empty => "empty_value",
        DecodeError::WrongMagic { .. } => "wrong_magic_byte",
        DecodeError::HeaderTruncated { .. } | DecodeError::Truncated { .. } => "truncated",
        DecodeError::UnknownSchema { .. } => "unknown_schema",
        DecodeError::UnreadableSchema { .. } => "unreadable_schema",
        DecodeError::WrongSubject { .. } => "wrong_subject",
        DecodeError::Malformed { .. } => "malformed",
        DecodeError::Leftover { .. } => "leftover_bytes",
    };
    Ok(Rejection::new(reason, error.to_string()))
}
