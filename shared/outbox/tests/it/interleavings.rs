//! Every interleaving of two and three transactions on real connections, with a relay at work all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::relays::Poll;
use crate::schedules::{Plan, Schedule, all};
use crate::stage::{Stage, lock, publish};

/// Schedules that run at once, each on connections and keys of its own.
const WORKERS: usize = 6;

/// When the test looks at the topic.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// After each commit: what is committed is published whatever else is open.
    EachCommit,
    /// At the end: the relay reads when it likes.
    AtTheEnd,
}

/// One thing to run: who does what, in which order.
struct Case {
    plans: Vec<Plan>,
    schedule: Schedule,
}

/// Schedules that share a database. The transaction that stays open keeps all dead rows, which a suite of thousands
/// would otherwise walk over and over.
const CASES_PER_STAGE: usize = 1_000;

/// Runs all schedules of these transactions.
pub(crate) async fn run_all(factory: &Poll, plans: &[Vec<Plan>], reduced: bool, paces: &[Pace]) -> usize {
    let mut run = 0;
    for pace in paces {
        let cases: Vec<Arc<Case>> = plans
            .iter()
            .flat_map(|plans| {
                all(plans, reduced).into_iter().map(|schedule| Case { plans: plans.clone(), schedule })
            })
            .map(Arc::new)
            .collect();
        for some in cases.chunks(CASES_PER_STAGE) {
            run_beside_an_open_transaction(factory, some, *pace).await;
            run += some.len();
        }
    }
    run
}

/// Runs these cases beside a transaction that holds a low id and stays open throughout.
async fn run_beside_an_open_transaction(factory: &Poll, cases: &[Arc<Case>], pace: Pace) {
    let stage = Stage::set().await;
    let stage = Arc::new(stage);
    let relay = stage.start(factory);
    let mut open = begin(&stage).await;
    let aggregate = lock(&mut open, "open").await;
    publish(&mut open, &stage.outbox, &stage.orders, vec![aggregate]).await.unwrap();

    run_cases(&stage, Arc::new(cases.to_vec()), pace).await;

    assert_eq!(stage.watcher.sequences(&stage.orders, "open"), Vec::<i64>::new());
    open.execute("COMMIT").await.unwrap();
    stage.outbox.wake();
    stage.watcher.until_seen(&stage.orders, "open", 1).await;
    stage.until_published().await;
    stage.watcher.assert_in_sequence();
    relay.stop().await;
}

