//! Groups: who reads what, as members come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use messaging::{Bus, BusError, Record, Subscription, TopicPartition};
use testkit::broker::{all_watermarks, unique};
use testkit::wait::eventually;
use tokio::time::timeout;

use super::{PARTITIONS, publish, reader, record, spec, topic};
use crate::harness::Harness;
use crate::member::{LONG, Ledger, Member};

fn spread(topic: &str, count: usize) -> Vec<Record> {
    (0..count).map(|n| record(topic, &format!("key {n}"), &n.to_string())).collect()
}

async fn send(bus: &Arc<dyn Bus>, topic: &str, count: usize) {
    publish(&*bus.producer().await.unwrap(), spread(topic, count)).await;
}

pub(crate) async fn each_record_reaches_one_member_of_each_group(harness: &impl Harness) {
    let bus = harness.bus();
    let topic = topic(&bus).await;
    let subscription = Subscription::Topics(vec![topic.clone()]);
    let (shared, alone) = (Arc::new(Ledger::default()), Arc::new(Ledger::default()));
    let (first, second) = (unique("shared"), unique("alone"));
    let a = Member::join("a", &bus, &first, &subscription, &shared).await;
    let b = Member::join("b", &harness.bus(), &first, &subscription, &shared).await;
    let c = Member::join("c", &bus, &second, &subscription, &alone).await;
    shared.shared_as(&[("a", 3), ("b", 3)]).await;
    alone.shared_as(&[("c", 6)]).await;
    assert!(shared.held_by("a").is_disjoint(&shared.held_by("b")));

    send(&bus, &topic, 120).await;

    shared.has_read(120).await;
    alone.has_read(120).await;
    for entry in shared.entries() {
        assert!(entry.was_held, "{} read {:?} of {:?}", entry.member, entry.record, entry.id);
    }
    for member in [a, b, c] {
        member.leave().await;
    }
}

pub(crate) async fn what_was_not_stored_before_a_crash_is_delivered_again(harness: &impl Harness) {
    let bus = harness.bus();
    let topic = topic(&bus).await;
    let producer = bus.producer().await.unwrap();
    let records = (0..20).map(|n| record(&topic, "key", &n.to_string())).collect();
    let at = publish(&*producer, records).await[0];
    let index = usize::try_from(at.partition).unwrap();

    // One reads on, but stores only what comes before 5.
    let (consumer, mut partitions) = reader(&bus, &topic).await;
    partitions[index].seek(0).await.unwrap();
    let read = super::read(&mut partitions[index], 12).await;
    drop((consumer, partitions));

    // Its successor begins at the stored position.
    let (_consumer, mut partitions) = reader(&harness.bus(), &topic).await;
    partitions[index].seek(5).await.unwrap();
    let again = super::read(&mut partitions[index], 15).await;
    assert_eq!(again[0].offset, 5);
    assert_eq!(again[..7], read[5..]);
}

pub(crate) async fn members_share_the_partitions_as_they_join_and_leave(harness: &impl Harness) {
    let bus = harness.bus();
    let topic = topic(&bus).await;
    let subscription = Subscription::Topics(vec![topic.clone()]);
    let group = unique("group");
    let ledger = Arc::new(Ledger::default());

    let a = Member::join("a", &bus, &group, &subscription, &ledger).await;
    ledger.shared_as(&[("a", 6)]).await;
    send(&bus, &topic, 100).await;

    // Records flow while partitions move.
    let b = Member::join("b", &harness.bus(), &group, &subscription, &ledger).await;
    send(&bus, &topic, 100).await;
    ledger.shared_as(&[("a", 3), ("b", 3)]).await;
    send(&bus, &topic, 100).await;
    ledger.has_read(300).await;

    a.leave().await;
    send(&bus, &topic, 100).await;
    ledger.shared_as(&[("b", 6)]).await;
    ledger.has_read(400).await;

    // One that crashes is missed, too.
    let c = Member::join("c", &harness.bus(), &group, &subscription, &ledger).await;
    ledger.shared_as(&[("b", 3), ("c", 3)]).await;
    b.crash();
    send(&bus, &topic, 100).await;
    ledger.shared_as(&[("c", 6)]).await;
    ledger.has_read(500).await;
    c.leave().await;
}

