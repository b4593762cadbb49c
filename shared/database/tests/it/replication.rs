//! Sessions for replication: whoever is let in by any of PostgreSQL's ways of authentication reads the log, with TLS and without.

use std::time::Duration;

use database::{Bounds, Database, ReplicationError, ReplicationMessage};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, PgConnection};
use testkit::postgres::{Certificates, postgres_with_tls};

use crate::conversations::TIMEOUT;

/// With every character that a URL would take for something else.
const PASSWORD: &str = "p@ss:w/ö?r#d% \u{a0}é&";
/// A role for each way.
const RULES: &str = "hostssl all postgres 127.0.0.1/32 cert
    host all by_scram 127.0.0.1/32 scram-sha-256
    host all by_md5 127.0.0.1/32 md5
    host all in_clear 127.0.0.1/32 password
    host all by_trust 127.0.0.1/32 trust
    hostssl all encrypted 127.0.0.1/32 scram-sha-256";

/// A server with a role for each way, and a slot and a table to read. Returns it with the options of its administrator.
async fn prepared(certificates: &Certificates) -> (testkit::postgres::PrivatePostgres, PgConnectOptions) {
    let server = postgres_with_tls(certificates, RULES).await.unwrap();
    let admin: PgConnectOptions = server.url("postgres").parse().unwrap();
    let admin = admin
        .ssl_mode(PgSslMode::VerifyFull)
        .ssl_root_cert(certificates.path("ca.pem"))
        .ssl_client_cert(certificates.path("client.crt"))
        .ssl_client_key(certificates.path("client.key"));
    let mut conn = admin.connect().await.unwrap();
    for statement in [
        "CREATE TABLE numbers (number bigint)",
        "CREATE PUBLICATION numbers FOR TABLE numbers",
        "SELECT pg_create_logical_replication_slot('numbers', 'pgoutput')",
    ] {
        conn.execute(statement).await.unwrap();
    }
    for (role, encryption) in [
        ("by_scram", "scram-sha-256"),
        ("by_md5", "md5"),
        ("in_clear", "scram-sha-256"),
        ("by_trust", "scram-sha-256"),
        ("encrypted", "scram-sha-256"),
    ] {
        let create = format!(
            "SET password_encryption = '{encryption}'; CREATE ROLE {role} LOGIN REPLICATION PASSWORD '{PASSWORD}'"
        );
        conn.execute(sqlx::AssertSqlSafe(create)).await.unwrap();
    }
    (server, admin)
}

/// Appends a number, and reads messages of the log until the transaction has come.
async fn read_one(admin: &PgConnectOptions, options: PgConnectOptions) -> Result<(), ReplicationError> {
    let database = Database::new(options, 1, Bounds::default());
    let mut conn: PgConnection = admin.connect().await.unwrap();
    conn.execute("INSERT INTO numbers VALUES (1)").await.unwrap();
    conn.close().await.unwrap();
    let mut log = database.replicate("numbers", "numbers").await?;
    let mut kinds = Vec::new();
    while kinds.last() != Some(&b'C') {
        let message = tokio::time::timeout(TIMEOUT, log.next()).await.unwrap()?;
        if let ReplicationMessage::Data { message, .. } = message {
            kinds.push(message[0]);
        }
    }
    assert_eq!(kinds, b"BRIC", "begin, relation, insert, commit");
    // The server says how far it is once it is asked; what it sent is not sent again.
    let end: String = {
        let mut conn = admin.connect().await.unwrap();
        sqlx::query_scalar("SELECT pg_current_wal_flush_lsn()::text").fetch_one(&mut conn).await.unwrap()
    };
    let end = end.parse().unwrap();
    log.confirm(end).await?;
    loop {
        match tokio::time::timeout(TIMEOUT, log.next()).await.unwrap()? {
            ReplicationMessage::Position(position) if position >= end => break,
            ReplicationMessage::Position(_) => {}
            ReplicationMessage::Data { message, .. } => panic!("{message:?} was confirmed"),
        }
    }
    drop(log);
    // The server learns of it when it next sends or reads.
    testkit::wait::eventually("the slot is free", Duration::from_secs(30), async || {
        let mut conn = admin.connect().await.unwrap();
        let active: bool =
            sqlx::query_scalar("SELECT active FROM pg_replication_slots").fetch_one(&mut conn).await.unwrap();
        if active { Err("it is read") } else { Ok(()) }
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn the_log_is_read_by_every_way_of_authentication_with_tls_and_without() {
    let certificates = Certificates::make().unwrap();
    let (server, admin) = prepared(&certificates).await;
    read_one(&admin, admin.clone()).await.unwrap();
    let plain: PgConnectOptions = server.url("postgres").parse().unwrap();
    for role in ["by_scram", "by_md5", "in_clear", "by_trust"] {
        for mode in [PgSslMode::Disable, PgSslMode::Require] {
            let options = plain.clone().username(role).password(PASSWORD).ssl_mode(mode);
            read_one(&admin, options).await.unwrap_or_else(|error| panic!("{role}, {mode:?}: {error}"));
        }
    }
    let encrypted = plain.clone().username("encrypted").password(PASSWORD);
    read_one(&admin, encrypted.clone().ssl_mode(PgSslMode::Prefer)).await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn who_may_not_read_the_log_is_told_why() {
    let (certificates, strangers) = (Certificates::make().unwrap(), Certificates::make().unwrap());
    let (server, admin) = prepared(&certificates).await;
    let plain: PgConnectOptions = server.url("postgres").parse().unwrap();
    let refused = async |options: PgConnectOptions| {
        let database = Database::new(options, 1, Bounds::default());
        match database.replicate("numbers", "numbers").await {
            Ok(_) => panic!("it was let in"),
            Err(error) => error,
        }
    };
    for role in ["by_scram", "by_md5", "in_clear"] {
        let error =
            refused(plain.clone().username(role).password("another").ssl_mode(PgSslMode::Disable)).await;
        assert!(
            matches!(&error, ReplicationError::Server { code, .. } if code == "28P01"),
            "{role}: {error}"
        );
    }
    let encrypted = plain.username("encrypted").password(PASSWORD);
    let error = refused(encrypted.clone().ssl_mode(PgSslMode::Disable)).await;
    assert!(matches!(&error, ReplicationError::Server { code, .. } if code == "28000"), "{error}");
    let stranger = encrypted.clone().ssl_mode(PgSslMode::VerifyFull).ssl_root_cert(strangers.path("ca.pem"));
    let error = refused(stranger).await;
    assert!(error.to_string().contains("certificate"), "{error}");
    let database = Database::new(admin, 1, Bounds::default());
    let error = database.replicate("missing", "numbers").await.err().unwrap();
    assert!(matches!(&error, ReplicationError::Server { code, .. } if code == "42704"), "{error}");
    server.stop().await.unwrap();
}