async fn run_cases(stage: &Arc<Stage>, cases: Arc<Vec<Arc<Case>>>, pace: Pace) {
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let (stage, cases, next) = (Arc::clone(stage), Arc::clone(&cases), Arc::clone(&next));
        workers.spawn(async move {
            let mut actors: Vec<Actor> = Vec::new();
            for _ in 0..3 {
                actors.push(Actor::connect(&stage).await);
            }
            while let Some((number, case)) = {
                let number = next.fetch_add(1, Ordering::Relaxed);
                cases.get(number).map(|case| (number, case))
            } {
                run_case(&stage, &mut actors, case, number, pace).await;
            }
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker.unwrap();
    }
}

async fn run_case(stage: &Stage, actors: &mut [Actor], case: &Case, number: usize, pace: Pace) {
    let label = if pace == Pace::EachCommit { "each" } else { "end" };
    let family: String =
        case.plans.iter().map(|plan| format!("{}{}", plan.key, u8::from(plan.commits))).collect();
    let key_of = |txn: usize| format!("{label}-{family}-{number}-{}", case.plans[txn].key);
    let mut committed = vec![0_i64; actors.len()];
    let mut done = vec![0_usize; actors.len()];
    let mut waiting = vec![false; actors.len()];
    for txn in &case.schedule {
        let txn = *txn;
        let plan = case.plans[txn];
        let sharing = |other: &usize| *other != txn && case.plans[*other].key == plan.key;
        let everyone = 0..case.plans.len();
        match done[txn] {
            0 => actors[txn].order(Order::Begin),
            1 => {
                actors[txn].order(Order::Lock(key_of(txn)));
                if everyone.clone().filter(sharing).any(|other| done[other] == 2 || done[other] == 3) {
                    waiting[txn] = true;
                    continue;
                }
            }
            2 => actors[txn].order(Order::Insert),
            _ => actors[txn].order(Order::End { commits: plan.commits }),
        }
        actors[txn].done().await;
        done[txn] += 1;
        if done[txn] == 4 {
            if let Some(next) = everyone.clone().filter(sharing).find(|other| waiting[*other]) {
                actors[next].done().await;
                waiting[next] = false;
                done[next] += 1;
            }
            if plan.commits {
                stage.outbox.wake();
                committed[plan.key] += 1;
                if pace == Pace::EachCommit {
                    stage.watcher.until_seen(&stage.orders, &key_of(txn), committed[plan.key]).await;
                }
            }
        }
    }
    for txn in 0..case.plans.len() {
        let expected = committed[case.plans[txn].key];
        if expected > 0 {
            stage.watcher.until_seen(&stage.orders, &key_of(txn), expected).await;
        }
        let seen = stage.watcher.sequences(&stage.orders, &key_of(txn));
        assert_eq!(seen, (1..=expected).collect::<Vec<_>>(), "{:?} in order {:?}", case.plans, case.schedule);
    }
}

async fn begin(stage: &Stage) -> PgConnection {
    let mut conn = PgConnection::connect(stage.database.url()).await.unwrap();
    begin_on(&mut conn).await;
    conn
}

/// Begins and takes a transaction id at once, as any earlier write of the transaction would.
async fn begin_on(conn: &mut PgConnection) {
    conn.execute("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
}

#[derive(Debug)]
enum Order {
    Begin,
    Lock(String),
    Insert,
    End { commits: bool },
}

/// A connection that runs one command after the other, and can wait for a lock meanwhile.
struct Actor {
    orders: mpsc::Sender<Order>,
    done: mpsc::Receiver<()>,
    _task: JoinSet<()>,
}

impl Actor {
    async fn connect(stage: &Stage) -> Self {
        let mut conn = PgConnection::connect(stage.database.url()).await.unwrap();
        conn.execute("SET synchronous_commit = off; SET lock_timeout = '20s'").await.unwrap();
        let (outbox, topic) = (stage.outbox.clone(), stage.orders.clone());
        let (orders, mut ordered) = mpsc::channel(1);
        let (report, done) = mpsc::channel(1);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut locked = None;
            while let Some(order) = ordered.recv().await {
                match order {
                    Order::Begin => begin_on(&mut conn).await,
                    Order::Lock(key) => locked = Some(lock(&mut conn, &key).await),
                    Order::Insert => {
                        let aggregate = locked.take().unwrap();
                        publish(&mut conn, &outbox, &topic, vec![aggregate]).await.unwrap();
                    }
                    Order::End { commits: true } => drop(conn.execute("COMMIT").await.unwrap()),
                    Order::End { commits: false } => drop(conn.execute("ROLLBACK").await.unwrap()),
                }
                if report.send(()).await.is_err() {
                    return;
                }
            }
        });
        Self { orders, done, _task: task }
    }

    fn order(&self, order: Order) {
        self.orders.try_send(order).expect("one order at a time");
    }

    async fn done(&mut self) {
        let done = tokio::time::timeout(crate::stage::TIMEOUT, self.done.recv()).await;
        done.expect("the step is done in time").expect("the connection works");
    }
}

/// All assignments of commit and rollback to transactions that change these aggregates.
pub(crate) fn outcomes(keys: &[usize]) -> Vec<Vec<Plan>> {
    (0..1_usize << keys.len())
        .map(|bits| {
            let plan = |(txn, key): (usize, &usize)| Plan { key: *key, commits: bits & (1 << txn) != 0 };
            keys.iter().enumerate().map(plan).collect()
        })
        .collect()
}
