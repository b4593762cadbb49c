//! Reading a partition: positions, batches, back-pressure.

use std::time::{Duration, Instant};

use messaging::{Partition, PositionError, ReadError, TopicPartition};
use tokio::time::timeout;

use super::{next, publish, read, reader, reader_of, record, topic};
use crate::harness::Harness;
use crate::member::LONG;
use testkit::broker::all_watermarks;

const KEY: &str = "key";

pub(crate) async fn nothing_is_delivered_before_the_first_seek(harness: &impl Harness) {
    let bus = harness.bus();
    let topic = topic(&bus).await;
    let producer = bus.producer().await.unwrap();
    let at = publish(&*producer, vec![record(&topic, KEY, "a"), record(&topic, KEY, "b")]).await[0];
    let id = TopicPartition { topic, partition: at.partition };

    let (_consumer, mut partition) = reader_of(&bus, &id).await;

    let unasked = timeout(Duration::from_millis(500), partition.next_batch(10, 1000)).await;
    assert!(unasked.is_err(), "{unasked:?}");
    partition.seek(1).await.unwrap();
    assert_eq!(next(&mut partition, 10).await.records[0].value.as_deref(), Some(b"b".as_slice()));
}

pub(crate) async fn batches_are_bounded_and_continue_where_the_last_one_ended(harness: &impl Harness) {
    let bus = harness.bus();
    let topic = topic(&bus).await;
    let producer = bus.producer().await.unwrap();
    let records = (0..100).map(|_| record(&topic, KEY, &"x".repeat(1000)));
    let at = publish(&*producer, records.collect()).await[0];
    let id = TopicPartition { topic, partition: at.partition };
    let (_consumer, mut partition) = reader_of(&bus, &id).await;
    partition.seek(0).await.unwrap();

    let mut position = 0;
    for (max_records, max_bytes) in [(1, 1 << 20), (10, 1 << 20), (100, 5_500), (100, 1), (7, 0)] {
        let batch = timeout(LONG, partition.next_batch(max_records, max_bytes)).await;
        let batch = batch.expect("a batch in time").unwrap().unwrap();
        assert_eq!(batch.from, position);
        assert_eq!(batch.records[0].offset, position);
        position = batch.to;
        assert_eq!(batch.records.last().unwrap().offset + 1, position);
        assert!(batch.records.len() <= max_records, "{} records", batch.records.len());
        assert!(batch.records.len() <= (max_bytes / 1000).max(1), "{} kB", batch.records.len());
    }
    assert_eq!(read(&mut partition, 100 - usize::try_from(position).unwrap()).await[0].offset, position);
}

pub(crate) async fn a_seek_drops_what_was_buffered(harness: &impl Harness) {
    const COUNT: i64 = 500;
    let bus = harness.bus_with_small_buffers();
    let topic = topic(&bus).await;
    let producer = bus.producer().await.unwrap();
    let records = (0..COUNT).map(|n| record(&topic, KEY, &format!("{n}")));
    let at = publish(&*producer, records.collect()).await[0];
    let id = TopicPartition { topic, partition: at.partition };
    let (_consumer, mut partition) = reader_of(&bus, &id).await;

    for round in 0..60 {
        // Forwards and backwards, with and without something read in between.
        let offset = round * 137 % (COUNT - 30);
        partition.seek(COUNT - 1 - offset).await.unwrap();
        if round % 3 == 0 {
            next(&mut partition, 3).await;
        }
        partition.seek(offset).await.unwrap();
        let mut expected = offset;
        while expected < offset + 30 {
            let batch = next(&mut partition, 11).await;
            assert_eq!(batch.from, expected, "round {round}");
            for record in batch.records {
                assert_eq!(record.offset, expected, "round {round}");
                assert_eq!(record.value, Some(expected.to_string().into_bytes()), "round {round}");
                expected += 1;
            }
        }
    }
}

pub(crate) async fn waiting_can_be_cancelled_without_losing_a_record(harness: &impl Harness) {
    const COUNT: i64 = 300;
    let bus = harness.bus();
    let topic = topic(&bus).await;
    let producer = bus.producer().await.unwrap();
    let at = publish(&*producer, vec![record(&topic, KEY, "0")]).await[0];
    let id = TopicPartition { topic: topic.clone(), partition: at.partition };
    let (_consumer, mut partition) = reader_of(&bus, &id).await;
    partition.seek(0).await.unwrap();

    let mut expected = 0;
    for n in 1..COUNT {
        let receipt = producer.send(record(&topic, KEY, &n.to_string()));
        // Mostly too short for anything to arrive.
        let limit = Duration::from_micros(u64::try_from(n % 7).unwrap() * 500);
        if let Ok(batch) = timeout(limit, partition.next_batch(5, 1000)).await {
            let batch = batch.unwrap().unwrap();
            assert_eq!(batch.from, expected);
            expected = batch.to;
        }
        receipt.await.unwrap();
    }
    while expected < COUNT {
        let batch = next(&mut partition, 100).await;
        assert_eq!(batch.from, expected);
        expected = batch.to;
    }
}

