//! Waiting for orders: one poller per replica reads all orders that requests wait for, so that any replica answers and the
//! database sees one statement, however many wait.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use service::{Place, Places, Progress};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::postgres::{OrderStore, Watched};
use crate::config::Config;
use crate::domain::{CustomerId, OrderId};

/// The next poll comes no sooner, however often the poller is woken.
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(5);

/// How often the poller reports progress while nobody waits.
const IDLE_POLL_INTERVAL: Duration = Duration::from_secs(5);

/// One customer takes no more than one of so many parts of the waits, and of the streams (docs/adr/0036).
const PARTS: usize = 10;

/// The limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this replica's limit of waiting requests, or this customer's share of it, is reached")]
pub struct TooManyWaiters;

/// Who waits for which order on this replica. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    orders: Mutex<HashMap<OrderId, Watches>>,
    wake: Notify,
    waits: Places<CustomerId>,
    streams: Places<CustomerId>,
    poll: Duration,
    closing: CancellationToken,
}

/// The watches of one order. Counted under the lock: a receiver still exists while its watch is being dropped.
#[derive(Debug)]
struct Watches {
    sender: watch::Sender<Option<Watched>>,
    count: usize,
}

/// A permit to wait, one of a limited number.
#[derive(Debug)]
pub struct WaitPermit {
    watcher: Watcher,
    _place: Place<CustomerId>,
}

/// One order being watched. Dropping it ends the watch.
#[derive(Debug)]
pub struct Watch {
    permit: WaitPermit,
    order_id: OrderId,
    receiver: watch::Receiver<Option<Watched>>,
}

impl Watcher {
    /// Nobody waits yet; waiting ends when `closing` is cancelled.
    pub fn new(config: &Config, closing: CancellationToken) -> Self {
        let places = |count: u32| Places::new(usize::try_from(count).unwrap_or(usize::MAX), PARTS);
        Self {
            shared: Arc::new(Shared {
                orders: Mutex::default(),
                wake: Notify::new(),
                waits: places(config.max_waiters),
                streams: places(config.max_streams),
                poll: Duration::from_millis(u64::from(config.watch_poll_interval_ms)),
                closing,
            }),
        }
    }

    /// For a request that waits for an order's end (`max_waiters`).
    ///
    /// # Errors
    /// When the limit, or this customer's share of it, is reached.
    pub fn wait_permit(&self, customer_id: &CustomerId) -> Result<WaitPermit, TooManyWaiters> {
        self.permit(&self.shared.waits, customer_id)
    }

    /// For an event stream of an order of this customer (`max_streams`).
    ///
    /// # Errors
    /// When the limit, or this customer's share of it, is reached.
    pub fn stream_permit(&self, customer_id: &CustomerId) -> Result<WaitPermit, TooManyWaiters> {
        self.permit(&self.shared.streams, customer_id)
    }

    /// Polls at once: something was committed in this process.
    pub fn wake(&self) {
        self.shared.wake.notify_one();
    }

    fn permit(
        &self,
        places: &Places<CustomerId>,
        customer_id: &CustomerId,
    ) -> Result<WaitPermit, TooManyWaiters> {
        let place = places.take(customer_id).ok_or(TooManyWaiters)?;
        Ok(WaitPermit { watcher: self.clone(), _place: place })
    }

    fn orders(&self) -> MutexGuard<'_, HashMap<OrderId, Watches>> {
        self.shared.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watched_ids(&self) -> Vec<OrderId> {
        self.orders().keys().copied().collect()
    }

    fn notify(&self, seen: &[Watched]) {
        let orders = self.orders();
        for watched in seen {
            if let Some(watches) = orders.get(&watched.order_id) {
                watches.sender.send_if_modified(|last| last.replace(*watched) != Some(*watched));
            }
        }
    }
}

impl WaitPermit {
    /// Watches an order under this permit.
    pub fn watch(self, order_id: OrderId) -> Watch {
        let mut orders = self.watcher.orders();
        let first = || Watches { sender: watch::Sender::new(None), count: 0 };
        let watches = orders.entry(order_id).or_insert_with(first);
        watches.count += 1;
        let receiver = watches.sender.subscribe();
        drop(orders);
        self.watcher.wake();
        Watch { permit: self, order_id, receiver }
    }
}

