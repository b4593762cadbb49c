//! Partitions are read by streams, each with a consumer of its own: one that is given up takes nothing from the next.

use std::time::Duration;

use contracts::topics::{Topic, Topics};
use embedded::broker::EmbeddedBroker;
use messaging::{KafkaConfig, TopicSpec};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tidings::verify::history::Record;
use tidings::verify::topics::Reader;
use tokio::sync::mpsc::Receiver;

/// More than are handed on together.
const RECORDS: i64 = 5_000;

/// The next records; none at the end.
async fn offsets(pieces: &mut Receiver<anyhow::Result<Vec<Record>>>) -> anyhow::Result<Vec<i64>> {
    let piece = pieces.recv().await.transpose()?;
    Ok(piece.unwrap_or_default().iter().map(|record| record.place.offset).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_given_up_takes_no_record_of_the_next_one() -> anyhow::Result<()> {
    let broker = EmbeddedBroker::start()?;
    let topics = Topics::new("streams");
    let spec = |topic| TopicSpec { name: topics.name(topic), partitions: 1, replication_factor: 1 };
    broker.create_topics(&Topic::ALL.map(spec))?;
    let kafka = KafkaConfig::new(broker.config().bootstrap_servers);
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", &kafka.bootstrap_servers).create()?;
    let name = topics.name(Topic::Orders);
    for number in 0..RECORDS {
        let key = number.to_string();
        let record = BaseRecord::to(&name).partition(0).key(&key).payload("x");
        producer.send(record).map_err(|(error, _)| error)?;
    }
    producer.flush(Duration::from_secs(60))?;

    let reader = Reader::new(&kafka, &topics)?;
    let mut ranges = reader.ranges(None).await?.ranges;
    ranges.retain(|(topic, _), _| *topic == Topic::Orders);
    let mut too_far = ranges.clone();
    too_far.values_mut().for_each(|range| range.high += RECORDS);
    // It has read all that there is, and waits for more.
    let mut given_up = reader.stream(&too_far);
    let mut read = 0;
    while read < ranges.values().map(|range| range.high).sum() {
        read += offsets(&mut given_up).await?.len() as i64;
    }
    drop(given_up);
    let mut next = reader.stream(&ranges);
    let mut found = Vec::new();
    loop {
        let piece = offsets(&mut next).await?;
        if piece.is_empty() {
            break;
        }
        found.extend(piece);
    }
    let all: Vec<i64> = ranges.values().flat_map(|range| range.low..range.high).collect();
    assert!(
        found == all,
        "{} of {} records, from {:?} to {:?}",
        found.len(),
        all.len(),
        found.first(),
        found.last()
    );
    Ok(())
}
