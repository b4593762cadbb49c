//! Whether a rebuild that has failed is tried again: the verdicts are those of the inbox on a batch.

use contracts::DecodeError;
use database::Verdict;
use inbox::HandlerError;

use super::Impossible;

/// How often an error of unknown kind is met before the rebuild fails, as the inbox tries a batch.
pub(super) const UNKNOWN_TRIES: i32 = 5;

/// A transient error and an operator's are repeated for as long as they last; one of the data ends the rebuild.
pub(super) fn verdict(error: &anyhow::Error) -> Verdict {
    if error.downcast_ref::<Impossible>().is_some() {
        return Verdict::Data;
    }
    match error.downcast_ref::<DecodeError>() {
        Some(DecodeError::RegistryUnavailable { .. }) => return Verdict::Transient,
        // A registry that lags behind may know it soon.
        Some(DecodeError::UnknownSchema { .. }) => return Verdict::Unknown,
        Some(_) => return Verdict::Data,
        None => {}
    }
    if let Some(HandlerError::Panicked { .. }) = error.downcast_ref::<HandlerError>() {
        return Verdict::Unknown;
    }
    // Without an error of the database it is the broker that does not answer, or another replica that leads.
    refusal(error).map_or(Verdict::Transient, database::verdict)
}

/// The error for people, without what may hold a secret: addresses, and the settings of clients.
pub(super) fn described(error: &anyhow::Error) -> String {
    if let Some(impossible) = error.downcast_ref::<Impossible>() {
        return impossible.to_string();
    }
    if let Some(DecodeError::RegistryUnavailable { .. }) = error.downcast_ref::<DecodeError>() {
        return "the schema registry does not answer".to_owned();
    }
    match refusal(error) {
        Some(sqlx::Error::Database(refusal)) => {
            format!("SQLSTATE {}: {}", refusal.code().unwrap_or_default(), refusal.message())
        }
        Some(_) => "the database does not answer, or its rows can't be read".to_owned(),
        None => error.to_string(),
    }
}

fn refusal(error: &anyhow::Error) -> Option<&sqlx::Error> {
    error.chain().find_map(|cause| cause.downcast_ref::<sqlx::Error>())
}
