//! The way to the database falls silent: sockets stay open, nothing arrives any more, and new connections are served.

use contracts::clock::new_id;
use testkit::proxy::Proxy;
use testkit::wait::eventually;
use tokio::time::Instant;
use uuid::Uuid;

use crate::lifecycle::{orders, until_at_work};
use crate::stack::{Process, Stack, WAIT_TIMEOUT, client};

/// Posts this confirmation until it is taken.
async fn confirm(service: &Process, id: Uuid) {
    let url = format!("{}/confirm/{id}", service.url);
    eventually("a confirmation is taken", WAIT_TIMEOUT, async || match client().post(&url).send().await {
        // A request without an answer may have been done: its row is there already.
        Ok(answer) if [202, 500].contains(&answer.status().as_u16()) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

async fn until_applied(stack: &Stack, expected: &mut Vec<Uuid>) {
    expected.sort();
    eventually("every confirmation is applied", WAIT_TIMEOUT, async || {
        let applied = orders(stack, "applied").await;
        if applied == *expected { Ok(()) } else { Err(applied.len()) }
    })
    .await;
}

/// The server's address in this URL.
fn server(url: &str) -> &str {
    let authority = url.split("://").nth(1).unwrap().split('/').next().unwrap();
    authority.rsplit('@').next().unwrap()
}

#[tokio::test]
async fn a_service_whose_connections_fall_silent_goes_on_with_new_ones() {
    let stack = Stack::start().await;
    let address = server(stack.database.url()).to_owned();
    let proxy = Proxy::start(address.clone()).await.unwrap();
    let url = stack.database.url().replace(&address, &proxy.address().to_string());
    let service = stack.service(&[("TIDINGS_DATABASE__URL", &url)]).await;
    let mut expected = vec![new_id()];
    confirm(&service, expected[0]).await;
    until_applied(&stack, &mut expected).await;

    // A batch and a request are in the middle of a statement; the relay's session and the rest of the pool are idle.
    let mut held = stack.database.pool().begin().await.unwrap();
    sqlx::query("LOCK TABLE applied IN SHARE MODE").execute(&mut *held).await.unwrap();
    let in_batch = new_id();
    confirm(&service, in_batch).await;
    until_at_work(&stack, "INSERT INTO applied%").await;
    proxy.silence();
    let silent_since = Instant::now();
    held.rollback().await.unwrap();

    expected.push(in_batch);
    for _ in 0..20 {
        let id = new_id();
        confirm(&service, id).await;
        expected.push(id);
    }
    until_applied(&stack, &mut expected).await;
    println!("applied {:?} after the silence", silent_since.elapsed());
}
