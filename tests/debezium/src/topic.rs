//! A topic as it stands on the broker: its end, and its records with the difference between an empty value and none.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::time::Instant;

/// How long the broker may take for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A record as a consumer gets it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Read {
    /// The partition.
    pub partition: i32,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// The headers in their order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// As text, and of a long value its beginning.
impl fmt::Debug for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &Option<Vec<u8>>| match bytes {
            Some(bytes) => {
                format!("{:?} ({})", bytes[..bytes.len().min(40)].escape_ascii().to_string(), bytes.len())
            }
            None => "none".to_owned(),
        };
        write!(f, "partition {}, key {}, value {}", self.partition, text(&self.key), text(&self.value))?;
        self.headers.iter().try_for_each(|(name, value)| write!(f, "\n    {name}: {}", text(value)))
    }
}

/// The offsets behind the last records, by partition.
pub type Ends = BTreeMap<i32, i64>;

/// A topic.
pub struct Topic {
    consumer: BaseConsumer,
    name: String,
}

/// Creates a topic of so many partitions, unless it is there.
///
/// # Errors
/// When the broker refuses, or does not answer.
pub async fn create(bootstrap_servers: &str, name: &str, partitions: i32) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap_servers).create()?;
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    let options = AdminOptions::new().operation_timeout(Some(ANSWER_TIMEOUT));
    for created in admin.create_topics([&topic], &options).await? {
        match created {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => bail!("creating the topic {name}: {code}"),
        }
    }
    Ok(())
}

impl Topic {
    /// The topic of this name. Nothing is read yet.
    ///
    /// # Errors
    /// When the client can't be made.
    pub fn open(bootstrap_servers: &str, name: &str) -> anyhow::Result<Self> {
        let consumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap_servers)
            .set("group.id", "debezium-comparison")
            .set("enable.auto.commit", "false")
            .create()?;
        Ok(Self { consumer, name: name.to_owned() })
    }

    /// Where its partitions end. Blocks.
    ///
    /// # Errors
    /// When the broker does not answer, or there is no such topic.
    pub fn ends(&self) -> anyhow::Result<Ends> {
        let metadata = self.consumer.fetch_metadata(Some(&self.name), ANSWER_TIMEOUT)?;
        let topic = metadata.topics().first().context("no metadata")?;
        ensure!(!topic.partitions().is_empty(), "there is no topic {}", self.name);
        let end = |partition: i32| -> anyhow::Result<(i32, i64)> {
            let (_, end) = self.consumer.fetch_watermarks(&self.name, partition, ANSWER_TIMEOUT)?;
            Ok((partition, end))
        };
        topic.partitions().iter().map(|partition| end(partition.id())).collect()
    }

    /// The records from `start` on that are there now, by partition in the order of their offsets. Blocks.
    ///
    /// # Errors
    /// When the broker does not give them in time.
    pub fn records(&self, start: &Ends) -> anyhow::Result<Vec<Read>> {
        let ends = self.ends()?;
        let missing = |partition: &i32, next: i64| ends.get(partition).is_some_and(|end| next < *end);
        let mut next: Ends =
            ends.keys().map(|partition| (*partition, start.get(partition).copied().unwrap_or(0))).collect();
        let mut list = TopicPartitionList::new();
        for (partition, offset) in &next {
            list.add_partition_offset(&self.name, *partition, Offset::Offset(*offset))?;
        }
        self.consumer.assign(&list)?;
        let (began, mut records) = (Instant::now(), Vec::new());
        while next.iter().any(|(partition, offset)| missing(partition, *offset)) {
            ensure!(began.elapsed() < ANSWER_TIMEOUT, "{} of {ends:?} were read", records.len());
            let Some(message) = self.consumer.poll(Duration::from_millis(100)) else { continue };
            let message = message?;
            next.insert(message.partition(), message.offset() + 1);
            let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
            records.push(Read {
                partition: message.partition(),
                key: message.key().map(<[u8]>::to_vec),
                value: message.payload().map(<[u8]>::to_vec),
                headers: headers
                    .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
                    .collect(),
            });
        }
        Ok(records)
    }
}
