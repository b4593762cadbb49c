//! A session must be one.

use database::{Bounds, Database, SessionError};
use sqlx::postgres::PgSslMode;
use testkit::postgres::TestDatabase;

use crate::pooler::Pooler;

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_in_transaction_mode_is_refused() {
    let database = TestDatabase::create("empty", async |_| Ok(())).await;
    let server = database.database().options();
    let pooler = Pooler::start((server.get_host().to_owned(), server.get_port())).await;
    let options = server.clone().host("127.0.0.1").port(pooler.port).ssl_mode(PgSslMode::Disable);
    let pooled = Database::new(options, 4, Bounds::default());
    // Its one server connection can't serve two transactions at once: whatever is noticed first, it is refused.
    let refused = pooled.check_sessions().await.unwrap_err();
    assert!(matches!(refused, SessionError::Pooler { .. }), "{refused}");
}

#[tokio::test]
async fn a_server_is_accepted() {
    let database = TestDatabase::create("empty", async |_| Ok(())).await;
    database.database().check_sessions().await.unwrap();
}
