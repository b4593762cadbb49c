//! Back-pressure: what waits on the broker must not move into the memory of a slow reader.

use std::sync::Arc;
use std::time::Duration;

use messaging::{Bus, KafkaBus, KafkaConfig, Record};
use testkit::broker::{EmbeddedBroker, all_watermarks};

use crate::harness::Real;
use crate::suite::{next, publish, reader, topic};

const RECORDS: usize = 50_000;
const RECORD_BYTES: usize = 1_000;
/// What a reader's process may grow by: buffers of six partitions, and what librdkafka fetches ahead.
const GROWTH_BYTES: usize = 20 << 20;
const ADDRESS: &str = "TIDINGS_SLOW_READER";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_of_50_000_records_does_not_grow_on_the_embedded_broker() {
    let broker = EmbeddedBroker::start().unwrap();
    read_slowly(&broker.bus().unwrap(), broker.bootstrap_servers()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a Kafka: make test-kafka"]
async fn a_slow_reader_of_50_000_records_does_not_grow_on_kafka() {
    let kafka = Real::from_environment();
    let bus: Arc<dyn Bus> = Arc::new(KafkaBus::try_new(KafkaConfig::new(kafka.brokers())).unwrap());
    read_slowly(&bus, kafka.brokers()).await;
}

/// Fills a topic, and reads it in a process of its own, whose memory is its own, too.
async fn read_slowly(bus: &Arc<dyn Bus>, brokers: &str) {
    let topic = topic(bus).await;
    let record = |n| Record {
        topic: topic.clone(),
        key: Some(format!("key {n}").into_bytes()),
        value: Some(value(n)),
        headers: vec![("n".into(), vec![0])],
    };
    let producer = bus.producer().await.unwrap();
    for from in (0..RECORDS).step_by(5_000) {
        publish(&*producer, (from..from + 5_000).map(record).collect()).await;
    }
    let ranges = all_watermarks(&**bus, &topic).await.unwrap();
    assert!(ranges.iter().all(|range| range.low == 0), "all of them are still there: {ranges:?}");

    let reader = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "memory::the_slow_reader"])
        .env(ADDRESS, format!("{brokers} {topic}"))
        .kill_on_drop(true)
        .output();
    let reader = tokio::time::timeout(Duration::from_secs(120), reader).await.unwrap().unwrap();
    let output = String::from_utf8_lossy(&reader.stdout);
    println!("{output}");
    assert!(reader.status.success() && output.contains("1 passed"), "{reader:?}");
}

/// Compresses about as well as events do, to a quarter.
fn value(n: usize) -> Vec<u8> {
    let mut state = n as u64;
    let mut quarter = Vec::with_capacity(RECORD_BYTES / 4);
    while quarter.len() < RECORD_BYTES / 4 {
        // A linear congruential generator (Knuth, MMIX).
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        quarter.extend_from_slice(&state.to_le_bytes()[3..]);
    }
    quarter.repeat(4)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs as a process of its own"]
#[expect(clippy::disallowed_methods, reason = "how one test's process passes another what to read")]
async fn the_slow_reader() {
    let address = std::env::var(ADDRESS).unwrap();
    let (brokers, topic) = address.split_once(' ').unwrap();
    let bus: Arc<dyn Bus> = Arc::new(KafkaBus::try_new(KafkaConfig::new(brokers)).unwrap());
    let (consumer, mut partitions) = reader(&bus, topic).await;
    let before = peak_bytes();

    for partition in &mut partitions {
        partition.seek(0).await.unwrap();
    }
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    for round in 0..300 {
        pace.tick().await;
        let index = round % partitions.len();
        assert_eq!(next(&mut partitions[index], 1).await.records.len(), 1);
    }

    let growth = peak_bytes() - before;
    println!("grew by {} kB while {} kB wait", growth >> 10, (RECORDS * RECORD_BYTES) >> 10);
    assert!(growth < GROWTH_BYTES, "{growth} bytes");
    consumer.close(Duration::from_secs(10)).await;
}

/// The most memory that this process ever had.
fn peak_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().strip_suffix(" kB").unwrap().trim().parse::<usize>().unwrap() << 10
}