pub(crate) async fn a_pattern_takes_in_topics_that_are_created_later(harness: &impl Harness) {
    let bus = harness.bus();
    let prefix = unique("suite");
    let (first, second) = (format!("{prefix}.first"), format!("{prefix}.second"));
    bus.create_topics(&[spec(&first), spec(&format!("other.{prefix}"))]).await.unwrap();
    let subscription = Subscription::Pattern(format!("^{prefix}\\..*"));
    let ledger = Arc::new(Ledger::default());
    let member = Member::join("a", &bus, &unique("group"), &subscription, &ledger).await;
    ledger.shared_as(&[("a", 6)]).await;
    send(&bus, &first, 30).await;
    ledger.has_read(30).await;

    harness.bus().create_topics(&[spec(&second)]).await.unwrap();
    ledger.shared_as(&[("a", 12)]).await;
    send(&bus, &second, 30).await;

    ledger.has_read(60).await;
    let topics: BTreeSet<_> = ledger.entries().into_iter().map(|entry| entry.id.topic).collect();
    assert_eq!(topics, BTreeSet::from([first, second]));
    member.leave().await;

    let unanchored = Subscription::Pattern("orders".into());
    assert!(matches!(bus.subscribe("g", &unanchored).await, Err(BusError::Configuration(_))));
}

pub(crate) async fn commits_are_visible_to_lag_tools(harness: &impl Harness) {
    let bus = harness.bus();
    let topic = topic(&bus).await;
    let group = unique("group");
    let ledger = Arc::new(Ledger::default());
    let subscription = Subscription::Topics(vec![topic.clone()]);
    let member = Member::join("a", &bus, &group, &subscription, &ledger).await;
    send(&bus, &topic, 60).await;
    ledger.has_read(60).await;

    for range in all_watermarks(&*bus, &topic).await.unwrap() {
        let id = TopicPartition { topic: topic.clone(), partition: range.partition };
        eventually("everything committed", LONG, || async {
            let committed = harness.committed(&group, &id).await;
            if committed == Some(range.high) { Ok(()) } else { Err((committed, range)) }
        })
        .await;
    }
    member.leave().await;
}

pub(crate) async fn what_a_group_has_committed_is_told_to_whoever_is_no_member(harness: &impl Harness) {
    let (bus, asker) = (harness.bus(), harness.bus());
    let topics = [topic(&bus).await, topic(&bus).await];
    let (group, ledger) = (unique("group"), Arc::new(Ledger::default()));
    assert_eq!(asker.committed_offsets(&group, &topics).await.unwrap(), BTreeMap::new());

    let subscription = Subscription::Topics(vec![topics[0].clone()]);
    let member = Member::join("a", &bus, &group, &subscription, &ledger).await;
    for round in 1..=3 {
        send(&bus, &topics[0], 60).await;
        ledger.has_read(60 * round).await;
        let mut ends = BTreeMap::new();
        for range in all_watermarks(&*bus, &topics[0]).await.unwrap() {
            ends.insert(TopicPartition { topic: topics[0].clone(), partition: range.partition }, range.high);
        }
        eventually("the ends are committed", LONG, async || {
            let committed = asker.committed_offsets(&group, &topics).await.unwrap();
            if committed == ends { Ok(()) } else { Err((committed, ends.clone())) }
        })
        .await;
        // No member has joined.
        ledger.shared_as(&[("a", PARTITIONS as usize)]).await;
    }
    assert_eq!(asker.committed_offsets(&group, &topics[1..]).await.unwrap(), BTreeMap::new());
    member.leave().await;

    let started = std::time::Instant::now();
    let answer = harness.unreachable().committed_offsets(&group, &topics).await;
    assert!(matches!(answer, Err(BusError::Unavailable { .. })), "{answer:?}");
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

pub(crate) async fn closing_ends_every_handle(harness: &impl Harness) {
    let bus = harness.bus();
    let topic = topic(&bus).await;
    let (consumer, partitions) = reader(&bus, &topic).await;
    assert_eq!(partitions.len(), PARTITIONS as usize);

    let started = std::time::Instant::now();
    consumer.close(LONG).await;
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());

    for mut partition in partitions {
        let end = timeout(LONG, partition.next_batch(1, 1)).await.expect("an end in time");
        assert!(end.is_none(), "{end:?}");
        assert!(matches!(partition.seek(0).await, Err(BusError::Closed)));
        partition.commit(1);
    }
}
