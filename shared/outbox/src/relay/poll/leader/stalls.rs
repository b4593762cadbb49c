//! Which partitions have due messages and take none, and what the leader does about it (docs/adr/0024).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, OptionFuture};
use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, timeout};

use super::Leader;
use super::session::Session;
use crate::relay::hand_over::{Due, HandOver};

/// The longest that it takes to let the lock go. The connection is dropped afterwards, which the server notices later.
const LET_GO: Duration = Duration::from_secs(5);

/// Messages that are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Waiting {
    /// A share of a topic's partitions: mostly one.
    Share(Arc<str>, i32),
    /// A topic whose partitions are unknown.
    Topic(String),
}

/// Since when messages have waited without an acknowledgement, whether they were sent or not.
#[derive(Debug, Default)]
pub(super) struct Stalls {
    since: HashMap<Waiting, Instant>,
}

impl Stalls {
    fn observe(&mut self, waiting: HashSet<Waiting>, now: Instant) {
        self.since.retain(|known, _| waiting.contains(known));
        for new in waiting {
            self.since.entry(new).or_insert(now);
        }
    }

    fn answered(&mut self, topic: Arc<str>, share: i32, now: Instant) {
        if let Some(since) = self.since.get_mut(&Waiting::Share(topic, share)) {
            *since = now;
        }
    }

    /// What had waited for so long at this time.
    fn stalled(&self, at: Instant, after: Duration) -> impl Iterator<Item = &Waiting> {
        self.since.iter().filter(move |(_, since)| at >= **since + after).map(|(waiting, _)| waiting)
    }
}

impl Leader {
    /// Whether the lead is to be given up: somebody else can publish what is stalled here.
    pub(super) fn gives_up(&mut self, hand_over: &mut HandOver, now: Instant) -> bool {
        let shares = self.buffer.waiting().map(|(topic, share)| Waiting::Share(topic, share));
        let unlearned = self.due_unlearned.iter().filter(|topic| !self.buffer.knows(topic));
        let waiting = shares.chain(unlearned.cloned().map(Waiting::Topic)).collect();
        self.stalls.observe(waiting, now);
        let after = hand_over.times().stalled_after;
        let stalled = self.stalls.stalled(now, after).count();
        self.relay.status.set_stalled(stalled);
        hand_over.looked(now, stalled > 0);

        let view = self.relay.view.borrow().clone();
        // What it reaches must have been asked after the stall began.
        let Some(view) = view else { return false };
        let stalled: BTreeSet<Due> =
            self.stalls.stalled(view.asked_at, after).flat_map(|waiting| self.due(waiting)).collect();
        let gives_up = hand_over.gives_up(now, &stalled, &view);
        if gives_up {
            metrics::counter!("outbox_leads_given_up_total").increment(1);
            tracing::warn!(
                ?stalled,
                unreached = ?view.unreached,
                others = ?view.others,
                "outbox: no acknowledgement for {after:?}, and no answer from the partitions' leaders, which another relay \
                 reaches; giving the lead up"
            );
        }
        gives_up
    }

    /// The broker has answered for these rows.
    pub(super) fn note_answers(&mut self, ids: &[i64]) {
        let (shares, now) = (ids.iter().filter_map(|id| self.buffer.share_of(*id)), Instant::now());
        for (topic, share) in shares.collect::<HashSet<_>>() {
            self.stalls.answered(topic, share, now);
        }
    }

    fn due(&self, waiting: &Waiting) -> Vec<Due> {
        match waiting {
            Waiting::Share(topic, share) => {
                self.buffer.partitions_of(topic, *share).into_iter().map(Due::Partition).collect()
            }
            Waiting::Topic(topic) => vec![Due::Topic(topic.clone())],
        }
    }

    /// Ends the session, and with it the lock. The producers are dropped before, which purges what they still have. What the
    /// broker may have of it nevertheless does no harm (docs/adr/0002).
    pub(super) async fn let_go(
        &mut self,
        idle: Option<PgConnection>,
        session: OptionFuture<BoxFuture<'static, Session>>,
    ) {
        let letting_go = async {
            self.tasks.shutdown().await;
            let conn = match idle {
                Some(conn) => Some(conn),
                None => session.await.map(|(conn, _)| conn),
            };
            if let Some(conn) = conn {
                // Closed without a word where this fails.
                let _ = conn.close().await;
            }
        };
        let _ = timeout(LET_GO, letting_go).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(30);

    fn waiting(shares: &[i32]) -> HashSet<Waiting> {
        shares.iter().map(|share| Waiting::Share(Arc::from("orders"), *share)).collect()
    }

    fn stalled(stalls: &Stalls, at: Instant) -> HashSet<Waiting> {
        stalls.stalled(at, AFTER).cloned().collect()
    }

    #[test]
    fn a_partition_is_stalled_when_its_messages_have_waited_without_an_answer() {
        let (mut stalls, now) = (Stalls::default(), Instant::now());
        stalls.observe(waiting(&[1, 2]), now);
        stalls.observe(waiting(&[1, 2, 3]), now + AFTER / 2);
        stalls.answered(Arc::from("orders"), 2, now + AFTER / 2);
        assert_eq!(stalled(&stalls, now + AFTER - Duration::from_millis(1)), waiting(&[]));
        assert_eq!(stalled(&stalls, now + AFTER), waiting(&[1]));
        assert_eq!(stalled(&stalls, now + AFTER * 2), waiting(&[1, 2, 3]));
        // It has no more messages; the next ones wait anew.
        stalls.observe(waiting(&[2, 3]), now + AFTER * 2);
        stalls.observe(waiting(&[1, 2, 3]), now + AFTER * 2);
        assert_eq!(stalled(&stalls, now + AFTER * 2), waiting(&[2, 3]));
    }
}
