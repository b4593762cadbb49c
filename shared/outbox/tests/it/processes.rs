//! Relays in processes of their own, killed or frozen exactly between two steps.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use database::{Bounds, Database};
use messaging::{KafkaBus, KafkaConfig};
use outbox::RelayKind;
use outbox::internal::{Failpoint, Failpoints};
use rustix::process::{Pid, Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};
use testkit::broker::{EmbeddedBroker, test_kafka};
use testkit::wait::eventually;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::relays::Poll;
use crate::stage::{Stage, TIMEOUT, outbox};

const KEYS: [&str; 4] = ["a", "b", "c", "d"];
const ROUNDS: i64 = 5;
const STEPS: [Failpoint; 4] =
    [Failpoint::Read, Failpoint::Sent, Failpoint::Acknowledged, Failpoint::Finished];
const ORDER: &str = "OUTBOX_TEST_PROCESS";

/// The task of a relay's process.
#[derive(Debug, Serialize, Deserialize)]
struct Task {
    database: String,
    kafka: String,
    fault: Option<Fault>,
    kind: RelayKind,
}

/// What befalls the process when it has made a step so many times.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Fault {
    step: usize,
    occurrence: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    Killed,
    Frozen,
}

#[derive(Debug)]
struct Trap {
    fault: Fault,
    reached: AtomicUsize,
}

impl Failpoints for Trap {
    #[expect(
        clippy::disallowed_methods,
        reason = "there is no condition to wait for: no other process sees the end of this"
    )]
    fn reached(&self, step: Failpoint) {
        if step == STEPS[self.fault.step]
            && self.reached.fetch_add(1, Ordering::SeqCst) + 1 == self.fault.occurrence
        {
            let signal = if self.fault.kind == Kind::Killed { Signal::KILL } else { Signal::STOP };
            kill_process(getpid(), signal).unwrap();
            // Another thread may be the one that takes the signal; until then this one goes no step further.
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// The relay's process: this test binary again, with a task in its environment. Without one it is no test.
#[tokio::test]
#[ignore = "a process that the other tests start"]
async fn relay_process() {
    #[expect(clippy::disallowed_methods, reason = "the parent test hands the task over in the environment")]
    let Ok(task) = std::env::var(ORDER) else { return };
    let task: Task = serde_json::from_str(&task).unwrap();
    let database = Database::new(task.database.parse().unwrap(), 10, Bounds::default());
    let bus = Arc::new(KafkaBus::try_new(KafkaConfig::new(&task.kafka)).unwrap());
    let trap = |fault| Arc::new(Trap { fault, reached: AtomicUsize::new(0) }) as Arc<dyn Failpoints>;
    let failpoints = task.fault.map(trap);
    let mut factory = Poll::default();
    factory.0.relay = task.kind;
    if task.fault.is_some_and(|fault| fault.kind == Kind::Frozen) {
        // Its successor waits for the end of its session.
        factory.0.idle_session_timeout_ms = 2_000;
    }
    let relay = factory.relay(&database, &outbox(), bus, failpoints);
    // A process that outlives its test ends by itself.
    let _ = tokio::time::timeout(Duration::from_secs(120), relay.run(CancellationToken::new())).await;
}

/// A broker that other processes can reach, and the stage on it.
struct External {
    stage: Stage,
    kafka: String,
    _broker: Option<EmbeddedBroker>,
}

impl External {
    async fn start() -> Self {
        if let Some(kafka) = test_kafka() {
            return Self { stage: Stage::set().await, kafka, _broker: None };
        }
        let broker = EmbeddedBroker::start().unwrap();
        let stage = Stage::embedded(&broker).await;
        Self { stage, kafka: broker.bootstrap_servers().to_owned(), _broker: Some(broker) }
    }

    fn spawn(&self, fault: Option<Fault>) -> Child {
        let (database, kafka) = (self.stage.database.url().to_owned(), self.kafka.clone());
        let task = Task { database, kafka, fault, kind: Poll::default().0.relay };
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "processes::relay_process", "--ignored", "--nocapture"])
            .env(ORDER, serde_json::to_string(&task).unwrap())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// Commits a message of each key, `ROUNDS` times.
    async fn commit_all(&self) {
        for _ in 0..ROUNDS {
            self.stage.commit(&self.stage.orders, &KEYS).await;
        }
    }

    async fn until_all_seen(&self, last: i64) {
        for key in KEYS {
            self.stage.watcher.until_seen(&self.stage.orders, key, last).await;
        }
        self.stage.until_published().await;
        self.stage.watcher.assert_in_sequence();
    }
}

pub(crate) async fn a_relay_killed_after_any_step_repeats_but_never_skips() {
    for (index, step) in STEPS.into_iter().enumerate() {
        for occurrence in [1, 2] {
            let external = External::start().await;
            external.commit_all().await;
            let mut doomed = external.spawn(Some(Fault { step: index, occurrence, kind: Kind::Killed }));
            // The first round may be one read: a later one comes with rows committed while it works.
            let status = loop {
                if let Ok(status) = tokio::time::timeout(Duration::from_millis(200), doomed.wait()).await {
                    break status.unwrap();
                }
                external.stage.commit(&external.stage.orders, &KEYS).await;
            };
            assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{step:?}: {status}");
            let unpublished = external.stage.unpublished().await;
            external.stage.commit(&external.stage.orders, &KEYS).await;
            let last: i64 = sqlx::query_scalar("SELECT max(sequence) FROM outbox.messages")
                .fetch_one(external.stage.pool())
                .await
                .unwrap();
            let mut successor = external.spawn(None);
            external.until_all_seen(last).await;
            let rows = usize::try_from(last).unwrap() * KEYS.len();
            let repeated = external.stage.watcher.count() - rows;
            println!(
                "killed after {step:?} number {occurrence}: {unpublished} unpublished, {repeated} repeated of {rows}"
            );
            match step {
                Failpoint::Read if occurrence == 1 => assert_eq!(repeated, 0, "nothing had been sent"),
                Failpoint::Acknowledged => {
                    assert!(repeated > 0, "what was acknowledged was not yet finished");
                }
                Failpoint::Read | Failpoint::Sent | Failpoint::Finished => {}
            }
            successor.kill().await.unwrap();
        }
    }
}

pub(crate) async fn a_leader_frozen_after_any_step_is_replaced_and_does_no_harm_when_thawed() {
    for (index, step) in STEPS.into_iter().enumerate() {
        let external = External::start().await;
        external.commit_all().await;
        let mut frozen = external.spawn(Some(Fault { step: index, occurrence: 1, kind: Kind::Frozen }));
        let pid = Pid::from_raw(i32::try_from(frozen.id().unwrap()).unwrap()).unwrap();
        eventually("the leader is frozen", TIMEOUT, async || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap();
            if stat.contains(") T ") { Ok(()) } else { Err(stat) }
        })
        .await;
        let mut successor = external.spawn(None);
        external.until_all_seen(ROUNDS).await;
        external.commit_all().await;
        external.until_all_seen(2 * ROUNDS).await;

        kill_process(pid, Signal::CONT).unwrap();
        external.commit_all().await;
        external.until_all_seen(3 * ROUNDS).await;

        // The one that was frozen stands by, and leads when the other one is gone.
        successor.kill().await.unwrap();
        external.commit_all().await;
        external.until_all_seen(4 * ROUNDS).await;
        let repeated = external.stage.watcher.count() - usize::try_from(4 * ROUNDS).unwrap() * KEYS.len();
        println!("frozen after {step:?}, replaced, thawed: {repeated} repeated");
        frozen.kill().await.unwrap();
    }
}
