//! A member whose process is killed: its partitions go to the others once the broker has missed it.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;

use messaging::{Bus, KafkaBus, KafkaConfig, Subscription};
use testkit::broker::{EmbeddedBroker, unique};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

use crate::harness::Real;
use crate::member::{LONG, Ledger, Member};
use crate::suite::{publish, record, topic};

const ADDRESS: &str = "TIDINGS_KILLED_READER";
const READY: &str = "holds all partitions";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_member_is_replaced_on_the_embedded_broker() {
    let broker = EmbeddedBroker::start().unwrap();
    kill_and_replace(&broker.bus().unwrap(), broker.bootstrap_servers()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a Kafka: make test-kafka"]
async fn a_killed_member_is_replaced_on_kafka() {
    let kafka = Real::from_environment();
    let bus: Arc<dyn Bus> = Arc::new(KafkaBus::try_new(KafkaConfig::new(kafka.brokers())).unwrap());
    kill_and_replace(&bus, kafka.brokers()).await;
}

async fn kill_and_replace(bus: &Arc<dyn Bus>, brokers: &str) {
    let topic = topic(bus).await;
    let group = unique("group");
    let mut process = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "killed::the_killed_reader"])
        .env(ADDRESS, format!("{brokers} {topic} {group}"))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let ready = async { while !lines.next_line().await.unwrap().expect("it lives").contains(READY) {} };
    timeout(LONG, ready).await.expect("the other process joins");

    process.kill().await.unwrap();
    let killed = Instant::now();
    let records = (0..60).map(|n| record(&topic, &n.to_string(), "v")).collect();
    publish(&*bus.producer().await.unwrap(), records).await;
    let ledger = Arc::new(Ledger::default());
    let subscription = Subscription::Topics(vec![topic]);
    let member = Member::join("next", bus, &group, &subscription, &ledger).await;
    ledger.shared_as(&[("next", 6)]).await;
    println!("replaced {:?} after the kill", killed.elapsed());
    ledger.has_read(60).await;
    member.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs as a process of its own, and is killed"]
#[expect(clippy::disallowed_methods, reason = "how one test's process passes another what to read")]
async fn the_killed_reader() {
    let address = std::env::var(ADDRESS).unwrap();
    let [brokers, topic, group] = address.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let bus: Arc<dyn Bus> = Arc::new(KafkaBus::try_new(KafkaConfig::new(brokers)).unwrap());
    let ledger = Arc::new(Ledger::default());
    let subscription = Subscription::Topics(vec![topic.to_owned()]);
    let _member = Member::join("killed", &bus, group, &subscription, &ledger).await;
    ledger.shared_as(&[("killed", 6)]).await;
    println!("{READY}");
    // Bounded, should it not be killed.
    let _ = timeout(LONG, std::future::pending::<()>()).await;
}
