//! What an error of the broker means for a record, decided in one place.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::bus::{BusError, DeliveryError, Refusal};

/// The fate of a record. Refused is what the broker objects to in the record itself; all else is worth another try at once.
pub(crate) fn delivery_error(error: &KafkaError) -> DeliveryError {
    let detail = error.to_string();
    let Some(code) = error.rdkafka_error_code() else {
        return match error {
            KafkaError::Nul(_) => DeliveryError::Refused { refusal: Refusal::TopicName, detail },
            _ => DeliveryError::Unacknowledged(detail),
        };
    };
    match refusal(code) {
        Some(refusal) => DeliveryError::Refused { refusal, detail },
        None if ends_producer(code) => DeliveryError::ProducerEnded(detail),
        // A missing topic and missing rights are among these: they are not the record's fault.
        None => DeliveryError::Unacknowledged(detail),
    }
}

fn refusal(code: RDKafkaErrorCode) -> Option<Refusal> {
    use RDKafkaErrorCode as Code;
    Some(match code {
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => Refusal::Size,
        Code::InvalidTimestamp => Refusal::Timestamp,
        Code::PolicyViolation => Refusal::Policy,
        Code::InvalidRecord | Code::InvalidMessage => Refusal::Content,
        Code::UnsupportedForMessageFormat => Refusal::Format,
        Code::InvalidTopic => Refusal::TopicName,
        _ => return None,
    })
}

/// What an idempotent producer does not recover from.
fn ends_producer(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::Fatal
            | Code::GaplessGuarantee
            | Code::Fenced
            | Code::ProducerFenced
            | Code::InvalidProducerEpoch
            | Code::InvalidProducerIdMapping
            | Code::UnknownProducerId
            | Code::OutOfOrderSequenceNumber
            | Code::State
    )
}

/// A question that the broker did not answer.
pub(crate) fn unavailable(broker: &str, action: &str, error: &KafkaError) -> BusError {
    BusError::Unavailable { broker: broker.to_owned(), action: action.to_owned(), detail: error.to_string() }
}

/// A client that could not be made.
pub(crate) fn configuration(error: &KafkaError) -> BusError {
    BusError::Configuration(error.to_string())
}
