//! Watching accepted orders until each has ended, by lists of open ones instead of a request per order and round.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::progress::Progress;
use crate::client::{Answer, Client};

/// The pause between two rounds.
const ROUND: Duration = Duration::from_millis(200);
/// How many ended orders are asked for their end at once.
const CONCURRENT_READS: usize = 8;

/// Watches until every accepted order has ended. Once `placing_done` is cancelled, it waits at most `timeout` more, and not at all
/// for a service that has ceased to answer.
/// Returns whether all have ended.
pub async fn watch(
    client: &Client,
    progress: &Arc<Progress>,
    placing_done: &CancellationToken,
    timeout: Duration,
) -> bool {
    let mut deadline: Option<Instant> = None;
    loop {
        let was_done = placing_done.is_cancelled();
        if was_done && deadline.is_none() {
            deadline = Some(Instant::now() + timeout);
        }
        round(client, progress).await;
        if was_done && progress.read(|books| books.open.is_empty()) {
            return true;
        }
        let has_given_up = was_done && progress.read(|books| books.unsent > 0);
        if has_given_up || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return false;
        }
        tokio::time::sleep(ROUND).await;
    }
}

/// One round. An order accepted before the list was read, and not on it, had ended: it is asked for its end.
async fn round(client: &Client, progress: &Progress) {
    let known: Vec<Uuid> = progress.read(|books| books.open.iter().copied().collect());
    if known.is_empty() {
        return;
    }
    // The service may be down just now; the next round asks again.
    let Ok(listed) = client.open_orders().await else { return };
    let listed: HashSet<Uuid> = listed.into_iter().collect();
    let (open, ended): (Vec<Uuid>, Vec<Uuid>) = known.into_iter().partition(|id| listed.contains(id));
    progress.saw_open(open.len());
    stream::iter(ended)
        .for_each_concurrent(CONCURRENT_READS, async |order_id| {
            if let Answer::Done { body, .. } = client.order(order_id).await {
                progress.ended(&body);
            }
        })
        .await;
}
