//! A relay whose role may do with rows what it likes, and owns nothing.

use std::sync::Arc;

use contracts::clock::new_id;
use database::{Bounds, Database};
use outbox::RelayState;
use sqlx::AssertSqlSafe;
use testkit::wait::eventually;

use crate::hand_over::{Replica, soon};
use crate::stage::{Stage, TIMEOUT};
use crate::way::{Events, Way};

/// The database as such a role.
async fn as_a_writer(stage: &Stage) -> (Database, String) {
    let role = format!("writer_{}", new_id().simple());
    let create = format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'writer';
         GRANT USAGE ON SCHEMA outbox TO {role};
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA outbox TO {role};
         GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA outbox TO {role};
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA outbox TO {role}"
    );
    sqlx::raw_sql(AssertSqlSafe(create)).execute(stage.pool()).await.unwrap();
    let options = stage.database.database().options().clone().username(&role).password("writer");
    (Database::new(options, 4, Bounds::default()), role)
}

async fn drop_role(stage: &Stage, role: &str) {
    let drop = format!("DROP OWNED BY {role}; DROP ROLE {role}");
    sqlx::raw_sql(AssertSqlSafe(drop)).execute(stage.pool()).await.unwrap();
}

#[tokio::test]
async fn a_role_with_rights_on_rows_alone_reports_what_it_reaches() {
    let (stage, _bus) = Stage::in_memory().await;
    let (database, role) = as_a_writer(&stage).await;
    let way = Way::new("a", Arc::clone(&stage.bus), &Events::default());
    way.cut(&[3]);
    let relay = Replica::start_in(database.clone(), &stage, &way, soon());
    let unreached: Vec<String> = eventually("its report is there", TIMEOUT, async || {
        let report = sqlx::query_scalar("SELECT unreached FROM outbox.relays");
        report.fetch_optional(stage.pool()).await.unwrap().ok_or("none")
    })
    .await;
    assert_eq!(unreached, [format!("{}/3", stage.orders)]);
    relay.stop().await;
    database.close();
    drop_role(&stage, &role).await;
}

#[tokio::test]
async fn a_role_without_rights_on_the_reports_publishes_all_the_same() {
    let (stage, _bus) = Stage::in_memory().await;
    let (database, role) = as_a_writer(&stage).await;
    let revoke = format!("REVOKE ALL ON outbox.relays FROM {role}");
    sqlx::raw_sql(AssertSqlSafe(revoke)).execute(stage.pool()).await.unwrap();
    let way = Way::new("a", Arc::clone(&stage.bus), &Events::default());
    let relay = Replica::start_in(database.clone(), &stage, &way, soon());
    eventually("it has tried to report again and again", TIMEOUT, async || match way.rounds() {
        rounds if rounds >= 5 => Ok(()),
        rounds => Err(rounds),
    })
    .await;
    stage.commit(&stage.orders, &["a", "b"]).await;
    stage.until_published().await;
    assert_eq!(relay.status.state(), RelayState::Leading);
    relay.stop().await;
    database.close();
    drop_role(&stage, &role).await;
}
