//! From a record to an event, before any transaction: skip by header, decode, check identity.

use std::panic::AssertUnwindSafe;

use contracts::envelope::CE_TYPE;
use contracts::{Codec, DecodeError, Envelope};
use futures::FutureExt as _;
use messaging::{Delivered, TopicPartition};

use crate::error_policy::{self, HandlerError, Rejection};
use crate::subscriptions::panic_message;
use crate::unit_of_work::Received;

/// What a record turns out to be.
#[derive(Debug)]
pub(crate) enum Item {
    /// Nobody here subscribed to its type.
    Skipped,
    /// An event with a reaction.
    Event(Box<Received>),
    /// An event of ours of this type, which only another release knows (docs/adr/0030).
    Unknown(String),
    /// No valid event.
    Undecodable(Rejection),
}

impl Item {
    /// Its type's full name, as far as it is known.
    pub(crate) fn event_type(&self) -> Option<&str> {
        match self {
            Self::Event(received) => Some(received.event.event_type()),
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

/// Whether a record's headers leave open that somebody here subscribed to its type.
pub(crate) fn may_concern(record: &Delivered, handles: impl Fn(&str) -> bool) -> bool {
    Envelope::event_type_of(&record.headers).is_none_or(handles)
}

/// A record whose schema the registry does not know.
pub(crate) fn unknown_schema(id: u32) -> Result<Item, HandlerError> {
    error_policy::of_decoding(DecodeError::UnknownSchema { id }).map(Item::Undecodable)
}

/// Reads one record; a panic on the way is the record's fault, and not the end of whoever reads.
pub(crate) async fn read(
    codec: &Codec,
    handles: impl Fn(&str) -> bool,
    partition: &TopicPartition,
    record: &Delivered,
) -> Result<Item, HandlerError> {
    unless_it_panics(read_one(codec, handles, partition, record)).await
}

async fn unless_it_panics(
    reading: impl Future<Output = Result<Item, HandlerError>>,
) -> Result<Item, HandlerError> {
    AssertUnwindSafe(reading).catch_unwind().await.unwrap_or_else(|panic| {
        let said = panic_message(panic.as_ref());
        tracing::error!(said, "decoding a record panicked");
        Ok(Item::Undecodable(Rejection::new("decoder_panicked", said)))
    })
}

/// Only the world's faults (the registry's) are errors; they repeat the batch.
async fn read_one(
    codec: &Codec,
    handles: impl Fn(&str) -> bool,
    partition: &TopicPartition,
    record: &Delivered,
) -> Result<Item, HandlerError> {
    let announced = Envelope::event_type_of(&record.headers);
    if let Some(event_type) = announced.filter(|event_type| codec.is_of_another_release(event_type)) {
        return Ok(Item::Unknown(event_type.to_owned()));
    }
    if announced.is_some_and(|event_type| !handles(event_type)) {
        return Ok(Item::Skipped);
    }
    let event = match codec.decode(&partition.topic, record.value.as_deref()).await {
        Ok(event) => event,
        Err(DecodeError::WrongSubject { found, .. }) if codec.is_of_another_release(&found) => {
            return Ok(Item::Unknown(found));
        }
        Err(error) => return error_policy::of_decoding(error).map(Item::Undecodable),
    };
    let event_type = event.event_type();
    if let Some(announced) = announced
        && announced != event_type
    {
        let detail = format!("the header {CE_TYPE} says {announced}, the value is a {event_type}");
        return Ok(Item::Undecodable(Rejection::new("type_mismatch", detail)));
    }
    if !handles(event_type) {
        return Ok(Item::Skipped);
    }
    if record.key.as_deref() != Some(event.key().as_bytes()) {
        let detail = format!("the record's key is not {}, the key of its event", event.key());
        return Ok(Item::Undecodable(Rejection::new("key_mismatch", detail)));
    }
    let envelope = Envelope::from_delivered(&record.headers, &event);
    Ok(Item::Event(Box::new(Received {
        topic: partition.topic.clone(),
        partition: partition.partition,
        offset: record.offset,
        envelope,
        event,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_record_whose_decoding_panics_is_at_fault() {
        let read = unless_it_panics(async { panic!("the test asks for it") }).await.unwrap();
        let Item::Undecodable(rejection) = read else { panic!("{read:?}") };
        assert_eq!((rejection.reason, &*rejection.detail), ("decoder_panicked", "the test asks for it"));
    }
}
