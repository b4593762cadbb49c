//! Reports between relays through `outbox.relays`: which partitions of the broker each reaches (docs/adr/0024).

use std::collections::BTreeSet;

use cloudevents::clock;
use database::Operation;
use messaging::{TopicPartition, ends};
use sqlx::PgConnection;
use tokio::time::{Instant, MissedTickBehavior, interval};
use uuid::Uuid;

use super::Relay;
use crate::relay::hand_over::{HandOverTimes, View};

/// Whether a relay could take the lead: only then its report is of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionState {
    /// It leads, or tries as soon as no other relay reaches more.
    MayLead,
    /// It gave the lead up, and does not try for a while.
    CoolingDown,
    /// It has no session with the database; its last report counts until it is too old.
    NoSession,
}

/// What a relay does with its row.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Report {
    Write(Vec<String>),
    Leave,
    Withdraw,
}

impl Relay {
    /// Probes the partitions, writes the result, and reads those of the others. Never ends.
    pub(super) async fn report(&self) {
        if self.topics.is_empty() {
            return std::future::pending().await;
        }
        let relay = clock::new_id();
        let mut ticks = interval(self.times.report_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failed = false;
        loop {
            ticks.tick().await;
            let asked_at = Instant::now();
            let unreached = ends::unreached(&*self.bus, &self.topics).await.ok();
            let view = match self.exchange(relay, unreached.as_ref()).await {
                Ok(others) => {
                    failed = false;
                    Some(View { asked_at, unreached, others })
                }
                Err(error) => {
                    if !std::mem::replace(&mut failed, true) {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "outbox: outbox.relays can't be written or read; a leader without its broker keeps its lock"
                        );
                    }
                    None
                }
            };
            self.view.send_replace(view);
        }
    }

    /// Writes which partitions this relay reaches, if it leads or may lead: one that could not take the work is no evidence.
    /// Reads the others' reports.
    async fn exchange(
        &self,
        relay: Uuid,
        unreached: Option<&BTreeSet<TopicPartition>>,
    ) -> Result<Vec<BTreeSet<TopicPartition>>, sqlx::Error> {
        let report = match (unreached, *self.session_state.borrow()) {
            (None, _) | (_, SessionState::CoolingDown) => Report::Withdraw,
            (Some(_), SessionState::NoSession) => Report::Leave,
            (Some(unreached), SessionState::MayLead) => {
                Report::Write(unreached.iter().map(ToString::to_string).collect())
            }
        };
        let times = self.times;
        self.database
            .connection(Operation::Sample, |mut conn| async move {
                exchange(&mut conn, relay, report, &times).await
            })
            .await
    }
}

/// Writes, leaves or withdraws this relay's row; deletes those that are old; and reads the others', as far as they are fresh.
async fn exchange(
    conn: &mut PgConnection,
    relay: Uuid,
    report: Report,
    times: &HandOverTimes,
) -> Result<Vec<BTreeSet<TopicPartition>>, sqlx::Error> {
    let withdraws = report == Report::Withdraw;
    let unreached = match report {
        Report::Write(unreached) => Some(unreached),
        Report::Leave | Report::Withdraw => None,
    };
    let others: Vec<Vec<String>> = sqlx::query_scalar(
        "WITH gone AS (
             DELETE FROM outbox.relays WHERE relay IN (
                 SELECT r.relay FROM outbox.relays r
                 WHERE CASE WHEN r.relay = $1 THEN $5
                       ELSE r.seen_at < clock_timestamp() - make_interval(secs => $4) END
                 FOR UPDATE SKIP LOCKED)
         ), written AS (
             INSERT INTO outbox.relays (relay, seen_at, unreached)
             SELECT $1, clock_timestamp(), $2::text[] WHERE $2::text[] IS NOT NULL
             ON CONFLICT (relay) DO UPDATE SET seen_at = excluded.seen_at, unreached = excluded.unreached
         )
         SELECT unreached FROM outbox.relays
         WHERE relay <> $1 AND seen_at > clock_timestamp() - make_interval(secs => $3)",
    )
    .bind(relay)
    .bind(unreached)
    .bind(times.report_max_age.as_secs_f64())
    .bind(times.report_retention.as_secs_f64())
    .bind(withdraws)
    .fetch_all(conn)
    .await?;
    // A report that can't be read is left out.
    Ok(others
        .iter()
        .filter_map(|unreached| unreached.iter().map(|text| TopicPartition::parse(text)).collect())
        .collect())
}

/// The topics among these that have messages which nothing but the broker keeps from being published.
pub(super) async fn due_topics(
    conn: &mut PgConnection,
    topics: &[String],
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT page.topic FROM unnest($1::text[]) AS page (topic)
         WHERE (
             SELECT u.id FROM outbox.messages u
             WHERE u.finished_at IS NULL AND u.topic >= page.topic AND u.topic <= page.topic
               AND u.id NOT IN (SELECT b.message_id FROM outbox.blocked_keys b)
               AND (u.key IS NULL OR (u.topic, u.key) NOT IN (
                   SELECT b.topic, b.key FROM outbox.blocked_keys b WHERE b.key IS NOT NULL))
             ORDER BY u.topic, u.id LIMIT 1) IS NOT NULL",
    )
    .bind(topics)
    .fetch_all(conn)
    .await
}