pub(crate) async fn a_slow_reader_misses_nothing(harness: &impl Harness) {
    const COUNT: i64 = 1_000;
    let bus = harness.bus_with_small_buffers();
    let topic = topic(&bus).await;
    let producer = bus.producer().await.unwrap();
    let records = (0..COUNT).map(|n| record(&topic, KEY, &format!("{n}")));
    let at = publish(&*producer, records.collect()).await[0];
    let id = TopicPartition { topic, partition: at.partition };
    let (_consumer, mut partition) = reader_of(&bus, &id).await;
    partition.seek(0).await.unwrap();

    for expected in 0..COUNT {
        let batch = next(&mut partition, 1).await;
        assert_eq!((batch.from, batch.to, batch.records.len()), (expected, expected + 1, 1));
        assert_eq!(batch.records[0].value, Some(expected.to_string().into_bytes()));
        tokio::task::yield_now().await;
    }
}

pub(crate) async fn a_position_above_the_range_is_an_error_until_it_is_left(harness: &impl Harness) {
    let bus = harness.bus();
    let topic = topic(&bus).await;
    let producer = bus.producer().await.unwrap();
    let at = publish(&*producer, vec![record(&topic, KEY, "a"), record(&topic, KEY, "b")]).await[0];
    let id = TopicPartition { topic: topic.clone(), partition: at.partition };
    let (_consumer, mut partition) = reader_of(&bus, &id).await;

    for offset in [3, -1, i64::MAX / 2] {
        partition.seek(offset).await.unwrap();
        // It stays an error, and never begins to deliver something else.
        for _ in 0..2 {
            assert_eq!(outside(&mut partition).await, error(&id, offset, 0, 2));
        }
        partition.seek(1).await.unwrap();
        assert_eq!(next(&mut partition, 10).await.records[0].value.as_deref(), Some(b"b".as_slice()));
    }

    // The end is inside: the next record will have this offset.
    partition.seek(2).await.unwrap();
    publish(&*producer, vec![record(&topic, KEY, "c")]).await;
    assert_eq!(next(&mut partition, 10).await.from, 2);
}

pub(crate) async fn a_position_below_the_range_is_an_error_until_it_is_left(harness: &impl Harness) {
    let bus = harness.bus();
    let id = TopicPartition { topic: topic(&bus).await, partition: 0 };
    let large = vec![7; 900_000];
    for _ in 0..5 {
        harness.append_raw(&id, None, Some(&large)).await;
    }
    harness.expire(&id).await;
    let range = all_watermarks(&*bus, &id.topic).await.unwrap()[0];
    assert!(range.low > 0, "{range:?}");

    let (_consumer, mut partition) = reader_of(&bus, &id).await;
    partition.seek(range.low - 1).await.unwrap();
    assert_eq!(outside(&mut partition).await, error(&id, range.low - 1, range.low, range.high));

    partition.seek(range.low).await.unwrap();
    assert_eq!(next(&mut partition, 10).await.from, range.low);
}

async fn outside(partition: &mut Box<dyn Partition>) -> ReadError {
    let answer = timeout(LONG, partition.next_batch(10, 1000)).await.expect("an answer in time");
    answer.unwrap().unwrap_err()
}

fn error(id: &TopicPartition, offset: i64, low: i64, high: i64) -> ReadError {
    PositionError { topic: id.topic.clone(), partition: id.partition, offset, low, high }.into()
}

pub(crate) async fn a_record_is_read_soon_after_it_was_sent(harness: &impl Harness) {
    let bus = harness.bus();
    let topic = topic(&bus).await;
    let producer = bus.producer().await.unwrap();
    let at = publish(&*producer, vec![record(&topic, KEY, "first")]).await[0];
    let (_consumer, mut partitions) = reader(&bus, &topic).await;
    for partition in &mut partitions {
        partition.seek(0).await.unwrap();
    }
    let partition = &mut partitions[usize::try_from(at.partition).unwrap()];
    next(partition, 1).await;

    let mut times = Vec::new();
    for _ in 0..200 {
        let sent = Instant::now();
        let _receipt = producer.send(record(&topic, KEY, "value"));
        next(partition, 10).await;
        times.push(sent.elapsed());
    }
    times.sort();

    println!("from send to read: p50 {:?}, p99 {:?}", times[100], times[198]);
    assert!(times[100] < Duration::from_millis(250), "{:?}", times[100]);
}
