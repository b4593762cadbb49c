//! Mails reach an SMTP server, survive its moods and the mailer's death, and repeat only under the same Message-ID.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use contracts::clock::new_id;
use notification::application::mail::Mail;
use notification::application::mailer::{Delivery, Mailer, SendError};
use service::leases::Settings;
use testkit::smtp::{Misbehaviour, SmtpServer};
use testkit::wait::eventually;
use tokio::sync::Notify;

use crate::stack::{SETTINGS, Stack, WAIT_TIMEOUT, cancelled, confirmed, placed, refunded};

fn message_id(mail: &str) -> &str {
    mail.lines().find_map(|line| line.strip_prefix("Message-ID: ")).expect("a Message-ID")
}

#[tokio::test]
async fn a_customer_gets_every_mail_once_in_text_and_html() {
    let stack = Stack::start().await;
    let server = SmtpServer::start(&[]).await.unwrap();
    let worker = stack.worker(&server.url());
    let order_id = new_id();
    stack.apply(&[placed(order_id), cancelled(order_id), refunded(order_id)]).await;
    stack.rest().await;
    worker.stop().await;
    let taken = server.taken();
    let mut ids: Vec<&str> = taken.iter().map(|mail| message_id(mail)).collect();
    ids.sort_unstable();
    let expected: Vec<String> = ["order_cancelled", "order_received", "payment_refunded"]
        .map(|kind| format!("<{order_id}.{kind}@tidings.example>"))
        .to_vec();
    assert_eq!(ids, expected);
    for mail in &taken {
        assert!(mail.contains("To: ") && mail.contains("<eve@example.org>"), "{mail}");
        assert!(mail.contains("text/plain") && mail.contains("text/html"), "{mail}");
    }
    let rows = stack.mails(order_id).await;
    assert!(rows.iter().all(|row| row.transport.as_deref() == Some("smtp") && row.attempts == 1), "{rows:?}");
}

#[tokio::test]
async fn a_server_that_refuses_for_now_gets_the_mail_again() {
    let stack = Stack::start().await;
    let server =
        SmtpServer::start(&[Misbehaviour::RefusesForNow, Misbehaviour::RefusesForNow]).await.unwrap();
    let worker = stack.worker(&server.url());
    let order_id = new_id();
    stack.apply(&[placed(order_id)]).await;
    stack.rest().await;
    worker.stop().await;
    assert_eq!(server.taken().len(), 1);
    let rows = stack.mails(order_id).await;
    assert_eq!((rows[0].state.as_str(), rows[0].attempts), ("sent", 3), "{rows:?}");
}

#[tokio::test]
async fn a_server_that_always_refuses_for_now_ends_the_attempts() {
    let stack = Stack::start().await;
    let server = SmtpServer::start(&[Misbehaviour::RefusesForNow; 10]).await.unwrap();
    let worker = stack.worker(&server.url());
    let order_id = new_id();
    stack.apply(&[placed(order_id)]).await;
    stack.rest().await;
    worker.stop().await;
    let rows = stack.mails(order_id).await;
    assert_eq!((rows[0].state.as_str(), rows[0].attempts), ("failed", 4), "{rows:?}");
}

#[tokio::test]
async fn a_mail_refused_for_ever_is_not_repeated_and_its_error_names_nobody() {
    let stack = Stack::start().await;
    let server = SmtpServer::start(&[Misbehaviour::RefusesForEver]).await.unwrap();
    let worker = stack.worker(&server.url());
    let order_id = new_id();
    stack.apply(&[placed(order_id)]).await;
    stack.rest().await;
    worker.stop().await;
    let rows = stack.mails(order_id).await;
    assert_eq!((rows[0].state.as_str(), rows[0].attempts), ("failed", 1), "{rows:?}");
    assert_eq!(rows[0].last_error.as_deref(), Some("smtp 550"));
}

