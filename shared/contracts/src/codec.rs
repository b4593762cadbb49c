//! Events to bytes and back: Confluent wire format (magic 0, schema id, Avro binary), subjects by TopicRecordName.

pub(crate) mod body;
mod connect;
mod error;
mod registry;
mod retry;
mod wire;
mod writer;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use apache_avro::writer::datum::GenericDatumWriter;
use futures::{StreamExt, TryStreamExt};

pub use crate::codec::error::{DecodeError, EncodeError, RegistryError};
pub use crate::codec::registry::RegistryConfig;
use crate::codec::registry::{Fault, Registry};
use crate::codec::writer::Writer;
use crate::event::{self, AnyEvent};
use crate::schemas::{self, Bundled};
use crate::topics::Topics;

/// How many schemas are fetched at once.
const CALLS_AT_ONCE: usize = 8;

/// The id of the schema that a record's value names.
pub fn schema_id(value: &[u8]) -> Option<u32> {
    Some(wire::split(Some(value)).ok()?.0)
}

/// Encodes what this service publishes and decodes whatever arrives. Cheap to clone behind an `Arc`.
pub struct Codec {
    topics: Topics,
    /// Where schema ids not seen before are asked for; none in a codec that works offline.
    registry: Option<Registry>,
    /// By full name: what this service publishes.
    published: HashMap<&'static str, Published>,
    /// Events of later releases than the one that this codec plays.
    unknown: BTreeSet<String>,
    /// By schema id, permanently: an id never changes its meaning. Failures are not kept.
    writers: RwLock<HashMap<u32, Arc<Writer>>>,
}

struct Published {
    schema_id: u32,
    writer: GenericDatumWriter<'static>,
}

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec")
            .field("topics", &self.topics)
            .field("registry", &self.registry.as_ref().map(|registry| &registry.name))
            .field("published", &self.published.keys())
            .finish_non_exhaustive()
    }
}

impl Codec {
    /// A codec that knows all schemas of `avro/` and never asks a registry: for tests of what needs events as bytes
    /// but no broker. The ids count from 1, by folder, event and version.
    pub fn offline(topics: Topics) -> Arc<Self> {
        Self::offline_before(topics, &[])
    }

    /// As [`Codec::offline`], in a release that does not know these events yet.
    pub fn offline_before(topics: Topics, unknown: &[&str]) -> Arc<Self> {
        let mut codec = Self::new(topics, None);
        codec.unknown = unknown.iter().map(|event_type| (*event_type).to_owned()).collect();
        for (id, bundled) in (1..).zip(schemas::all()) {
            if unknown.contains(&bundled.event_type) {
                codec.remember(id, Writer::Foreign { full_name: bundled.event_type.to_owned() });
                continue;
            }
            codec.remember(id, Writer::bundled(bundled));
            if let Ok(published) = Published::new(id, bundled) {
                // Oldest first, so that the newest version is the one that stays.
                codec.published.insert(bundled.event_type, published);
            }
        }
        Arc::new(codec)
    }

    fn new(topics: Topics, registry: Option<Registry>) -> Self {
        Self {
            topics,
            registry,
            published: HashMap::new(),
            unknown: BTreeSet::new(),
            writers: RwLock::default(),
        }
    }

    /// The topic names of this deployment.
    pub const fn topics(&self) -> &Topics {
        &self.topics
    }

    /// Whether this is an event of ours, of which only another release has a schema.
    pub fn is_of_another_release(&self, event_type: &str) -> bool {
        event::is_of_another_release(event_type) || self.unknown.contains(event_type)
    }

