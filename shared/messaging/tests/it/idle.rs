//! What the polling threads of a member and a producer cost while there is nothing to read or to send.

use std::fs;
use std::time::{Duration, Instant};

use messaging::KafkaConfig;
use testkit::broker::EmbeddedBroker;

use crate::suite::{next, publish, reader, record, topic};

/// How long the threads are watched.
const WATCHED: Duration = Duration::from_secs(4);
/// Beside its timer of 250 ms a member is woken by librdkafka's reports, one per second, and by what the group does.
const MOST_PER_SECOND: f64 = 12.0;

/// Time on a processor, in nanoseconds, and wake-ups of the threads whose names begin so.
fn used(name: &str) -> (u64, u64) {
    let mut used = (0, 0);
    for thread in fs::read_dir("/proc/self/task").unwrap() {
        let thread = thread.unwrap().path();
        // A thread may end meanwhile.
        let read = |file| fs::read_to_string(thread.join(file)).unwrap_or_default();
        if !read("comm").starts_with(name) {
            continue;
        }
        let number = |text: Option<&str>| text.and_then(|text| text.trim().parse().ok()).unwrap_or(0_u64);
        used.0 += number(read("schedstat").split(' ').next());
        let wakes = "voluntary_ctxt_switches:";
        used.1 += number(read("status").lines().find_map(|line| line.strip_prefix(wakes)));
    }
    used
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_and_a_producer_that_have_nothing_to_do_sleep() {
    let broker = EmbeddedBroker::start().unwrap();
    let config = KafkaConfig { client_id: "idle".to_owned(), ..broker.config() };
    let bus = broker.bus_with(config).unwrap();
    let topic = topic(&bus).await;
    let producer = bus.producer().await.unwrap();
    let (_consumer, mut partitions) = reader(&bus, &topic).await;
    for partition in &mut partitions {
        partition.seek(0).await.unwrap();
    }
    // Both are at work once.
    let sent = publish(&*producer, vec![record(&topic, "key", "value")]).await;
    let partition = partitions.iter_mut().find(|partition| partition.id().partition == sent[0].partition);
    assert_eq!(next(partition.unwrap(), 1).await.records.len(), 1);

    for name in ["idle-consumer", "idle-producer"] {
        let (before, began) = (used(name), Instant::now());
        assert!(before.1 > 0, "no thread {name}");
        tokio::time::sleep(WATCHED).await;
        let (after, seconds) = (used(name), began.elapsed().as_secs_f64());
        let per_second = (after.1 - before.1) as f64 / seconds;
        println!("{name}: {per_second:.1} wake-ups/s, {} us", (after.0 - before.0) / 1_000);
        assert!(per_second < MOST_PER_SECOND, "{name} wakes {per_second:.0} times a second");
    }

    // They still wake for what comes.
    let sent = publish(&*producer, vec![record(&topic, "key", "another")]).await;
    let partition = partitions.iter_mut().find(|partition| partition.id().partition == sent[0].partition);
    assert_eq!(next(partition.unwrap(), 1).await.records.len(), 1);
}
