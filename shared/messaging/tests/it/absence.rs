//! A member that is out of its group for too long reports it, whatever librdkafka still tries.

use std::time::Duration;

use messaging::{BusError, Consumer, Membership, Partition, Subscription};
use testkit::broker::{EmbeddedBroker, unique};
use tokio::time::timeout;

use crate::member::LONG;
use crate::suite::topic;

/// `max.poll.interval.ms` of these members; they may be away for twice as long. The first join alone takes three seconds.
const POLL_INTERVAL: Duration = Duration::from_secs(10);

async fn assigned(member: &mut dyn Consumer) -> Vec<Box<dyn Partition>> {
    match timeout(LONG, member.next()).await.expect("a change in time").unwrap() {
        Membership::Assigned(partitions) => partitions,
        Membership::Revoked(ids) => panic!("nothing was assigned, {ids:?} revoked"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_stays_out_of_its_group_is_given_up_and_another_takes_its_place() {
    let broker = EmbeddedBroker::start().unwrap();
    let mut config = broker.config();
    let interval = POLL_INTERVAL.as_millis().to_string();
    for (name, value) in [
        ("max.poll.interval.ms", &*interval),
        ("session.timeout.ms", &*interval),
        ("heartbeat.interval.ms", "500"),
    ] {
        config.properties.insert(name.into(), value.into());
    }
    let bus = broker.bus_with(config).unwrap();
    let subscription = Subscription::Topics(vec![topic(&bus).await]);
    let group = unique("group");
    let mut member = bus.subscribe(&group, &subscription).await.unwrap();
    let mut partitions = assigned(&mut *member).await;
    assert_eq!(partitions.len(), 6);
    let change = timeout(POLL_INTERVAL * 5 / 2, member.next()).await;
    assert!(change.is_err(), "a member in its group was replaced: {change:?}");

    broker.down().unwrap();

    let lost = loop {
        match timeout(LONG, member.next()).await.expect("it is missed in time") {
            Ok(Membership::Revoked(_)) => {}
            Ok(Membership::Assigned(partitions)) => panic!("{partitions:?} by a broker that is down"),
            Err(error) => break error,
        }
    };
    assert!(matches!(&lost, BusError::Unavailable { detail, .. } if detail.contains("not seen")), "{lost:?}");
    for partition in &mut partitions {
        let end = timeout(LONG, partition.next_batch(1, 1)).await.expect("a handle ends with its member");
        assert!(end.is_none(), "{end:?}");
    }
    member.close(Duration::from_secs(1)).await;

    broker.up().unwrap();
    let mut next = bus.subscribe(&group, &subscription).await.unwrap();
    assert_eq!(assigned(&mut *next).await.len(), 6);
}
