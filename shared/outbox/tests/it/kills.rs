//! Relays killed while rows are appended.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::relays::Poll;
use crate::stage::Stage;

const KEYS: [&str; 4] = ["a", "b", "c", "d"];
/// A relay is killed once so many records of its own were seen.
const MOMENTS: [usize; 3] = [1, 50, 400];
/// Few enough rows for a relay that takes seconds to start.
const PAUSE: Duration = Duration::from_millis(10);

pub(crate) async fn a_relay_killed_while_rows_are_appended_repeats_but_never_skips() {
    let stage = Stage::set().await;
    let stop = CancellationToken::new();
    let appending = async {
        while tokio::time::timeout(PAUSE, stop.cancelled()).await.is_err() {
            stage.commit(&stage.orders, &KEYS).await;
        }
    };
    let killing = async {
        for records in MOMENTS {
            let relay = stage.start(&Poll::default());
            let before = stage.watcher.count();
            let what = format!("{records} records of this relay");
            stage
                .watcher
                .until(&what, stage.watcher.timeout, |watcher| watcher.count() >= before + records)
                .await;
            relay.abort().await;
        }
        stop.cancel();
    };
    tokio::join!(appending, killing);
    let relay = stage.start(&Poll::default());
    stage.until_published().await;
    stage.watcher.assert_in_sequence();
    let messages: i64 =
        sqlx::query_scalar("SELECT count(*) FROM outbox.messages").fetch_one(stage.pool()).await.unwrap();
    println!("{} records of {messages} messages", stage.watcher.count());
    relay.stop().await;
}
