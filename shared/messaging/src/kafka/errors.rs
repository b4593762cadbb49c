//! What an error of the broker means for a record, decided in one place.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::bus::{BusError, DeliveryError};

/// What the broker said of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// About this record or its topic: it will be refused however often it is sent.
    Refused,
    /// About the batch that carried the record; a neighbour may be the cause.
    RefusedBatch,
    /// About the state of the world.
    Unacknowledged,
}

/// Judges a delivery error. What isn't known to be for ever is worth another try.
pub(crate) fn verdict(error: &KafkaError) -> Verdict {
    use RDKafkaErrorCode as Code;
    if matches!(error, KafkaError::Nul(_)) {
        return Verdict::Refused;
    }
    match error.rdkafka_error_code() {
        Some(
            Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::InvalidTopic
            | Code::InvalidRequiredAcks,
        ) => Verdict::Refused,
        Some(
            Code::MessageSizeTooLarge
            | Code::MessageBatchTooLarge
            | Code::InvalidMessage
            | Code::InvalidMessageSize
            | Code::InvalidRecord
            | Code::InvalidTimestamp
            | Code::PolicyViolation
            | Code::UnsupportedForMessageFormat,
        ) => Verdict::RefusedBatch,
        _ => Verdict::Unacknowledged,
    }
}

/// The fate of a record that was sent in a batch of unknown neighbours, or alone.
pub(crate) fn delivery_error(error: &KafkaError, alone: bool) -> DeliveryError {
    match verdict(error) {
        Verdict::Refused => DeliveryError::Refused(error.to_string()),
        Verdict::RefusedBatch if alone => DeliveryError::Refused(error.to_string()),
        Verdict::RefusedBatch => DeliveryError::Unacknowledged(format!("{error} (its batch was refused)")),
        Verdict::Unacknowledged => DeliveryError::Unacknowledged(error.to_string()),
    }
}

/// A question that the broker did not answer.
pub(crate) fn unavailable(broker: &str, action: &str, error: &KafkaError) -> BusError {
    BusError::Unavailable { broker: broker.to_owned(), action: action.to_owned(), detail: error.to_string() }
}

/// A client that could not be made.
pub(crate) fn configuration(error: &KafkaError) -> BusError {
    BusError::Configuration(error.to_string())
}
