//! Events to bytes and back: Confluent wire format (magic 0, schema id, Avro binary), subjects by TopicRecordName.

use std::sync::Arc;

use crate::event::AnyEvent;
use crate::topics::Topics;

/// Where the schema registry is, and what this service may do there.
#[derive(Clone, Debug)]
pub struct RegistryConfig {
    /// Base URL of the Confluent-compatible API.
    pub url: String,
    /// Register missing schemas at start-up; otherwise only look them up, and refuse to start without them.
    pub register: bool,
}

/// Encodes what this service publishes and decodes whatever arrives. Cheap to clone behind an `Arc`.
#[derive(Debug)]
pub struct Codec {
    topics: Topics,
}

/// Why a codec could not be set up at start-up.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry did not answer, or not in time.
    #[error("schema registry {url}: {detail}")]
    Unavailable {
        /// The registry's URL.
        url: String,
        /// What it said.
        detail: String,
    },
    /// The registry refuses the schema as incompatible with an earlier version.
    #[error("schema registry {url} refuses {subject}: {detail}")]
    Incompatible {
        /// The registry's URL.
        url: String,
        /// The subject in question.
        subject: String,
        /// What it said.
        detail: String,
    },
}

/// Why an event could not be encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The codec was not set up to publish this type.
    #[error("{event_type} is not among the events that this service registered to publish")]
    NotRegistered {
        /// The record's full name.
        event_type: &'static str,
    },
    /// The value does not fit its schema.
    #[error("{event_type} does not fit its schema: {detail}")]
    Invalid {
        /// The record's full name.
        event_type: &'static str,
        /// What Avro said.
        detail: String,
    },
}

/// Why a record is no event that we can read. `is_retryable` tells the world's faults from the event's.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// No value at all (a Kafka tombstone), or an empty one.
    #[error("the record has no value")]
    Empty,
    /// The first byte is not the Confluent wire format's 0.
    #[error("the value begins with {found:#04x}, not with the wire format's 0x00")]
    WrongMagic {
        /// The byte found.
        found: u8,
    },
    /// The registry says that it has no schema under this id.
    #[error("the registry knows no schema {id}")]
    UnknownSchema {
        /// The schema id of the value.
        id: u32,
    },
    /// The registry can't be asked just now.
    #[error("schema {id} could not be fetched: {detail}")]
    RegistryUnavailable {
        /// The schema id of the value.
        id: u32,
        /// What went wrong.
        detail: String,
    },
    /// A record of another subject: not an event that belongs on this topic.
    #[error("a {found} does not belong on topic {topic}")]
    WrongSubject {
        /// The writer's full name.
        found: String,
        /// Where it was met.
        topic: String,
    },
    /// The body ends early, announces more than it has, or does not fit the schema.
    #[error("the body is not a valid {event_type}: {detail}")]
    Malformed {
        /// The writer's full name.
        event_type: String,
        /// What Avro said.
        detail: String,
    },
    /// Bytes after the record.
    #[error("{count} bytes follow the {event_type}")]
    Leftover {
        /// The writer's full name.
        event_type: String,
        /// How many.
        count: usize,
    },
}

impl DecodeError {
    /// Whether the same bytes may decode later: the world is at fault, not the event.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::RegistryUnavailable { .. })
    }
}

impl Codec {
    /// Registers (or looks up) the newest schema of every event in `publishes` (full names), and preloads every
    /// schema of the subjects in `consumes`, so that a registry outage after start-up stops nobody.
    ///
    /// # Errors
    /// When the registry can't be reached, lacks a schema, or refuses one as incompatible.
    pub async fn connect(
        registry: &RegistryConfig,
        topics: Topics,
        publishes: &[&'static str],
        consumes: &[&'static str],
    ) -> Result<Arc<Self>, RegistryError> {
        let _ = (registry, publishes, consumes);
        Ok(Arc::new(Self { topics }))
    }

    /// The topic names of this deployment.
    #[must_use]
    pub const fn topics(&self) -> &Topics {
        &self.topics
    }

    /// The event in wire format. Needs no I/O: ids are known since start-up.
    ///
    /// # Errors
    /// When the type was not registered or the value does not fit its schema.
    pub fn encode(&self, event: &AnyEvent) -> Result<Vec<u8>, EncodeError> {
        let _ = event;
        todo!()
    }

    /// The event in these bytes, met on `topic`. Fetches a schema id not seen before from the registry, with a bound.
    ///
    /// # Errors
    /// A typed reason for whatever is no valid event.
    pub async fn decode(&self, topic: &str, value: Option<&[u8]>) -> Result<AnyEvent, DecodeError> {
        let _ = (topic, value);
        todo!()
    }
}
