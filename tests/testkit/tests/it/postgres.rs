//! Private servers and test databases.

use std::ffi::OsString;
use std::fs::Permissions;
use std::io::BufRead as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::Connection as _;
use testkit::postgres::{PostgresOptions, PrivatePostgres, Storage, TestDatabase};
use testkit::wait::eventually;

static MIGRATIONS: AtomicUsize = AtomicUsize::new(0);

async fn numbers() -> TestDatabase {
    TestDatabase::create("numbers", async |pool| {
        MIGRATIONS.fetch_add(1, Ordering::SeqCst);
        sqlx::query("create table numbers (number int primary key)").execute(pool).await?;
        sqlx::query("insert into numbers values (1), (2)").execute(pool).await?;
        Ok(())
    })
    .await
}

async fn databases(database: &TestDatabase) -> Vec<String> {
    sqlx::query_scalar("select datname::text from pg_database").fetch_all(database.pool()).await.unwrap()
}

#[tokio::test]
async fn each_test_has_a_database_of_its_own_and_migrates_at_most_once() {
    let (one, other) = tokio::join!(numbers(), numbers());
    sqlx::query("delete from numbers").execute(one.pool()).await.unwrap();
    let left: i64 = sqlx::query_scalar("select count(*) from numbers").fetch_one(other.pool()).await.unwrap();
    assert_eq!(left, 2, "a deletion in one database must not be seen in another");
    assert_eq!(MIGRATIONS.load(Ordering::SeqCst), 1, "the second database is a clone");
}

#[tokio::test]
async fn a_dropped_test_database_is_gone_although_connections_are_open() {
    let observer = TestDatabase::create("observer", async |_| Ok(())).await;
    let database = TestDatabase::create("observer", async |_| Ok(())).await;
    let name = database.url().rsplit('/').next().unwrap().to_owned();
    let _open = database.another().session().await.unwrap();
    assert!(databases(&observer).await.contains(&name));
    drop(database);
    assert!(!databases(&observer).await.contains(&name));
}

#[tokio::test]
async fn a_failed_migration_is_told_and_leaves_no_template() {
    let failed = TestDatabase::try_create("failing", async |pool| {
        sqlx::query("create tabel x ()").execute(pool).await?;
        Ok(())
    })
    .await;
    let message = format!("{:#}", failed.unwrap_err());
    assert!(message.contains("tabel"), "{message}");
    TestDatabase::try_create("failing", async |pool| {
        sqlx::query("create table x ()").execute(pool).await?;
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_temporary_server_answers_and_leaves_nothing_behind() {
    let server = PrivatePostgres::start(&Storage::Temporary, &PostgresOptions::for_tests()).await.unwrap();
    let dir = server.dir().to_owned();
    let url = server.url("postgres");
    let pool = sqlx::PgPool::connect(&url).await.unwrap();
    let level: String = sqlx::query_scalar("show wal_level").fetch_one(&pool).await.unwrap();
    assert_eq!(level, "logical");
    server.stop().await.unwrap();
    assert!(!dir.exists(), "{} is still there", dir.display());
    assert!(sqlx::PgConnection::connect(&url).await.is_err());
}

#[tokio::test]
async fn a_kept_server_continues_with_what_it_had() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let storage = Storage::Kept(folder.path().join("database"));
    let server = PrivatePostgres::start(&storage, &PostgresOptions::default()).await.unwrap();
    let pool = sqlx::PgPool::connect(&server.url("postgres")).await.unwrap();
    sqlx::query("create table kept as select 7 as number").execute(&pool).await.unwrap();
    drop(server);
    let server = PrivatePostgres::start(&storage, &PostgresOptions::default()).await.unwrap();
    let pool = sqlx::PgPool::connect(&server.url("postgres")).await.unwrap();
    let number: i32 = sqlx::query_scalar("select number from kept").fetch_one(&pool).await.unwrap();
    assert_eq!(number, 7);
    server.stop().await.unwrap();
}

/// A user that is neither root nor the one who runs the server.
const STRANGER: u32 = 54_321;

/// A directory of somebody else, as far as we may make one, with a file in it.
fn somebodys_directory(mode: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("letter"), "dear").unwrap();
    // Only root gives files away; for others the directory stays theirs, and its rights count.
    let _ = std::os::unix::fs::chown(folder.path(), Some(STRANGER), Some(STRANGER));
    std::fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
    folder
}

/// Owner, group and rights of a directory, and what is in it.
fn look(folder: &Path) -> (u32, u32, u32, Vec<OsString>) {
    let metadata = std::fs::metadata(folder).unwrap();
    let mut names: Vec<OsString> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777, names)
}

