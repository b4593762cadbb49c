//! A relay that leads has its producers before it has rows: whoever commits first need not wait for one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use messaging::{Bus, BusError, Consumer, InMemoryBus, Producer, Subscription, TopicSpec, Watermarks};
use outbox::relay::{RelayConfig, from_config};
use testkit::wait::eventually;
use tokio_util::sync::CancellationToken;

use crate::stage::{PATIENCE, Stage};

/// Counts the producers that were asked for.
#[derive(Debug)]
struct Counting(InMemoryBus, AtomicUsize);

#[async_trait]
impl Bus for Counting {
    async fn create_topics(&self, topics: &[TopicSpec]) -> Result<(), BusError> {
        self.0.create_topics(topics).await
    }

    async fn producer(&self) -> Result<Box<dyn Producer>, BusError> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.producer().await
    }

    async fn subscribe(
        &self,
        group: &str,
        subscription: &Subscription,
    ) -> Result<Box<dyn Consumer>, BusError> {
        self.0.subscribe(group, subscription).await
    }

    async fn watermarks(&self, topic: &str) -> Result<Vec<Watermarks>, BusError> {
        self.0.watermarks(topic).await
    }

    async fn ping(&self, timeout: Duration) -> Result<(), BusError> {
        self.0.ping(timeout).await
    }
}

#[tokio::test]
async fn a_leaders_producers_are_open_before_the_first_row() {
    let (stage, bus) = Stage::in_memory().await;
    let bus = Arc::new(Counting(bus, AtomicUsize::new(0)));
    let topics = stage.outbox.topics().len();
    assert!(topics > 1);
    let relay = from_config(
        RelayConfig::default(),
        stage.database.database().clone(),
        &stage.outbox,
        Arc::clone(&bus) as Arc<dyn Bus>,
    )
    .unwrap();
    let shutdown = CancellationToken::new();
    let watching = async {
        eventually("each topic has its producer", PATIENCE, async || {
            let opened = bus.1.load(Ordering::SeqCst);
            if opened == topics { Ok(()) } else { Err(opened) }
        })
        .await;
        shutdown.cancel();
    };
    let (ended, ()) = tokio::join!(relay.run(shutdown.clone()), watching);
    ended.unwrap();
    assert_eq!(stage.unpublished().await, 0);
}
