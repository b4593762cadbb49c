//! An array that is read up to a bound: what lies behind it is counted, and kept nowhere.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::{Content, Field};

/// The items of an array, if there are at most `MAX`.
pub struct List<T, const MAX: usize> {
    items: Vec<Field<T>>,
    count: usize,
}

impl<T, const MAX: usize> List<T, MAX> {
    /// How many items the array has, those beyond the bound included.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The items; none of them if there are more than `MAX`.
    pub fn into_items(self) -> Vec<Field<T>> {
        self.items
    }
}

impl<T, const MAX: usize> fmt::Debug for List<T, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "List({})", self.count)
    }
}

impl<T: Content, const MAX: usize> Content for List<T, MAX> {}

impl<'de, T: Content, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Items(PhantomData))
    }
}

struct Items<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Content + DeserializeOwned, const MAX: usize> Visitor<'de> for Items<T, MAX> {
    type Value = List<T, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<List<T, MAX>, A::Error> {
        let mut items = Vec::new();
        while items.len() < MAX {
            match array.next_element()? {
                Some(item) => items.push(item),
                None => return Ok(List { count: items.len(), items }),
            }
        }
        let mut count = items.len();
        while array.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        if count > MAX {
            items = Vec::new();
        }
        Ok(List { items, count })
    }
}
