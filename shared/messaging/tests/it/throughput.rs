//! A measurement, run by name: how fast records go through.

use std::time::Instant;

use futures::future::join_all;
use messaging::Record;
use testkit::broker::{EmbeddedBroker, all_watermarks};

use crate::harness::{Harness, Real};
use crate::suite::{next, publish, reader, topic};

const RECORDS: usize = 60_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn of_the_embedded_broker() {
    let broker = EmbeddedBroker::start().unwrap();
    measure("embedded", &broker.bus().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn of_a_real_broker() {
    measure("kafka", &Real::from_environment().bus()).await;
}

async fn measure(name: &str, bus: &std::sync::Arc<dyn messaging::Bus>) {
    let topic = topic(bus).await;
    let producer = bus.producer().await.unwrap();
    let record = |n| Record {
        topic: topic.clone(),
        key: Some(format!("key {n}").into_bytes()),
        value: Some(vec![b'x'; 300]),
        headers: (0..8).map(|n| (format!("header_{n}"), vec![b'h'; 30])).collect(),
    };
    let started = Instant::now();
    for from in (0..RECORDS).step_by(10_000) {
        publish(&*producer, (from..from + 10_000).map(record).collect()).await;
    }
    let rate = |seconds: f64| (RECORDS as f64 / seconds).round();
    println!("{name}: {} records/s published", rate(started.elapsed().as_secs_f64()));

    let ranges = all_watermarks(&**bus, &topic).await.unwrap();
    let (_consumer, partitions) = reader(bus, &topic).await;
    let started = Instant::now();
    let read = partitions.into_iter().zip(ranges).map(|(mut partition, range)| async move {
        partition.seek(range.low).await.unwrap();
        let mut position = range.low;
        while position < range.high {
            position = next(&mut partition, 500).await.to;
        }
    });
    join_all(read).await;
    println!("{name}: {} records/s read", rate(started.elapsed().as_secs_f64()));
}
