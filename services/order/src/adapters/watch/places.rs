//! A limited number of places, of which no customer takes more than a share (docs/adr/0036).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::CustomerId;

/// One customer takes no more than this part of the places, and no fewer than one.
const SHARE: usize = 10;

/// The limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this replica's limit of waiting requests, or this customer's share of it, is reached")]
pub struct TooManyWaiters;

#[derive(Debug)]
pub(super) struct Places {
    limit: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    count: usize,
    by_customer: HashMap<CustomerId, usize>,
}

/// One place, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    customer_id: CustomerId,
}

impl Places {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, taken: Mutex::default() }
    }

    pub(super) fn take(places: &Arc<Self>, customer_id: &CustomerId) -> Result<Place, TooManyWaiters> {
        let mut taken = places.taken();
        let mine = taken.by_customer.get(customer_id).copied().unwrap_or_default();
        if taken.count >= places.limit || mine >= (places.limit / SHARE).max(1) {
            return Err(TooManyWaiters);
        }
        taken.count += 1;
        taken.by_customer.insert(customer_id.clone(), mine + 1);
        drop(taken);
        Ok(Place { places: Arc::clone(places), customer_id: customer_id.clone() })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.count -= 1;
        if let Entry::Occupied(mut mine) = taken.by_customer.entry(self.customer_id.clone()) {
            *mine.get_mut() -= 1;
            if *mine.get() == 0 {
                mine.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn customer(name: &str) -> CustomerId {
        CustomerId::trusted(name.to_owned())
    }

    #[test]
    fn a_customer_takes_a_tenth_and_all_together_the_limit() {
        let places = Arc::new(Places::new(20));
        let mut taken: Vec<Place> = Vec::new();
        for name in 0..10 {
            let customer = customer(&name.to_string());
            taken.extend((0..2).map(|_| Places::take(&places, &customer).unwrap()));
            Places::take(&places, &customer).unwrap_err();
        }
        Places::take(&places, &customer("late")).unwrap_err();
        taken.pop();
        taken.push(Places::take(&places, &customer("late")).unwrap());
        taken.clear();
        let left = places.taken();
        assert_eq!((left.count, left.by_customer.len()), (0, 0));
    }

    #[test]
    fn few_places_are_anybodys_and_none_are_nobodys() {
        Places::take(&Arc::new(Places::new(1)), &customer("a")).unwrap();
        Places::take(&Arc::new(Places::new(0)), &customer("a")).unwrap_err();
    }
}
