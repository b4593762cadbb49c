//! A member of a group as services have it: positions and effects are stored together, and decide who may go on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use messaging::{
    Batch, Bus, BusError, Consumer, Delivered, Membership, Partition, Subscription, TopicPartition,
};
use testkit::wait::eventually;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Rebalances included; a machine that does much else takes its time.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// What a service's database would hold: per partition the position, and what was read up to it.
#[derive(Default)]
pub(crate) struct Ledger {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    positions: BTreeMap<TopicPartition, i64>,
    held: BTreeMap<&'static str, BTreeSet<TopicPartition>>,
    read: Vec<Entry>,
}

/// A record and who read it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) member: &'static str,
    pub(crate) id: TopicPartition,
    pub(crate) record: Delivered,
    /// Whether the partition was the member's when it was read.
    pub(crate) was_held: bool,
}

impl Ledger {
    fn position(&self, id: &TopicPartition) -> i64 {
        self.state.lock().unwrap().positions.get(id).copied().unwrap_or(0)
    }

    /// Stores a batch and its position, or nothing when another member was here.
    fn apply(&self, member: &'static str, id: &TopicPartition, batch: &Batch) -> bool {
        let mut state = self.state.lock().unwrap();
        let position = state.positions.entry(id.clone()).or_insert(0);
        if *position != batch.from {
            return false;
        }
        *position = batch.to;
        let was_held = state.held.get(member).is_some_and(|held| held.contains(id));
        let entry = |record: &Delivered| Entry { member, id: id.clone(), record: record.clone(), was_held };
        state.read.extend(batch.records.iter().map(entry));
        true
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.state.lock().unwrap().read.clone()
    }

    pub(crate) fn held_by(&self, member: &'static str) -> BTreeSet<TopicPartition> {
        self.state.lock().unwrap().held.get(member).cloned().unwrap_or_default()
    }

    /// Waits until the members hold so many partitions each.
    pub(crate) async fn shared_as(&self, shares: &[(&'static str, usize)]) {
        let what = format!("partitions shared as {shares:?}");
        eventually(&what, LONG, || async {
            let held: Vec<_> = shares.iter().map(|(name, _)| (*name, self.held_by(name).len())).collect();
            if held == shares { Ok(()) } else { Err(held) }
        })
        .await;
    }

    /// Waits until so many records were read.
    pub(crate) async fn has_read(&self, count: usize) {
        self.has_read_within(LONG, count).await;
    }

    /// As [`Ledger::has_read`], for what may take longer.
    pub(crate) async fn has_read_within(&self, limit: Duration, count: usize) {
        eventually(&format!("{count} records read"), limit, || async {
            let read = self.entries().len();
            if read >= count { Ok(()) } else { Err(read) }
        })
        .await;
        let read = self.entries();
        assert_eq!(read.len(), count, "no record twice");
        let mut next: BTreeMap<TopicPartition, i64> = BTreeMap::new();
        for entry in read {
            let next = next.entry(entry.id.clone()).or_insert(0);
            assert_eq!(entry.record.offset, *next, "{:?} in offset order", entry.id);
            *next += 1;
        }
    }
}

/// A running member.
pub(crate) struct Member {
    leave: Option<oneshot::Sender<()>>,
    tasks: JoinSet<()>,
}

impl Member {
    pub(crate) async fn join(
        name: &'static str,
        bus: &Arc<dyn Bus>,
        group: &str,
        subscription: &Subscription,
        ledger: &Arc<Ledger>,
    ) -> Self {
        let place =
            Place { bus: Arc::clone(bus), group: group.to_owned(), subscription: subscription.clone() };
        let consumer = place.take().await;
        let (leave, leaving) = oneshot::channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(run(name, place, consumer, Arc::clone(ledger), leaving));
        Self { leave: Some(leave), tasks }
    }

    /// Leaves the group; every partition's reader must end by itself.
    pub(crate) async fn leave(mut self) {
        self.leave.take().unwrap().send(()).unwrap();
        let ended = tokio::time::timeout(LONG, self.tasks.join_next()).await;
        ended.expect("the member ends").unwrap().unwrap();
    }

    /// Is gone without a word to anybody in this process.
    pub(crate) fn crash(mut self) {
        self.tasks.abort_all();
    }
}

/// Where a member belongs.
struct Place {
    bus: Arc<dyn Bus>,
    group: String,
    subscription: Subscription,
}

impl Place {
    async fn take(&self) -> Box<dyn Consumer> {
        self.bus.subscribe(&self.group, &self.subscription).await.unwrap()
    }
}

async fn run(
    name: &'static str,
    place: Place,
    mut consumer: Box<dyn Consumer>,
    ledger: Arc<Ledger>,
    mut leaving: oneshot::Receiver<()>,
) {
    let mut readers = JoinSet::new();
    loop {
        let membership = tokio::select! {
            membership = consumer.next() => membership,
            _ = &mut leaving => break,
        };
        let mut held = ledger.held_by(name);
        let mut assigned = Vec::new();
        match membership {
            Ok(Membership::Assigned(partitions)) => assigned = partitions,
            Ok(Membership::Revoked(ids)) => held.retain(|id| !ids.contains(id)),
            // Given up after an outage (docs/adr/0013): another takes its place.
            Err(BusError::Unavailable { detail, .. }) if detail.contains("not seen in the group") => {
                held.clear();
                consumer.close(Duration::from_secs(5)).await;
                consumer = place.take().await;
            }
            Err(error) => panic!("{name}: {error}"),
        }
        held.extend(assigned.iter().map(|partition| partition.id().clone()));
        ledger.state.lock().unwrap().held.insert(name, held);
        for partition in assigned {
            readers.spawn(read(name, partition, Arc::clone(&ledger)));
        }
    }
    consumer.close(LONG).await;
    while let Some(ended) = readers.join_next().await {
        ended.unwrap();
    }
    ledger.state.lock().unwrap().held.remove(name);
}

async fn read(name: &'static str, mut partition: Box<dyn Partition>, ledger: Arc<Ledger>) {
    let id = partition.id().clone();
    loop {
        if partition.seek(ledger.position(&id)).await.is_err() {
            return;
        }
        loop {
            let Some(batch) = partition.next_batch(7, 1 << 20).await else { return };
            let batch = batch.unwrap();
            if !ledger.apply(name, &id, &batch) {
                break;
            }
            partition.commit(batch.to);
        }
    }
}
