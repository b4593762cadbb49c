//! Which messages the log has brought, of late.

use std::collections::VecDeque;

/// Ids for which it is known: 128 KiB of bits.
const IDS: i64 = 1 << 20;
const BITS: i64 = u64::BITS as i64;

/// The ids of messages that the log has brought, the highest ones.
#[derive(Debug, Default)]
pub(crate) struct Brought {
    /// The first id of `words`, a multiple of their bits.
    first: i64,
    words: VecDeque<u64>,
}

impl Brought {
    /// The log has brought this one.
    pub(crate) fn add(&mut self, id: i64) {
        if self.words.is_empty() {
            self.first = id - id.rem_euclid(BITS);
        }
        let Some(mut at) = self.word(id) else { return };
        if at >= self.words.len() {
            let words = usize::try_from(IDS / BITS).unwrap_or(usize::MAX);
            // A leap forgets all of them.
            if at - self.words.len() >= words {
                self.words.clear();
                (self.first, at) = (id - id.rem_euclid(BITS), 0);
            }
            self.words.resize(at + 1, 0);
            let surplus = self.words.len().saturating_sub(words);
            self.words.drain(..surplus);
            self.first += i64::try_from(surplus).unwrap_or_default() * BITS;
            at -= surplus;
        }
        if let Some(word) = self.words.get_mut(at) {
            *word |= bit(id);
        }
    }

    /// Whether the log has brought it. One that is too low is unknown, and counts as not brought.
    pub(crate) fn contains(&self, id: i64) -> bool {
        self.word(id).and_then(|at| self.words.get(at)).is_some_and(|word| word & bit(id) != 0)
    }

    fn word(&self, id: i64) -> Option<usize> {
        usize::try_from(id.checked_sub(self.first)?.div_euclid(BITS)).ok()
    }
}

const fn bit(id: i64) -> u64 {
    1 << id.rem_euclid(BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_brought_is_known_in_any_order() {
        let mut brought = Brought::default();
        assert!(!brought.contains(0));
        for id in [1_000, 1_003, 1_001, 5_000] {
            brought.add(id);
        }
        for (id, expected) in
            [(1_000, true), (1_001, true), (1_002, false), (1_003, true), (5_000, true), (9_000, false)]
        {
            assert_eq!(brought.contains(id), expected, "{id}");
        }
    }

    #[test]
    fn the_lowest_ids_are_forgotten_and_those_below_are_not_brought() {
        let mut brought = Brought::default();
        brought.add(100);
        // Below the first one: not known.
        brought.add(3);
        assert!(brought.contains(100) && !brought.contains(3));
        brought.add(100 + IDS / 2);
        assert!(brought.contains(100));
        brought.add(200 + IDS);
        assert!(!brought.contains(100) && brought.contains(100 + IDS / 2) && brought.contains(200 + IDS));
        brought.add(9 * IDS);
        assert!(brought.contains(9 * IDS) && !brought.contains(200 + IDS));
        assert!(brought.words.len() <= usize::try_from(IDS / BITS).unwrap());
        assert!(!brought.contains(i64::MIN) && !brought.contains(i64::MAX));
    }

    #[test]
    fn as_many_words_as_there_are_bits_for() {
        let mut brought = Brought::default();
        for id in (0..3 * IDS).step_by(61) {
            brought.add(id);
            assert!(brought.contains(id));
        }
        assert!(brought.words.len() <= usize::try_from(IDS / BITS).unwrap());
    }
}
