//! What a broker can do to a relay, and what the relay then does.

use messaging::{Fault, FaultRule, Record, Refusal, TopicSpec};

use crate::relays::{Poll, Reads};
use crate::stage::Stage;
use testkit::broker::all_watermarks;

const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Whether a record has this key and sequence.
fn is(key: &'static str, sequence: i64) -> impl Fn(&Record) -> bool + Send + Sync {
    move |record| {
        record.key.as_deref() == Some(key.as_bytes()) && header(record, "ce_sequence") == sequence.to_string()
    }
}

fn header(record: &Record, name: &str) -> String {
    let (_, value) = record.headers.iter().find(|(header, _)| header == name).unwrap();
    String::from_utf8(value.clone()).unwrap()
}

/// Three messages of each key, relayed under this fault; all of them arrive in sequence.
async fn all_arrive_in_sequence(factory: &Poll, rules: Vec<FaultRule>) {
    let (stage, bus) = Stage::in_memory().await;
    for rule in rules {
        bus.inject(rule);
    }
    for _ in 0..3 {
        stage.commit(&stage.orders, &KEYS).await;
    }
    let relay = stage.start(factory);
    for key in KEYS {
        stage.watcher.until_seen(&stage.orders, key, 3).await;
    }
    stage.until_published().await;
    // A record that lands late does so behind later ones.
    stage.commit(&stage.orders, &KEYS).await;
    stage.until_published().await;
    stage.watcher.assert_in_sequence();
    relay.stop().await;
}

pub(crate) async fn a_lost_acknowledgement_repeats_and_keeps_the_order() {
    let faults = vec![
        FaultRule::times(1, Fault::LoseAcknowledgement, is("a", 1)),
        FaultRule::times(2, Fault::LoseAcknowledgement, is("b", 2)),
        FaultRule::times(1, Fault::LoseAcknowledgement, is("c", 3)),
    ];
    all_arrive_in_sequence(&Poll::default(), faults).await;
}

pub(crate) async fn a_time_out_is_repeated_before_its_successor() {
    let faults = vec![
        FaultRule::times(1, Fault::TimeOut, is("a", 1)),
        FaultRule::times(3, Fault::TimeOut, is("b", 2)),
        FaultRule::times(1, Fault::TimeOut, |record| record.key.as_deref() == Some(b"c")),
    ];
    all_arrive_in_sequence(&Poll::default(), faults).await;
}

pub(crate) async fn a_record_that_lands_late_comes_after_its_repetition_and_not_before_its_predecessor() {
    for behind in 1..=6 {
        let faults = vec![
            FaultRule::times(1, Fault::LandLate { behind }, is("a", 1)),
            FaultRule::times(1, Fault::LandLate { behind }, is("b", 2)),
        ];
        all_arrive_in_sequence(&Poll::default(), faults).await;
    }
}

pub(crate) async fn faults_at_every_record_in_turn_lose_nothing() {
    for fault in [Fault::TimeOut, Fault::LoseAcknowledgement, Fault::LandLate { behind: 3 }] {
        for key in ["a", "b"] {
            for sequence in 1..=3 {
                let faults = vec![FaultRule::times(1, fault, is(key, sequence))];
                all_arrive_in_sequence(&Poll::default(), faults).await;
            }
        }
    }
}

pub(crate) async fn a_record_that_the_broker_refuses_blocks_its_key_and_no_other() {
    let factory = Poll::default();
    let (stage, bus) = Stage::in_memory().await;
    bus.inject(FaultRule::always(Fault::Refuse(Refusal::Policy), is("c", 2)));
    for _ in 0..3 {
        stage.commit(&stage.orders, &KEYS).await;
    }
    let relay = stage.start(&factory);
    assert_eq!(stage.until_blocked(&stage.orders, "c").await, "rejected");
    for key in ["a", "b", "d", "e"] {
        stage.watcher.until_seen(&stage.orders, key, 3).await;
    }
    stage.commit(&stage.orders, &KEYS).await;
    stage.watcher.until_seen(&stage.orders, "e", 4).await;
    assert_eq!(stage.watcher.sequences(&stage.orders, "c"), [1]);
    relay.stop().await;

    // The block survives the relay, and ends with the row that records it.
    let relay = stage.start(&factory);
    stage.commit(&stage.orders, &["a"]).await;
    stage.watcher.until_seen(&stage.orders, "a", 5).await;
    assert_eq!(stage.watcher.sequences(&stage.orders, "c"), [1]);
    bus.heal();
    sqlx::query("DELETE FROM outbox.blocked_keys").execute(stage.pool()).await.unwrap();
    stage.outbox.wake();
    stage.watcher.until_seen(&stage.orders, "c", 4).await;
    stage.until_published().await;
    stage.watcher.assert_in_sequence();
    relay.stop().await;
}

