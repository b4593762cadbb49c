//! Who may take how many of a worker's places: nobody more than a share of them, so that calls without an answer delay
//! only those that they concern (docs/adr/0036).

use std::collections::{HashMap, HashSet};
use std::fmt;

/// Somebody who holds no more than a share of a worker's places, such as a customer. Its name may be a secret, and is not
/// printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Holder {
    /// What it is, such as `customer`.
    pub kind: &'static str,
    /// Which one.
    pub name: String,
}

impl Holder {
    /// The kind of [`Holder::retries`].
    pub const RETRY: &'static str = "retry";

    /// All items together that were called for before without success.
    pub const fn retries() -> Self {
        Self { kind: Self::RETRY, name: String::new() }
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name: _ } = self;
        f.debug_struct("Holder").field("kind", kind).finish_non_exhaustive()
    }
}

/// The places that may be taken now.
#[derive(Debug)]
pub struct Room {
    free: usize,
    share: usize,
    held: HashMap<Holder, usize>,
    /// Whose items are not wanted at all.
    avoided: HashSet<Holder>,
}

impl Room {
    /// So many places, for anybody.
    pub fn of(free: usize) -> Self {
        Self { free, share: free, held: HashMap::new(), avoided: HashSet::new() }
    }

    /// So many free places of a worker that has `concurrency` and whose other places are held by these.
    pub fn shared<'a>(free: usize, concurrency: usize, holders: impl Iterator<Item = &'a Holder>) -> Self {
        let mut held = HashMap::new();
        for holder in holders {
            *held.entry(holder.clone()).or_insert(0) += 1;
        }
        Self { free, share: (concurrency / 2).max(1), held, avoided: HashSet::new() }
    }

    /// Only for items that none of these holds.
    #[must_use]
    pub(super) fn for_others_than(mut self, avoided: &HashSet<Holder>) -> Self {
        self.avoided.clone_from(avoided);
        self
    }

    /// Items that may still be taken.
    pub const fn free(&self) -> usize {
        self.free
    }

    /// Whether only items of certain holders are wanted.
    pub fn is_for_others(&self) -> bool {
        !self.avoided.is_empty()
    }

    /// Takes a place for an item of these holders. False, and nothing is taken, when one of them has its share.
    pub fn take(&mut self, holders: &[Holder]) -> bool {
        if self.free == 0 || holders.iter().any(|holder| self.is_full(holder)) {
            return false;
        }
        self.free -= 1;
        for holder in holders {
            *self.held.entry(holder.clone()).or_insert(0) += 1;
        }
        true
    }

    /// The names of those of this kind that may take nothing more: a store need not read their items.
    pub fn full(&self, kind: &str) -> Vec<String> {
        let holders = self.held.keys().chain(&self.avoided).filter(|holder| holder.kind == kind);
        holders.filter(|holder| self.is_full(holder)).map(|holder| holder.name.clone()).collect()
    }

    /// Whether somebody has its share, so that its further items have to wait for one of its places.
    pub(super) fn has_full(&self) -> bool {
        self.held.values().any(|held| *held >= self.share)
    }

    fn is_full(&self, holder: &Holder) -> bool {
        self.avoided.contains(holder) || self.held.get(holder).is_some_and(|held| *held >= self.share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn customer(name: &str) -> Holder {
        Holder { kind: "customer", name: name.to_owned() }
    }

    #[test]
    fn nobody_takes_more_than_half_of_the_places() {
        let under_way = [customer("a"), customer("a"), customer("b")];
        let mut room = Room::shared(5, 8, under_way.iter());
        assert!(room.take(&[customer("a")]) && room.take(&[customer("a"), Holder::retries()]));
        assert!(!room.take(&[customer("a")]), "it holds four of eight");
        assert_eq!((room.full("customer"), room.free()), (vec!["a".to_owned()], 3));
        assert!(!room.take(&[customer("b"), customer("a")]), "each of an item's holders counts");
        for _ in 0..3 {
            assert!(room.take(&[customer("b")]));
        }
        assert!(!room.take(&[]), "no place is left");
    }

    #[test]
    fn whoever_is_avoided_takes_nothing() {
        let avoided = HashSet::from([customer("a")]);
        let mut room = Room::shared(1, 8, [].into_iter()).for_others_than(&avoided);
        assert!(!room.take(&[customer("a")]));
        assert_eq!(room.full("customer"), ["a"]);
        assert!(room.is_for_others() && room.take(&[customer("b")]));
    }

    #[test]
    fn a_worker_with_one_place_gives_it_to_anybody() {
        assert!(Room::shared(1, 1, [].into_iter()).take(&[customer("a")]));
    }
}
