//! Every SQL statement is PREPAREd on a migrated database, on the oldest PostgreSQL that we support and the newest; one that inserts
//! rows or locks them has the form of ADR 7.

use std::collections::BTreeMap;

use architecture::sources;
use architecture::sql::{self, Statement};
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Column, Connection, Executor, PgPool, SqlSafeStr, Statement as _};
use testkit::postgres::{PostgresOptions, PrivatePostgres, Storage, TestDatabase, Version};

/// Statements of test support may create databases, whose names can't be parameters.
const EXEMPT: &str = "tests/testkit/";

fn statements() -> Vec<Statement> {
    let mut statements = Vec::new();
    let mut violations = Vec::new();
    for source in sources::rust_files().unwrap() {
        if source.path.starts_with(EXEMPT)
            || !source.path.contains("/src/")
            || source.path.starts_with("tests/")
        {
            continue;
        }
        let found = sql::statements(&source).unwrap();
        statements.extend(found.statements);
        violations.extend(found.violations.iter().map(ToString::to_string));
    }
    assert!(violations.is_empty(), "{violations:#?}");
    statements
}

/// Services with migrations of their own.
fn services() -> Vec<String> {
    let mut services: Vec<String> = std::fs::read_dir(sources::root().join("services"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("migrations").is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    services.sort();
    services
}

/// As the service does at its start; `<schema>-migrations` beside `migrations` belong to a foreign system that lives in
/// a schema of its own.
async fn migrate(pool: &PgPool, service: &str) -> anyhow::Result<()> {
    outbox::migrate(&mut *pool.acquire().await?).await?;
    inbox::migrate(&mut *pool.acquire().await?).await?;
    let folder = sources::root().join("services").join(service);
    Migrator::new(folder.join("migrations")).await?.run(pool).await?;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(schema) = name.strip_suffix("-migrations") {
            let mut migrator = Migrator::new(path).await?;
            migrator.create_schema(schema.to_owned());
            migrator.dangerous_set_table_name(format!("{schema}._migrations"));
            migrator.run(pool).await?;
        }
    }
    Ok(())
}

/// The names of what a statement returns.
async fn prepared(pool: &PgPool, statement: &Statement) -> Result<Vec<String>, String> {
    let mut connection = pool.acquire().await.unwrap();
    // What this connection prepared before would be answered from memory.
    connection.clear_cached_statements().await.unwrap();
    let sql = AssertSqlSafe(statement.sql.clone()).into_sql_str();
    match (&mut *connection).prepare(sql).await {
        Ok(prepared) => Ok(prepared.columns().iter().map(|column| column.name().to_owned()).collect()),
        Err(refused) => Err(format!("{}:{}: {refused}\n{}", statement.file, statement.line, statement.sql)),
    }
}

/// A service's statements belong to its own database; those of shared crates and tools to any of them.
async fn accepted(
    statement: &Statement,
    databases: &BTreeMap<String, TestDatabase>,
) -> Result<Vec<String>, String> {
    let mut last = Err(format!("{}:{}: no database for it", statement.file, statement.line));
    let owner = statement.file.strip_prefix("services/").and_then(|rest| rest.split('/').next());
    for (service, database) in databases {
        if owner.is_some_and(|owner| owner != service) {
            continue;
        }
        last = prepared(database.pool(), statement).await;
        if last.is_ok() {
            break;
        }
    }
    last
}

/// As the next release may: a column more in every table.
async fn expand(database: &TestDatabase) {
    sqlx::raw_sql(
        "DO $$ DECLARE one regclass; BEGIN
            FOR one IN SELECT oid FROM pg_class
                WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace::regnamespace::text
                    NOT IN ('pg_catalog', 'information_schema')
            LOOP EXECUTE format('ALTER TABLE %s ADD COLUMN of_next_release text', one); END LOOP;
        END $$",
    )
    .execute(database.pool())
    .await
    .unwrap();
}

async fn every_statement_is_accepted_by(version: Version) {
    let options = PostgresOptions { version, ..PostgresOptions::for_tests() };
    let server = PrivatePostgres::start(&Storage::Temporary, &options).await.unwrap();
    let url = server.url("postgres");
    let mut databases = BTreeMap::new();
    for service in services() {
        let database = TestDatabase::create_on(&url, &format!("prepare_{service}"), async |pool: &PgPool| {
            migrate(pool, &service).await
        })
        .await
        .unwrap();
        databases.insert(service, database);
    }
    let statements = statements();
    assert!(statements.len() > 50, "only {} statements found", statements.len());
    let mut refusals = Vec::new();
    let mut returned = Vec::new();
    for statement in &statements {
        match accepted(statement, &databases).await {
            Ok(columns) => returned.push((statement, columns)),
            Err(refusal) => refusals.push(refusal),
        }
    }
    println!(
        "PostgreSQL {}: {} statements, {} databases",
        server.major_version(),
        statements.len(),
        databases.len()
    );
    let nonsense = Statement {
        file: "services/order/x.rs".into(),
        line: 1,
        sql: "SELECT no_such_column FROM orders".into(),
    };
    assert!(accepted(&nonsense, &databases).await.is_err(), "nonsense is accepted");
    assert!(refusals.is_empty(), "{} refused:\n{}", refusals.len(), refusals.join("\n\n"));

    // PostgreSQL refuses to run what was prepared before its result changed, so `*` stops a release while the next one
    // is rolled out.
    for database in databases.values() {
        expand(database).await;
    }
    for (statement, columns) in returned {
        let now = accepted(statement, &databases).await.unwrap();
        assert_eq!(now, columns, "{}:{}: {}", statement.file, statement.line, statement.sql);
    }
    drop(databases);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn every_statement_is_accepted_by_postgresql_15() {
    every_statement_is_accepted_by(Version::Major(15)).await;
}

#[tokio::test]
async fn every_statement_is_accepted_by_the_newest_postgresql() {
    every_statement_is_accepted_by(Version::Newest).await;
}

#[test]
fn a_statement_that_inserts_rows_or_locks_them_locks_none_while_it_misses_one() {
    let inserts_or_locks =
        |statement: &Statement| statement.sql.contains("DO NOTHING") && statement.sql.contains("FOR UPDATE");
    let is_guarded = |statement: &Statement| {
        let words: Vec<&str> = statement.sql.split_whitespace().collect();
        let sql = words.join(" ");
        sql.contains("AND (SELECT count(*) FROM inserted) + (SELECT count(*) FROM ")
            && sql.contains(" = cardinality(")
    };
    let (guarded, bare): (Vec<_>, Vec<_>) =
        statements().into_iter().filter(inserts_or_locks).partition(is_guarded);
    assert!(bare.is_empty(), "two batches may wait for each other (docs/adr/0007): {bare:#?}");
    assert!(guarded.len() >= 5, "only {} found", guarded.len());
}
