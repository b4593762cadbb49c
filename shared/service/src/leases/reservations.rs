//! Places of a worker for items that a transaction makes due and leases at once (docs/adr/0033): the worker performs them after
//! its commit, without a look for them.
//!
//! ```text
//! transaction   reserve ─► lease, commit ─► hand over ──► worker performs it
//!               reserve ─► rolled back: the place is free again
//! ```
//!
//! Invariant: an item is leased for a worker only under a reservation, and a worker that stops waits for the reservations
//! that it has given. So a lease that is handed over has a worker, as long as the process lives.

use std::fmt;

use tokio::sync::mpsc;

use super::held::{HeldPlace, HeldPlaces};
use super::room::Holder;

/// Reserves places of one worker. Clones share them.
pub struct Reservations<I>(Option<Of<I>>);

struct Of<I> {
    places: HeldPlaces,
    items: mpsc::Sender<Reserved<I>>,
}

/// A place for an item that is about to be leased, free again when it is dropped.
pub struct Reservation<I> {
    place: HeldPlace,
    item: mpsc::OwnedPermit<Reserved<I>>,
}

/// A leased item in its place.
#[derive(Debug)]
pub(super) struct Reserved<I> {
    pub(super) place: HeldPlace,
    pub(super) item: I,
}

impl<I> Reservations<I> {
    /// Of no worker: nothing can be reserved.
    pub const fn none() -> Self {
        Self(None)
    }

    /// Those of a worker with these places, which receives what is handed over.
    pub(super) fn of(places: HeldPlaces, concurrency: usize) -> (Self, mpsc::Receiver<Reserved<I>>) {
        let (items, received) = mpsc::channel(concurrency.max(1));
        (Self(Some(Of { places, items })), received)
    }

    /// A place for an item of these holders. `None` when one of them has its share, no place is free, older items wait, or the
    /// worker takes nothing now: then the item is left due, and the worker is woken.
    pub fn reserve(&self, holders: &[Holder]) -> Option<Reservation<I>> {
        let Of { places, items } = self.0.as_ref()?;
        let place = places.reserve(holders)?;
        let item = items.clone().try_reserve_owned().ok()?;
        Some(Reservation { place, item })
    }
}

impl<I> Reservation<I> {
    /// Gives the worker the item, whose lease is committed.
    pub fn hand_over(self, item: I) {
        let Self { place, item: permit } = self;
        permit.send(Reserved { place, item });
    }
}

impl<I> Clone for Reservations<I> {
    fn clone(&self) -> Self {
        Self(self.0.as_ref().map(|Of { places, items }| Of { places: places.clone(), items: items.clone() }))
    }
}

impl<I> fmt::Debug for Reservations<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reservations").field(&self.0.as_ref().map(|of| &of.places)).finish()
    }
}

impl<I> fmt::Debug for Reservation<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("place", &self.place).finish_non_exhaustive()
    }
}
