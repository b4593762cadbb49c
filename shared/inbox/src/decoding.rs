//! From records to events, before any transaction: skip by header, decode, check identity.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use cloudevents::Envelope;
use cloudevents::envelope::CE_TYPE;
use futures::FutureExt as _;
use messaging::{Delivered, TopicPartition};

use crate::decode::{Decoded, Undecodable};
use crate::effect::{Effect, Erased};
use crate::error_policy::{HandlerError, Rejection};
use crate::panics::panic_message;
use crate::unit_of_work::Received;

/// What a record turns out to be.
#[derive(Debug)]
pub(crate) enum Item {
    /// No subscription to its type.
    Skipped,
    /// An event with a handler.
    Event(Box<Received<Erased>>),
    /// An event of ours of this type, which only another release knows (docs/adr/0030).
    Unknown(String),
    /// No valid event.
    Undecodable(Undecodable),
}

impl Item {
    /// Its type's full name, as far as it is known.
    pub(crate) fn event_type(&self) -> Option<&str> {
        match self {
            Self::Event(received) => Some(&received.envelope.event_type),
            Self::Unknown(event_type) => Some(event_type),
            Self::Skipped | Self::Undecodable(_) => None,
        }
    }
}

/// The reason of an event of a type that only another release knows.
pub(crate) const UNKNOWN_EVENT_TYPE: &str = "unknown_event_type";

/// Why an event of such a type waits.
pub(crate) fn unknown(event_type: &str) -> Rejection {
    let detail = format!("this release has no schema of {event_type}: one that has redrives it");
    Rejection::new(UNKNOWN_EVENT_TYPE, detail)
}

/// What each of these records is. Only transient errors (of a registry) are errors; they repeat the batch.
pub(crate) async fn read(
    effect: &dyn Effect,
    partition: &TopicPartition,
    records: &[&Delivered],
) -> Result<Vec<Item>, HandlerError> {
    let by_header: Vec<Option<Item>> = records.iter().map(|record| of_header(effect, record)).collect();
    let known = by_header.iter().map(Option::is_some);
    let concerned: Vec<&Delivered> =
        records.iter().zip(known).filter_map(|(record, known)| (!known).then_some(*record)).collect();
    let mut decoded = decode(effect, &partition.topic, &concerned).await?.into_iter();
    let mut items = Vec::with_capacity(records.len());
    for (record, item) in records.iter().zip(by_header) {
        let item = item.or_else(|| Some(checked(effect, partition, record, decoded.next()?)));
        items.push(item.ok_or_else(|| HandlerError::Retry("fewer records decoded than given".into()))?);
    }
    Ok(items)
}

/// What a record is by its headers, if they are enough.
fn of_header(effect: &dyn Effect, record: &Delivered) -> Option<Item> {
    let announced = Envelope::event_type_of(&record.headers)?;
    if effect.is_of_another_release(announced) {
        return Some(Item::Unknown(announced.to_owned()));
    }
    (!effect.handles(announced)).then_some(Item::Skipped)
}

type OneDecoded = Result<Decoded<Erased>, Undecodable>;

/// Decodes records; a panic on the way is the fault of the record that causes it, and does not end the worker.
async fn decode(
    effect: &dyn Effect,
    topic: &str,
    records: &[&Delivered],
) -> Result<Vec<OneDecoded>, HandlerError> {
    if records.is_empty() {
        return Ok(Vec::new());
    }
    if let Ok(decoded) = decode_unless_it_panics(effect, topic, records).await {
        return decoded;
    }
    let mut all = Vec::with_capacity(records.len());
    for record in records {
        match decode_unless_it_panics(effect, topic, &[record]).await {
            Ok(decoded) => all.extend(decoded?),
            Err(panic) => {
                let detail = panic_message(panic.as_ref());
                tracing::error!(topic, offset = record.offset, detail, "decoding a record panicked");
                all.push(Err(Rejection::new("decoder_panicked", detail).into()));
            }
        }
    }
    Ok(all)
}

async fn decode_unless_it_panics(
    effect: &dyn Effect,
    topic: &str,
    records: &[&Delivered],
) -> Result<Result<Vec<OneDecoded>, HandlerError>, Box<dyn Any + Send>> {
    let decoding = AssertUnwindSafe(effect.decode(topic, records)).catch_unwind();
    Ok(decoding.await?.map_err(HandlerError::Retry).and_then(|decoded| one_of_each(decoded, records.len())))
}

