//! The pool. A connection goes back without a word to the server, which a silent one would never answer; it is asked on its way
//! out, if it was idle for a while. When one falls silent, those that are idle are closed: they went the same way.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::{self, Metrics, QueueMode, RecycleError, RecycleResult};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, timeout};

use crate::connect;
use crate::operation::{Bounds, Operation, statement};

/// How long a connection may have been idle and still be lent unasked: the server may have ended it meanwhile.
const PING_AFTER: Duration = Duration::from_secs(1);

/// How soon a connection that is asked has to answer.
const PING_TIMEOUT: Duration = Duration::from_millis(500);

/// A connection that was idle for longer is closed. Below what the server allows (`connect::IDLE_TIMEOUT`).
const MOST_IDLE: Duration = Duration::from_secs(240);

/// A connection that is older is replaced, so that a server that moved is found.
const MOST_AGE: Duration = Duration::from_secs(30 * 60);

/// A database: a bounded number of connections, lent for one conversation each. Cheap to clone.
#[derive(Clone)]
pub struct Database {
    pub(crate) pool: managed::Pool<Manager>,
    pub(crate) bounds: Bounds,
    begin: Arc<[String; Operation::ALL.len()]>,
}

/// How many connections there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// At most.
    pub max: usize,
    /// Open.
    pub open: usize,
    /// Open, and not lent.
    pub idle: usize,
}

/// A connection, and what is known of it.
pub(crate) struct Pooled {
    pub(crate) connection: PgConnection,
    /// A transaction has begun and not ended.
    pub(crate) in_transaction: bool,
    /// When it was last known to answer.
    answered_at: Instant,
}

/// Opens connections, and looks at each before it is lent again.
pub(crate) struct Manager {
    options: PgConnectOptions,
    bounds: Bounds,
}

impl Database {
    /// The database at `options`, with at most `max_connections`. Connects when it is first needed.
    #[must_use]
    pub fn new(options: PgConnectOptions, max_connections: usize, bounds: Bounds) -> Self {
        let manager = Manager { options, bounds };
        let builder = managed::Pool::builder(manager)
            .max_size(max_connections.max(1))
            // The connections that are not needed grow old, and are closed.
            .queue_mode(QueueMode::Lifo);
        #[expect(clippy::expect_used, reason = "only a pool with time-outs of its own needs a runtime")]
        let pool = builder.build().expect("a pool without time-outs");
        let begin = Operation::ALL.map(|operation| begin(operation, bounds));
        Self { pool, bounds, begin: Arc::new(begin) }
    }

    /// A database like this one with connections of its own, at most so many.
    #[must_use]
    pub fn another(&self, max_connections: usize) -> Self {
        Self::new(self.options().clone(), max_connections, self.bounds)
    }

    /// Where it is.
    #[must_use]
    pub fn options(&self) -> &PgConnectOptions {
        &self.pool.manager().options
    }

    /// Its name; libpq's default is that of the user.
    #[must_use]
    pub fn name(&self) -> &str {
        let options = self.options();
        options.get_database().unwrap_or_else(|| options.get_username())
    }

    /// How many connections there are.
    #[must_use]
    pub fn status(&self) -> Status {
        let status = self.pool.status();
        Status { max: status.max_size, open: status.size, idle: status.available.min(status.size) }
    }

    /// Lends no further connection, and closes those that come back.
    pub fn close(&self) {
        self.pool.close();
    }

    pub(crate) fn begin(&self, operation: Operation) -> &str {
        &self.begin[operation as usize]
    }

    /// Closes the idle connections when one has not answered: they use its network path, and checking each takes too long.
    pub(crate) fn close_idle(&self) {
        self.pool.retain(|_, _| false);
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl managed::Manager for Manager {
    type Type = Pooled;
    type Error = sqlx::Error;

    async fn create(&self) -> Result<Pooled, sqlx::Error> {
        let connection = connect::open(&self.options, self.bounds).await?;
        Ok(Pooled { connection, in_transaction: false, answered_at: Instant::now() })
    }

    async fn recycle(&self, pooled: &mut Pooled, metrics: &Metrics) -> RecycleResult<sqlx::Error> {
        let idle = pooled.answered_at.elapsed();
        if idle > MOST_IDLE || metrics.age() > MOST_AGE {
            return Err(RecycleError::message("too old"));
        }
        if idle > PING_AFTER {
            timeout(PING_TIMEOUT, pooled.connection.ping())
                .await
                .map_err(|_| RecycleError::message("silent"))??;
            pooled.answered();
        }
        Ok(())
    }
}

impl Pooled {
    pub(crate) fn answered(&mut self) {
        self.answered_at = Instant::now();
    }
}

/// How a transaction begins: its time-outs in the same message.
fn begin(operation: Operation, bounds: Bounds) -> String {
    format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {}",
        statement(operation.bound(bounds)).as_millis(),
        operation.lock(bounds).as_millis()
    )
}
