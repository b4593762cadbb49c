//! What the leader makes of what the session brings, without a database.

use std::time::Duration;

use database::Bounds;
use messaging::{InMemoryBus, Refusal};

use super::*;
use crate::relay::failpoint::NoFailpoints;
use crate::relay::key_queues::BlockedKey;
use crate::relay::row::row;

fn leader() -> Leader {
    let relay = LeaderDeps {
        options: Arc::new(PgConnectOptions::new_without_pgpass()),
        wake: Arc::default(),
        content_type: "application/json".into(),
        bus: Arc::new(InMemoryBus::new()),
        failpoints: Arc::new(NoFailpoints),
        reads_whole_pages: true,
        config: RelayConfig::default(),
        view: watch::Sender::new(None).subscribe(),
        status: RelayStatus::default(),
        database: Database::new(PgConnectOptions::new_without_pgpass(), 1, Bounds::default()),
    };
    let mut leader = Leader::new(relay, &[], None, &Begin::Table);
    leader.note(Outcome::Partitions { topic: "orders".to_owned(), partitions: 1 });
    leader
}

#[tokio::test]
async fn a_key_that_is_released_between_its_block_and_the_read_is_no_gap() {
    let mut leader = leader();
    let (first, mut second) = (row(1, "a", None), row(2, "a", Some(1)));
    second.predecessor_published = Some(false);
    let from_lowest = HashSet::from(["orders"]);
    leader.hand_out(&from_lowest, vec![(0, first.clone())]).unwrap();
    leader.note(Outcome::Blocked {
        topic: first.topic.clone(),
        key: first.queue_key(),
        blocked: BlockedKey { id: 1, ids: vec![1] },
        refusal: Refusal::Size,
        detail: "too large".to_owned(),
    });
    let work = leader.next_work().unwrap();
    assert_eq!((work.blocks.len(), &work.read.as_ref().unwrap().buffered), (1, &vec![1]));

    // The block was recorded and deleted; the read left out the row that was buffered.
    let done = Done {
        work,
        rows: vec![(0, second.clone())],
        new_topics: Vec::new(),
        due_unlearned: None,
        due: Vec::new(),
        read_took: Duration::ZERO,
        dropped: None,
        log: log_work::LogDone::default(),
    };
    leader.complete(done).unwrap();
    assert_eq!(leader.blocks, []);

    leader.hand_out(&from_lowest, vec![(0, first), (0, second)]).unwrap();
    assert_eq!(leader.blocks, []);
    assert_eq!(leader.buffer.ids().len(), 2);
}