    /// The full names of all events of which this release has a schema.
    pub fn known_types(&self) -> BTreeSet<&'static str> {
        let all = schemas::all().iter().map(|bundled| bundled.event_type);
        all.filter(|event_type| !self.unknown.contains(*event_type)).collect()
    }

    /// The topics of what this service publishes.
    pub fn published_topics(&self) -> BTreeSet<String> {
        let published =
            schemas::all().iter().filter(|bundled| self.published.contains_key(bundled.event_type));
        published.map(|bundled| self.topics.name(bundled.topic)).collect()
    }

    /// The event in wire format. Needs no I/O: ids are known since the start.
    ///
    /// # Errors
    /// When the type was not registered or the value does not fit its schema.
    pub fn encode(&self, event: &AnyEvent) -> Result<Vec<u8>, EncodeError> {
        let event_type = event.event_type();
        let published = self.published.get(event_type).ok_or(EncodeError::NotRegistered { event_type })?;
        let mut value = wire::begin(published.schema_id);
        published
            .writer
            .write_ser(&mut value, event)
            .map_err(|error| EncodeError::Invalid { event_type, detail: error.to_string() })?;
        Ok(value)
    }

    /// The event in these bytes, met on `topic`. Fetches a schema id not seen before from the registry, with a bound.
    ///
    /// # Errors
    /// A typed reason for whatever is no valid event.
    pub async fn decode(&self, topic: &str, value: Option<&[u8]>) -> Result<AnyEvent, DecodeError> {
        let (id, _) = wire::split(value)?;
        if self.known(id).is_none() {
            self.fetch(id).await?;
        }
        self.decode_known(topic, value)
    }

    /// As [`Codec::decode`], and asks nobody: a schema id not seen before is unknown. For whoever has a transaction open, after
    /// [`Codec::learn`].
    ///
    /// # Errors
    /// As [`Codec::decode`].
    pub fn decode_known(&self, topic: &str, value: Option<&[u8]>) -> Result<AnyEvent, DecodeError> {
        let (id, body) = wire::split(value)?;
        let writer = self.known(id).ok_or(DecodeError::UnknownSchema { id })?;
        let wrong_subject =
            |found: &str| DecodeError::WrongSubject { found: found.to_owned(), topic: topic.to_owned() };
        match &*writer {
            Writer::Event(reader) if self.topics.parse(topic) == Some(reader.newest().topic) => {
                reader.read(body)
            }
            Writer::Event(reader) => Err(wrong_subject(reader.newest().event_type)),
            Writer::Foreign { full_name } => Err(wrong_subject(full_name)),
            Writer::Unreadable { detail } => {
                Err(DecodeError::UnreadableSchema { id, detail: detail.clone() })
            }
        }
    }

    /// Fetches the schemas of these records that are not known yet, some at once, and gives the ids that the registry says do not
    /// exist.
    ///
    /// # Errors
    /// When the registry does not answer.
    pub async fn learn(&self, values: impl IntoIterator<Item = &[u8]>) -> Result<BTreeSet<u32>, DecodeError> {
        let ids = values.into_iter().filter_map(schema_id);
        let new: BTreeSet<u32> = ids.filter(|id| self.known(*id).is_none()).collect();
        let fetching = futures::stream::iter(new).map(async |id| match self.fetch(id).await {
            Ok(_) => Ok(None),
            Err(DecodeError::UnknownSchema { id }) => Ok(Some(id)),
            Err(error) => Err(error),
        });
        fetching.buffer_unordered(CALLS_AT_ONCE).try_filter_map(async |id| Ok(id)).try_collect().await
    }

    fn known(&self, id: u32) -> Option<Arc<Writer>> {
        self.writers.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    fn remember(&self, id: u32, writer: Writer) -> Arc<Writer> {
        let mut writers = self.writers.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(writers.entry(id).or_insert_with(|| Arc::new(writer)))
    }

    async fn fetch(&self, id: u32) -> Result<Arc<Writer>, DecodeError> {
        let Some(registry) = &self.registry else { return Err(DecodeError::UnknownSchema { id }) };
        match registry.schema(id).await {
            Ok(text) => Ok(self.remember(id, Writer::parse(&text))),
            Err(Fault::NotFound) => Err(DecodeError::UnknownSchema { id }),
            Err(Fault::Refused(detail) | Fault::Unavailable(detail)) => {
                Err(DecodeError::RegistryUnavailable { id, detail })
            }
        }
    }
}

impl Published {
    fn new(schema_id: u32, bundled: &'static Bundled) -> Result<Self, RegistryError> {
        // Human-readable, because UUIDs stand as text in the schema.
        let writer = GenericDatumWriter::builder(bundled.schema)
            .resolved_schemata(bundled.names.clone())
            .human_readable(true)
            .build()
            .map_err(|_| RegistryError::UnknownEvent { event_type: bundled.event_type })?;
        Ok(Self { schema_id, writer })
    }
}
