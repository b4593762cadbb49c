//! Topics, offsets and health.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use messaging::{BusError, Subscription, TopicSpec};
use testkit::broker::{all_watermarks, unique};
use testkit::wait::eventually;
use tokio::time::timeout;

use super::{PARTITIONS, publish, record, spec, topic};
use crate::harness::Harness;
use crate::member::{LONG, Ledger, Member};

pub(crate) async fn creating_topics_again_changes_nothing(harness: &impl Harness) {
    let specs = [spec(&unique("suite")), spec(&unique("suite"))];

    // As services do that start together.
    let buses: Vec<_> = (0..4).map(|_| harness.bus()).collect();
    try_join_all(buses.iter().map(|bus| bus.create_topics(&specs))).await.unwrap();
    let bus = harness.bus();
    publish(&*bus.producer().await.unwrap(), vec![record(&specs[0].name, "k", "v")]).await;
    bus.create_topics(&specs).await.unwrap();

    let high: i64 = all_watermarks(&*bus, &specs[0].name).await.unwrap().iter().map(|range| range.high).sum();
    assert_eq!(high, 1);
}

pub(crate) async fn a_topic_with_another_partition_count_is_refused(harness: &impl Harness) {
    let bus = harness.bus();
    let name = topic(&bus).await;

    for partitions in [1, PARTITIONS + 1] {
        let other = TopicSpec { partitions, ..spec(&name) };
        let started = Instant::now();
        match bus.create_topics(&[other]).await {
            Err(BusError::PartitionCount { topic, expected, found }) => {
                assert_eq!((topic, expected, found), (name.clone(), partitions, PARTITIONS));
            }
            other => panic!("{other:?}"),
        }
        // One that waits for the topic to become another one waits for 20 s.
        assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    }
}

pub(crate) async fn watermarks_tell_what_a_topic_holds(harness: &impl Harness) {
    let bus = harness.bus();
    let topic = topic(&bus).await;
    let empty = all_watermarks(&*bus, &topic).await.unwrap();
    assert_eq!(empty.iter().map(|range| range.partition).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    assert!(empty.iter().all(|range| (range.low, range.high) == (0, 0)), "{empty:?}");

    let records = (0..50).map(|n| record(&topic, &n.to_string(), "v")).collect();
    let acknowledged = publish(&*bus.producer().await.unwrap(), records).await;

    for range in all_watermarks(&*bus, &topic).await.unwrap() {
        let in_it = acknowledged.iter().filter(|at| at.partition == range.partition).count();
        assert_eq!((range.low, range.high), (0, i64::try_from(in_it).unwrap()));
    }
    let nowhere = all_watermarks(&*bus, &unique("nowhere")).await;
    assert!(matches!(nowhere, Err(BusError::Unavailable { .. })), "{nowhere:?}");
}

pub(crate) async fn the_partitions_of_a_topic_are_told(harness: &impl Harness) {
    let bus = harness.bus();
    let topic = topic(&bus).await;
    let partitions = bus.partitions(&topic).await.unwrap();
    let numbers: Vec<i32> = partitions.iter().map(|state| state.partition).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
    assert!(partitions.iter().all(|state| state.has_leader), "{partitions:?}");

    let nowhere = bus.partitions(&unique("nowhere")).await;
    assert!(matches!(nowhere, Err(BusError::Unavailable { .. })), "{nowhere:?}");
}

pub(crate) async fn a_ping_is_answered_by_a_broker_only(harness: &impl Harness) {
    harness.bus().ping(LONG).await.unwrap();

    let started = Instant::now();
    let answer = harness.unreachable().ping(Duration::from_millis(300)).await;
    assert!(matches!(answer, Err(BusError::Unavailable { .. })), "{answer:?}");
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

/// A member that does not come back from an outage is replaced after two minutes (docs/adr/0013).
const OUTAGE_TIMEOUT: Duration = Duration::from_secs(180);

pub(crate) async fn an_outage_is_waited_out(harness: &impl Harness) {
    let bus = harness.bus();
    let topic = topic(&bus).await;
    let ledger = Arc::new(Ledger::default());
    let subscription = Subscription::Topics(vec![topic.clone()]);
    let member = Member::join("a", &bus, &unique("group"), &subscription, &ledger).await;
    let producer = bus.producer().await.unwrap();
    let records = |from: usize| (from..from + 50).map(|n| record(&topic, &n.to_string(), "v")).collect();
    publish(&*producer, records(0)).await;
    ledger.has_read(50).await;

    if !harness.set_available(false) {
        return;
    }
    eventually("pings fail", LONG, || async {
        match bus.ping(Duration::from_millis(200)).await {
            Ok(()) => Err("answered"),
            Err(_) => Ok(()),
        }
    })
    .await;
    let receipts: Vec<_> = (50..100).map(|n| producer.send(record(&topic, &n.to_string(), "v"))).collect();
    let mut waiting = try_join_all(receipts);
    // A while: nothing is acknowledged, and nothing given up.
    let early = timeout(Duration::from_secs(2), &mut waiting).await;
    assert!(early.is_err(), "{early:?}");

    harness.set_available(true);
    timeout(LONG, waiting).await.expect("acknowledgements in time").unwrap();
    ledger.has_read_within(OUTAGE_TIMEOUT, 100).await;
    publish(&*producer, records(100)).await;
    ledger.has_read(150).await;
    member.leave().await;
}
