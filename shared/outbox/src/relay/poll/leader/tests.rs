//! What the leader makes of what the session brings, without a database.

use messaging::InMemoryBus;

use super::*;
use crate::relay::chains::StoppedKey;
use crate::relay::probe::NoProbe;
use crate::relay::row::row;

fn leader() -> Leader {
    let relay = Lead {
        options: Arc::new(PgConnectOptions::new_without_pgpass()),
        wake: Arc::default(),
        bus: Arc::new(InMemoryBus::new()),
        probe: Arc::new(NoProbe),
        config: RelayConfig::default(),
    };
    Leader::new(relay, &[])
}

#[tokio::test]
async fn a_key_that_is_released_between_its_stop_and_the_read_is_no_gap() {
    let mut leader = leader();
    let (first, mut second) = (row(1, "a", 1), row(2, "a", 2));
    second.predecessor_finished = Some(false);
    leader.hand_out(Scope::Sweep, vec![first.clone()]).unwrap();
    leader.note(Outcome::Stopped {
        topic: first.topic.clone(),
        key: first.key.clone(),
        stopped: StoppedKey { id: 1, sequence: 1, ids: vec![1] },
        reason: "too large".to_owned(),
    });
    let work = leader.next_work().unwrap();
    assert_eq!((work.stops.len(), &work.read.as_ref().unwrap().held), (1, &vec![1]));

    // The stop was recorded and deleted; the read left out the row that was held.
    let done = Done { work, rows: vec![second.clone()], read_took: Duration::ZERO, pruned: None };
    leader.complete(done).unwrap();
    assert_eq!(leader.stops, []);

    leader.hand_out(Scope::Sweep, vec![first, second]).unwrap();
    assert_eq!(leader.stops, []);
    assert_eq!(leader.held.ids().len(), 2);
}
