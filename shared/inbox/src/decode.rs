//! The trait by which the user of this library decodes records to events.

use async_trait::async_trait;
use cloudevents::Envelope;
use messaging::Delivered;

use crate::error_policy::Rejection;

/// An error of a system that the decoder asks, such as a schema registry.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Decodes the records of a service's topics.
#[async_trait]
pub trait Decode: Send + Sync + 'static {
    /// What handlers get: one type for all events, mostly an enum.
    type Event: Clone + Send + Sync + 'static;

    /// Decodes records of `topic`, and gives for each of them, in their order, its event or why it is none. A record whose
    /// envelope differs from its header `ce_type` or its key becomes a dead letter afterwards.
    ///
    /// # Errors
    /// When something that is asked does not answer: the batch is repeated, and no record is blamed. As many results as records
    /// are required; another number is an error of the same kind.
    async fn decode(
        &self,
        topic: &str,
        records: &[&Delivered],
    ) -> Result<Vec<Result<Decoded<Self::Event>, Undecodable>>, BoxError>;

    /// Whether this is a type of ours that only another release knows. Its records wait as dead letters for a release
    /// that does.
    fn is_of_another_release(&self, event_type: &str) -> bool {
        let _ = event_type;
        false
    }

    /// The types that this release knows: dead letters that waited for it are redriven at its start.
    fn known_types(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A decoded record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded<E> {
    /// An event.
    Event {
        /// Its identity, by which it is applied once.
        envelope: Envelope,
        /// What happened.
        event: E,
    },
    /// An event of ours of this type, which only another release knows.
    OfAnotherRelease(String),
}

/// Why a record is no event: it becomes a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecodable {
    /// Why.
    pub rejection: Rejection,
    /// Whether that may change by itself soon: a consumer tries again for five seconds.
    pub is_provisional: bool,
}

impl From<Rejection> for Undecodable {
    fn from(rejection: Rejection) -> Self {
        Self { rejection, is_provisional: false }
    }
}
