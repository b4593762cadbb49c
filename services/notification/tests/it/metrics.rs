//! Mails are counted once, by their end.

use contracts::clock::new_id;
use notification::adapters::backlog_sampler::BacklogSampler;
use service::Sampler as _;
use service::leases::Settings;
use testkit::exposition::Recorded;
use testkit::smtp::{Misbehaviour, Phase, SmtpServer};

use crate::stack::{SETTINGS, Stack, confirmed, placed};

fn ended(recorded: &Recorded, status: &str) -> (String, String) {
    let sum = |name| recorded.sum(name, &[("status", status)]).to_string();
    (sum("mails_ended_total"), sum("mails_time_to_end_seconds_count"))
}

fn twice(count: &str) -> (String, String) {
    (count.to_owned(), count.to_owned())
}

#[tokio::test]
async fn a_mail_is_counted_when_it_has_been_sent_and_not_while_it_is_tried_again() {
    let recorded = Recorded::start();
    let stack = Stack::start().await;
    let server = SmtpServer::start(&[Misbehaviour::RefusesForNow]).await.unwrap();
    let worker = stack.worker(&server.url());
    let order_id = new_id();
    stack.apply(&[placed(order_id), confirmed(order_id)]).await;
    stack.rest().await;
    worker.stop().await;
    assert_eq!(ended(&recorded, "sent"), twice("2"));
    assert_eq!(ended(&recorded, "failed"), twice("0"));
    let took = recorded.sum("mails_time_to_end_seconds_sum", &[("status", "sent")]);
    assert!(took < 120.0, "from the event, not from 1970: {took}");
}

#[tokio::test]
async fn a_mail_that_is_rejected_for_good_has_failed() {
    let recorded = Recorded::start();
    let stack = Stack::start().await;
    let server = SmtpServer::start(&[Misbehaviour::RefusesForEver]).await.unwrap();
    let worker = stack.worker(&server.url());
    stack.apply(&[placed(new_id())]).await;
    stack.rest().await;
    worker.stop().await;
    assert_eq!(ended(&recorded, "failed"), twice("1"));
    assert_eq!(ended(&recorded, "sent"), twice("0"));
}

#[tokio::test]
async fn the_backlog_shows_what_waits_and_has_failed_and_for_how_long() {
    let recorded = Recorded::start();
    let stack = Stack::start().await;
    let sampler = BacklogSampler::new(stack.database().clone());
    let read = || {
        let count = |status| recorded.sum("mails", &[("status", status)]).to_string();
        (count("pending"), count("failed"), recorded.sum("mails_oldest_pending_age_seconds", &[]))
    };
    sampler.sample().await.unwrap();
    assert_eq!(read(), ("0".to_owned(), "0".to_owned(), 0.0));
    stack.apply(&[placed(new_id()), placed(new_id())]).await;
    sqlx::query(
        "UPDATE mails SET created_at = now() - interval '1 hour', due_at = now() + interval '1 hour'
                 WHERE order_id = (SELECT max(order_id::text)::uuid FROM mails)",
    )
    .execute(stack.pool())
    .await
    .unwrap();
    sampler.sample().await.unwrap();
    let (pending, failed, age) = read();
    assert_eq!((pending.as_str(), failed.as_str()), ("2", "0"));
    assert!((3_600.0..3_700.0).contains(&age), "{age}");
    sqlx::query("UPDATE mails SET state = 'failed', due_at = NULL, completed_at = now()")
        .execute(stack.pool())
        .await
        .unwrap();
    sampler.sample().await.unwrap();
    assert_eq!(read(), ("0".to_owned(), "2".to_owned(), 0.0));
}

#[tokio::test]
async fn each_attempt_is_counted_by_its_outcome() {
    let recorded = Recorded::start();
    let stack = Stack::start().await;
    let server = SmtpServer::start(&[
        Misbehaviour::Answers(Phase::Greeting, "554 no service"),
        Misbehaviour::Answers(Phase::Recipient, "450 4.2.0 later"),
        Misbehaviour::Answers(Phase::Recipient, "550 5.1.1 no such user"),
    ])
    .await
    .unwrap();
    let settings = Settings { concurrency: 1, ..SETTINGS };
    stack.apply(&[placed(new_id())]).await;
    let worker = stack.worker_of(stack.delivery(&server.url(), settings), settings);
    stack.rest().await;
    stack.apply(&[placed(new_id())]).await;
    stack.rest().await;
    worker.stop().await;
    let counted = ["sent", "transient", "permanent", "invalid", "transport"]
        .map(|outcome| recorded.sum("mail_attempts_total", &[("outcome", outcome)]).to_string());
    assert_eq!(counted, ["1", "1", "1", "0", "1"]);
}
