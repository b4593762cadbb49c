//! Sending: bytes, partitions, order, receipts.

use std::time::{Duration, Instant};

use messaging::{DeliveryError, Record, TopicPartition, partition_for_key};
use testkit::broker::{all_watermarks, unique};
use tokio::time::timeout;

use super::{PARTITIONS, next, publish, read, reader, reader_of, record, topic};
use crate::harness::Harness;
use crate::member::LONG;

pub(crate) async fn bytes_and_headers_arrive_as_they_were_sent(harness: &impl Harness) {
    let bus = harness.bus();
    let topic = topic(&bus).await;
    let producer = bus.producer().await.unwrap();
    let header = |name: &str, value: &[u8]| (name.to_owned(), value.to_vec());
    let sent = [
        Record {
            topic: topic.clone(),
            key: Some("key".into()),
            value: Some((0..=255).collect()),
            headers: vec![
                header("twice", b"first"),
                header("other", &[0, 255, 10]),
                header("twice", b"second"),
                header("empty", b""),
            ],
        },
        Record { topic: topic.clone(), key: Some("key".into()), value: Some(vec![]), headers: vec![] },
        Record {
            topic: topic.clone(),
            key: Some("Ключ 鍵".into()),
            value: Some(vec![0; 200_000]),
            headers: vec![],
        },
        Record { topic: topic.clone(), key: Some(vec![]), value: Some(vec![1]), headers: vec![] },
        Record { topic: topic.clone(), key: Some(vec![0xff]), value: None, headers: vec![] },
        Record { topic: topic.clone(), key: None, value: Some(vec![2]), headers: vec![] },
    ];

    let acknowledged = publish(&*producer, sent.to_vec()).await;

    let (_consumer, mut partitions) = reader(&bus, &topic).await;
    for (sent, at) in sent.iter().zip(acknowledged) {
        let partition = &mut partitions[usize::try_from(at.partition).unwrap()];
        partition.seek(at.offset).await.unwrap();
        let batch = next(partition, 1).await;
        let got = &batch.records[0];
        assert_eq!((batch.from, got.offset), (at.offset, at.offset));
        assert_eq!((&got.key, &got.value), (&sent.key, &sent.value));
        assert_eq!(got.headers, sent.headers);
        assert!(got.timestamp_ms.is_some());
    }
}

pub(crate) async fn a_record_without_a_key_goes_to_the_partition_that_its_sender_names(
    harness: &impl Harness,
) {
    let bus = harness.bus();
    let topic = topic(&bus).await;
    let producer = bus.producer().await.unwrap();
    for partition in 0..PARTITIONS {
        let record = Record { topic: topic.clone(), key: None, value: Some(vec![1]), headers: vec![] };
        let acknowledged = timeout(LONG, producer.send_to(partition, record)).await;
        let at = acknowledged.expect("an acknowledgement in time").unwrap();
        assert_eq!((at.partition, at.offset), (partition, 0));
    }
}

pub(crate) async fn records_without_key_or_value_arrive_as_such(harness: &impl Harness) {
    let bus = harness.bus();
    let id = TopicPartition { topic: topic(&bus).await, partition: 3 };
    harness.append_raw(&id, None, None).await;
    harness.append_raw(&id, None, Some(b"value")).await;
    harness.append_raw(&id, Some(&[0xff, 0xfe]), None).await;
    harness.append_raw(&id, Some(b""), Some(b"")).await;

    let (_consumer, mut partition) = reader_of(&bus, &id).await;
    partition.seek(0).await.unwrap();
    let got: Vec<_> =
        read(&mut partition, 4).await.into_iter().map(|record| (record.key, record.value)).collect();

    let expected = [
        (None, None),
        (None, Some(b"value".to_vec())),
        (Some(vec![0xff, 0xfe]), None),
        (Some(vec![]), Some(vec![])),
    ];
    assert_eq!(got, expected);
}

/// Computed by the Java client's own `BuiltInPartitioner.partitionForKey(key, 6)`.
const JAVA: &[(&str, i32)] = &[
    ("", 3),
    ("a", 4),
    ("ab", 2),
    ("abc", 3),
    ("abcd", 2),
    ("key", 1),
    ("21", 0),
    ("foobar", 0),
    ("a-little-bit-long-string", 2),
    ("0192f0c1-7f4e-7c3a-9b52-2f6f0e6d3c11", 3),
    ("0192f0c1-7f4e-7c3a-9b52-2f6f0e6d3c12", 4),
    ("0192f0c1-7f4e-7c3a-9b52-2f6f0e6d3c13", 5),
    ("23166", 3),
    ("84077", 1),
    ("85123A", 2),
    ("POST", 4),
    ("PADS TO MATCH ALL CUSHIONS", 1),
    ("Ключ 鍵", 5),
    ("\0", 2),
    ("été 😀", 0),
];

