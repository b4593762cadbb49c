//! Every interleaving of two real transactions: a gate in front of PostgreSQL lets one statement through at a time.
//!
//! Two connections run unchanged production code. Each goes through a gate of its own that understands just enough of
//! PostgreSQL's wire protocol to hold a request (all messages up to `Sync`, or a simple `Query`) until the driver lets
//! it pass. The driver walks the tree of all choices depth first, as stateless model checking does: run one schedule to
//! its end, then change the last choice that had an alternative. A statement that waits for a lock takes its side out of
//! the choice until the other side releases it, so that every schedule that PostgreSQL allows is run exactly once.
//! `BEGIN` is no step: wherever it stands, what follows sees and locks the same.

mod gate;

use std::future::Future;
use std::time::Duration;

use database::{Bounds, Database, Operation};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

use gate::{Gate, Phase};

/// How long one schedule may take before the driver gives up on it.
const SCHEDULE_TIMEOUT: Duration = Duration::from_secs(30);

/// What was explored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explored {
    /// How many schedules were run.
    pub schedules: usize,
    /// The most statements that one schedule had.
    pub longest: usize,
}

/// Runs `left` and `right` through every interleaving of their statements, each schedule on a case of its own, and
/// calls `check` after each. Each side gets a database of one connection and has to give it back when it is done.
///
/// # Panics
/// When `check` panics, when a schedule hangs, or when there are more than `most` schedules.
#[expect(clippy::panic, clippy::expect_used, reason = "a test's assertions")]
pub async fn every_interleaving<Case: Clone, L, R, C>(
    database: &PgConnectOptions,
    most: usize,
    mut prepare: impl AsyncFnMut() -> Case,
    left: impl Fn(Case, Database) -> L,
    right: impl Fn(Case, Database) -> R,
    check: impl Fn(Case, String) -> C,
) -> Explored
where
    L: Future<Output = ()>,
    R: Future<Output = ()>,
    C: Future<Output = ()>,
{
    let mut observer = PgConnection::connect_with(database).await.expect("connecting to watch locks");
    let sides = [Side::connect(database).await, Side::connect(database).await];
    let mut explored = Explored { schedules: 0, longest: 0 };
    let mut choices: Vec<Choice> = Vec::new();
    loop {
        let case = prepare().await;
        let mut schedule = Schedule { choices, taken: String::new(), depth: 0 };
        let run = schedule.run(
            &sides,
            &mut observer,
            left(case.clone(), sides[0].database.clone()),
            right(case.clone(), sides[1].database.clone()),
        );
        if tokio::time::timeout(SCHEDULE_TIMEOUT, run).await.is_err() {
            panic!("schedule {} hangs after {SCHEDULE_TIMEOUT:?}", schedule.taken);
        }
        explored.schedules += 1;
        explored.longest = explored.longest.max(schedule.taken.len());
        assert!(explored.schedules <= most, "more than {most} schedules");
        check(case, schedule.taken.clone()).await;
        choices = schedule.choices;
        while choices.pop_if(|choice| !choice.has_alternative).is_some() {}
        match choices.last_mut() {
            None => return explored,
            Some(last) => *last = Choice { side: 1 - last.side, has_alternative: false },
        }
    }
}

/// One side's way to the database.
struct Side {
    gate: Gate,
    database: Database,
    backend: i32,
}

impl Side {
    #[expect(clippy::expect_used, reason = "a test's assertions")]
    async fn connect(database: &PgConnectOptions) -> Self {
        let gate = Gate::start(database).await.expect("starting the gate");
        let bounds = Bounds { work: SCHEDULE_TIMEOUT, request: SCHEDULE_TIMEOUT };
        let database = Database::new(gate.options(database), 1, bounds);
        let backend = sqlx::query_scalar("SELECT pg_backend_pid()")
            .fetch_one(database.statement(Operation::Sample))
            .await
            .expect("asking for the backend's id");
        Self { gate, database, backend }
    }
}

/// Which side went on at one point of a schedule, and whether the other one could have as well.
#[derive(Clone, Copy, Debug)]
struct Choice {
    side: usize,
    has_alternative: bool,
}

struct Schedule {
    choices: Vec<Choice>,
    taken: String,
    depth: usize,
}

impl Schedule {
    async fn run(
        &mut self,
        sides: &[Side; 2],
        observer: &mut PgConnection,
        left: impl Future<Output = ()>,
        right: impl Future<Output = ()>,
    ) {
        for side in sides {
            side.gate.close();
        }
        let finished = [std::cell::Cell::new(false), std::cell::Cell::new(false)];
        let left = async {
            left.await;
            finished[0].set(true);
        };
        let right = async {
            right.await;
            finished[1].set(true);
        };
        let drive = async {
            loop {
                let ready = settle(sides, &finished, observer).await;
                let side = match ready {
                    [false, false] if finished.iter().all(std::cell::Cell::get) => break,
                    // Both wait for each other: PostgreSQL's deadlock detector decides.
                    [false, false] => {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        continue;
                    }
                    [true, false] => 0,
                    [false, true] => 1,
                    [true, true] => self.choose(),
                };
                self.taken.push(if side == 0 { 'L' } else { 'R' });
                sides[side].gate.let_one_pass().await;
            }
        };
        tokio::join!(left, right, drive);
        for side in sides {
            side.gate.open();
        }
    }

    /// Follows the choices handed over, then takes the left side first wherever both can go.
    fn choose(&mut self) -> usize {
        if self.depth == self.choices.len() {
            self.choices.push(Choice { side: 0, has_alternative: true });
        }
        let side = self.choices[self.depth].side;
        self.depth += 1;
        side
    }
}

/// Waits until each side stands at its gate, has finished, or waits for a lock of the other one; gives those that can go on.
async fn settle(
    sides: &[Side; 2],
    finished: &[std::cell::Cell<bool>; 2],
    observer: &mut PgConnection,
) -> [bool; 2] {
    loop {
        let left = settle_one(0, sides, finished, observer).await;
        let right = settle_one(1, sides, finished, observer).await;
        // The right side may have released the left one while it was waited for.
        if left || finished[0].get() || is_blocked(observer, sides[0].backend, sides[1].backend).await {
            return [left, right];
        }
    }
}

async fn settle_one(
    index: usize,
    sides: &[Side; 2],
    finished: &[std::cell::Cell<bool>; 2],
    observer: &mut PgConnection,
) -> bool {
    let (side, other) = (&sides[index], &sides[1 - index]);
    loop {
        if finished[index].get() {
            return false;
        }
        match side.gate.phase() {
            Phase::AtGate => return true,
            Phase::Inside if is_blocked(observer, side.backend, other.backend).await => return false,
            Phase::Inside | Phase::Away => tokio::time::sleep(Duration::from_micros(100)).await,
        }
    }
}

async fn is_blocked(observer: &mut PgConnection, backend: i32, by: i32) -> bool {
    sqlx::query_scalar("SELECT $2 = ANY (pg_blocking_pids($1))")
        .bind(backend)
        .bind(by)
        .fetch_one(observer)
        .await
        .unwrap_or(false)
}
