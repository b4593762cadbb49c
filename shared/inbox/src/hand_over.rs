//! A membership that this process can't use, while another member could take its partitions, is given up (docs/adr/0024).
//!
//! ```text
//! stalled ─► own check fails ─► evidence ─► random wait ─► check and evidence anew ─► leave
//!                       join ◄─ own check passes for a whole cool-down, or no other is in the group    ◄─┘
//! ```
//!
//! Invariant: without evidence that another member can do the work, nothing is given up. So no member leaves while all are cut off.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use messaging::TopicPartition;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::cool_down::CoolDown;
use crate::ends::ends_of;
use crate::members::{self, Reach};
use crate::shared::{Cause, Shared};
use crate::times::HandOverTimes;

/// Decides until `shutdown`; [`Shared::given_up`] has the decision.
pub(crate) async fn run(shared: Arc<Shared>, times: HandOverTimes, shutdown: CancellationToken) {
    let mut hand_over = HandOver::new(&shared, times);
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = hand_over.decide() => {}
    }
}

/// Waits until the membership is given up.
pub(crate) async fn given_up(decided: &mut watch::Receiver<Option<Cause>>) -> Cause {
    loop {
        let cause = decided.wait_for(Option::is_some).await.map(|cause| *cause);
        match cause {
            Ok(Some(cause)) => return cause,
            Ok(None) => {}
            // The task that decides has ended.
            Err(_) => std::future::pending().await,
        }
    }
}

struct HandOver<'a> {
    shared: &'a Shared,
    topics: Vec<String>,
    times: HandOverTimes,
    cool_down: CoolDown,
}

/// What a member outside its group finds.
enum Outside {
    /// It would be stalled again.
    Fails,
    /// It would work.
    Passes,
    /// It could work, and no other member does.
    Alone,
}

impl<'a> HandOver<'a> {
    fn new(shared: &'a Shared, times: HandOverTimes) -> Self {
        let topics = shared.topics.clone();
        Self { shared, topics, times, cool_down: CoolDown::new(times) }
    }

    async fn decide(&mut self) {
        loop {
            let cause = self.until_another_can().await;
            let cool_down = self.cool_down.leave(Instant::now());
            self.shared.given_up.send_replace(Some(cause));
            self.until_it_may_join(cool_down).await;
            tracing::info!(group = self.shared.applier.group, "joining the group again");
            self.shared.given_up.send_replace(None);
        }
    }

    /// The cause of a stall that another member would not have, seen twice.
    async fn until_another_can(&mut self) -> Cause {
        loop {
            sleep(self.times.look_every).await;
            let status = &self.shared.status;
            let (stalled, now) = (!status.stalled().is_empty(), Instant::now());
            self.cool_down.look(!stalled && status.out_of_group().is_none(), now);
            if !stalled || !self.cool_down.may_leave(now) || self.evidence().await.is_none() {
                continue;
            }
            sleep(self.times.longest_wait.mul_f64(rand::random())).await;
            if let Some(cause) = self.evidence().await {
                return cause;
            }
        }
    }

    /// Why a partition of ours is stalled, if another member could do its work.
    async fn evidence(&self) -> Option<Cause> {
        let stalled = self.shared.status.stalled();
        if stalled.is_empty() {
            return None;
        }
        if let Err(error) = self.shared.applier.database.answers(self.times.check_timeout).await {
            tracing::debug!(%error, "the database does not answer this member");
            return self.others_commit().await.then_some(Cause::Database);
        }
        let (reach, others) = (self.reach().await?, self.others().await?);
        let mut unreached = stalled.intersection(&reach.unreached);
        unreached.any(|partition| reach.is_surpassed(partition, &others)).then_some(Cause::Broker)
    }

    /// Whether others commit behind the database now. Both readings come after the own check has failed.
    async fn others_commit(&self) -> bool {
        let mut ours = self.shared.status.assigned();
        let Some(before) = self.committed().await else { return false };
        sleep(self.times.between_readings).await;
        let Some(after) = self.committed().await else { return false };
        ours.extend(self.shared.status.assigned());
        has_moved(&before, &after, &ours)
    }

    async fn committed(&self) -> Option<BTreeMap<TopicPartition, i64>> {
        let answer = self.shared.bus.committed_offsets(&self.shared.applier.group, &self.topics).await;
        answer.inspect_err(|error| tracing::debug!(%error, "cannot read committed offsets")).ok()
    }

    async fn reach(&self) -> Option<Reach> {
        Reach::of(&ends_of(&*self.shared.bus, &self.topics).await)
    }

    async fn others(&self) -> Option<Vec<BTreeSet<String>>> {
        let Shared { applier, member, .. } = self.shared;
        let answer = members::others(&applier.database, *member, self.times.fresh_for).await;
        answer.inspect_err(|error| tracing::debug!(%error, "cannot read other members")).ok()
    }

    async fn until_it_may_join(&self, cool_down: Duration) {
        let mut passing_since = None;
        loop {
            sleep(self.times.look_every).await;
            let now = Instant::now();
            match self.check_outside().await {
                Outside::Alone => return,
                Outside::Fails => passing_since = None,
                Outside::Passes if now - *passing_since.get_or_insert(now) >= cool_down => return,
                Outside::Passes => {}
            }
        }
    }

    async fn check_outside(&self) -> Outside {
        if self.shared.applier.database.answers(self.times.check_timeout).await.is_err() {
            return Outside::Fails;
        }
        let Some(others) = self.others().await else { return Outside::Fails };
        if others.is_empty() {
            return Outside::Alone;
        }
        match self.reach().await {
            Some(reach) if !reach.unreached.iter().any(|id| reach.is_surpassed(id, &others)) => {
                Outside::Passes
            }
            _ => Outside::Fails,
        }
    }
}

/// Whether a partition that is not ours has moved on.
fn has_moved(
    before: &BTreeMap<TopicPartition, i64>,
    after: &BTreeMap<TopicPartition, i64>,
    ours: &BTreeSet<TopicPartition>,
) -> bool {
    let moved = |(id, offset): (&TopicPartition, &i64)| before.get(id).is_none_or(|before| before < offset);
    after.iter().filter(|(id, _)| !ours.contains(*id)).any(moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(partition: i32) -> TopicPartition {
        TopicPartition { topic: "example.parcels".to_owned(), partition }
    }

    fn committed(offsets: &[(i32, i64)]) -> BTreeMap<TopicPartition, i64> {
        offsets.iter().map(|(number, offset)| (partition(*number), *offset)).collect()
    }

    #[test]
    fn only_what_others_own_and_have_moved_on_is_evidence() {
        let ours = BTreeSet::from([partition(0)]);
        let moved = |before: &[(i32, i64)], after: &[(i32, i64)]| {
            has_moved(&committed(before), &committed(after), &ours)
        };
        assert!(moved(&[(0, 5), (1, 5)], &[(0, 5), (1, 6)]));
        assert!(moved(&[], &[(1, 1)]), "the first commit of a partition");
        assert!(!moved(&[(0, 5), (1, 5)], &[(0, 6), (1, 5)]), "a commit of our own that comes late");
        assert!(!moved(&[(1, 5)], &[(1, 5)]));
        assert!(!moved(&[(1, 5)], &[(1, 4)]), "a group that was set back");
        assert!(!moved(&[(1, 5)], &[]));
    }
}
