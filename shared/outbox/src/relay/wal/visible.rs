//! Which transactions a snapshot shows (pg_current_snapshot(),
//! <https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-PG-SNAPSHOT>).

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Visible {
    xmin: u64,
    xmax: u64,
    /// Those between them that were under way.
    under_way: Vec<u64>,
}

impl Visible {
    /// Reads `xmin:xmax:xip,...`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        let (xmin, xmax) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let under_way = parts.next()?.split(',').filter(|id| !id.is_empty());
        Some(Self { xmin, xmax, under_way: under_way.map(str::parse).collect::<Result<_, _>>().ok()? })
    }

    /// Whether it shows what this transaction has committed.
    pub(crate) fn shows(&self, transaction_id: u64) -> bool {
        transaction_id < self.xmin
            || (transaction_id < self.xmax && self.under_way.binary_search(&transaction_id).is_err())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_shows_what_had_ended() {
        let snapshot = Visible::parse("10:20:10,14,15").unwrap();
        let shown: Vec<u64> = (8..22).filter(|id| snapshot.shows(*id)).collect();
        assert_eq!(shown, [8, 9, 11, 12, 13, 16, 17, 18, 19]);
        assert!(Visible::parse("10:10:").unwrap().shows(9));
        for text in ["", "10", "10:20", "a:b:", "10:20:x"] {
            assert_eq!(Visible::parse(text), None, "{text}");
        }
    }
}