pub(crate) async fn a_released_key_that_is_refused_again_is_blocked_again_under_the_same_relay() {
    let (stage, bus) = Stage::in_memory().await;
    bus.inject(FaultRule::times(4, Fault::Refuse(Refusal::Policy), is("c", 1)));
    let relay = stage.start(&Poll::default());
    for _ in 0..2 {
        stage.commit(&stage.orders, &["c"]).await;
        stage.until_blocked(&stage.orders, "c").await;
        sqlx::query("DELETE FROM outbox.blocked_keys").execute(stage.pool()).await.unwrap();
    }
    stage.outbox.wake();
    stage.watcher.until_seen(&stage.orders, "c", 2).await;
    stage.watcher.assert_in_sequence();
    relay.stop().await;
}

pub(crate) async fn records_refused_only_in_a_batch_are_published() {
    // A broker refuses a batch whole: the first time everybody is refused, alone only the culprit.
    let (stage, bus) = Stage::in_memory().await;
    for key in KEYS {
        bus.inject(FaultRule::times(1, Fault::Refuse(Refusal::Policy), is(key, 1)));
    }
    bus.inject(FaultRule::always(Fault::Refuse(Refusal::Policy), is("e", 1)));
    stage.commit(&stage.orders, &KEYS).await;
    let relay = stage.start(&Poll::default());
    stage.until_blocked(&stage.orders, "e").await;
    for key in ["a", "b", "c", "d"] {
        stage.watcher.until_seen(&stage.orders, key, 1).await;
    }
    assert_eq!(stage.blocked().await, 1);
    relay.stop().await;
}

