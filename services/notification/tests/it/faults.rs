//! Whose fault a refusal is: of the mail only in an answer to its recipient or content, else of the way to the server.

use contracts::clock::new_id;
use service::leases::Settings;
use std::time::Duration;
use testkit::smtp::Phase::{Auth, Content, Greeting, Recipient, Sender};
use testkit::smtp::{Misbehaviour, Phase, SmtpServer};
use testkit::wait::eventually;

use crate::stack::{POLICY, SETTINGS, Stack, WAIT_TIMEOUT, placed};

/// Probes follow each other quickly.
const QUICK: Settings = Settings { cool_down: Duration::from_millis(1), ..SETTINGS };

/// Answers that refuse whoever asks, or whatever this client sends.
const OF_THE_TRANSPORT: [(Phase, &str); 16] = [
    (Greeting, "554 no SMTP service here"),
    (Greeting, "421 too many connections"),
    (Auth, "535 5.7.8 authentication failed"),
    (Auth, "454 4.7.0 temporary authentication failure"),
    (Auth, "500 unrecognized command"),
    (Sender, "530 5.7.0 authentication required"),
    (Sender, "550 5.7.1 sender not allowed"),
    (Sender, "452 4.3.1 insufficient system storage"),
    (Recipient, "550 5.7.1 relaying denied"),
    (Recipient, "554 5.7.1 <eve@example.org>: Relay access denied"),
    (Recipient, "454 4.7.1 <eve@example.org>: Relay access denied"),
    (Recipient, "530 authentication required"),
    (Recipient, "554 transaction failed"),
    (Recipient, "421 4.3.2 shutting down"),
    (Content, "550 5.7.26 the sender's domain is not authenticated"),
    (Content, "421 4.7.28 rate limit"),
];

#[tokio::test]
async fn what_refuses_everybody_is_no_mails_fault_however_long_it_lasts() {
    let stack = Stack::start().await;
    for (phase, answer) in OF_THE_TRANSPORT {
        let server = SmtpServer::start(&[]).await.unwrap();
        server.always_answers(Some((phase, answer)));
        let worker = stack.worker_of(stack.delivery(&server.url_with_password(), QUICK), QUICK);
        let order_id = new_id();
        stack.apply(&[placed(order_id)]).await;
        eventually("it is tried more often than a mail that is refused", WAIT_TIMEOUT, async || {
            let row = stack.mails(order_id).await.remove(0);
            if row.attempts > POLICY.max_attempts || row.state != "pending" { Ok(()) } else { Err(row) }
        })
        .await;
        let row = stack.mails(order_id).await.remove(0);
        assert_eq!(row.state, "pending", "{answer}: {row:?}");
        let code = &answer[..3];
        assert!(row.last_error.as_ref().is_some_and(|error| error.contains(code)), "{answer}: {row:?}");
        assert!(!row.last_error.unwrap().contains("eve@"), "{answer}");
        server.always_answers(None);
        stack.rest().await;
        worker.stop().await;
        let row = stack.mails(order_id).await.remove(0);
        assert_eq!(row.state, "sent", "{answer}: {row:?}");
        assert_eq!(server.taken().len(), 1, "{answer}");
    }
}

#[tokio::test]
async fn what_refuses_one_recipient_or_content_for_good_fails_its_mail_at_once_and_no_other() {
    let stack = Stack::start().await;
    let refusals = [
        (Recipient, "550 5.1.1 no such user", "smtp 550 5.1.1"),
        (Recipient, "550 no such user", "smtp 550"),
        (Recipient, "553 5.1.3 bad address", "smtp 553 5.1.3"),
        (Recipient, "552 5.2.2 mailbox full", "smtp 552 5.2.2"),
        (Recipient, "556 5.1.10 recipient's domain has a null MX", "smtp 556 5.1.10"),
        (Content, "554 5.6.0 malformed", "smtp 554 5.6.0"),
        (Content, "554 5.7.1 looks like spam", "smtp 554 5.7.1"),
        (Content, "552 5.3.4 too big", "smtp 552 5.3.4"),
    ];
    let answers = refusals.map(|(phase, answer, _)| Misbehaviour::Answers(phase, answer));
    for (answer, (_, _, expected)) in answers.into_iter().zip(refusals) {
        let server = SmtpServer::start(&[answer]).await.unwrap();
        let settings = Settings { concurrency: 1, ..SETTINGS };
        let (refused, next) = (new_id(), new_id());
        stack.apply(&[placed(refused)]).await;
        stack.apply(&[placed(next)]).await;
        let worker = stack.worker_of(stack.delivery(&server.url(), settings), settings);
        stack.rest().await;
        worker.stop().await;
        let row = stack.mails(refused).await.remove(0);
        assert_eq!((row.state.as_str(), row.attempts), ("failed", 1), "{expected}: {row:?}");
        assert_eq!(row.last_error.as_deref(), Some(expected));
        let row = stack.mails(next).await.remove(0);
        assert_eq!((row.state.as_str(), row.attempts), ("sent", 1), "{expected}: {row:?}");
    }
}

#[tokio::test]
async fn what_refuses_one_recipient_for_now_ends_its_mail_after_its_attempts() {
    let stack = Stack::start().await;
    for (phase, answer) in [
        (Recipient, "450 4.2.0 greylisted"),
        (Recipient, "452 4.2.2 mailbox full"),
        (Content, "451 try later"),
    ] {
        let server = SmtpServer::start(&[]).await.unwrap();
        server.always_answers(Some((phase, answer)));
        let worker = stack.worker(&server.url());
        let order_id = new_id();
        stack.apply(&[placed(order_id)]).await;
        stack.rest().await;
        worker.stop().await;
        let row = stack.mails(order_id).await.remove(0);
        assert_eq!((row.state.as_str(), row.attempts), ("failed", POLICY.max_attempts), "{answer}: {row:?}");
    }
}

#[tokio::test]
async fn faults_of_the_transport_use_up_no_attempt_of_the_mail() {
    let stack = Stack::start().await;
    let mut moods = vec![Misbehaviour::Answers(Auth, "535 5.7.8 authentication failed"); 6];
    moods.extend([Misbehaviour::Answers(Recipient, "450 4.2.0 greylisted"); 2]);
    let server = SmtpServer::start(&moods).await.unwrap();
    let worker = stack.worker_of(stack.delivery(&server.url_with_password(), QUICK), QUICK);
    let order_id = new_id();
    stack.apply(&[placed(order_id)]).await;
    stack.rest().await;
    worker.stop().await;
    let row = stack.mails(order_id).await.remove(0);
    assert_eq!((row.state.as_str(), row.attempts), ("sent", 9), "{row:?}");
}