/// Results that are too few or too many can't be matched with records: none of them is taken.
fn one_of_each(decoded: Vec<OneDecoded>, records: usize) -> Result<Vec<OneDecoded>, HandlerError> {
    if decoded.len() == records {
        return Ok(decoded);
    }
    let detail = format!("the decoder gave {} results for {records} records", decoded.len());
    Err(HandlerError::Retry(detail.into()))
}

/// A record with what was decoded of it: the header, the key and the value have to agree.
fn checked(effect: &dyn Effect, partition: &TopicPartition, record: &Delivered, decoded: OneDecoded) -> Item {
    let (envelope, event) = match decoded {
        Ok(Decoded::Event { envelope, event }) => (envelope, event),
        Ok(Decoded::OfAnotherRelease(event_type)) => return Item::Unknown(event_type),
        Err(undecodable) => return Item::Undecodable(undecodable),
    };
    if let Some(announced) = Envelope::event_type_of(&record.headers)
        && announced != envelope.event_type
    {
        let detail = format!("the header {CE_TYPE} is {announced}, the value is a {}", envelope.event_type);
        return Item::Undecodable(Rejection::new("type_mismatch", detail).into());
    }
    if !effect.handles(&envelope.event_type) {
        return Item::Skipped;
    }
    if record.key.as_deref() != Some(envelope.subject.as_bytes()) {
        let detail = format!("the record's key is not {}, the key of its event", envelope.subject);
        return Item::Undecodable(Rejection::new("key_mismatch", detail).into());
    }
    Item::Event(Box::new(Received {
        topic: partition.topic.clone(),
        partition: partition.partition,
        offset: record.offset,
        envelope,
        event,
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use sqlx::PgConnection;

    use super::*;
    use crate::decode::BoxError;
    use crate::effect::Handled;

    /// Decodes envelopes. The value `!` brings a panic, and `?` a second result for its record.
    struct Faulty;

    #[async_trait]
    impl Effect for Faulty {
        fn handles(&self, _: &str) -> bool {
            true
        }

        fn is_of_another_release(&self, _: &str) -> bool {
            false
        }

        fn known_types(&self) -> Vec<String> {
            Vec::new()
        }

        async fn decode(&self, _: &str, records: &[&Delivered]) -> Result<Vec<OneDecoded>, BoxError> {
            let decode = |record: &&Delivered| {
                assert_ne!(record.value.as_deref(), Some(&b"!"[..]), "the test asks for it");
                Ok(Decoded::Event {
                    envelope: Envelope::from_headers(&record.headers)?,
                    event: Arc::new(()) as Erased,
                })
            };
            let twice = records.iter().filter(|record| record.value.as_deref() == Some(&b"?"[..]));
            let all = records.iter().chain(twice);
            Ok(all.map(|record| decode(record).map_err(|error| undecodable(&error))).collect())
        }

        async fn handle<'a>(
            &'a self,
            _: &mut PgConnection,
            _: &[Received<Erased>],
            _: &[Option<&[u8]>],
        ) -> Result<Box<dyn Handled + 'a>, HandlerError> {
            Err(HandlerError::Retry("this test handles nothing".into()))
        }

        fn committed(&self) {}
    }

    fn undecodable(error: &cloudevents::EnvelopeError) -> Undecodable {
        Rejection::new("no_envelope", error.to_string()).into()
    }

    async fn read_values(values: [&[u8]; 3]) -> Result<Vec<Item>, HandlerError> {
        let record = |(offset, value): (i64, &[u8])| Delivered {
            offset,
            key: None,
            value: Some(value.to_vec()),
            headers: Vec::new(),
            timestamp_ms: None,
        };
        let records: Vec<Delivered> = (0..).zip(values).map(record).collect();
        let partition = TopicPartition { topic: "parcels".to_owned(), partition: 0 };
        read(&Faulty, &partition, &records.iter().collect::<Vec<_>>()).await
    }

    #[tokio::test]
    async fn results_that_are_not_one_per_record_are_taken_for_none() {
        let error = read_values([b"1", b"?", b"3"]).await.unwrap_err();
        assert!(error.to_string().contains("4 results for 3 records"), "{error}");
    }

    #[tokio::test]
    async fn a_record_whose_decoding_panics_is_at_fault_and_no_other() {
        let items = read_values([b"1", b"!", b"3"]).await.unwrap();
        let reasons: Vec<_> = items
            .iter()
            .map(|item| match item {
                Item::Undecodable(undecodable) => undecodable.rejection.reason,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(reasons, ["no_envelope", "decoder_panicked", "no_envelope"]);
    }
}
