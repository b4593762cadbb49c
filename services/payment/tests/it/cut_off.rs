//! A saga worker whose way to its provider is cut takes no more steps than it needs to see when the way is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use contracts::clock::new_id;
use database::{Bounds, Database};
use payment::adapters::provider::BuiltInProvider;
use payment::application::perform_steps::SagaSteps;
use payment::application::provider::Provider;
use payment::application::saga_job::{Leased, Performed};
use service::leases::{COOL_DOWN, Contact, LeasedWork, Settings};
use testkit::proxy::Proxy;
use testkit::wait::eventually;
use uuid::Uuid;

use crate::stack::{DELAYS, RunningWorker, SETTINGS, Stack, TAKEN, WAIT_TIMEOUT, placed, reserved};

/// Calls without an answer that lead to a pause, as the worker counts them.
const UNANSWERED: usize = 5;

/// A call without an answer ends soon.
const CUT: Settings = Settings { call_timeout: Duration::from_secs(1), ..SETTINGS };

/// What one worker leases and records.
#[derive(Debug, Default)]
struct Counts {
    asked: AtomicUsize,
    leased: AtomicUsize,
    recorded: AtomicUsize,
}

impl Counts {
    fn leased(&self) -> usize {
        self.leased.load(Ordering::SeqCst)
    }
}

/// Steps that are counted.
#[derive(Debug)]
struct Counted(Arc<SagaSteps>, Arc<Counts>);

#[async_trait]
impl LeasedWork for Counted {
    type Item = Leased;
    type Outcome = Performed;

    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn table(&self) -> &'static str {
        self.0.table()
    }

    async fn prepare(&self) -> anyhow::Result<()> {
        self.0.prepare().await
    }

    async fn lease(&self, limit: usize) -> anyhow::Result<Vec<Leased>> {
        let steps = self.0.lease(limit).await?;
        self.1.asked.fetch_add(1, Ordering::SeqCst);
        self.1.leased.fetch_add(steps.len(), Ordering::SeqCst);
        Ok(steps)
    }

    async fn next_due_in(&self) -> anyhow::Result<Option<Duration>> {
        self.0.next_due_in().await
    }

    async fn perform(self: Arc<Self>, leased: Leased) -> (Contact, Performed) {
        Arc::clone(&self.0).perform(leased).await
    }

    async fn record(&self, performed: &[Performed], go_on: bool) -> anyhow::Result<Vec<Leased>> {
        let next = self.0.record(performed, go_on).await?;
        self.1.leased.fetch_add(next.len(), Ordering::SeqCst);
        self.1.recorded.fetch_add(performed.len(), Ordering::SeqCst);
        Ok(next)
    }
}

/// Waits until one of the counters is that high.
async fn until(what: &str, counter: &AtomicUsize, at_least: usize) {
    eventually(what, WAIT_TIMEOUT, async || {
        let seen = counter.load(Ordering::SeqCst);
        if seen >= at_least { Ok(()) } else { Err(seen) }
    })
    .await;
}

/// A worker whose way to the provider fell silent after its start, the way, and what the worker takes.
async fn cut_off(stack: &Stack, cool_down: Duration) -> (RunningWorker, Proxy, Arc<Counts>) {
    let options = stack.pool().connect_options().as_ref().clone();
    let way = Proxy::start(format!("{}:{}", options.get_host(), options.get_port())).await.unwrap();
    let options = options.host("127.0.0.1").port(way.address().port());
    let books = Database::new(options, 8, Bounds::default());
    let provider: Arc<dyn Provider> = Arc::new(BuiltInProvider::new(books, DELAYS));
    let settings = Settings { cool_down, ..CUT };
    let counts = Arc::new(Counts::default());
    let counted = Counted(Arc::new(stack.steps(provider, settings)), Arc::clone(&counts));
    let worker = stack.worker_of(counted, settings);
    until("the worker looks for steps", &counts.asked, 1).await;
    way.silence_all();
    (worker, way, counts)
}

async fn place(stack: &Stack, orders: usize) -> Vec<Uuid> {
    let orders: Vec<Uuid> = (0..orders).map(|_| new_id()).collect();
    let facts: Vec<_> = orders.iter().flat_map(|id| [placed(*id, "tok_visa"), reserved(*id)]).collect();
    stack.apply(&facts).await;
    orders
}

/// What a worker may have leased that was cut off for so long: what was under way when the pause began, what it took in
/// place of the first answers that did not come, and a probe for each cool-down.
fn most(cut_for: Duration, cool_down: Duration) -> usize {
    let probes = 1 + cut_for.as_millis() / cool_down.as_millis();
    SETTINGS.concurrency + UNANSWERED - 1 + usize::try_from(probes).unwrap()
}

#[tokio::test]
async fn a_saga_worker_without_its_provider_leaves_the_steps_to_one_that_has_it() {
    let stack = Stack::start().await;
    let (cut, _way, counts) = cut_off(&stack, COOL_DOWN).await;
    let began = Instant::now();
    let mut orders = place(&stack, 40).await;
    until("steps have no answer", &counts.recorded, SETTINGS.concurrency).await;
    let healthy = stack.worker();
    for _ in 0..5 {
        orders.extend(place(&stack, 20).await);
        stack.rest().await;
    }
    let most = most(began.elapsed(), COOL_DOWN);
    assert!(counts.leased() <= most, "{} leased, at most {most}", counts.leased());
    cut.stop().await;
    healthy.stop().await;
    for order_id in orders {
        assert_eq!(stack.money(order_id).await, TAKEN);
    }
}

#[tokio::test]
async fn a_paused_saga_worker_goes_on_when_its_provider_answers() {
    let stack = Stack::start().await;
    let (worker, way, counts) = cut_off(&stack, Duration::from_secs(1)).await;
    let began = Instant::now();
    let orders = place(&stack, 16).await;
    until("steps have no answer", &counts.recorded, SETTINGS.concurrency).await;
    // What does not happen is seen by time that passes.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let most = most(began.elapsed(), Duration::from_secs(1));
    assert!(counts.leased() <= most, "{} leased, at most {most}", counts.leased());
    way.serve();
    stack.rest().await;
    worker.stop().await;
    for order_id in orders {
        assert_eq!(stack.money(order_id).await, TAKEN);
    }
}
