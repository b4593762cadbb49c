//! What must be there before a service works: its database, the registry, the broker's topics. Each is waited for
//! with a bound, and what is waited for is said.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use backoff::Backoff;
use contracts::{Codec, RegistryConfig, Topic, Topics};
use database::Database;
use events::Publisher;
use messaging::{Bus, BusError, KafkaBus, TopicSpec};
use tokio::time::Instant;

use super::{Definition, Deps};
use crate::config::Common;
use crate::database::{DatabaseError, open};

/// How long to wait for what isn't there yet.
#[derive(Clone, Copy, Debug)]
struct Retry {
    deadline: Instant,
    /// Short at first, because everything may be starting together.
    backoff: Backoff,
}

impl Retry {
    fn until(deadline: Instant) -> Self {
        Self { deadline, backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(2)) }
    }
}

/// Connects to everything that the service needs: to database, broker and registry at the same time, so that the slowest
/// decides how long it takes, and everything that is missing is said.
pub(super) async fn dependencies(definition: &Definition, config: &Common) -> anyhow::Result<Deps> {
    let retry = Retry::until(Instant::now() + config.lifecycle.start_timeout());
    config.database.warn_of_former();
    let topics = Topics::new(config.topics.prefix.clone());
    let kafka = config.kafka.clone().with_messages_of(config.topics.max_message_bytes)?;
    let bus: Arc<dyn Bus> = Arc::new(KafkaBus::try_new(kafka)?);
    let (database, (), codec) = tokio::try_join!(
        database(definition, config, retry),
        create_topics(&*bus, &topics, config, retry),
        codec(definition, config, topics.clone(), retry),
    )?;
    let outbox = Publisher::new(Arc::clone(&codec), definition.name, config.topics.max_message_bytes);
    Ok(Deps::new(definition.name, database, bus, codec, outbox))
}

/// Applies the migrations, as a step of its own.
pub(super) async fn migrate(definition: &Definition, config: &Common) -> anyhow::Result<()> {
    let retry = Retry::until(Instant::now() + config.lifecycle.start_timeout());
    let mut config = config.clone();
    config.database.migrate = true;
    database(definition, &config, retry).await?;
    tracing::info!("all migrations of {} are applied", definition.name);
    Ok(())
}

async fn database(definition: &Definition, config: &Common, retry: Retry) -> anyhow::Result<Database> {
    retry_until("the database", retry, DatabaseError::is_transient, || open(definition, config))
        .await
        .context("cannot reach the database; check database.url (TIDINGS_DATABASE__URL)")
}

async fn create_topics(bus: &dyn Bus, topics: &Topics, config: &Common, retry: Retry) -> anyhow::Result<()> {
    let specs: Vec<TopicSpec> = Topic::ALL
        .into_iter()
        .map(|topic| TopicSpec {
            name: topics.name(topic),
            partitions: contracts::topics::PARTITIONS,
            replication_factor: config.topics.replication_factor,
        })
        .collect();
    let is_transient = |error: &BusError| matches!(error, BusError::Unavailable { .. });
    retry_until("the broker", retry, is_transient, || bus.create_topics(&specs))
        .await
        .context("cannot reach the broker; check kafka.bootstrap_servers (TIDINGS_KAFKA__BOOTSTRAP_SERVERS)")
}

async fn codec(
    definition: &Definition,
    config: &Common,
    topics: Topics,
    retry: Retry,
) -> anyhow::Result<Arc<Codec>> {
    let registry = RegistryConfig {
        url: config.registry.url.expose().to_owned(),
        auto_register_schemas: config.registry.auto_register_schemas,
    };
    // The codec waits by itself, call by call.
    let left = retry.deadline.saturating_duration_since(Instant::now());
    Codec::connect_within(left, &registry, topics, definition.publishes, &[])
        .await
        .context("cannot reach the schema registry; check registry.url (TIDINGS_REGISTRY__URL)")
}

/// Fetches every schema of the events that are consumed, so that a later registry outage stops no consumer.
pub(super) async fn preload(codec: &Codec, consumes: &[&'static str], config: &Common) -> anyhow::Result<()> {
    codec
        .preload_within(config.lifecycle.start_timeout(), consumes)
        .await
        .context("cannot fetch the schemas of consumed events; check registry.url (TIDINGS_REGISTRY__URL)")
}

/// Tries until it works, fails for good, or `deadline` is over.
async fn retry_until<T, E, F>(
    what: &str,
    retry: Retry,
    is_transient: impl Fn(&E) -> bool,
    mut attempt: impl FnMut() -> F,
) -> anyhow::Result<T>
where
    F: Future<Output = Result<T, E>>,
    E: std::error::Error + Send + Sync + 'static,
{
    let mut failures = 0;
    // The last attempt may be cut short; the error of the one before it is more useful.
    let mut last_error = None;
    loop {
        let error = match tokio::time::timeout_at(retry.deadline, attempt()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => {
                let silence =
                    || anyhow::anyhow!("{what} did not answer in time (lifecycle.start_timeout_ms)");
                return Err(last_error.map_or_else(silence, anyhow::Error::new));
            }
        };
        let left = retry.deadline.saturating_duration_since(Instant::now());
        if !is_transient(&error) || left.is_zero() {
            return Err(error.into());
        }
        let reason = error.source().map_or_else(String::new, |source| format!(": {source}"));
        tracing::warn!(left_s = left.as_secs(), error = format!("{error}{reason}"), "waiting for {what}");
        last_error = Some(error);
        failures += 1;
        tokio::time::sleep(retry.backoff.pause(failures).min(left)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("attempt {0}")]
    struct Refused(u32);

    async fn attempts(timeout: Duration, transient_until: u32, works_at: u32) -> (anyhow::Result<u32>, u32) {
        let mut attempts = 0;
        let retry = Retry {
            deadline: Instant::now() + timeout,
            backoff: Backoff::new(Duration::from_micros(10), Duration::from_millis(1)),
        };
        let outcome = retry_until(
            "it",
            retry,
            |error: &Refused| error.0 < transient_until,
            || {
                attempts += 1;
                let attempt = attempts;
                async move { if attempt == works_at { Ok(attempt) } else { Err(Refused(attempt)) } }
            },
        )
        .await;
        (outcome, attempts)
    }

    #[tokio::test]
    async fn what_is_not_there_yet_is_waited_for() {
        let (outcome, attempts) = attempts(Duration::from_secs(60), u32::MAX, 5).await;
        assert_eq!((outcome.unwrap(), attempts), (5, 5));
    }

    #[tokio::test]
    async fn what_fails_for_good_is_not_tried_again() {
        let (outcome, attempts) = attempts(Duration::from_secs(60), 3, u32::MAX).await;
        assert_eq!((outcome.unwrap_err().to_string(), attempts), ("attempt 3".to_owned(), 3));
    }

    #[tokio::test]
    async fn waiting_has_a_bound() {
        let (outcome, attempts) = attempts(Duration::from_millis(500), u32::MAX, u32::MAX).await;
        assert!(outcome.is_err());
        assert!(attempts > 1, "{attempts}");
    }
}
