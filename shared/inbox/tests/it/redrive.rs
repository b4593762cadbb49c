//! Once the cause is fixed, a key's dead letters have their effect, once and in order, whatever else goes on.

use std::sync::atomic::Ordering;

use contracts::clock::{new_id, now};
use contracts::envelope::CONTENT_TYPE;
use contracts::stock::StockReplenished;
use contracts::{AnyEvent, Envelope};
use inbox::Redriven;
use messaging::Record;
use testkit::wait::eventually;
use uuid::Uuid;

use crate::ledger::{IMPOSSIBLE, REFUSED};
use crate::stack::{Stack, TIMEOUT, cancelled, cause, confirmed};

/// The database accepts what it refused.
async fn fix(stack: &Stack) {
    sqlx::query("ALTER TABLE ledger DROP CONSTRAINT ledger_detail_check")
        .execute(stack.database.pool())
        .await
        .unwrap();
}

const fn all_of(applied: u64) -> Redriven {
    Redriven { applied, already_decided: 0, remaining: 0, rejected: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fixed_keys_events_have_their_effect_once_and_in_order_and_the_key_is_free_again() {
    let mut stack = Stack::start().await;
    let order = new_id();
    let events = [cancelled(order, 1, REFUSED), confirmed(order, 2), confirmed(order, 3)];
    for event in &events {
        stack.publish(event).await;
    }
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    let listed = stack.listed().await;
    let found: Vec<_> = listed.iter().map(|event| (event.event_id, event.reason.as_str())).collect();
    let ids = events.each_ref().map(contracts::AnyEvent::event_id);
    assert_eq!(
        found,
        [(ids[0], "data_error"), (ids[1], "behind_dead_letter"), (ids[2], "behind_dead_letter")]
    );
    assert_eq!(listed[0].key, Some(order.to_string()));

    let refused = stack.redrive_oldest().await;
    assert_eq!((refused.applied, refused.remaining), (0, 3));
    assert!(refused.rejected.is_some_and(|why| why.contains("data_error")));
    assert!(stack.effects(order).await.is_empty());

    fix(&stack).await;
    assert_eq!(stack.redrive_oldest().await, all_of(3));
    assert_eq!(stack.effects(order).await, [1, 2, 3]);
    assert!(stack.dead_letters().await.is_empty());
    assert_eq!(stack.redrive(listed[0].id).await, None, "it is no dead letter any more");

    for event in &events {
        stack.publish(event).await;
    }
    stack.publish(&confirmed(order, 4)).await;
    stack.caught_up().await;
    assert_eq!(
        stack.effects(order).await,
        [1, 2, 3, 4],
        "delivered again, they are duplicates; the next one passes"
    );
    assert!(stack.dead_letters().await.is_empty());
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_ends_before_what_is_refused_for_a_reason_of_its_own() {
    let mut stack = Stack::start().await;
    let order = new_id();
    stack.publish(&cancelled(order, 1, REFUSED)).await;
    stack.publish(&cancelled(order, 2, IMPOSSIBLE)).await;
    stack.publish(&confirmed(order, 3)).await;
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    fix(&stack).await;
    let redriven = stack.redrive_oldest().await;
    assert_eq!((redriven.applied, redriven.remaining), (1, 2));
    assert_eq!(stack.effects(order).await, [1], "the refused event's change must not be stored");
    let reasons: Vec<String> = stack.dead_letters().await.into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons, ["impossible", "behind_dead_letter"]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_that_fails_before_its_commit_leaves_the_dead_letter() {
    let mut stack = Stack::start().await;
    let order = new_id();
    stack.publish(&cancelled(order, 1, REFUSED)).await;
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    fix(&stack).await;
    stack.faults.failures_before_commit.store(1, Ordering::SeqCst);
    let id = stack.listed().await[0].id;
    assert!(stack.redriver().redrive(id, "a test").await.is_err(), "the error is transient");
    assert_eq!(stack.dead_letters().await.len(), 1);
    assert!(stack.effects(order).await.is_empty());
    assert_eq!(stack.redrive_oldest().await, all_of(1));
    assert_eq!(stack.effects(order).await, [1]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redrives_at_once_and_a_key_that_goes_on_keep_the_order() {
    const EVENTS: i64 = 60;
    let mut stack = Stack::start().await;
    stack.max_batch_records = 2;
    stack.consume_as("tidings.ledger");
    let order = new_id();
    stack.publish(&cancelled(order, 1, REFUSED)).await;
    stack.caught_up().await;
    fix(&stack).await;
    let publishing = async {
        for sequence in 2..=EVENTS {
            stack.publish(&confirmed(order, sequence)).await;
            tokio::task::yield_now().await;
        }
    };
    let redriving = async || {
        eventually("there are no dead letters", TIMEOUT, async || {
            for letter in stack.listed().await {
                stack.redrive(letter.id).await;
            }
            let effects = stack.effects(order).await.len();
            if i64::try_from(effects) == Ok(EVENTS) { Ok(()) } else { Err(effects) }
        })
        .await;
    };
    tokio::join!(publishing, redriving(), redriving(), redriving());
    stack.caught_up().await;
    assert_eq!(stack.effects(order).await, (1..=EVENTS).collect::<Vec<_>>());
    assert!(stack.dead_letters().await.is_empty());
    stack.stop().await;
}

/// Like a batch, a redrive locks the key before what its effect changes, so that the two can't wait for each other.
#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_waits_for_its_key_before_it_touches_what_it_changes() {
    let mut stack = Stack::start().await;
    stack.consume_as("tidings.ledger");
    let order = new_id();
    stack.publish(&cancelled(order, 1, REFUSED)).await;
    stack.caught_up().await;
    fix(&stack).await;
    let mut batch = stack.database.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM inbox.dead_letter_keys FOR UPDATE").execute(&mut *batch).await.unwrap();
    let held_off = async {
        let waits = eventually("the redrive waits", TIMEOUT, async || {
            sqlx::query_scalar::<_, i32>(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
            )
            .fetch_one(stack.database.pool())
            .await
        })
        .await;
        let touched: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_locks WHERE pid = $1 AND relation = 'ledger'::regclass",
        )
        .bind(waits)
        .fetch_one(stack.database.pool())
        .await
        .unwrap();
        batch.rollback().await.unwrap();
        touched
    };
    let (redriven, touched) = tokio::join!(stack.redrive_oldest(), held_off);
    assert_eq!((redriven, touched), (all_of(1), 0));
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_stays_a_dead_letter_and_what_the_inbox_had_forgotten_can_be_applied() {
    let mut stack = Stack::start().await;
    let old = confirmed(new_id(), 1);
    stack.publish(&confirmed(new_id(), 1)).await;
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    stack.forget_everything().await;
    let nonsense = Record {
        topic: stack.codec.topics().name(old.topic()),
        key: Some("nonsense".into()),
        value: Some(vec![1, 2, 3]),
        headers: Vec::new(),
    };
    stack.publish_raw(nonsense).await;
    stack.publish(&old).await;
    stack.caught_up().await;
    assert_eq!(stack.outcome(old.event_id()).await.as_deref(), Some("undecidable"));
    for letter in stack.listed().await {
        let redriven = stack.redrive(letter.id).await.unwrap();
        if letter.key.as_deref() == Some("nonsense") {
            assert!(redriven.rejected.is_some_and(|why| why.contains("wrong_magic_byte")));
        } else {
            assert_eq!(redriven, all_of(1));
        }
    }
    assert_eq!(stack.effects(old.key().parse().unwrap()).await, [1]);
    assert_eq!(stack.outcome(old.event_id()).await.as_deref(), Some("undecidable_redriven"));
    let left = stack.listed().await;
    assert_eq!(
        left.iter().map(|letter| (letter.reason.as_str(), letter.attempts)).collect::<Vec<_>>(),
        [("wrong_magic_byte", 1)]
    );
    stack.stop().await;
}

/// Puts a letter whose record could not be read, as a registry that lags behind makes it.
async fn put_unreadable(stack: &Stack, event: &AnyEvent) -> Uuid {
    let key = event.key().into_bytes();
    let envelope = Envelope::of(event, "order", &cause());
    let (names, values): (Vec<String>, Vec<Vec<u8>>) = envelope.to_headers(CONTENT_TYPE).into_iter().unzip();
    let made = Uuid::from_u128(u128::MAX - u128::from(event.sequence().unsigned_abs()));
    sqlx::query(
        r#"WITH known AS (
               INSERT INTO inbox.events (event_id, topic, partition, "offset", log, outcome)
               VALUES ($1, $2, 0, 1000, 1, 'dead_lettered')
           ), blocked AS (
               INSERT INTO inbox.dead_letter_keys (topic, key_digest, open_letters) VALUES ($2, sha256($3), 1)
               ON CONFLICT (topic, key_digest) DO UPDATE SET open_letters = dead_letter_keys.open_letters + 1
           )
           INSERT INTO inbox.dead_letters
               (event_id, topic, partition, "offset", log, key, reason, detail, fingerprint, header_names, header_values, value)
           VALUES ($1, $2, 0, 1000, 1, $3, 'unknown_schema', 'the registry lags', '', $4, $5, $6)"#,
    )
    .bind(made)
    .bind(stack.codec.topics().name(event.topic()))
    .bind(key)
    .bind(names)
    .bind(values)
    .bind(stack.codec.encode(event).unwrap())
    .execute(stack.database.pool())
    .await
    .unwrap();
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_undecodable_first_and_decodable_when_repeated_keeps_its_keys_order() {
    let mut stack = Stack::start().await;
    let order = new_id();
    let events = [confirmed(order, 1), confirmed(order, 2)];
    stack.consume_as("tidings.ledger");
    let made = put_unreadable(&stack, &events[0]).await;
    // The second event waits behind the first one's letter, and so does the first one's repetition.
    for event in [&events[1], &events[0]] {
        stack.publish(event).await;
        stack.caught_up().await;
    }
    let redriven = stack.redrive_oldest().await;
    assert_eq!(redriven, Redriven { applied: 2, already_decided: 1, remaining: 0, rejected: None });
    assert_eq!(stack.effects(order).await, [1, 2]);
    for id in [made, events[0].event_id(), events[1].event_id()] {
        assert_eq!(stack.outcome(id).await.as_deref(), Some("redriven"));
    }
    stack.publish(&events[0]).await;
    stack.caught_up().await;
    assert_eq!(stack.effects(order).await, [1, 2], "a third copy is a duplicate");
    assert!(stack.dead_letters().await.is_empty());
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_whose_event_was_discarded_goes_without_an_effect() {
    let mut stack = Stack::start().await;
    let order = new_id();
    let event = confirmed(order, 1);
    stack.consume_as("tidings.ledger");
    let made = put_unreadable(&stack, &event).await;
    sqlx::query(
        r#"INSERT INTO inbox.events (event_id, topic, partition, "offset", log, outcome)
           VALUES ($1, $2, 0, 1001, 1, 'discarded')"#,
    )
    .bind(event.event_id())
    .bind(stack.codec.topics().name(event.topic()))
    .execute(stack.database.pool())
    .await
    .unwrap();
    let redriven = stack.redrive_oldest().await;
    assert_eq!(redriven, Redriven { applied: 0, already_decided: 1, remaining: 0, rejected: None });
    assert_eq!(stack.effects(order).await, Vec::<i64>::new());
    for id in [made, event.event_id()] {
        assert_eq!(stack.outcome(id).await.as_deref(), Some("discarded"));
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_below_the_floor_doubles_nothing() {
    let mut stack = Stack::start().await;
    let order = new_id();
    let event = confirmed(order, 1);
    stack.publish(&event).await;
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    stack.forget_everything().await;
    put_unreadable(&stack, &event).await;
    let redriven = stack.redrive_oldest().await;
    assert_eq!((redriven.applied, redriven.remaining), (0, 1));
    assert!(redriven.rejected.is_some_and(|why| why.contains("event_id_below_floor")));
    assert_eq!(stack.effects(order).await, [1]);
    assert_eq!(stack.outcome(event.event_id()).await, None, "it was rolled back");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_decided_is_redriven_by_its_own_id_only() {
    let mut stack = Stack::start().await;
    let order = new_id();
    let (first, second) = (confirmed(order, 1), confirmed(order, 2));
    stack.publish(&first).await;
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    stack.forget_everything().await;
    for event in [&first, &second] {
        stack.publish(event).await;
        stack.caught_up().await;
    }
    let listed = stack.listed().await;
    let redriven = stack.redrive(listed[1].id).await.unwrap();
    assert_eq!((redriven.applied, redriven.remaining), (0, 2));
    assert!(redriven.rejected.is_some_and(|why| why.contains("event_id_below_floor")));
    assert_eq!(stack.effects(order).await, [1], "it was applied, and is not applied again by the way");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_without_a_handler_leaves_the_letter() {
    let mut stack = Stack::start().await;
    stack.consume_as("tidings.ledger");
    let foreign = AnyEvent::StockReplenished(StockReplenished {
        event_id: new_id(),
        occurred_at: now(),
        sku: "TEAPOT".to_owned(),
        sequence: 1,
        quantity: 1,
        available: 1,
        threshold: 0,
    });
    put_unreadable(&stack, &foreign).await;
    let redriven = stack.redrive_oldest().await;
    assert!(redriven.rejected.is_some_and(|why| why.contains("no_handler")));
    assert_eq!(stack.listed().await.len(), 1);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_redrive_stands_in_the_audit_and_the_audit_stays() {
    let mut stack = Stack::start().await;
    let order = new_id();
    stack.publish(&cancelled(order, 1, REFUSED)).await;
    stack.publish(&confirmed(order, 2)).await;
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    stack.redrive_oldest().await;
    fix(&stack).await;
    assert_eq!(stack.redrive_oldest().await, all_of(2));
    let audit: Vec<(String, String, String)> =
        sqlx::query_as("SELECT actor, reason, result FROM inbox.dead_letter_audit ORDER BY id")
            .fetch_all(stack.database.pool())
            .await
            .unwrap();
    let audit: Vec<_> = audit.iter().map(|(a, b, c)| (a.as_str(), b.as_str(), c.as_str())).collect();
    assert_eq!(
        audit,
        [
            ("a test", "data_error", "rejected"),
            ("a test", "data_error", "applied"),
            ("a test", "behind_dead_letter", "applied")
        ]
    );
    for statement in ["DELETE FROM inbox.dead_letter_audit", "UPDATE inbox.dead_letter_audit SET actor = ''"]
    {
        let refused = sqlx::query(statement).execute(stack.database.pool()).await;
        assert!(refused.is_err_and(|error| error.to_string().contains("is not changed")), "{statement}");
    }
    stack.stop().await;
}
