//! The one place that decides whether an error is transient (retry) or permanent (a dead letter).

use database::Verdict;
use uuid::Uuid;

const DATA_ERROR: &str = "data_error";
const UNEXPECTED_ERROR: &str = "unexpected_error";

/// A typed rejection of an event: impossible by the domain's rules. It becomes a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
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

    /// What may be the release's fault or the database's, and not the event's: a panic, or an error of the database, by its
    /// SQLSTATE. What the domain rejects is the event's.
    pub(crate) fn cause(&self) -> Option<String> {
        match self.reason {
            DATA_ERROR | UNEXPECTED_ERROR => {
                let code = self.detail.split(':').next().unwrap_or_default();
                Some(format!("{}, {code}", self.reason))
            }
            reason if reason.ends_with("_panicked") => Some(reason.to_owned()),
            _ => None,
        }
    }
}

/// What went wrong while a batch was applied.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// A transient error: back off and repeat the same batch, for as long as it lasts.
    #[error("to be retried: {0}")]
    Retry(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A permanent error of this event: dead-letter it, apply the others.
    #[error("event {event_id} is to be dead-lettered: {rejection}")]
    Rejected {
        /// The event at fault.
        event_id: Uuid,
        /// Why.
        #[source]
        rejection: Rejection,
    },
    /// The database refuses. The SQLSTATE decides whether the error is transient, an operator's to fix, or caused by an event of
    /// the batch, which the consumer finds by applying parts.
    #[error("{0}")]
    Database(#[source] sqlx::Error),
    /// The unit of work panicked while it loaded or stored. Treated as an error of the database that no one knows: tried again, then
    /// some event of the batch is taken for its cause, which the consumer finds by applying parts.
    #[error("the unit of work panicked: {message}")]
    Panicked {
        /// What the panic says.
        message: String,
    },
}

impl From<sqlx::Error> for HandlerError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl HandlerError {
    pub(crate) fn verdict(&self) -> Verdict {
        match self {
            Self::Database(error) => verdict(error),
            Self::Panicked { .. } => Verdict::Unknown,
            // One that is left over is a bug of ours, not the event's.
            Self::Retry(_) | Self::Rejected { .. } => Verdict::Transient,
        }
    }

    /// Why the event that brings this error is a dead letter; none while the event may not be the cause.
    pub(crate) fn rejection(&self) -> Option<Rejection> {
        let error = match self {
            Self::Database(error) => error,
            Self::Panicked { message } => return Some(Rejection::new("unit_of_work_panicked", message)),
            Self::Retry(_) | Self::Rejected { .. } => return None,
        };
        let reason = match verdict(error) {
            Verdict::Data => DATA_ERROR,
            Verdict::Unknown => UNEXPECTED_ERROR,
            Verdict::Transient | Verdict::Operator => return None,
        };
        Some(Rejection::new(reason, described(error)))
    }
}

fn verdict(error: &sqlx::Error) -> Verdict {
    if is_of_ids(error) { Verdict::Transient } else { database::verdict(error) }
}

/// Refusals by the tables of outbox and inbox that blame no event: no table partition takes the id any more, or the sequence lies
/// behind its table, and the next try has new ids. PostgreSQL names no constraint where a row fits no table partition, or the default
/// one no longer.
fn is_of_ids(error: &sqlx::Error) -> bool {
    let Some(refusal) = error.as_database_error() else { return false };
    match (refusal.code().as_deref(), refusal.constraint()) {
        (Some("23514"), None) => matches!(refusal.table(), Some("messages" | "events_default")),
        (Some("23514" | "23505"), Some(constraint)) => constraint.starts_with("messages_"),
        _ => false,
    }
}

/// The error with its SQLSTATE, for people.
fn described(error: &sqlx::Error) -> String {
    match error.as_database_error().and_then(sqlx::error::DatabaseError::code) {
        Some(code) => format!("SQLSTATE {code}: {error}"),
        None => error.to_string(),
    }
}
