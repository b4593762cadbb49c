//! What can go wrong between an event and its bytes, each kind by its name.

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
    /// Our schema is incompatible with a registered version, by the registry's verdict or by our own rules.
    #[error("schema registry {url} refuses {subject}: {detail}")]
    Incompatible {
        /// The registry's URL.
        url: String,
        /// The subject in question.
        subject: String,
        /// What it said.
        detail: String,
    },
    /// The schema is not registered, and this service may not register it.
    #[error(
        "schema registry {url} lacks the schema of {subject}; register it, or set registry.auto_register_schemas = true"
    )]
    Missing {
        /// The registry's URL.
        url: String,
        /// The subject in question.
        subject: String,
    },
    /// A name in the lists of published or consumed events is no event of `avro/`.
    #[error("{event_type} is no event of avro/")]
    UnknownEvent {
        /// The name in question.
        event_type: &'static str,
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

/// Why a record is no event that we can read. `is_retryable` separates faults of the registry from faults of the record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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
    /// The value ends within the wire format's five header bytes.
    #[error("the value has {length} bytes and no complete schema id")]
    HeaderTruncated {
        /// How many bytes there are.
        length: usize,
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
    /// A schema under which nothing of ours can have been written: no Avro record, or one that our newest can't read.
    #[error("schema {id} can't be read: {detail}")]
    UnreadableSchema {
        /// The schema id of the value.
        id: u32,
        /// What is wrong with it.
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
    /// The body ends early.
    #[error("the body of the {event_type} ends early")]
    Truncated {
        /// The writer's full name.
        event_type: String,
    },
    /// The body announces more than it has, or does not fit the schema.
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
    /// Whether the same bytes may decode later: the registry is at fault, not the record.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::RegistryUnavailable { .. } => true,
            Self::Empty
            | Self::WrongMagic { .. }
            | Self::HeaderTruncated { .. }
            | Self::UnknownSchema { .. }
            | Self::UnreadableSchema { .. }
            | Self::WrongSubject { .. }
            | Self::Truncated { .. }
            | Self::Malformed { .. }
            | Self::Leftover { .. } => false,
        }
    }
}
