//! One moment of the system: a snapshot of each database, and the topics up to ends that were asked for afterwards.

use std::collections::{BTreeMap, BTreeSet};

use contracts::{Codec, Topic};
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use crate::services::ServiceName;
use crate::verify::databases::Snapshot;
use crate::verify::history::{History, Record};
use crate::verify::keys::Keys;
use crate::verify::topics::Ranges;
use crate::verify::unread::Unread;

/// Schema ids by topic and type.
pub(super) type Schemas = BTreeMap<(Topic, &'static str), BTreeSet<u32>>;

/// Everything that comparisons of one moment share.
pub(super) struct Moment<'a, 't> {
    pub(super) codec: &'a Codec,
    pub(super) schemas: Schemas,
    pub(super) ranges: Ranges,
    pub(super) unread: Unread,
    /// Positions, dead letters and sums.
    pub(super) base: Snapshot,
    pub(super) transactions: &'a mut [Transaction<'t, Postgres>],
}

impl Moment<'_, '_> {
    /// These records as a history.
    pub(super) fn history(&self, records: Vec<Record>) -> History {
        let (ranges, unread, schemas) = (self.ranges.clone(), self.unread.clone(), self.schemas.clone());
        History { records, ranges, unread, schemas, ..History::default() }
    }

    /// The rows of the orders among `keys` that are wanted, their messages, and what became of the events of `records`.
    pub(super) async fn rows(
        &mut self,
        keys: &Keys,
        is_wanted: &dyn Fn(&Uuid) -> bool,
        records: &[Record],
    ) -> anyhow::Result<Snapshot> {
        let mut snapshot = self.base.without_rows();
        for (service, conn) in ServiceName::ALL.into_iter().zip(self.transactions.iter_mut()) {
            snapshot.read_orders(service, conn, keys).await?;
        }
        snapshot.retain_orders(is_wanted);
        self.add_delivery(&mut snapshot, records).await?;
        Ok(snapshot)
    }

    /// Adds the messages of what has rows in `snapshot`, and what became of the events of `records`.
    pub(super) async fn add_delivery(
        &mut self,
        snapshot: &mut Snapshot,
        records: &[Record],
    ) -> anyhow::Result<()> {
        let topics = self.codec.topics();
        // A service may not have been able to read what is read here.
        let ids = |record: &Record| {
            let own = record.event.as_ref().ok().map(contracts::AnyEvent::event_id);
            own.into_iter().chain([record.made_id(&topics.name(record.place.topic))])
        };
        let events: Vec<Uuid> = records.iter().flat_map(ids).collect();
        for (service, conn) in ServiceName::ALL.into_iter().zip(self.transactions.iter_mut()) {
            snapshot.read_delivery(service, conn, &events).await?;
        }
        snapshot.decode_waiting(self.codec).await
    }
}
