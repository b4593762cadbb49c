//! What a record of the topics says: Avro in Confluent's wire format, by the schemas of the registry.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use cloudevents::Envelope;
use contracts::codec::schema_id;
use contracts::{AnyEvent, Codec, DecodeError};
use inbox::{BoxError, Decode, Decoded, Rejection, Undecodable};
use messaging::Delivered;

/// Decodes the system's events for an inbox.
#[derive(Clone, Debug)]
pub struct AvroDecoder {
    codec: Arc<Codec>,
}

impl AvroDecoder {
    /// A decoder that knows what `codec` knows.
    pub const fn new(codec: Arc<Codec>) -> Self {
        Self { codec }
    }

    async fn decode_one(
        &self,
        topic: &str,
        record: &Delivered,
    ) -> Result<Result<Decoded<AnyEvent>, Undecodable>, BoxError> {
        match self.codec.decode(topic, record.value.as_deref()).await {
            Ok(event) => {
                let envelope = Envelope::from_delivered(&record.headers, &event);
                Ok(Ok(Decoded::Event { envelope, event }))
            }
            Err(DecodeError::WrongSubject { found, .. }) if self.codec.is_of_another_release(&found) => {
                Ok(Ok(Decoded::OfAnotherRelease(found)))
            }
            Err(error) => rejected(error).map(Err),
        }
    }
}

#[async_trait]
impl Decode for AvroDecoder {
    type Event = AnyEvent;

    fn known_types(&self) -> Vec<String> {
        self.codec.known_types().into_iter().map(str::to_owned).collect()
    }

    fn is_of_another_release(&self, event_type: &str) -> bool {
        self.codec.is_of_another_release(event_type)
    }

    /// Unknown schemas are asked for several at once, and once each.
    async fn decode(
        &self,
        topic: &str,
        records: &[&Delivered],
    ) -> Result<Vec<Result<Decoded<AnyEvent>, Undecodable>>, BoxError> {
        let values = records.iter().filter_map(|record| record.value.as_deref());
        let unknown: BTreeSet<u32> = self.codec.learn(values).await?;
        let mut decoded = Vec::with_capacity(records.len());
        for record in records {
            let id = record.value.as_deref().and_then(schema_id).filter(|id| unknown.contains(id));
            decoded.push(match id {
                Some(id) => Err(rejected(DecodeError::UnknownSchema { id })?),
                None => self.decode_one(topic, record).await?,
            });
        }
        Ok(decoded)
    }
}

/// A registry that does not answer is no fault of the record; everything else is. A registry that lags behind may know a schema
/// soon.
fn rejected(error: DecodeError) -> Result<Undecodable, BoxError> {
    let reason = match &error {
        DecodeError::RegistryUnavailable { .. } => return Err(Box::new(error)),
        DecodeError::Empty => "empty_value",
        DecodeError::WrongMagic { .. } => "wrong_magic_byte",
        DecodeError::HeaderTruncated { .. } | DecodeError::Truncated { .. } => "truncated",
        DecodeError::UnknownSchema { .. } => "unknown_schema",
        DecodeError::UnreadableSchema { .. } => "unreadable_schema",
        DecodeError::WrongSubject { .. } => "wrong_subject",
        DecodeError::Malformed { .. } => "malformed",
        DecodeError::Leftover { .. } => "leftover_bytes",
    };
    let is_provisional = matches!(error, DecodeError::UnknownSchema { .. });
    Ok(Undecodable { rejection: Rejection::new(reason, error.to_string()), is_provisional })
}