#[tokio::test]
async fn a_directory_that_exists_stays_its_owners_when_a_server_keeps_its_files_there() {
    let folder = somebodys_directory(0o755);
    let (uid, gid, mode, _) = look(folder.path());
    let storage = Storage::Kept(folder.path().to_owned());
    let server = PrivatePostgres::start(&storage, &PostgresOptions::default()).await.unwrap();
    assert!(server.dir() != folder.path(), "it has a directory of its own");
    server.stop().await.unwrap();
    let (found_uid, found_gid, found_mode, names) = look(folder.path());
    assert_eq!((found_uid, found_gid, found_mode), (uid, gid, mode));
    assert_eq!(names, ["letter", "postgres"]);
}

#[tokio::test]
async fn a_directory_is_left_as_it_was_when_the_start_fails() {
    // The account of the server can't enter it.
    let folder = somebodys_directory(0o500);
    let before = look(folder.path());
    let storage = Storage::Kept(folder.path().to_owned());
    let failed = PrivatePostgres::start(&storage, &PostgresOptions::default()).await.unwrap_err();
    let error_text = format!("{:#}", anyhow::Error::from(failed));
    assert!(error_text.contains(&folder.path().display().to_string()), "{error_text}");
    assert_eq!(look(folder.path()), before);

    // What stands where the files would be belongs to somebody else.
    let folder = somebodys_directory(0o755);
    std::fs::create_dir(folder.path().join("postgres")).unwrap();
    std::fs::write(folder.path().join("postgres/notes"), "mine").unwrap();
    let before = (look(folder.path()), look(&folder.path().join("postgres")));
    let storage = Storage::Kept(folder.path().to_owned());
    let failed = PrivatePostgres::start(&storage, &PostgresOptions::default()).await.unwrap_err();
    let error_text = format!("{:#}", anyhow::Error::from(failed));
    assert!(error_text.contains("postgres"), "{error_text}");
    assert_eq!((look(folder.path()), look(&folder.path().join("postgres"))), before);
}

#[tokio::test]
async fn a_port_in_use_is_told() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let options = PostgresOptions { port, ..PostgresOptions::for_tests() };
    let refused = PrivatePostgres::start(&Storage::Temporary, &options).await.unwrap_err();
    let error_text = format!("{:#}", anyhow::Error::from(refused));
    assert!(
        error_text.contains(&format!("port {port}")) && error_text.contains("Address already in use"),
        "{error_text}"
    );
}

#[tokio::test]
async fn a_killed_parent_leaves_no_server_behind() {
    let mut parent = Command::new(env!("CARGO_BIN_EXE_with-postgres"))
        .args(["sh", "-c", "echo $TIDINGS_TEST_POSTGRES; exec cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut url = String::new();
    std::io::BufReader::new(parent.stdout.take().unwrap()).read_line(&mut url).unwrap();
    let connect = || sqlx::PgConnection::connect(url.trim());
    assert!(connect().await.is_ok());
    parent.kill().unwrap();
    parent.wait().unwrap();
    eventually("the server ends", Duration::from_secs(30), async || match connect().await {
        Ok(_) => Err("it still answers"),
        Err(_) => Ok(()),
    })
    .await;
}

#[test]
fn the_exit_code_of_a_command_is_passed_on() {
    let status =
        Command::new(env!("CARGO_BIN_EXE_with-postgres")).args(["sh", "-c", "exit 7"]).status().unwrap();
    assert_eq!(status.code(), Some(7));
}
