//! Sessions that wait for the rest of a statement: none of the server's time-outs runs between the messages of one, and what their
//! transactions lock stays locked for as long as something keeps the socket open.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::{Database, Operation};

/// So old is no statement of ours that still waits for its client: all bounds are shorter, and a migration's end comes with it.
const OLDER_THAN: Duration = Duration::from_secs(20);

/// Finds such sessions of our role and database, and ends them at the second look. Any replica's: their clients may be gone.
#[derive(Debug)]
pub struct StuckSessions {
    database: Database,
    older_than: Duration,
    /// Server process and beginning of the statement.
    seen: BTreeSet<(i32, String)>,
}

impl StuckSessions {
    /// Those of this database.
    #[must_use]
    pub const fn new(database: Database) -> Self {
        Self { database, older_than: OLDER_THAN, seen: BTreeSet::new() }
    }

    /// With another age than 20 s.
    #[must_use]
    pub fn older_than(self, older_than: Duration) -> Self {
        Self { older_than, ..self }
    }

    /// Looks once: ends those that the look before has seen, and returns how many those were. A COPY may wait for its client for
    /// as long as it likes. A COMMIT that waits for a synchronous standby waits for no client, and is never ended.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn look(&mut self) -> Result<u64, sqlx::Error> {
        let (pids, began): (Vec<i32>, Vec<&str>) =
            self.seen.iter().map(|(pid, at)| (*pid, at.as_str())).unzip();
        let found: Vec<(i32, String, bool)> = sqlx::query_as(
            r"SELECT s.pid, s.query_start::text,
                 CASE WHEN EXISTS (SELECT FROM unnest($2::integer[], $3::text[]) AS seen (pid, query_start)
                                   WHERE (seen.pid, seen.query_start) = (s.pid, s.query_start::text))
                      THEN pg_terminate_backend(s.pid) ELSE false END
             FROM pg_stat_activity s
             WHERE s.datname = current_database() AND s.usename = current_user AND s.pid <> pg_backend_pid()
               AND s.backend_type = 'client backend'
               AND s.state = 'active' AND s.query !~* '^\s*copy'
               AND s.query_start < clock_timestamp() - make_interval(secs => $1)
               AND (s.wait_event = 'ClientRead'
                    OR s.wait_event = 'ClientWrite'
                       AND EXISTS (SELECT FROM pg_stat_activity w WHERE s.pid = ANY(pg_blocking_pids(w.pid))))",
        )
        .bind(self.older_than.as_secs_f64())
        .bind(pids)
        .bind(began)
        .fetch_all(self.database.statement(Operation::Maintenance))
        .await?;
        let mut ended = 0;
        self.seen = BTreeSet::new();
        for (pid, query_start, is_ended) in found {
            if is_ended {
                ended += 1;
                tracing::warn!(pid, query_start, "ended a session that waited for the rest of its statement");
            } else {
                self.seen.insert((pid, query_start));
            }
        }
        Ok(ended)
    }
}
