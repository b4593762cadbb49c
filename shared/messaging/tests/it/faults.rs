//! The bus in memory fails exactly as a test asks.

use std::sync::Arc;

use messaging::{Bus, DeliveryError, Fault, FaultRule, InMemoryBus, Record, Refusal};

use crate::suite::{record, topic};

async fn fate(bus: &InMemoryBus, record: Record) -> Result<i64, DeliveryError> {
    let producer = bus.producer().await.unwrap();
    producer.send(record).await.map(|at| at.offset)
}

async fn bus_with(rule: FaultRule) -> (InMemoryBus, String) {
    let bus = InMemoryBus::new();
    bus.inject(rule);
    let topic = topic(&(Arc::new(bus.clone()) as Arc<dyn Bus>)).await;
    (bus, topic)
}

/// The values on the topic; all records of these tests have one key.
fn values(bus: &InMemoryBus, topic: &str) -> Vec<String> {
    let records = (0..6).flat_map(|partition| bus.records(topic, partition));
    records.map(|record| String::from_utf8(record.value.unwrap()).unwrap()).collect()
}

#[tokio::test]
async fn a_refused_record_is_refused_each_time_and_others_pass() {
    let rule =
        FaultRule::always(Fault::Refuse(Refusal::Policy), |record| record.value.as_deref() == Some(b"bad"));
    let (bus, topic) = bus_with(rule).await;

    for _ in 0..3 {
        let verdict = fate(&bus, record(&topic, "key", "bad")).await;
        assert!(
            matches!(verdict, Err(DeliveryError::Refused { refusal: Refusal::Policy, .. })),
            "{verdict:?}"
        );
    }
    assert_eq!(fate(&bus, record(&topic, "key", "good")).await, Ok(0));

    bus.heal();
    assert_eq!(fate(&bus, record(&topic, "key", "bad")).await, Ok(1));
}

#[tokio::test]
async fn a_lost_acknowledgement_leaves_the_record_on_the_topic() {
    let rule = FaultRule::times(1, Fault::LoseAcknowledgement, |_| true);
    let (bus, topic) = bus_with(rule).await;

    let verdict = fate(&bus, record(&topic, "key", "a")).await;
    assert!(matches!(verdict, Err(DeliveryError::Unacknowledged(_))), "{verdict:?}");
    assert_eq!(fate(&bus, record(&topic, "key", "a")).await, Ok(1));

    assert_eq!(values(&bus, &topic), ["a", "a"]);
}

#[tokio::test]
async fn a_timed_out_record_is_not_on_the_topic() {
    let (bus, topic) = bus_with(FaultRule::times(2, Fault::TimeOut, |_| true)).await;

    for _ in 0..2 {
        let verdict = fate(&bus, record(&topic, "key", "a")).await;
        assert!(matches!(verdict, Err(DeliveryError::Unacknowledged(_))), "{verdict:?}");
    }
    assert_eq!(fate(&bus, record(&topic, "key", "b")).await, Ok(0));

    assert_eq!(values(&bus, &topic), ["b"]);
}

#[tokio::test]
async fn a_late_record_lands_behind_those_that_overtook_it() {
    let rule = FaultRule::times(1, Fault::LandLate { behind: 2 }, |_| true);
    let (bus, topic) = bus_with(rule).await;

    let verdict = fate(&bus, record(&topic, "key", "1")).await;
    assert!(matches!(verdict, Err(DeliveryError::Unacknowledged(_))), "{verdict:?}");
    for value in ["1", "2", "3"] {
        fate(&bus, record(&topic, "key", value)).await.unwrap();
    }

    assert_eq!(values(&bus, &topic), ["1", "2", "1", "3"]);
}
