//! A relay that leads has its producers before it has rows: the first commit does not wait for one.

use std::sync::Arc;

use messaging::Bus;
use outbox::{Relay, RelayConfig};
use testkit::wait::eventually;
use tokio_util::sync::CancellationToken;

use crate::counting::Counting;
use crate::stage::{Stage, TIMEOUT};

#[tokio::test]
async fn a_leaders_producers_are_open_before_the_first_row() {
    let (stage, bus) = Stage::in_memory().await;
    let bus = Counting::on(Arc::new(bus));
    let topics: Vec<String> = stage.codec.published_topics().into_iter().collect();
    let count = topics.len();
    assert!(count > 1);
    let database = stage.database.database().clone();
    let kafka = Arc::clone(&bus) as Arc<dyn Bus>;
    let relay = Relay::try_new(database, &stage.outbox, kafka, RelayConfig::default()).unwrap();
    let relay = relay.with_topics(topics);
    let shutdown = CancellationToken::new();
    let watching = async {
        eventually("each topic has its producer", TIMEOUT, async || {
            let opened = bus.producers();
            if opened == count { Ok(()) } else { Err(opened) }
        })
        .await;
        shutdown.cancel();
    };
    let (ended, ()) = tokio::join!(relay.run(shutdown.clone()), watching);
    ended.unwrap();
    assert_eq!(stage.unpublished().await, 0);
}
