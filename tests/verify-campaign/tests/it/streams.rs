//! Partitions are read by streams, each with a consumer of its own: one that is given up takes nothing from the next.

use std::time::Duration;

use contracts::topics::{Topic, Topics};
use embedded::broker::EmbeddedBroker;
use messaging::{KafkaConfig, TopicSpec};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tidings::verify::history::Record;
use tidings::verify::topics::{Ranges, Reader};
use tokio::sync::mpsc::Receiver;

/// More than are handed on together.
const RECORDS: i64 = 5_000;

/// The next records; none at the end.
async fn offsets(pieces: &mut Receiver<anyhow::Result<Vec<Record>>>) -> anyhow::Result<Vec<i64>> {
    let piece = pieces.recv().await.transpose()?;
    Ok(piece.unwrap_or_default().iter().map(|record| record.place.offset).collect())
}

/// A broker with one partition per topic, and records in that of orders.
struct Records {
    _broker: EmbeddedBroker,
    kafka: KafkaConfig,
    topics: Topics,
    producer: BaseProducer,
}

impl Records {
    fn produce() -> anyhow::Result<Self> {
        let broker = EmbeddedBroker::start()?;
        let topics = Topics::new("streams");
        let spec = |topic| TopicSpec { name: topics.name(topic), partitions: 1, replication_factor: 1 };
        broker.create_topics(&Topic::ALL.map(spec))?;
        let kafka = KafkaConfig::new(broker.config().bootstrap_servers);
        let producer = ClientConfig::new().set("bootstrap.servers", &kafka.bootstrap_servers).create()?;
        let records = Self { _broker: broker, kafka, topics, producer };
        records.add()?;
        Ok(records)
    }

    fn add(&self) -> anyhow::Result<()> {
        let name = self.topics.name(Topic::Orders);
        for number in 0..RECORDS {
            let key = number.to_string();
            let record = BaseRecord::to(&name).partition(0).key(&key).payload("x");
            self.producer.send(record).map_err(|(error, _)| error)?;
        }
        Ok(self.producer.flush(Duration::from_secs(60))?)
    }

    /// A reader, and what it is to read.
    async fn reader(&self) -> anyhow::Result<(Reader, Ranges)> {
        let reader = Reader::new(&self.kafka, &self.topics)?;
        let mut ranges = reader.ranges(None).await?.ranges;
        ranges.retain(|(topic, _), _| *topic == Topic::Orders);
        Ok((reader, ranges))
    }
}

/// A stream of twice the records that there are, which has read them and waits for more.
async fn waiting(reader: &Reader, ranges: &Ranges) -> anyhow::Result<Receiver<anyhow::Result<Vec<Record>>>> {
    let mut too_far = ranges.clone();
    too_far.values_mut().for_each(|range| range.high += RECORDS);
    let mut stream = reader.stream(&too_far);
    let mut read = 0;
    while read < RECORDS {
        read += offsets(&mut stream).await?.len() as i64;
    }
    Ok(stream)
}

/// Everything that is left of a stream is from this offset on, without a gap.
async fn reads_from(mut stream: Receiver<anyhow::Result<Vec<Record>>>, first: i64) -> anyhow::Result<()> {
    let mut found = Vec::new();
    loop {
        let piece = offsets(&mut stream).await?;
        if piece.is_empty() {
            break;
        }
        found.extend(piece);
    }
    let is_whole = found.iter().copied().eq(first..first + RECORDS);
    assert!(is_whole, "{} of {RECORDS} records, from {:?} to {:?}", found.len(), found.first(), found.last());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_given_up_takes_no_record_of_the_next_one() -> anyhow::Result<()> {
    let records = Records::produce()?;
    let (reader, ranges) = records.reader().await?;
    drop(waiting(&reader, &ranges).await?);
    reads_from(reader.stream(&ranges), 0).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_streams_of_one_reader_take_no_records_of_each_other() -> anyhow::Result<()> {
    let records = Records::produce()?;
    let (reader, ranges) = records.reader().await?;
    let waiting = waiting(&reader, &ranges).await?;
    reads_from(reader.stream(&ranges), 0).await?;
    records.add()?;
    reads_from(waiting, RECORDS).await
}
