//! The schema of a service's database: brought up to date, or only looked at.

use sqlx::PgConnection;
use sqlx::migrate::{AppliedMigration, Migrate, MigrateError, Migrator};

use crate::Definition;

/// Why the schema can't be used.
#[derive(Debug)]
pub(crate) enum Problem {
    /// A migration failed, or an applied one is not the one that is known here.
    Failed(MigrateError),
    /// These versions are not applied yet.
    Missing(String),
}

impl From<MigrateError> for Problem {
    fn from(error: MigrateError) -> Self {
        Self::Failed(error)
    }
}

/// Applies what is missing of outbox, inbox and the service's own tables, or says what is missing. Versions that only
/// a newer release knows are no problem: that is what makes a release one that can be taken back.
pub(crate) async fn all(
    definition: &Definition,
    connection: &mut PgConnection,
    apply: bool,
) -> Result<(), (&'static str, Problem)> {
    let (outbox, inbox) = (outbox::migrator(), inbox::migrator());
    for (part, migrator) in [("outbox", &outbox), ("inbox", &inbox), (definition.name, &definition.migrator)]
    {
        let outcome = if apply {
            migrator.run_direct(None, connection, false).await.map_err(Problem::from)
        } else {
            compare(migrator, connection).await
        };
        outcome.map_err(|problem| (part, problem))?;
    }
    Ok(())
}

async fn compare(migrator: &Migrator, connection: &mut PgConnection) -> Result<(), Problem> {
    let applied = match connection.list_applied_migrations(&migrator.table_name).await {
        Ok(applied) => applied,
        Err(MigrateError::Execute(sqlx::Error::Database(error))) if is_undefined(error.code().as_deref()) => {
            Vec::new()
        }
        Err(error) => return Err(error.into()),
    };
    let missing = missing(migrator, &applied)?;
    if missing.is_empty() { Ok(()) } else { Err(Problem::Missing(missing.join(", "))) }
}

/// Neither the table nor its schema is there: nothing was ever applied.
fn is_undefined(code: Option<&str>) -> bool {
    matches!(code, Some("42P01" | "3F000"))
}

fn missing(migrator: &Migrator, applied: &[AppliedMigration]) -> Result<Vec<String>, MigrateError> {
    let mut missing = Vec::new();
    for known in migrator.iter().filter(|known| !known.migration_type.is_down_migration()) {
        match applied.iter().find(|applied| applied.version == known.version) {
            None => missing.push(known.version.to_string()),
            Some(applied) if applied.checksum == known.checksum => {}
            Some(_) => return Err(MigrateError::VersionMismatch(known.version)),
        }
    }
    Ok(missing)
}
