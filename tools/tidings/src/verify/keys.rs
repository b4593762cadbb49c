//! A range of order ids: what is compared at once.

use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::QueryAs;
use uuid::Uuid;

/// Order ids from one to another, both included; or some of these only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The first.
    pub from: Uuid,
    /// The last.
    pub to: Uuid,
    /// The ones that are meant; all where there are none.
    pub only: Option<Vec<Uuid>>,
}

impl Keys {
    /// Every id.
    pub const ALL: Self = Self { from: Uuid::nil(), to: Uuid::max(), only: None };

    /// These ids.
    pub fn only(ids: Vec<Uuid>) -> Self {
        let (from, to) = (ids.iter().min().copied(), ids.iter().max().copied());
        Self { from: from.unwrap_or_default(), to: to.unwrap_or_default(), only: Some(ids) }
    }

    /// The ranges that begin at the lowest id and at each of these, which rise.
    pub fn beginning_at(starts: &[Uuid]) -> Vec<Self> {
        let before = |id: Uuid| Uuid::from_u128(id.as_u128().saturating_sub(1));
        let from = std::iter::once(Uuid::nil()).chain(starts.iter().copied());
        let to = starts.iter().copied().map(before).chain(std::iter::once(Uuid::max()));
        from.zip(to).map(|(from, to)| Self { from, to, only: None }).collect()
    }

    /// Gives a statement its first three parameters: `id BETWEEN $1 AND $2 AND ($3::uuid[] IS NULL OR id = ANY($3))`.
    pub(super) fn bind<'q, O>(
        &'q self,
        statement: QueryAs<'q, Postgres, O, PgArguments>,
    ) -> QueryAs<'q, Postgres, O, PgArguments> {
        statement.bind(self.from).bind(self.to).bind(&self.only)
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
