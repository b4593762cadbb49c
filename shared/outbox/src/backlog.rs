//! What waits in an outbox: asked of the database, so that it is also known while no relay leads.

use sqlx::PgConnection;

/// What waits to be published.
#[derive(Clone, Copy, Debug, PartialEq, sqlx_macros::FromRow)]
pub struct Backlog {
    /// Messages that are not known to be published.
    pub unpublished: i64,
    /// Age of the oldest of them that is not behind a blocked key; 0 when there is none.
    pub oldest_age_s: f64,
    /// Keys that need an operator.
    pub blocked_keys: i64,
}

impl Backlog {
    /// Asks the database, in a transaction whose settings it changes. The count walks over the index of unpublished messages; the oldest is one look into it per topic.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn read(transaction: &mut PgConnection) -> Result<Self, sqlx::Error> {
        // The plan must not depend on statistics that a burst has made stale: each part has its index.
        let (is_polled,): (bool,) = sqlx::query_as(
            "SELECT NOT EXISTS (SELECT FROM outbox.topics) FROM (
                 SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
                     set_config('enable_sort', 'off', true), set_config('jit', 'off', true)) AS settings",
        )
        .fetch_one(&mut *transaction)
        .await?;
        if is_polled {
            Self::read_table(transaction).await
        } else {
            Self::read_unpublished(transaction).await
        }
    }

    /// Where what is not finished is unpublished.
    async fn read_table(transaction: &mut PgConnection) -> Result<Self, sqlx::Error> {
        // Of each topic the message with the lowest id: ids are drawn before messages are inserted. In the order of the index
        // of unpublished messages; by `topic = ... ORDER BY id` the primary key would do as well, with all that is published.
        sqlx::query_as(
            "WITH RECURSIVE topics (topic) AS (
                 (SELECT topic FROM outbox.messages WHERE finished_at IS NULL ORDER BY topic LIMIT 1)
                 UNION ALL
                 SELECT (SELECT m.topic FROM outbox.messages m
                         WHERE m.finished_at IS NULL AND m.topic > t.topic ORDER BY m.topic LIMIT 1)
                 FROM topics t WHERE t.topic IS NOT NULL
             )
             SELECT (SELECT count(*) FROM outbox.messages WHERE finished_at IS NULL) AS unpublished,
                 (SELECT count(*) FROM outbox.blocked_keys) AS blocked_keys,
                 greatest(0, coalesce(extract(epoch FROM clock_timestamp() - min(oldest.created_at)), 0))::float8
                     AS oldest_age_s
             FROM topics t CROSS JOIN LATERAL (
                 SELECT m.created_at FROM outbox.messages m
                 WHERE m.finished_at IS NULL AND m.topic >= t.topic AND m.topic <= t.topic
                   AND m.id NOT IN (SELECT b.message_id FROM outbox.blocked_keys b)
                   AND (m.key IS NULL OR (m.topic, m.key) NOT IN (
                       SELECT b.topic, b.key FROM outbox.blocked_keys b WHERE b.key IS NOT NULL))
                 ORDER BY m.topic, m.id LIMIT 1
             ) AS oldest",
        )
        .fetch_one(transaction)
        .await
    }

    /// Where a relay of the log publishes, or has published: what is unpublished is found by its snapshot, and looked at once.
    async fn read_unpublished(transaction: &mut PgConnection) -> Result<Self, sqlx::Error> {
        sqlx::query_as(
            "SELECT count(*) AS unpublished, (SELECT count(*) FROM outbox.blocked_keys) AS blocked_keys,
                 greatest(0, coalesce(extract(epoch FROM clock_timestamp() - min(m.created_at) FILTER (
                     WHERE m.id NOT IN (SELECT b.message_id FROM outbox.blocked_keys b)
                       AND (m.key IS NULL OR (m.topic, m.key) NOT IN (
                           SELECT b.topic, b.key FROM outbox.blocked_keys b WHERE b.key IS NOT NULL)))), 0))::float8
                     AS oldest_age_s
             FROM outbox.unpublished_ids() AS u (id) CROSS JOIN LATERAL (
                 SELECT l.id, l.topic, l.key, l.created_at FROM outbox.messages l WHERE l.id = u.id OFFSET 0) AS m",
        )
        .fetch_one(transaction)
        .await
    }

    /// Sets the gauges.
    pub fn show(&self) {
        #[expect(clippy::cast_precision_loss, reason = "gauges")]
        let (unpublished, blocked) = (self.unpublished as f64, self.blocked_keys as f64);
        metrics::gauge!("outbox_unpublished_messages").set(unpublished);
        metrics::gauge!("outbox_oldest_unpublished_age_seconds").set(self.oldest_age_s);
        metrics::gauge!("outbox_blocked_keys").set(blocked);
    }
}
