//! The same with a real client: its broker goes away, and another relay's stays.

use std::sync::Arc;

use messaging::{Bus, KafkaConfig, TopicSpec};
use outbox::RelayState;
use testkit::broker::EmbeddedBroker;

use crate::hand_over::{Replica, soon};
use crate::stage::Stage;
use crate::way::{Events, PARTITIONS, Way, keys_of};

/// Two brokers with the stage's topics, on the first of which the stage is: what one relay sees going away, another does not.
async fn brokers() -> (Stage, EmbeddedBroker, EmbeddedBroker) {
    let (kept, lost) = (EmbeddedBroker::start().unwrap(), EmbeddedBroker::start().unwrap());
    let stage = Stage::embedded(&kept).await;
    let topic =
        |name: &String| TopicSpec { name: name.clone(), partitions: PARTITIONS, replication_factor: 1 };
    lost.create_topics(&[&stage.orders, &stage.stock].map(topic)).unwrap();
    (stage, kept, lost)
}

fn bus(broker: &EmbeddedBroker) -> Arc<dyn Bus> {
    broker.bus_with(KafkaConfig { request_timeout_ms: 1_000, ..broker.config() }).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_broker_goes_away_gives_the_lead_up() {
    let (stage, _kept, lost) = brokers().await;
    let events = Events::default();
    let (first, second) =
        (Way::new("a", bus(&lost), &events), Way::new("b", Arc::clone(&stage.bus), &events));
    let a = Replica::start(&stage, &first, soon(), RelayState::Leading).await;
    let b = Replica::start(&stage, &second, soon(), RelayState::StandingBy).await;
    stage.commit(&stage.orders, &["first"]).await;
    stage.until_published().await;

    lost.down().unwrap();
    let keys = keys_of(&[0, 1, 2, 3, 4, 5]);
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    stage.commit(&stage.orders, &keys).await;
    b.becomes(RelayState::Leading).await;
    for key in &keys {
        stage.watcher.until_seen(&stage.orders, key, 1).await;
    }
    a.keeps_off("reaches").await;
    lost.up().unwrap();
    a.becomes(RelayState::StandingBy).await;
    stage.watcher.assert_in_sequence();
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_never_reached_its_broker_gives_the_lead_up() {
    let (stage, _kept, lost) = brokers().await;
    lost.down().unwrap();
    let events = Events::default();
    let (first, second) =
        (Way::new("a", bus(&lost), &events), Way::new("b", Arc::clone(&stage.bus), &events));
    let a = Replica::start(&stage, &first, soon(), RelayState::Leading).await;
    let b = Replica::start(&stage, &second, soon(), RelayState::StandingBy).await;
    stage.commit(&stage.orders, &["a", "b"]).await;
    b.becomes(RelayState::Leading).await;
    stage.watcher.until_seen(&stage.orders, "a", 1).await;
    stage.until_published().await;
    a.stop().await;
    b.stop().await;
}
