//! A mailer whose way to its SMTP server is cut takes no more mails than it needs to see when the way is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use contracts::clock::new_id;
use notification::application::deliver_mails::MailDelivery;
use notification::application::mail::Mail;
use notification::application::mailer::Sent;
use service::leases::{COOL_DOWN, Contact, LeasedWork, Settings};
use testkit::proxy::Proxy;
use testkit::smtp::{Misbehaviour, Phase, SmtpServer};
use testkit::wait::eventually;
use uuid::Uuid;

use crate::stack::{RunningWorker, SETTINGS, Stack, WAIT_TIMEOUT, placed};

/// Calls without an answer that lead to a pause, as the worker counts them.
const UNANSWERED: usize = 5;

/// A call without an answer ends soon.
const CUT: Settings = Settings { call_timeout: Duration::from_millis(300), ..SETTINGS };

/// What one worker leases and records.
#[derive(Debug, Default)]
struct Counts {
    leased: AtomicUsize,
    recorded: AtomicUsize,
}

impl Counts {
    fn leased(&self) -> usize {
        self.leased.load(Ordering::SeqCst)
    }

    /// Waits until so many mails without an answer were recorded.
    async fn recorded(&self, at_least: usize) {
        eventually("mails have no answer", WAIT_TIMEOUT, async || {
            let recorded = self.recorded.load(Ordering::SeqCst);
            if recorded >= at_least { Ok(()) } else { Err(recorded) }
        })
        .await;
    }
}

/// A delivery that is counted.
#[derive(Debug)]
struct Counted(Arc<MailDelivery>, Arc<Counts>);

#[async_trait]
impl LeasedWork for Counted {
    type Item = Mail;
    type Outcome = Sent;

    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn table(&self) -> &'static str {
        self.0.table()
    }

    async fn lease(&self, limit: usize) -> anyhow::Result<Vec<Mail>> {
        let mails = self.0.lease(limit).await?;
        self.1.leased.fetch_add(mails.len(), Ordering::SeqCst);
        Ok(mails)
    }

    async fn next_due_in(&self) -> anyhow::Result<Option<Duration>> {
        self.0.next_due_in().await
    }

    async fn perform(self: Arc<Self>, mail: Mail) -> (Contact, Sent) {
        Arc::clone(&self.0).perform(mail).await
    }

    async fn record(&self, sent: &[Sent], go_on: bool) -> anyhow::Result<Vec<Mail>> {
        let next = self.0.record(sent, go_on).await?;
        self.1.recorded.fetch_add(sent.len(), Ordering::SeqCst);
        Ok(next)
    }
}

/// A worker that sends to `url`, and what it leases and records.
fn counted(stack: &Stack, url: &str, settings: Settings) -> (RunningWorker, Arc<Counts>) {
    let counts = Arc::new(Counts::default());
    let delivery = Arc::new(stack.delivery(url, settings));
    (stack.worker_of(Counted(delivery, Arc::clone(&counts)), settings), counts)
}

/// A server, and a way to it on which nothing passes.
async fn cut_off() -> (SmtpServer, Proxy) {
    let server = SmtpServer::start(&[]).await.unwrap();
    let way = Proxy::start(server.url().trim_start_matches("smtp://").to_owned()).await.unwrap();
    way.silence_all();
    (server, way)
}

fn url(way: &Proxy) -> String {
    format!("smtp://{}", way.address())
}

async fn place(stack: &Stack, orders: usize) -> Vec<Uuid> {
    let orders: Vec<Uuid> = (0..orders).map(|_| new_id()).collect();
    let facts: Vec<_> = orders.iter().map(|id| placed(*id)).collect();
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
async fn a_mailer_without_its_server_leaves_the_mails_to_one_that_has_it() {
    let stack = Stack::start().await;
    let (server, way) = cut_off().await;
    let mut orders = place(&stack, 40).await;
    let began = Instant::now();
    let (cut, counts) = counted(&stack, &url(&way), CUT);
    counts.recorded(SETTINGS.concurrency).await;
    let healthy = stack.worker(&server.url());
    for _ in 0..5 {
        orders.extend(place(&stack, 20).await);
        stack.rest().await;
    }
    let most = most(began.elapsed(), COOL_DOWN);
    assert!(counts.leased() <= most, "{} leased, at most {most}", counts.leased());
    cut.stop().await;
    healthy.stop().await;
    for order_id in &orders {
        let rows = stack.mails(*order_id).await;
        assert!(rows.iter().all(|row| row.state == "sent"), "{rows:?}");
    }
    assert_eq!(server.taken().len(), orders.len());
}

#[tokio::test]
async fn a_paused_mailer_goes_on_when_its_server_answers() {
    let stack = Stack::start().await;
    let (server, way) = cut_off().await;
    let orders = place(&stack, 16).await;
    let began = Instant::now();
    let settings = Settings { cool_down: Duration::from_secs(1), ..CUT };
    let (worker, counts) = counted(&stack, &url(&way), settings);
    counts.recorded(SETTINGS.concurrency).await;
    // What does not happen is seen by time that passes.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let most = most(began.elapsed(), settings.cool_down);
    assert!(counts.leased() <= most, "{} leased, at most {most}", counts.leased());
    way.serve();
    stack.rest().await;
    worker.stop().await;
    for order_id in orders {
        let rows = stack.mails(order_id).await;
        assert!(rows.iter().all(|row| row.state == "sent"), "{rows:?}");
    }
    assert_eq!(server.taken().len(), 16);
}

#[tokio::test]
async fn a_server_that_refuses_is_there_and_pauses_no_mailer() {
    let stack = Stack::start().await;
    let server = SmtpServer::start(&[Misbehaviour::RefusesForNow; 12]).await.unwrap();
    // A pause would outlast the test.
    let settings = Settings { cool_down: Duration::from_secs(3_600), ..SETTINGS };
    let worker = stack.worker_of(stack.delivery(&server.url(), settings), settings);
    place(&stack, 16).await;
    stack.rest().await;
    worker.stop().await;
    assert_eq!(server.taken().len(), 16);
}

#[tokio::test]
async fn a_server_that_refuses_everybody_pauses_the_mailer_for_all_mails() {
    let stack = Stack::start().await;
    let server = SmtpServer::start(&[]).await.unwrap();
    server.always_answers(Some((Phase::Auth, "535 5.7.8 authentication failed")));
    let orders = place(&stack, 40).await;
    let began = Instant::now();
    let settings = Settings { cool_down: Duration::from_secs(1), ..SETTINGS };
    let (worker, counts) = counted(&stack, &server.url_with_password(), settings);
    counts.recorded(SETTINGS.concurrency).await;
    // What does not happen is seen by time that passes.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let most = most(began.elapsed(), settings.cool_down);
    assert!(counts.leased() <= most, "{} leased, at most {most}", counts.leased());
    server.always_answers(None);
    stack.rest().await;
    worker.stop().await;
    for order_id in orders {
        let rows = stack.mails(order_id).await;
        assert!(rows.iter().all(|row| row.state == "sent"), "{rows:?}");
    }
    assert_eq!(server.taken().len(), 40);
}
