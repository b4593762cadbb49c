//! Mails are counted once, by their end.

use contracts::clock::new_id;
use testkit::exposition::Recorded;
use testkit::smtp::{Misbehaviour, SmtpServer};

use crate::stack::{Stack, confirmed, placed};

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
