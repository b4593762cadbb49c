//! `tidings verify`: all effects recomputed from the topics alone, and compared with every service's database.

pub mod case;
pub mod check;
pub mod checks;
pub mod databases;
pub mod delivery;
pub mod failures;
pub mod fates;
pub mod follow;
pub mod history;
pub mod keys;
pub mod page;
pub mod report;
pub mod rows;
pub mod services;
mod spill;
mod stream;
pub mod subscriptions;
pub mod sums;
pub mod topics;
pub mod totals;
mod units;
pub mod unread;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use contracts::Codec;
use contracts::codec::RegistryConfig;
use contracts::topics::Topics;
use messaging::KafkaConfig;
use tokio::time::{Instant, sleep};

use self::case::Case;
use self::failures::Failures;
use self::history::History;
use self::report::Report;
use self::stream::How;
use self::topics::{Offsets, Reader};
use crate::state::RunningSystem;

/// The pause between two looks at a system that is still busy.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Where the system to be verified is.
#[derive(Clone, Debug)]
pub struct Target {
    /// The PostgreSQL server of the five databases; or, where they are on several, the URL of a service's database, with
    /// `{service}` for its name.
    pub postgres: String,
    /// The broker, and how to talk to it.
    pub kafka: KafkaConfig,
    /// The schema registry's URL.
    pub registry: String,
    /// What the topics' names begin with.
    pub topics_prefix: String,
    /// How long a database may say nothing: mostly [`databases::SILENCE`].
    pub silence: Duration,
}

impl From<&RunningSystem> for Target {
    fn from(system: &RunningSystem) -> Self {
        Self {
            postgres: system.postgres.clone(),
            kafka: KafkaConfig::new(&system.kafka),
            registry: system.registry.clone(),
            topics_prefix: system.topics_prefix.clone(),
            silence: databases::SILENCE,
        }
    }
}

/// How to verify.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Wait at most so long until the system is quiet.
    pub wait: Option<Duration>,
    /// What dead letters and failed mails mean.
    pub failures: Failures,
}

/// What reads the topics of a system.
///
/// # Errors
/// When the registry can't be read.
pub async fn codec(target: &Target) -> anyhow::Result<Arc<Codec>> {
    let topics = Topics::new(target.topics_prefix.clone());
    let registry = RegistryConfig { url: target.registry.clone(), auto_register_schemas: false };
    Codec::connect_within(topics::ANSWER_TIMEOUT, &registry, topics, &[], &topics::all_types())
        .await
        .context("the topics can't be read without their schemas")
}

/// Checks all guarantees.
///
/// # Errors
/// When a database, the broker or the registry can't be read: then nothing is verified.
pub async fn run(target: &Target, options: Options) -> anyhow::Result<Report> {
    let codec = codec(target).await?;
    let topics = codec.topics();
    let deadline = Instant::now() + options.wait.unwrap_or_default();
    loop {
        if options.wait.is_some() {
            wait_until_quiet(target, topics, deadline).await?;
        }
        let how = How { failures: options.failures, found: None, keeps_open: false };
        let verified = stream::verify(target, &codec, how).await?;
        if verified.is_quiet || Instant::now() >= deadline {
            return Ok(verified.report);
        }
        sleep(LOOK_AGAIN).await;
    }
}

async fn wait_until_quiet(target: &Target, topics: &Topics, deadline: Instant) -> anyhow::Result<()> {
    let reader = Reader::new(&target.kafka, topics)?;
    while Instant::now() < deadline {
        let snapshot = databases::read_pending(&target.postgres, target.silence).await?;
        let Offsets { ranges, unread } = reader.ranges(None).await?;
        let history = History { ranges, unread, ..History::default() };
        if Case::new(topics, &history, &snapshot).is_quiet() {
            return Ok(());
        }
        sleep(LOOK_AGAIN).await;
    }
    Ok(())
}
