//! Connecting to the registry: schemas registered or looked up, compared with older versions, and preloaded.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::time::Instant;

use super::error::RegistryError;
use super::registry::{Fault, Registry, RegistryConfig, without_credentials};
use super::retry::retry_until;
use super::writer::Writer;
use super::{CALLS_AT_ONCE, Codec, Published};
use crate::compatibility;
use crate::schemas::{self, Bundled};
use crate::topics::Topics;

/// How long [`Codec::connect`] waits for a registry that does not answer yet.
const START_TIMEOUT: Duration = Duration::from_secs(60);

impl Codec {
    /// Registers (or looks up) the newest schema of every event in `publishes` (full names), and preloads every
    /// schema of the subjects in `consumes`, so that a registry outage after the start stops no consumer. Waits up to a
    /// minute for a registry that does not answer yet.
    ///
    /// # Errors
    /// When the registry can't be reached, lacks a schema, or a schema is incompatible with a registered version.
    pub async fn connect(
        registry: &RegistryConfig,
        topics: Topics,
        publishes: &[&'static str],
        consumes: &[&'static str],
    ) -> Result<Arc<Self>, RegistryError> {
        Self::connect_within(START_TIMEOUT, registry, topics, publishes, consumes).await
    }

    /// As [`Codec::connect`], waiting up to `timeout` for a registry that does not answer yet.
    ///
    /// # Errors
    /// As [`Codec::connect`].
    pub async fn connect_within(
        timeout: Duration,
        registry: &RegistryConfig,
        topics: Topics,
        publishes: &[&'static str],
        consumes: &[&'static str],
    ) -> Result<Arc<Self>, RegistryError> {
        let publishes = bundled(publishes)?;
        let url = &without_credentials(&registry.url);
        let client = Registry::new(registry).map_err(|fault| fault.at(url, ""))?;
        let mut codec = Self::new(topics, None);
        let deadline = Instant::now() + timeout;
        let publish = || codec.publish(&client, registry.auto_register_schemas, &publishes);
        let ids = retry_until(deadline, url, publish).await?;
        for (id, ours) in ids.into_iter().zip(publishes) {
            codec.remember(id, Writer::bundled(ours));
            codec.published.insert(ours.event_type, Published::new(id, ours)?);
        }
        codec.registry = Some(client);
        codec.preload_within(deadline - Instant::now(), consumes).await?;
        Ok(Arc::new(codec))
    }

    /// Preloads every schema of the subjects in `consumes`, for a caller that learns only after connecting what it
    /// will consume. Waits up to `timeout` for a registry that does not answer.
    ///
    /// # Errors
    /// When the registry can't be reached.
    pub async fn preload_within(
        &self,
        timeout: Duration,
        consumes: &[&'static str],
    ) -> Result<(), RegistryError> {
        let Some(registry) = &self.registry else { return Ok(()) };
        let deadline = Instant::now() + timeout;
        let consumes = bundled(consumes)?;
        retry_until(deadline, &registry.name, || self.preload(registry, &consumes)).await
    }

    /// The ids under which the registry has our newest schema of each of these events.
    async fn publish(
        &self,
        registry: &Registry,
        auto_register_schemas: bool,
        publishes: &[&'static Bundled],
    ) -> Result<Vec<u32>, RegistryError> {
        let publishing = publishes.iter().map(|ours| self.publish_one(registry, auto_register_schemas, ours));
        stream::iter(publishing).buffered(CALLS_AT_ONCE).try_collect().await
    }

    async fn publish_one(
        &self,
        registry: &Registry,
        auto_register_schemas: bool,
        ours: &'static Bundled,
    ) -> Result<u32, RegistryError> {
        let subject = self.subject(ours);
        let at = |fault: Fault| fault.at(&registry.name, &subject);
        for version in registry.versions(&subject).await.map_err(at)? {
            let refuse = |why: String| {
                let number = version.version.unwrap_or_default();
                Err(at(Fault::Refused(format!("against version {number}: {why}"))))
            };
            match apache_avro::Schema::parse_str(&version.schema) {
                Ok(theirs) => {
                    let problems = compatibility::problems(&theirs, ours.schema);
                    if !problems.is_empty() {
                        return refuse(compatibility::in_one_line(&problems));
                    }
                }
                Err(error) => return refuse(error.to_string()),
            }
        }
        if !auto_register_schemas {
            return registry.look_up(&subject, &ours.text).await.map_err(at);
        }
        let id = registry.register(&subject, &ours.text).await.map_err(at)?;
        registry.guard(&subject).await.map_err(at)?;
        Ok(id)
    }

    async fn preload(&self, registry: &Registry, consumes: &[&'static Bundled]) -> Result<(), RegistryError> {
        let preloading = consumes.iter().map(|ours| self.preload_one(registry, ours));
        stream::iter(preloading).buffered(CALLS_AT_ONCE).try_collect().await
    }

    async fn preload_one(&self, registry: &Registry, ours: &'static Bundled) -> Result<(), RegistryError> {
        let subject = self.subject(ours);
        let versions =
            registry.versions(&subject).await.map_err(|fault| fault.at(&registry.name, &subject))?;
        for version in versions {
            self.remember(version.id, Writer::parse(&version.schema));
        }
        Ok(())
    }

    /// TopicRecordName: compatibility is kept per event and topic.
    fn subject(&self, bundled: &Bundled) -> String {
        format!("{}-{}", self.topics.name(bundled.topic), bundled.event_type)
    }
}

fn bundled(event_types: &[&'static str]) -> Result<Vec<&'static Bundled>, RegistryError> {
    event_types
        .iter()
        .map(|event_type| schemas::newest(event_type).ok_or(RegistryError::UnknownEvent { event_type }))
        .collect()
}
