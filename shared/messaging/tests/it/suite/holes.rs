//! Offsets have holes: the markers of other programs' transactions are not delivered, and a reader passes them all the same.

use messaging::{Partition, TopicPartition};
use tokio::time::timeout;

use super::{publish, reader_of, record, topic};
use crate::harness::{Harness, TRANSACTIONAL};
use crate::member::LONG;
use testkit::broker::all_watermarks;

const KEY: &str = "key";

/// Reads until the position is `end`, batch behind batch; gives the records' offsets and values.
async fn read_to(partition: &mut Box<dyn Partition>, mut position: i64, end: i64) -> Vec<(i64, Vec<u8>)> {
    let mut read = Vec::new();
    while position < end {
        let batch = timeout(LONG, partition.next_batch(10, 1 << 20)).await;
        let batch = batch.unwrap_or_else(|_| panic!("stands at {position} of {end}")).unwrap().unwrap();
        assert_eq!(batch.from, position);
        assert!(batch.to > batch.from, "{batch:?}");
        for record in batch.records {
            assert!((batch.from..batch.to).contains(&record.offset), "{record:?}");
            read.push((record.offset, record.value.unwrap()));
        }
        position = batch.to;
    }
    assert_eq!(position, end);
    read
}

async fn end(harness: &impl Harness, id: &TopicPartition) -> i64 {
    let ranges = all_watermarks(&*harness.bus(), &id.topic).await.unwrap();
    ranges.into_iter().find(|range| range.partition == id.partition).unwrap().high
}

pub(crate) async fn a_reader_comes_to_the_end_behind_the_markers_of_transactions(harness: &impl Harness) {
    let bus = harness.bus();
    let topic = topic(&bus).await;
    let producer = bus.producer().await.unwrap();
    let at = publish(&*producer, vec![record(&topic, KEY, "a")]).await[0];
    let id = TopicPartition { topic: topic.clone(), partition: at.partition };
    let (_consumer, mut partition) = reader_of(&bus, &id).await;
    partition.seek(0).await.unwrap();

    let mut position = 0;
    let mut expected = vec![(0, b"a".to_vec())];
    for commit in [true, false, true] {
        if !harness.write_transaction(&id, commit).await {
            return;
        }
        let end = end(harness, &id).await;
        if commit {
            expected.push((end - 2, TRANSACTIONAL.to_vec()));
        }
        // It waits at the end while the marker is written, or comes there later: both have to reach it.
        assert_eq!(read_to(&mut partition, position, end).await, expected, "committed: {commit}");
        expected.clear();
        position = end;
    }

    let at = publish(&*producer, vec![record(&topic, KEY, "b")]).await[0];
    assert_eq!(at.offset, position, "the end is where the next record stands");
    assert_eq!(read_to(&mut partition, position, position + 1).await, [(position, b"b".to_vec())]);
}

pub(crate) async fn a_reader_that_begins_before_a_marker_comes_to_the_end(harness: &impl Harness) {
    let bus = harness.bus();
    let id = TopicPartition { topic: topic(&bus).await, partition: 3 };
    for _ in 0..3 {
        if !harness.write_transaction(&id, false).await {
            return;
        }
    }
    let end = end(harness, &id).await;
    assert_eq!(end, 6);
    for from in [0, end - 1] {
        let (_consumer, mut partition) = reader_of(&bus, &id).await;
        partition.seek(from).await.unwrap();
        assert_eq!(read_to(&mut partition, from, end).await, []);
    }
}

pub(crate) async fn a_seek_back_over_a_marker_gives_every_record_again(harness: &impl Harness) {
    const ROUNDS: i64 = 30;
    let bus = harness.bus_with_small_buffers();
    let topic = topic(&bus).await;
    let producer = bus.producer().await.unwrap();
    let records = (0..100).map(|number| record(&topic, KEY, &number.to_string()));
    let at = publish(&*producer, records.collect()).await[0];
    let id = TopicPartition { topic, partition: at.partition };
    for commit in [false, false, true, false] {
        if !harness.write_transaction(&id, commit).await {
            return;
        }
    }
    let end = end(harness, &id).await;
    let (_consumer, mut partition) = reader_of(&bus, &id).await;
    for round in 0..ROUNDS {
        let from = round * 37 % 100;
        partition.seek(from).await.unwrap();
        let read = read_to(&mut partition, from, end).await;
        let offsets: Vec<i64> = read.into_iter().map(|(offset, _)| offset).collect();
        let expected: Vec<i64> = (from..100).chain([end - 4]).collect();
        assert_eq!(offsets, expected, "round {round}");
    }
}
