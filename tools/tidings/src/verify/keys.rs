//! A range of order ids: what is compared at once.

use uuid::Uuid;

/// Order ids from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The first.
    pub from: Uuid,
    /// The last.
    pub to: Uuid,
}

impl Keys {
    /// Every id.
    pub const ALL: Self = Self { from: Uuid::nil(), to: Uuid::max() };

    /// The ranges that begin at the lowest id and at each of these, which rise.
    #[must_use]
    pub fn beginning_at(starts: &[Uuid]) -> Vec<Self> {
        let before = |id: Uuid| Uuid::from_u128(id.as_u128().saturating_sub(1));
        let from = std::iter::once(Uuid::nil()).chain(starts.iter().copied());
        let to = starts.iter().copied().map(before).chain(std::iter::once(Uuid::max()));
        from.zip(to).map(|(from, to)| Self { from, to }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_each_id_once() {
        let ids = [5, 9].map(Uuid::from_u128);
        let ranges = Keys::beginning_at(&ids);
        assert_eq!(Keys::beginning_at(&[]), [Keys::ALL]);
        for id in [0, 4, 5, 8, 9, 10, u128::MAX].map(Uuid::from_u128) {
            assert_eq!(ranges.iter().filter(|keys| keys.from <= id && id <= keys.to).count(), 1, "{id}");
        }
    }
}
