//! A client that disconnects does not undo what its request began.

use contracts::clock::new_id;
use testkit::wait::eventually;

use crate::lifecycle::{orders, until_at_work, until_measured};
use crate::stack::{Process, Stack, WAIT_TIMEOUT, client};

/// Locks wait longer than the test does.
async fn patient(stack: &Stack) -> Process {
    let settings = [
        ("TIDINGS_DATABASE__WORK_TIMEOUT_MS", "180000"),
        ("TIDINGS_DATABASE__REQUEST_TIMEOUT_MS", "180000"),
        ("TIDINGS_HTTP__REQUEST_TIMEOUT_MS", "200000"),
    ];
    stack.service(&settings).await
}

/// Posts to this path, and leaves once its transaction waits with this statement for the lock on its table.
async fn post_and_leave(stack: &Stack, service: &Process, path: &str, lock: &'static str, statement: &str) {
    let mut held = stack.database.pool().begin().await.unwrap();
    sqlx::query(lock).execute(&mut *held).await.unwrap();
    tokio::select! {
        answer = client().post(format!("{}{path}", service.url)).send() => {
            panic!("its transaction waits for the lock: {answer:?}")
        }
        // The request is dropped here, and its connection with it.
        () = until_at_work(stack, statement) => {}
    }
    // Only the question itself is left.
    until_measured(service, "http_requests_in_flight", |requests| requests <= 1.0).await;
    held.rollback().await.unwrap();
}

#[tokio::test]
async fn a_client_that_disconnects_does_not_undo_what_its_request_began() {
    let stack = Stack::start().await;
    let service = patient(&stack).await;
    let id = new_id();
    let (path, lock) = (format!("/confirm/{id}"), "LOCK TABLE confirmed IN SHARE MODE");
    post_and_leave(&stack, &service, &path, lock, "INSERT INTO confirmed%").await;
    eventually("the transaction ends by itself", WAIT_TIMEOUT, async || {
        let confirmed = orders(&stack, "confirmed").await;
        if confirmed == [id] { Ok(()) } else { Err(confirmed) }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_disconnects_does_not_undo_the_redrive_that_it_began() {
    let stack = Stack::start().await;
    let service = patient(&stack).await;
    let refuse = "ALTER TABLE applied ADD CONSTRAINT refused CHECK (false) NOT VALID";
    sqlx::raw_sql(refuse).execute(stack.database.pool()).await.unwrap();
    let id = new_id();
    assert_eq!(service.post(&format!("/confirm/{id}"), "").await.0, 202);
    let letter: i64 = eventually("it is a dead letter", WAIT_TIMEOUT, async || {
        sqlx::query_scalar("SELECT id FROM inbox.dead_letters").fetch_one(stack.database.pool()).await
    })
    .await;
    let allow = "ALTER TABLE applied DROP CONSTRAINT refused";
    sqlx::raw_sql(allow).execute(stack.database.pool()).await.unwrap();
    let (path, lock) = (format!("/dead-letters/{letter}/redrive"), "LOCK TABLE applied IN SHARE MODE");
    post_and_leave(&stack, &service, &path, lock, "INSERT INTO applied%").await;
    eventually("it is applied", WAIT_TIMEOUT, async || {
        let applied = orders(&stack, "applied").await;
        if applied == [id] { Ok(()) } else { Err(applied) }
    })
    .await;
}
