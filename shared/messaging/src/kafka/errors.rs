//! What an error of the broker means for a record, decided in one place.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::bus::{BusError, DeliveryError};

/// The fate of a record. Refused for ever is only what is wrong with the record itself; all else is worth another try.
pub(crate) fn delivery_error(error: &KafkaError) -> DeliveryError {
    use RDKafkaErrorCode as Code;
    let for_ever = match error.rdkafka_error_code() {
        Some(
            Code::MessageSizeTooLarge
            | Code::MessageBatchTooLarge
            | Code::InvalidMessage
            | Code::InvalidMessageSize
            | Code::InvalidRecord
            | Code::InvalidTimestamp
            | Code::InvalidTopic
            | Code::PolicyViolation
            | Code::UnsupportedForMessageFormat,
        ) => true,
        // A missing topic and missing rights are among these: they are the world's fault, not the record's.
        Some(_) => false,
        // A topic's name that can't even be passed on.
        None => matches!(error, KafkaError::Nul(_)),
    };
    if for_ever {
        DeliveryError::Refused(error.to_string())
    } else {
        DeliveryError::Unacknowledged(error.to_string())
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
