//! Events as they happen: reads the business topics from now on, without joining a group.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use contracts::topics::Topic;
use contracts::{AnyEvent, Codec, Envelope};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message, OwnedMessage};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::watermarks::{self, Watermarks};

/// How many events may wait for their reader.
const WAITING: usize = 1_000;

/// Events published since it began. Reading ends when this value goes.
#[derive(Debug)]
pub struct Follower {
    events: mpsc::Receiver<OwnedMessage>,
    codec: Arc<Codec>,
    _reading: DropGuard,
}

impl Follower {
    /// Begins at the present ends of all business topics.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn begin(kafka: &str, codec: Arc<Codec>) -> anyhow::Result<Self> {
        let consumer = at_the_ends(kafka, Topic::ALL.map(|topic| codec.topics().name(topic))).await?;
        let (sender, events) = mpsc::channel(WAITING);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::task::spawn_blocking(move || read(&consumer, &sender, &stopped));
        Ok(Self { events, codec, _reading: stop.drop_guard() })
    }

    /// The next event, with what travelled beside it. `None` when the broker is gone.
    pub async fn next(&mut self) -> Option<(Envelope, AnyEvent)> {
        loop {
            let message = self.events.recv().await?;
            // What is no event is for verify to report.
            if let Ok(event) = self.codec.decode(message.topic(), message.payload()).await {
                return Some((Envelope::from_delivered(&headers(&message), &event), event));
            }
        }
    }
}

fn headers(message: &OwnedMessage) -> Vec<(String, Vec<u8>)> {
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    headers.map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec())).collect()
}

async fn at_the_ends(kafka: &str, topics: [String; Topic::ALL.len()]) -> anyhow::Result<Arc<BaseConsumer>> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", kafka)
        // Needed for assigning partitions; no member joins it, and nothing is committed.
        .set("group.id", "tidings-follow")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "10");
    let consumer: Arc<BaseConsumer> = Arc::new(config.create().context("a Kafka consumer")?);
    let found = watermarks::of(&consumer, topics).await;
    let mut assignment = TopicPartitionList::new();
    for Watermarks { topic, partition, offsets } in
        found.with_context(|| format!("reading the topics at {kafka}"))?
    {
        // One that can't be read now begins at the end that it has then.
        let end = offsets.map_or(Offset::End, |(_, high)| Offset::Offset(high));
        assignment.add_partition_offset(&topic, partition, end)?;
    }
    consumer.assign(&assignment).context("assigning the partitions")?;
    Ok(consumer)
}

fn read(consumer: &BaseConsumer, events: &mpsc::Sender<OwnedMessage>, stop: &CancellationToken) {
    while !stop.is_cancelled() && !events.is_closed() {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(50))
            && events.blocking_send(message.detach()).is_err()
        {
            return;
        }
    }
}
