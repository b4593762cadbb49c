//! What an error of the broker means for a record, decided in one place.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaConfRes;

use super::config::KafkaConfig;
use crate::bus::BusError;
use crate::publishing::{DeliveryError, Refusal};

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
    let broker = redaction::text(broker);
    BusError::Unavailable { broker, action: action.to_owned(), detail: error.to_string() }
}

/// A client that could not be made. librdkafka repeats the value of a property that it refuses.
pub(crate) fn configuration(config: &KafkaConfig, error: &KafkaError) -> BusError {
    BusError::Configuration(match error {
        KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, _, name, _) => {
            format!("there is no property {name}")
        }
        KafkaError::ClientConfig(_, _, name, _) => format!("the value of {name} is not one that it can have"),
        other => config.without_values(other.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_cannot_be_made_names_the_property_and_not_its_value() {
        for name in ["sasl.pasword", "sasl.mechanism", "ssl.key.pem", "security.protocol", "ssl.ca.location"]
        {
            let mut config = KafkaConfig::default();
            config.properties.insert(name.into(), "hunter2".into());
            let client: Result<rdkafka::consumer::BaseConsumer, _> = config.metadata("test").create();
            let refused = match client {
                Ok(_) => continue,
                Err(error) => configuration(&config, &error).to_string(),
            };
            assert!(!refused.contains("hunter2"), "{name}: {refused}");
            assert!(!refused.is_empty(), "{name}");
        }
    }
}