impl Watch {
    /// Waits until the order is beyond `version`; none when the service stops first. Cancel-safe.
    pub async fn beyond(&mut self, version: i64) -> Option<Watched> {
        self.until(|watched| watched.version > version).await
    }

    /// Waits until the order has ended; none when the service stops first. Cancel-safe.
    pub async fn ended(&mut self) -> Option<Watched> {
        self.until(|watched| watched.ended).await
    }

    async fn until(&mut self, condition: impl Fn(&Watched) -> bool) -> Option<Watched> {
        let closing = self.permit.watcher.shared.closing.clone();
        tokio::select! {
            seen = self.receiver.wait_for(|seen| seen.as_ref().is_some_and(&condition)) => seen.ok().and_then(|seen| *seen),
            () = closing.cancelled() => None,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut orders = self.permit.watcher.orders();
        if let Entry::Occupied(mut watches) = orders.entry(self.order_id) {
            watches.get_mut().count -= 1;
            if watches.get().count == 0 {
                watches.remove();
            }
        }
    }
}

#[derive(Debug)]
pub struct WatchPoller {
    watcher: Watcher,
    store: OrderStore,
}

impl WatchPoller {
    /// Polls for the watches of `watcher`.
    pub const fn new(watcher: Watcher, store: OrderStore) -> Self {
        Self { watcher, store }
    }

    async fn poll_once(&self, progress: &Progress) -> bool {
        let order_ids = self.watcher.watched_ids();
        if order_ids.is_empty() {
            progress.idle();
            return false;
        }
        match self.store.watched(&order_ids).await {
            Ok(seen) => {
                self.watcher.notify(&seen);
                progress.moved();
            }
            Err(error) => {
                tracing::warn!(%error, waiting = order_ids.len(), "could not read the orders that requests wait for");
            }
        }
        true
    }
}

#[async_trait]
impl service::Worker for WatchPoller {
    fn name(&self) -> &'static str {
        "watch"
    }

    async fn run(&mut self, progress: Progress, shutdown: CancellationToken) -> anyhow::Result<()> {
        let shared = Arc::clone(&self.watcher.shared);
        while !shutdown.is_cancelled() {
            let waiting = self.poll_once(&progress).await;
            tokio::time::sleep(MIN_POLL_INTERVAL).await;
            tokio::select! {
                () = shared.wake.notified() => {}
                () = tokio::time::sleep(if waiting { shared.poll } else { IDLE_POLL_INTERVAL }) => {}
                () = shutdown.cancelled() => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use uuid::Uuid;

    use super::*;

    fn customer() -> CustomerId {
        CustomerId::trusted("17850".to_owned())
    }

    #[test]
    fn an_order_whose_last_two_watches_end_at_the_same_moment_is_watched_no_longer() {
        let watcher = Watcher::new(&Config::default(), CancellationToken::new());
        let watch = || watcher.wait_permit(&customer()).unwrap().watch(OrderId(Uuid::nil()));
        let (first, second) = (watch(), watch());
        // Between the end of the first watch and the release of its receiver the second one ends.
        let receiver = first.receiver.clone();
        drop(first);
        assert_eq!(watcher.watched_ids(), [OrderId(Uuid::nil())], "the second one still watches");
        drop(second);
        drop(receiver);
        assert!(watcher.watched_ids().is_empty());
    }

    #[test]
    fn watches_of_one_order_that_end_together_leave_nothing_behind() {
        const TIMES: usize = 20_000;
        let watcher = Watcher::new(&Config::default(), CancellationToken::new());
        let (together, left) = (Barrier::new(2), AtomicUsize::new(0));
        let watch_and_leave = || {
            for _ in 0..TIMES {
                let watch = watcher.wait_permit(&customer()).unwrap().watch(OrderId(Uuid::nil()));
                together.wait();
                drop(watch);
                together.wait();
                left.fetch_add(watcher.watched_ids().len(), Ordering::Relaxed);
                together.wait();
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(watch_and_leave);
            watch_and_leave();
        });
        assert_eq!(left.into_inner(), 0);
    }
}
