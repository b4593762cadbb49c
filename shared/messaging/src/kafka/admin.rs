//! Creating topics, and checking those that exist.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::types::RDKafkaErrorCode;

use super::config::KafkaConfig;
use super::context::Events;
use super::errors::{configuration, unavailable};
use super::metadata::MetadataClient;
use crate::bus::{BusError, TopicSpec};

/// How long the cluster may take to let everyone see a new topic.
const SETTLE: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

pub(crate) async fn create_topics(
    config: &KafkaConfig,
    metadata: &MetadataClient,
    topics: &[TopicSpec],
) -> Result<(), BusError> {
    let mut known = metadata.topics().await?;
    let missing: Vec<_> = topics.iter().filter(|spec| !known.contains_key(&spec.name)).collect();
    if !missing.is_empty() {
        create(config, &missing).await?;
        known = metadata.topics().await?;
    }
    let deadline = Instant::now() + SETTLE;
    while !have_counts(&known, topics)? {
        if Instant::now() >= deadline {
            return Err(BusError::Unavailable {
                broker: config.bootstrap_servers.clone(),
                action: "create topics".to_owned(),
                detail: format!("not all of them are there after {SETTLE:?}"),
            });
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        known = metadata.topics().await?;
    }
    Ok(())
}

/// Whether all topics are there; an error when one has a wrong partition count. Only readers and
/// writers of a partition wait for its leader.
fn have_counts(known: &BTreeMap<String, i32>, topics: &[TopicSpec]) -> Result<bool, BusError> {
    let mut all_there = true;
    for spec in topics {
        match known.get(&spec.name) {
            Some(found) if *found == spec.partitions => {}
            // A topic that has just been created may be announced before its partitions.
            None | Some(0) => all_there = false,
            Some(found) => {
                return Err(BusError::PartitionCount {
                    topic: spec.name.clone(),
                    expected: spec.partitions,
                    found: *found,
                });
            }
        }
    }
    Ok(all_there)
}

async fn create(config: &KafkaConfig, topics: &[&TopicSpec]) -> Result<(), BusError> {
    let client_id = format!("{}-admin", config.client_id);
    let mut client = config.client(&client_id);
    config.extend(&mut client);
    let admin: AdminClient<Events> =
        client.create_with_context(Events::new(&client_id)).map_err(|error| configuration(config, &error))?;
    let new_topics: Vec<_> = topics.iter().map(|spec| new_topic(spec)).collect();
    let options = AdminOptions::new()
        .request_timeout(Some(config.request_timeout()))
        .operation_timeout(Some(config.request_timeout()));
    let answer = admin.create_topics(&new_topics, &options).await;
    // Ending it waits for its thread.
    let _ = tokio::task::spawn_blocking(move || drop(admin)).await;
    for outcome in answer.map_err(|error| unavailable(&config.bootstrap_servers, "create topics", &error))? {
        match outcome {
            // Another service was faster.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => {
                return Err(BusError::Unavailable {
                    broker: config.bootstrap_servers.clone(),
                    action: format!("create topic {topic}"),
                    detail: code.to_string(),
                });
            }
        }
    }
    Ok(())
}

/// Business topics keep everything; a write counts when two copies have it, where there are three.
fn new_topic(spec: &TopicSpec) -> NewTopic<'_> {
    let min_in_sync = if spec.replication_factor >= 3 { "2" } else { "1" };
    NewTopic::new(&spec.name, spec.partitions, TopicReplication::Fixed(spec.replication_factor))
        .set("cleanup.policy", "delete")
        .set("retention.ms", "-1")
        .set("retention.bytes", "-1")
        .set("min.insync.replicas", min_in_sync)
        .set("unclean.leader.election.enable", "false")
}
