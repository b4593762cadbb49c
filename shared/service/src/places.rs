//! A limited number of places, of which nobody takes more than a share (docs/adr/0036, docs/adr/0037).

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The places of all holders. Clones share them.
#[derive(Clone, Debug)]
pub struct Places<H> {
    limit: usize,
    share: usize,
    taken: Arc<Mutex<Taken<H>>>,
}

#[derive(Debug)]
struct Taken<H> {
    count: usize,
    by_holder: HashMap<H, usize>,
}

/// One place, free again when it is dropped.
#[derive(Debug)]
pub struct Place<H: Eq + Hash> {
    holder: H,
    taken: Arc<Mutex<Taken<H>>>,
}

impl<H: Clone + Eq + Hash> Places<H> {
    /// So many places; one holder takes no more than one of `parts` equal parts of them, and no fewer than one place.
    pub fn new(limit: usize, parts: usize) -> Self {
        let taken = Taken { count: 0, by_holder: HashMap::new() };
        Self { limit, share: (limit / parts.max(1)).max(1), taken: Arc::new(Mutex::new(taken)) }
    }

    /// A place, unless all are taken, or this holder has its share.
    pub fn take(&self, holder: &H) -> Option<Place<H>> {
        let mut taken = lock(&self.taken);
        let held = taken.by_holder.get(holder).copied().unwrap_or_default();
        if taken.count >= self.limit || held >= self.share {
            return None;
        }
        taken.count += 1;
        taken.by_holder.insert(holder.clone(), held + 1);
        drop(taken);
        Some(Place { holder: holder.clone(), taken: Arc::clone(&self.taken) })
    }
}

impl<H: Eq + Hash> Drop for Place<H> {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        taken.count -= 1;
        if let Some(held) = taken.by_holder.get_mut(&self.holder) {
            *held -= 1;
            if *held == 0 {
                taken.by_holder.remove(&self.holder);
            }
        }
    }
}

fn lock<H>(taken: &Mutex<Taken<H>>) -> MutexGuard<'_, Taken<H>> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_takes_its_part_and_all_together_the_limit() {
        let places = Places::new(20, 10);
        let mut taken: Vec<Place<usize>> = Vec::new();
        for holder in 0..10 {
            taken.extend((0..2).map(|_| places.take(&holder).unwrap()));
            assert!(places.take(&holder).is_none(), "it has its share");
        }
        assert!(places.take(&10).is_none(), "all are taken");
        taken.pop();
        taken.push(places.take(&10).unwrap());
        taken.clear();
        let left = lock(&places.taken);
        assert_eq!((left.count, left.by_holder.len()), (0, 0));
    }

    #[test]
    fn few_places_are_anybodys_and_none_are_nobodys() {
        assert!(Places::new(1, 10).take(&"a").is_some());
        assert!(Places::new(0, 10).take(&"a").is_none());
    }
}
