//! The rows that a unit of work has locked, and which of them its handlers changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use crate::error_policy::Rejection;

/// Rows of one table, locked and loaded by key. A [`UnitOfWork`](crate::UnitOfWork) has one per kind of aggregate.
///
/// A handler changes a copy, which takes the row's place only if the handler succeeds: a refusal changes nothing.
///
/// ```
/// use inbox::{Locked, Rejection};
///
/// let mut stock = Locked::new([("TEAPOT", 3), ("LAMP", 5)]);
/// let sold = stock.change(&"TEAPOT", |units| {
///     *units -= 1;
///     Ok::<_, Rejection>(*units)
/// })?;
/// assert_eq!(sold, Some(2));
/// assert_eq!(stock.changed().collect::<Vec<_>>(), [(&"TEAPOT", &2)]);
/// # Ok::<(), Rejection>(())
/// ```
#[derive(Clone, Debug)]
pub struct Locked<K, R> {
    rows: BTreeMap<K, R>,
    changed: BTreeSet<K>,
    /// Those that this transaction has inserted.
    inserted: BTreeSet<K>,
    /// Those of which a handler has accepted an event.
    handled: BTreeSet<K>,
}

impl<K: Ord + Clone + Debug, R: Clone + PartialEq> Locked<K, R> {
    /// These rows, none of them changed.
    pub fn new(rows: impl IntoIterator<Item = (K, R)>) -> Self {
        Self { rows: rows.into_iter().collect(), ..Self::default() }
    }

    /// The same, of which this transaction has inserted these.
    #[must_use]
    pub fn with_inserted(self, keys: impl IntoIterator<Item = K>) -> Self {
        Self { inserted: keys.into_iter().collect(), ..self }
    }

    /// All rows, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &R)> {
        self.rows.iter()
    }

    /// The row of this key as it stands now.
    pub fn get(&self, key: &K) -> Option<&R> {
        self.rows.get(key)
    }

    /// Lets `handler` change the row of this key. Gives what it returns, or nothing if the row is as before.
    ///
    /// # Errors
    /// When the handler refuses, or no row of this key is locked.
    pub fn change<T, E: Into<Rejection>>(
        &mut self,
        key: &K,
        handler: impl FnOnce(&mut R) -> Result<T, E>,
    ) -> Result<Option<T>, Rejection> {
        let Some(row) = self.rows.get_mut(key) else {
            return Err(Rejection::new("not_loaded", format!("no row of {key:?} is locked")));
        };
        let mut next = row.clone();
        let result = handler(&mut next).map_err(Into::into)?;
        self.handled.insert(key.clone());
        if next == *row {
            return Ok(None);
        }
        *row = next;
        self.changed.insert(key.clone());
        Ok(Some(result))
    }

    /// The changed rows, sorted by key.
    pub fn changed(&self) -> impl Iterator<Item = (&K, &R)> {
        self.changed.iter().filter_map(|key| self.rows.get_key_value(key))
    }

    /// The rows that this transaction has inserted, and of which no handler has accepted an event, sorted by key: a
    /// [`UnitOfWork`](crate::UnitOfWork) deletes them when it stores, so that a rejected event leaves none.
    pub fn unused(&self) -> impl Iterator<Item = &K> {
        self.inserted.difference(&self.handled)
    }
}

impl<K, R> Default for Locked<K, R> {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            changed: BTreeSet::new(),
            inserted: BTreeSet::new(),
            handled: BTreeSet::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuse(row: &mut i32) -> Result<(), Rejection> {
        *row = 9;
        Err(Rejection::new("refused", ""))
    }

    #[test]
    fn a_refusal_changes_nothing() {
        let mut rows = Locked::new([("a", 1)]);
        assert_eq!(rows.change(&"a", refuse).expect_err("refused").reason, "refused");
        assert_eq!((rows.get(&"a"), rows.changed().count()), (Some(&1), 0));
    }

    #[test]
    fn a_row_that_is_as_before_is_not_stored() {
        let mut rows = Locked::new([("a", 1), ("b", 2)]);
        let same = rows.change(&"a", |_| Ok::<_, Rejection>(())).expect("no refusal");
        let next =
            rows.change(&"b", |row| Ok::<_, Rejection>(std::mem::replace(row, 3))).expect("no refusal");
        assert_eq!((same, next), (None, Some(2)));
        assert_eq!(rows.changed().collect::<Vec<_>>(), [(&"b", &3)]);
    }

    #[test]
    fn an_inserted_row_is_unused_until_an_event_of_it_is_accepted() {
        let mut rows = Locked::new([("a", 1), ("b", 2), ("c", 3)]).with_inserted(["a", "b"]);
        rows.change(&"a", refuse).expect_err("refused");
        assert_eq!(rows.unused().collect::<Vec<_>>(), [&"a", &"b"]);
        rows.change(&"b", |_| Ok::<_, Rejection>(())).expect("no refusal");
        assert_eq!(rows.unused().collect::<Vec<_>>(), [&"a"]);
    }

    #[test]
    fn a_row_that_is_not_locked_refuses_the_event() {
        let mut rows = Locked::<&str, i32>::default();
        assert_eq!(rows.change(&"a", refuse).expect_err("no row").reason, "not_loaded");
    }
}
