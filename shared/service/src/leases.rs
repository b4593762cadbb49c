//! Work under leases: taken from a store, done at a foreign system, recorded in the store. One loop for all of it, which takes
//! nothing while the other side does not answer (docs/adr/0024), and gives nobody more than a share of its places
//! (docs/adr/0036).

mod calls;
mod held;
mod pause;
mod record;
mod reservations;
mod room;
mod worker;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use reservations::{Reservation, Reservations};
pub use room::{Holder, Room};
pub use worker::LeaseWorker;

/// The first cool-down of a worker whose calls had no answer; doubled after each probe without an answer.
pub const COOL_DOWN: Duration = Duration::from_secs(10);

/// Whether the foreign system answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact {
    /// It did, if only to refuse.
    Answered,
    /// It serves nobody: no connection, a time-out, a connection that ended, or a refusal of whoever asks.
    NoAnswer,
    /// It was not asked: the item itself has no call that could be made.
    NotAsked,
}

/// What is done under leases.
#[async_trait]
pub trait LeasedWork: Send + Sync + 'static {
    /// A leased item.
    type Item: Send + 'static;
    /// What became of one.
    type Outcome: Debug + Send + Sync + 'static;

    /// What logs, metrics and health call the worker.
    fn name(&self) -> &'static str;

    /// The table of its items: logged and counted with the outcome that it refuses.
    fn table(&self) -> &'static str;

    /// Called before the first lease: sets up or checks what the foreign system needs.
    ///
    /// # Errors
    /// When it can't; the worker is started again later.
    async fn prepare(&self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Leases at most `limit` due items; what others have leased is skipped until its lease ends.
    ///
    /// # Errors
    /// When the store does not answer.
    async fn lease(&self, limit: usize) -> anyhow::Result<Vec<Self::Item>>;

    /// The same within `room`: work that is somebody's takes a place there for each item. Other work has no holders.
    ///
    /// # Errors
    /// When the store does not answer.
    async fn lease_within(&self, room: &mut Room) -> anyhow::Result<Vec<Self::Item>> {
        if room.is_for_others() { Ok(Vec::new()) } else { self.lease(room.free()).await }
    }

    /// Who holds the place of this item while it is under way.
    fn holders(&self, _: &Self::Item) -> Vec<Holder> {
        Vec::new()
    }

    /// After how long the first item is due, zero if it is already; none if there is no item. One that is leased is due when
    /// its lease ends.
    ///
    /// # Errors
    /// When the store does not answer.
    async fn next_due_in(&self) -> anyhow::Result<Option<Duration>>;

    /// Does it. No transaction is open meanwhile.
    async fn perform(self: Arc<Self>, item: Self::Item) -> (Contact, Self::Outcome);

    /// Stores what became of items whose lease still holds. If `go_on` says so, it may lease at once what follows from
    /// them.
    ///
    /// # Errors
    /// When the store does not answer: it is tried again. When it refuses an outcome: each is tried by itself.
    async fn record(&self, outcomes: &[Self::Outcome], go_on: bool) -> anyhow::Result<Vec<Self::Item>>;
}

/// How a worker works.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Items under way at once.
    pub concurrency: usize,
    /// The longest that one call may take.
    pub call_timeout: Duration,
    /// The longest time between two looks for due items without a wake-up.
    pub poll_interval: Duration,
    /// How long outcomes are kept while the store can't take them.
    pub record_timeout: Duration,
    /// How long nothing is taken once calls had no answer: mostly [`COOL_DOWN`].
    pub cool_down: Duration,
}