pub(crate) async fn keys_go_where_the_java_client_puts_them(harness: &impl Harness) {
    let bus = harness.bus();
    let topic = topic(&bus).await;
    let producer = bus.producer().await.unwrap();

    let records = JAVA.iter().map(|(key, _)| record(&topic, key, "value")).collect();
    let acknowledged = publish(&*producer, records).await;

    for ((key, partition), acknowledged) in JAVA.iter().zip(acknowledged) {
        assert_eq!(acknowledged.partition, *partition, "{key:?}");
        assert_eq!(partition_for_key(key.as_bytes(), PARTITIONS), *partition, "{key:?}");
    }
}

pub(crate) async fn records_of_a_key_keep_their_order(harness: &impl Harness) {
    const KEYS: usize = 20;
    const EACH: usize = 100;
    let bus = harness.bus();
    let topic = topic(&bus).await;
    let producer = bus.producer().await.unwrap();
    let records =
        (0..KEYS * EACH).map(|n| record(&topic, &format!("k{}", n % KEYS), &format!("{}", n / KEYS)));

    publish(&*producer, records.collect()).await;

    let (_consumer, mut partitions) = reader(&bus, &topic).await;
    let mut seen = std::collections::BTreeMap::<Vec<u8>, usize>::new();
    for watermarks in all_watermarks(&*bus, &topic).await.unwrap() {
        let partition = &mut partitions[usize::try_from(watermarks.partition).unwrap()];
        partition.seek(0).await.unwrap();
        for record in read(partition, usize::try_from(watermarks.high).unwrap()).await {
            let expected = seen.entry(record.key.unwrap()).or_default();
            assert_eq!(String::from_utf8(record.value.unwrap()).unwrap(), expected.to_string());
            *expected += 1;
        }
    }
    assert!(seen.len() == KEYS && seen.values().all(|count| *count == EACH), "{seen:?}");
}

pub(crate) async fn dropping_a_producer_resolves_its_receipts(harness: &impl Harness) {
    let bus = harness.unreachable();
    let mut quickest = Duration::MAX;
    for _ in 0..5 {
        let producer = bus.producer().await.unwrap();
        let receipts: Vec<_> = (0..100).map(|n| producer.send(record("t", &format!("{n}"), "v"))).collect();

        let started = Instant::now();
        drop(producer);

        quickest = quickest.min(started.elapsed());
        for receipt in receipts {
            let outcome = timeout(LONG, receipt).await.expect("a receipt resolves");
            assert!(matches!(outcome, Err(DeliveryError::Unacknowledged(_))), "{outcome:?}");
        }
    }
    // A drop that waits for the client's end takes 100 ms each time; a busy machine does not delay each of them.
    assert!(quickest < Duration::from_millis(50), "dropping takes {quickest:?}");
}

pub(crate) async fn a_flush_waits_for_receipts_and_no_longer_than_told(harness: &impl Harness) {
    let bus = harness.bus();
    let topic = topic(&bus).await;
    let producer = bus.producer().await.unwrap();
    let receipts: Vec<_> = (0..50).map(|n| producer.send(record(&topic, &format!("{n}"), "v"))).collect();
    producer.flush(LONG).await;
    for receipt in receipts {
        // Already there: it needs no waiting.
        receipt.await.unwrap();
    }

    let unreachable = harness.unreachable().producer().await.unwrap();
    let _receipt = unreachable.send(record("t", "k", "v"));
    let started = Instant::now();
    unreachable.flush(Duration::from_millis(200)).await;
    let waited = started.elapsed();
    assert!(waited >= Duration::from_millis(200) && waited < Duration::from_secs(30), "{waited:?}");
}

pub(crate) async fn a_record_for_a_topic_that_does_not_exist_is_not_acknowledged(harness: &impl Harness) {
    if !harness.refuses_unknown_topics() {
        return;
    }
    let producer = harness.bus().producer().await.unwrap();
    let outcome = timeout(LONG, producer.send(record(&unique("nowhere"), "k", "v"))).await;
    let outcome = outcome.expect("a verdict in time");
    assert!(matches!(outcome, Err(DeliveryError::Unacknowledged(_))), "{outcome:?}");
}
