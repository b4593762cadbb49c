//! The places of a worker that are taken, and whose they are: by calls under way, or reserved.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::room::{Holder, Room};

/// The places of one worker. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct HeldPlaces(Arc<Mutex<Held>>);

#[derive(Debug)]
struct Held {
    concurrency: usize,
    may_be_reserved: bool,
    taken: u64,
    holders: HashMap<u64, Vec<Holder>>,
}

/// A place, free again when it is dropped.
#[derive(Debug)]
pub(super) struct HeldPlace {
    number: u64,
    places: HeldPlaces,
}

impl HeldPlaces {
    /// So many places. None can be reserved until [`HeldPlaces::let_reserve`] says so.
    pub(super) fn new(concurrency: usize) -> Self {
        let holders = HashMap::new();
        Self(Arc::new(Mutex::new(Held { concurrency, may_be_reserved: false, taken: 0, holders })))
    }

    pub(super) fn let_reserve(&self, may_be_reserved: bool) {
        self.lock().may_be_reserved = may_be_reserved;
    }

    /// How many are taken.
    pub(super) fn len(&self) -> usize {
        self.lock().holders.len()
    }

    /// Of the free places so many, and who holds the others.
    pub(super) fn room(&self, free: usize) -> Room {
        self.lock().room(free)
    }

    /// Takes a place for an item that is leased.
    pub(super) fn hold(&self, holders: Vec<Holder>) -> HeldPlace {
        let number = self.lock().hold(holders);
        HeldPlace { number, places: self.clone() }
    }

    /// Takes a place for an item that is not leased yet, if its holders may take one.
    pub(super) fn reserve(&self, holders: &[Holder]) -> Option<HeldPlace> {
        let mut held = self.lock();
        let free = held.concurrency.saturating_sub(held.holders.len());
        if !held.may_be_reserved || !held.room(free).take(holders) {
            return None;
        }
        let number = held.hold(holders.to_vec());
        drop(held);
        Some(HeldPlace { number, places: self.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn room(&self, free: usize) -> Room {
        Room::shared(free, self.concurrency, self.holders.values().flatten())
    }

    fn hold(&mut self, holders: Vec<Holder>) -> u64 {
        self.taken += 1;
        self.holders.insert(self.taken, holders);
        self.taken
    }
}

impl HeldPlace {
    /// Whose it is.
    pub(super) fn holders(&self) -> Vec<Holder> {
        self.places.lock().holders.get(&self.number).cloned().unwrap_or_default()
    }
}

impl Drop for HeldPlace {
    fn drop(&mut self) {
        self.places.lock().holders.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn customer(name: &str) -> Vec<Holder> {
        vec![Holder { kind: "customer", name: name.to_owned() }]
    }

    #[test]
    fn a_place_is_reserved_within_its_holders_share_and_free_again_when_it_is_dropped() {
        let places = HeldPlaces::new(4);
        assert!(places.reserve(&[]).is_none(), "the worker does not run");
        places.let_reserve(true);
        let under_way = places.hold(customer("a"));
        let reserved = places.reserve(&customer("a")).expect("half of the places");
        assert!(places.reserve(&customer("a")).is_none(), "calls and reservations count together");
        let others = [places.reserve(&customer("b")), places.reserve(&[])];
        assert!(others.iter().all(Option::is_some));
        assert_eq!((places.len(), places.reserve(&[]).is_none()), (4, true), "all places are taken");
        assert!(!places.room(4).take(&customer("a")), "nor does a look for due items take more");
        drop(under_way);
        assert!(places.reserve(&customer("a")).is_some());
        drop((reserved, others));
        assert_eq!(places.len(), 0);
    }
}
