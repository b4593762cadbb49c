//! A role that may not make table partitions: known at the start, seen weeks ahead, and never the events' fault.

use contracts::clock::{new_id, now};
use database::{Bounds, Database};
use inbox::ConsumerError;
use sqlx::AssertSqlSafe;
use testkit::exposition::Recorded;
use testkit::wait::eventually;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::stack::{Stack, TIMEOUT, confirmed};

/// The database as a role that may read and write rows, and nothing else. The role goes with the database's owner's consent.
async fn as_a_writer(stack: &Stack) -> (Database, String) {
    let role = format!("writer_{}", new_id().simple());
    let create = format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'writer';
         GRANT USAGE ON SCHEMA inbox TO {role};
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA inbox TO {role};
         GRANT SELECT, INSERT, UPDATE ON ledger TO {role};
         GRANT USAGE ON ALL SEQUENCES IN SCHEMA inbox TO {role}"
    );
    sqlx::raw_sql(AssertSqlSafe(create)).execute(stack.database.pool()).await.unwrap();
    let options = stack.database.database().options().clone().username(&role).password("writer");
    (Database::new(options, 4, Bounds::default()), role)
}

async fn drop_role(stack: &Stack, role: &str) {
    let drop = format!("DROP OWNED BY {role}; DROP ROLE {role}");
    sqlx::raw_sql(AssertSqlSafe(drop)).execute(stack.database.pool()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_can_not_make_table_partitions_is_refused_at_the_start() {
    let stack = Stack::start().await;
    let (database, role) = as_a_writer(&stack).await;
    let refused = tokio::time::timeout(
        TIMEOUT,
        stack.consumer(database.clone(), "tidings.ledger").run(stack.shutdown.clone()),
    );
    let error = refused.await.expect("it ends by itself").expect_err("a right is missing");
    let message = error.to_string();
    assert!(matches!(error, ConsumerError::Setup { .. }), "{message}");
    assert!(message.contains("GRANT EXECUTE ON FUNCTION inbox.add_table_partitions"), "{message}");
    database.close();
    drop_role(&stack, &role).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_with_rights_on_rows_alone_tells_other_members_what_it_reaches() {
    let stack = Stack::start().await;
    let (database, role) = as_a_writer(&stack).await;
    let grant = format!("GRANT EXECUTE ON FUNCTION inbox.add_table_partitions(timestamptz) TO {role}");
    sqlx::raw_sql(AssertSqlSafe(grant)).execute(stack.database.pool()).await.unwrap();
    let consumer = stack.consumer(database.clone(), "tidings.ledger");
    let mut tasks = JoinSet::new();
    let shutdown = stack.shutdown.clone();
    tasks.spawn(async move { consumer.run(shutdown).await.unwrap() });
    eventually("the member's row is there", TIMEOUT, async || {
        let rows: Vec<(bool, Vec<String>)> = sqlx::query_as("SELECT in_group, unreached FROM inbox.members")
            .fetch_all(stack.database.pool())
            .await
            .unwrap();
        if rows == [(true, Vec::new())] { Ok(()) } else { Err(rows) }
    })
    .await;
    stack.shutdown.cancel();
    tasks.join_next().await.unwrap().unwrap();

    let revoke = format!("REVOKE DELETE ON inbox.members FROM {role}");
    sqlx::raw_sql(AssertSqlSafe(revoke)).execute(stack.database.pool()).await.unwrap();
    let again = stack.consumer(database.clone(), "tidings.ledger").run(CancellationToken::new());
    let error = tokio::time::timeout(TIMEOUT, again).await.expect("it ends by itself").expect_err("refused");
    assert!(error.to_string().contains("DELETE ON inbox.members"), "{error}");
    database.close();
    drop_role(&stack, &role).await;
}

#[tokio::test]
async fn how_far_table_partitions_reach_is_shown() {
    let recorded = Recorded::start();
    let mut stack = Stack::start().await;
    stack.consume_as("tidings.ledger");
    let end = eventually("the end of the table partitions is shown", TIMEOUT, async || {
        recorded.read().sum("inbox_table_partitions_end_timestamp_seconds", &[]).ok_or("not yet")
    })
    .await;
    #[expect(clippy::cast_precision_loss, reason = "a gauge")]
    let weeks = (end - now().timestamp() as f64) / (7.0 * 86_400.0);
    assert!((4.0..6.0).contains(&weeks), "{weeks} weeks");
    stack.publish(&confirmed(new_id(), 1)).await;
    stack.caught_up().await;
    stack.stop().await;
}
