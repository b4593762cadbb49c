//! The calls that a worker has under way, and whose they are.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::{Id, JoinError, JoinSet};

use super::held::{HeldPlace, HeldPlaces};
use super::reservations::Reserved;
use super::room::{Holder, Room};
use super::{Contact, LeasedWork};

/// A call that has ended. Its place is taken until this is dropped: what follows from it is performed there.
#[derive(Debug)]
pub(super) struct Ended<O> {
    pub(super) contact: Contact,
    place: Option<HeldPlace>,
    /// None of a call that panicked.
    pub(super) outcome: Option<O>,
}

impl<O> Ended<O> {
    pub(super) fn holders(&self) -> Vec<Holder> {
        self.place.as_ref().map(HeldPlace::holders).unwrap_or_default()
    }
}

pub(super) struct Calls<W: LeasedWork> {
    work: Arc<W>,
    set: JoinSet<(Contact, W::Outcome)>,
    places: HeldPlaces,
    by_call: HashMap<Id, HeldPlace>,
}

impl<W: LeasedWork> Calls<W> {
    pub(super) fn new(work: Arc<W>, places: HeldPlaces) -> Self {
        Self { work, set: JoinSet::new(), places, by_call: HashMap::new() }
    }

    /// How many are under way, or have a place reserved.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Of the free places so many, and who holds the others.
    pub(super) fn room(&self, free: usize) -> Room {
        self.places.room(free)
    }

    pub(super) fn start(&mut self, items: Vec<W::Item>) {
        for item in items {
            let place = self.places.hold(self.work.holders(&item));
            self.start_in(Reserved { place, item });
        }
    }

    pub(super) fn start_in(&mut self, Reserved { place, item }: Reserved<W::Item>) {
        let task = self.set.spawn(Arc::clone(&self.work).perform(item));
        self.by_call.insert(task.id(), place);
    }

    /// Waits for a call to end and takes all that have ended by then. `None` when none is under way.
    pub(super) async fn next(&mut self) -> Option<Vec<Ended<W::Outcome>>> {
        let first = self.set.join_next_with_id().await?;
        let mut ended = vec![self.end(first)];
        while let Some(next) = self.set.try_join_next_with_id() {
            ended.push(self.end(next));
        }
        Some(ended)
    }

    fn end(&mut self, ended: Result<(Id, (Contact, W::Outcome)), JoinError>) -> Ended<W::Outcome> {
        let (id, contact, outcome) = match ended {
            Ok((id, (contact, outcome))) => (id, contact, Some(outcome)),
            Err(error) => {
                tracing::error!(worker = self.work.name(), %error, "a call panicked; its item is retried when its lease expires");
                (error.id(), Contact::NoAnswer, None)
            }
        };
        Ended { contact, place: self.by_call.remove(&id), outcome }
    }
}