#[tokio::test]
async fn a_mail_taken_without_a_word_is_repeated_under_the_same_message_id() {
    let stack = Stack::start().await;
    let server = SmtpServer::start(&[Misbehaviour::HangsUpAfterTaking]).await.unwrap();
    let worker = stack.worker(&server.url());
    stack.apply(&[placed(new_id())]).await;
    stack.rest().await;
    worker.stop().await;
    let taken = server.taken();
    assert_eq!(taken.len(), 2);
    assert_eq!(message_id(&taken[0]), message_id(&taken[1]));
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_not_taken_for_one_to_the_next_mail() {
    let stack = Stack::start().await;
    let late = Misbehaviour::TakesLate(Duration::from_secs(3));
    let server = SmtpServer::start(&[late, Misbehaviour::RefusesForEver]).await.unwrap();
    let (first, next) = (new_id(), new_id());
    stack.apply(&[placed(first)]).await;
    stack.apply(&[placed(next)]).await;
    // One after the other, so that the next one could have the first one's connection.
    let settings = Settings { concurrency: 1, call_timeout: Duration::from_secs(2), ..SETTINGS };
    let worker = stack.worker_of(stack.delivery(&server.url(), settings), settings);
    stack.rest().await;
    worker.stop().await;
    let row = stack.mails(next).await.remove(0);
    assert_eq!((row.state.as_str(), row.last_error.as_deref()), ("failed", Some("smtp 550")), "{row:?}");
    let row = stack.mails(first).await.remove(0);
    assert_eq!((row.state.as_str(), row.attempts), ("sent", 2), "{row:?}");
}

#[tokio::test]
async fn a_server_that_is_away_is_waited_for() {
    let stack = Stack::start().await;
    let order_id = new_id();
    stack.apply(&[placed(order_id)]).await;
    // No server listens on port 9 of the loopback in a test run.
    let worker = stack.worker("smtp://127.0.0.1:9");
    eventually("an attempt fails", WAIT_TIMEOUT, async || {
        let row = stack.mails(order_id).await.remove(0);
        if row.last_error.is_some() { Ok(()) } else { Err(row) }
    })
    .await;
    worker.stop().await;
    let row = stack.mails(order_id).await.remove(0);
    assert_eq!(row.last_error.as_deref(), Some("no answer"));
}

/// Notifies that it was called, and never returns.
#[derive(Debug)]
struct NeverReturns(Arc<Notify>);

#[async_trait]
impl Mailer for NeverReturns {
    async fn send(&self, _: &Mail) -> Result<Delivery, SendError> {
        self.0.notify_one();
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_dead_mailers_mail_goes_to_another_one_when_the_lease_ends() {
    let stack = Stack::start().await;
    let order_id = new_id();
    stack.apply(&[placed(order_id)]).await;
    let asked = Arc::new(Notify::new());
    let worker = stack.worker_with(Arc::new(NeverReturns(Arc::clone(&asked))));
    tokio::time::timeout(WAIT_TIMEOUT, asked.notified()).await.expect("an attempt");
    worker.kill().await;
    assert_eq!(stack.store().lease(10).await.expect("leasing"), [], "leased by the dead one");
    stack.end_leases().await;
    let worker = stack.worker("");
    stack.rest().await;
    worker.stop().await;
    let rows = stack.mails(order_id).await;
    assert_eq!((rows[0].state.as_str(), rows[0].attempts), ("sent", 2), "{rows:?}");
}

#[tokio::test]
async fn without_a_server_mails_are_recorded_and_go_nowhere() {
    let stack = Stack::start().await;
    let workers = [stack.worker(""), stack.worker("")];
    let orders: Vec<_> = (0..100).map(|_| new_id()).collect();
    let facts: Vec<_> = orders.iter().flat_map(|id| [placed(*id), confirmed(*id)]).collect();
    stack.apply(&facts).await;
    stack.rest().await;
    for worker in workers {
        worker.stop().await;
    }
    for order_id in orders {
        let rows = stack.mails(order_id).await;
        assert_eq!(rows.len(), 2);
        assert!(
            rows.iter().all(|row| row.transport.as_deref() == Some("none") && row.attempts == 1),
            "{rows:?}"
        );
    }
}