pub(crate) async fn a_topic_that_cannot_be_written_costs_the_others_nothing() {
    let (stage, bus) = Stage::in_memory().await;
    let mut factory = Poll::default();
    (factory.0.max_in_flight_records, factory.0.buffer_messages) = (4, 8);
    let stock = stage.stock.clone();
    bus.inject(FaultRule::always(Fault::TimeOut, move |record| record.topic == stock));
    let many: Vec<String> = (0..50).map(|n| format!("sku-{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    stage.commit(&stage.stock, &many).await;
    for _ in 0..3 {
        stage.commit(&stage.orders, &KEYS).await;
    }
    let relay = stage.start(&factory);
    for key in KEYS {
        stage.watcher.until_seen(&stage.orders, key, 3).await;
    }
    stage.until_unpublished(50).await;
    bus.heal();
    for key in many {
        stage.watcher.until_seen(&stage.stock, key, 1).await;
    }
    stage.until_published().await;
    relay.stop().await;
}

pub(crate) async fn an_unavailable_broker_is_waited_for() {
    let (stage, bus) = Stage::in_memory().await;
    bus.set_available(false);
    let mut factory = Poll::default();
    factory.0.delivery_timeout_ms = 200;
    let relay = stage.start(&factory);
    for _ in 0..3 {
        stage.commit(&stage.orders, &KEYS).await;
    }
    // Commits while nothing is acknowledged are delayed by nothing.
    assert_eq!(stage.unpublished().await, 15);
    bus.set_available(true);
    for key in KEYS {
        stage.watcher.until_seen(&stage.orders, key, 3).await;
    }
    stage.until_published().await;
    stage.watcher.assert_in_sequence();
    relay.stop().await;
}

pub(crate) async fn a_message_that_is_missing_blocks_its_key_and_no_other() {
    for reads in Reads::BOTH {
        is_missing_and_comes_back(&Poll::default().reading(reads)).await;
    }
}

async fn is_missing_and_comes_back(factory: &Poll) {
    let stage = Stage::set().await;
    let missing = "CREATE TABLE missing (LIKE outbox.messages);
         CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN INSERT INTO missing VALUES (NEW.*); RETURN NULL; END $$;
         CREATE TRIGGER keep BEFORE INSERT ON outbox.messages FOR EACH ROW
             WHEN (NEW.subject = 'a' AND NEW.sequence = 2 OR NEW.subject = 'b' AND NEW.sequence = 1)
             EXECUTE FUNCTION keep()";
    sqlx::raw_sql(missing).execute(stage.pool()).await.unwrap();
    for _ in 0..4 {
        stage.commit(&stage.orders, &["a"]).await;
    }
    for _ in 0..2 {
        stage.commit(&stage.orders, &["b"]).await;
    }
    let relay = stage.start(factory);
    assert_eq!(stage.until_blocked(&stage.orders, "a").await, "gap");
    assert_eq!(stage.until_blocked(&stage.orders, "b").await, "gap");
    stage.commit(&stage.orders, &["c"]).await;
    stage.watcher.until_seen(&stage.orders, "c", 1).await;
    assert_eq!(stage.watcher.sequences(&stage.orders, "a"), [1]);
    assert_eq!(stage.watcher.sequences(&stage.orders, "b"), Vec::<i64>::new());

    // The missing messages come back, and the keys are released.
    let back = "DROP TRIGGER keep ON outbox.messages; INSERT INTO outbox.messages SELECT * FROM missing;
         DELETE FROM outbox.blocked_keys";
    sqlx::raw_sql(back).execute(stage.pool()).await.unwrap();
    stage.outbox.wake();
    stage.watcher.until_seen(&stage.orders, "a", 4).await;
    stage.watcher.until_seen(&stage.orders, "b", 2).await;
    stage.watcher.assert_in_sequence();
    relay.stop().await;
}

pub(crate) async fn a_hole_in_the_ids_is_no_gap() {
    let stage = Stage::set().await;
    let relay = stage.start(&Poll::default());
    for sequence in 1..=3 {
        sqlx::query("SELECT nextval('outbox.message_ids')").execute(stage.pool()).await.unwrap();
        stage.commit(&stage.orders, &["a"]).await;
        stage.watcher.until_seen(&stage.orders, "a", sequence).await;
    }
    assert_eq!(stage.blocked().await, 0);
    relay.stop().await;
}

/// Appends a message that is no event, and returns its id.
async fn append_foreign(
    stage: &Stage,
    key: Option<&[u8]>,
    headers: &[(&str, &[u8])],
    value: Option<&[u8]>,
) -> i64 {
    let (names, values): (Vec<&str>, Vec<&[u8]>) = headers.iter().copied().unzip();
    sqlx::query_scalar(
        "INSERT INTO outbox.messages (id, topic, key, header_names, header_values, value)
         VALUES (nextval('outbox.message_ids'), $1, $2, $3, $4, $5) RETURNING id",
    )
    .bind(&stage.orders)
    .bind(key)
    .bind(names)
    .bind(values)
    .bind(value)
    .fetch_one(stage.pool())
    .await
    .unwrap()
}

pub(crate) async fn any_message_can_be_blocked_without_stopping_the_relay() {
    let (stage, bus) = Stage::in_memory().await;
    bus.inject(FaultRule::always(Fault::Refuse(Refusal::Policy), |record| {
        record.value.as_deref() == Some(b"bad")
    }));
    let long = vec![0xff; 6_000];
    let blocked = [
        append_foreign(&stage, None, &[], Some(b"bad")).await,
        append_foreign(&stage, None, &[], Some(b"bad")).await,
        append_foreign(&stage, Some(&long), &[], Some(b"bad")).await,
    ];
    stage.commit(&stage.orders, &KEYS).await;
    let relay = stage.start(&Poll::default());
    for key in KEYS {
        stage.watcher.until_seen(&stage.orders, key, 1).await;
    }
    stage.until_unpublished(3).await;
    let recorded: Vec<i64> =
        testkit::wait::eventually("all three are blocked", crate::stage::TIMEOUT, async || {
            let recorded: Vec<i64> =
                sqlx::query_scalar("SELECT message_id FROM outbox.blocked_keys ORDER BY 1")
                    .fetch_all(stage.pool())
                    .await
                    .unwrap();
            if recorded.len() == 3 { Ok(recorded) } else { Err(recorded) }
        })
        .await;
    assert_eq!(recorded, blocked);
    relay.stop().await;
}

pub(crate) async fn a_message_that_is_no_event_is_published_as_it_is() {
    let (stage, bus) = Stage::in_memory().await;
    let headers: [(&str, &[u8]); 3] = [("twice", b"first"), ("other", &[0, 255]), ("twice", b"second")];
    append_foreign(&stage, Some(&[0xff]), &headers, None).await;
    append_foreign(&stage, None, &headers, Some(b"value")).await;
    let relay = stage.start(&Poll::default());
    stage.until_published().await;
    relay.stop().await;
    let records = (0..6).flat_map(|partition| bus.records(&stage.orders, partition));
    let headers: Vec<(String, Vec<u8>)> =
        headers.map(|(name, value)| (name.to_owned(), value.to_vec())).to_vec();
    let mut seen: Vec<_> = records.map(|record| (record.key, record.value, record.headers)).collect();
    seen.sort();
    assert_eq!(seen, [(None, Some(b"value".to_vec()), headers.clone()), (Some(vec![0xff]), None, headers)]);
}

pub(crate) async fn a_topic_that_is_missing_blocks_no_key_and_is_served_once_it_exists() {
    let stage = Stage::set().await;
    let missing = format!("{}-missing", stage.orders);
    let relay = stage.start(&Poll::default());
    stage.commit(&missing, &["x", "y"]).await;
    stage.commit(&stage.orders, &KEYS).await;
    for key in KEYS {
        stage.watcher.until_seen(&stage.orders, key, 1).await;
    }
    let spec = TopicSpec { name: missing.clone(), partitions: 1, replication_factor: 1 };
    stage.bus.create_topics(&[spec]).await.unwrap();
    stage.until_published().await;
    let buffer = all_watermarks(&*stage.bus, &missing).await.unwrap();
    assert_eq!(buffer.iter().map(|partition| partition.high).sum::<i64>(), 2);
    assert_eq!(stage.blocked().await, 0);
    relay.stop().await;
}
