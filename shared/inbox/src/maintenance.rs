//! The inbox's table partitions: that they can be made is checked at the start, how far they reach is shown, and the rest is done
//! every hour.

use std::sync::Arc;
use std::time::Duration;

use database::{Database, Operation};
use metrics::gauge;
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use crate::ends::{Ends, ends_of};
use crate::seen;
use crate::shared::Shared;

const EVERY: Duration = Duration::from_secs(3600);

const RETRY: Duration = Duration::from_secs(60);

/// What the role lacks to make and drop table partitions, and to report to other members, as the statement that grants it.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn missing_right(
    database: &Database,
    deduplication_days: u32,
) -> Result<Option<&'static str>, sqlx::Error> {
    let rights = database.connection(Operation::Maintenance, |mut conn| async move {
        sqlx::query_as::<_, (bool, bool, bool)>(
            "SELECT has_function_privilege('inbox.add_table_partitions(timestamptz)', 'EXECUTE'),
                 has_function_privilege('inbox.drop_table_partitions(timestamptz)', 'EXECUTE'),
                 (SELECT bool_and(has_table_privilege('inbox.members', needed))
                  FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) needed)",
        )
        .fetch_one(&mut *conn)
        .await
    });
    Ok(match rights.await? {
        (false, _, _) => Some("GRANT EXECUTE ON FUNCTION inbox.add_table_partitions(timestamptz)"),
        (true, false, _) if deduplication_days > 0 => {
            Some("GRANT EXECUTE ON FUNCTION inbox.drop_table_partitions(timestamptz)")
        }
        (true, _, false) => Some("GRANT SELECT, INSERT, UPDATE, DELETE ON inbox.members"),
        (true, _, true) => None,
    })
}

/// Makes table partitions ahead of time and drops forgotten ones.
pub(crate) async fn run(shared: Arc<Shared>, shutdown: CancellationToken) {
    loop {
        let ends = known_ends(&shared).await;
        let (ends, days) = (ends.as_ref(), shared.config.deduplication_days);
        let database = &shared.applier.database;
        let maintained = database
            .connection(Operation::Maintenance, |mut conn| async move {
                let maintained = maintain(&mut conn, ends, days).await;
                // Also when nothing can be made: that is when it has to be seen.
                show_end(&mut conn).await?;
                maintained
            })
            .await;
        let pause = match maintained {
            Ok(()) => EVERY,
            Err(error) => {
                tracing::warn!(%error, "the inbox's table partitions could not be made or dropped; trying again");
                RETRY
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// What all partitions hold, where weeks are dropped; none while a topic's partitions are not named, because each of them
/// may need any week.
async fn known_ends(shared: &Shared) -> Option<Ends> {
    if shared.config.deduplication_days == 0 {
        return None;
    }
    let ends: Option<Vec<Ends>> = ends_of(&*shared.bus, &shared.topics).await.into_iter().collect();
    Some(ends?.into_iter().flatten().collect())
}

async fn maintain(conn: &mut PgConnection, ends: Option<&Ends>, days: u32) -> Result<(), sqlx::Error> {
    seen::add_weeks(conn).await?;
    match ends {
        Some(ends) => seen::drop_weeks(conn, ends, days).await,
        None => Ok(()),
    }
}

async fn show_end(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    let end: Option<i64> = sqlx::query_scalar(
        "SELECT ('x' || left(replace(ceiling::text, '-', ''), 12))::bit(48)::bigint / 1000 FROM inbox.deduplication",
    )
    .fetch_one(conn)
    .await?;
    if let Some(end) = end {
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        gauge!("inbox_table_partitions_end_timestamp_seconds").set(end as f64);
    }
    Ok(())
}
