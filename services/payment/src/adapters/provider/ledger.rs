//! The provider's ledger: each statement changes an account and stores the answer, or does neither.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use database::{Database, Operation};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx_macros::FromRow;

use crate::application::provider::{CallError, LedgerEntry};
use crate::domain::{Answer, PaymentId, Step, TransactionId};

/// Creates the schema `provider`, apart from payment's own migrations.
///
/// # Errors
/// When the database refuses.
pub async fn migrate(database: &Database) -> Result<(), MigrateError> {
    let mut migrator: Migrator = sqlx_macros::migrate!("./provider-migrations");
    migrator.table_name = Cow::Borrowed("provider.migrations");
    migrator.create_schemas = Cow::Borrowed(&[Cow::Borrowed("provider")]);
    database.migrate(&migrator).await
}

#[derive(Clone, Debug)]
pub(super) struct Ledger {
    database: Database,
}

/// One call as the provider sees it.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) payment_id: PaymentId,
    pub(super) step: Step,
    pub(super) refuses: Option<&'static str>,
    pub(super) transaction_id: String,
    pub(super) amount_minor: i64,
    pub(super) currency: &'a str,
    pub(super) now: DateTime<Utc>,
}

#[derive(FromRow)]
struct Line {
    step: String,
    reason: Option<String>,
    transaction_id: String,
    amount_minor: i64,
    currency: String,
    recorded_at: DateTime<Utc>,
}

impl Line {
    fn answer(self) -> Answer {
        match self.reason {
            None => Answer::Approved { transaction_id: TransactionId(self.transaction_id) },
            Some(reason) => Answer::Declined { reason },
        }
    }
}

impl Ledger {
    pub(super) const fn new(database: Database) -> Self {
        Self { database }
    }

    pub(super) const fn database(&self) -> &Database {
        &self.database
    }

    /// Acts once per key; a repeated call gets the first one's answer.
    pub(super) async fn act(&self, request: &Request<'_>) -> Result<Answer, CallError> {
        let written = match request.step {
            Step::Authorize => self.authorize(request).await,
            Step::CheckFraud => self.check_fraud(request).await,
            Step::Capture => self.capture(request).await,
            Step::Void => self.void(request).await,
            Step::Refund => self.refund(request).await,
        };
        match written.map_err(unknown)? {
            Some(line) => Ok(line.answer()),
            None => match self.look_up(request.payment_id, request.step).await? {
                Some(answer) => Ok(answer),
                // Only a void is declined without an entry: something is captured.
                None => Ok(Answer::Declined { reason: "already_captured".to_owned() }),
            },
        }
    }

    /// The answer to this step, if it ever arrived.
    pub(super) async fn look_up(
        &self,
        payment_id: PaymentId,
        step: Step,
    ) -> Result<Option<Answer>, CallError> {
        let line: Option<Line> = sqlx::query_as(
            "SELECT step, reason, transaction_id, amount_minor, currency, recorded_at
             FROM provider.ledger WHERE payment_id = $1 AND step = $2",
        )
        .bind(payment_id.0)
        .bind(step.name())
        .fetch_optional(self.database.statement(Operation::Worker))
        .await
        .map_err(unknown)?;
        Ok(line.map(Line::answer))
    }

    /// All answers given about this payment, in order.
    pub(super) async fn entries(&self, payment_id: PaymentId) -> Result<Vec<LedgerEntry>, CallError> {
        let lines: Vec<Line> = sqlx::query_as(
            "SELECT step, reason, transaction_id, amount_minor, currency, recorded_at
             FROM provider.ledger WHERE payment_id = $1 ORDER BY recorded_at, transaction_id",
        )
        .bind(payment_id.0)
        .fetch_all(self.database.statement(Operation::Worker))
        .await
        .map_err(unknown)?;
        Ok(lines.into_iter().filter_map(entry).collect())
    }

    /// Counts how often this step was interrupted, this time included.
    pub(super) async fn interrupt(&self, payment_id: PaymentId, step: Step) -> Result<i32, CallError> {
        sqlx::query_scalar(
            "INSERT INTO provider.interruptions AS i (payment_id, step, count) VALUES ($1, $2, 1)
             ON CONFLICT (payment_id, step) DO UPDATE SET count = i.count + 1 RETURNING count",
        )
        .bind(payment_id.0)
        .bind(step.name())
        .fetch_one(self.database.statement(Operation::Worker))
        .await
        .map_err(|error| match error {
            sqlx::Error::Database(error) => CallError::Unavailable(error.to_string()),
            error => CallError::Unreachable(error.to_string()),
        })
    }

    /// An account that a void has closed refuses later calls.
    async fn authorize(&self, request: &Request<'_>) -> Result<Option<Line>, sqlx::Error> {
        sqlx::query_as(
            "WITH account AS (
                 INSERT INTO provider.accounts (payment_id, status)
                 VALUES ($1, CASE WHEN $2::text IS NULL THEN 'authorized' ELSE 'declined' END)
                 ON CONFLICT (payment_id) DO NOTHING
                 RETURNING status
             )
             INSERT INTO provider.ledger
                 (payment_id, step, approved, reason, transaction_id, amount_minor, currency, recorded_at)
             SELECT $1, 'authorize', answer.reason IS NULL, answer.reason, $3, $4, $5, $6
             FROM (SELECT CASE WHEN EXISTS (SELECT FROM account) THEN $2 ELSE 'voided' END AS reason) AS answer
             ON CONFLICT (payment_id, step) DO NOTHING
             RETURNING step, reason, transaction_id, amount_minor, currency, recorded_at",
        )
        .bind(request.payment_id.0)
        .bind(request.refuses)
        .bind(&request.transaction_id)
        .bind(request.amount_minor)
        .bind(request.currency)
        .bind(request.now)
        .fetch_optional(self.database.statement(Operation::Worker))
        .await
    }

    async fn check_fraud(&self, request: &Request<'_>) -> Result<Option<Line>, sqlx::Error> {
        sqlx::query_as(
            "INSERT INTO provider.ledger
                 (payment_id, step, approved, reason, transaction_id, amount_minor, currency, recorded_at)
             VALUES ($1, 'check_fraud', $2::text IS NULL, $2, $3, $4, $5, $6)
             ON CONFLICT (payment_id, step) DO NOTHING
             RETURNING step, reason, transaction_id, amount_minor, currency, recorded_at",
        )
        .bind(request.payment_id.0)
        .bind(request.refuses)
        .bind(&request.transaction_id)
        .bind(request.amount_minor)
        .bind(request.currency)
        .bind(request.now)
        .fetch_optional(self.database.statement(Operation::Worker))
        .await
    }

    /// Takes only what is held.
    async fn capture(&self, request: &Request<'_>) -> Result<Option<Line>, sqlx::Error> {
        sqlx::query_as(
            "WITH account AS (
                 UPDATE provider.accounts SET status = 'captured'
                 WHERE payment_id = $1 AND status = 'authorized' AND $2::text IS NULL
                 RETURNING status
             )
             INSERT INTO provider.ledger
                 (payment_id, step, approved, reason, transaction_id, amount_minor, currency, recorded_at)
             SELECT $1, 'capture', answer.reason IS NULL, answer.reason, $3, $4, $5, $6
             FROM (SELECT CASE WHEN EXISTS (SELECT FROM account) THEN NULL
                               ELSE COALESCE($2, 'not_authorized') END AS reason) AS answer
             ON CONFLICT (payment_id, step) DO NOTHING
             RETURNING step, reason, transaction_id, amount_minor, currency, recorded_at",
        )
        .bind(request.payment_id.0)
        .bind(request.refuses)
        .bind(&request.transaction_id)
        .bind(request.amount_minor)
        .bind(request.currency)
        .bind(request.now)
        .fetch_optional(self.database.statement(Operation::Worker))
        .await
    }

    /// Closes the account, also one that was never opened, unless something was captured.
    async fn void(&self, request: &Request<'_>) -> Result<Option<Line>, sqlx::Error> {
        sqlx::query_as(
            "WITH account AS (
                 INSERT INTO provider.accounts AS a (payment_id, status) VALUES ($1, 'voided')
                 ON CONFLICT (payment_id) DO UPDATE SET status = 'voided'
                 WHERE a.status IN ('authorized', 'declined', 'voided')
                 RETURNING status
             )
             INSERT INTO provider.ledger
                 (payment_id, step, approved, reason, transaction_id, amount_minor, currency, recorded_at)
             SELECT $1, 'void', true, NULL, $2, $3, $4, $5 FROM account
             ON CONFLICT (payment_id, step) DO NOTHING
             RETURNING step, reason, transaction_id, amount_minor, currency, recorded_at",
        )
        .bind(request.payment_id.0)
        .bind(&request.transaction_id)
        .bind(request.amount_minor)
        .bind(request.currency)
        .bind(request.now)
        .fetch_optional(self.database.statement(Operation::Worker))
        .await
    }

    /// Gives back only what was captured.
    async fn refund(&self, request: &Request<'_>) -> Result<Option<Line>, sqlx::Error> {
        sqlx::query_as(
            "WITH account AS (
                 UPDATE provider.accounts SET status = 'refunded'
                 WHERE payment_id = $1 AND status = 'captured'
                 RETURNING status
             )
             INSERT INTO provider.ledger
                 (payment_id, step, approved, reason, transaction_id, amount_minor, currency, recorded_at)
             SELECT $1, 'refund', answer.reason IS NULL, answer.reason, $2, $3, $4, $5
             FROM (SELECT CASE WHEN EXISTS (SELECT FROM account) THEN NULL ELSE 'not_captured' END AS reason) AS answer
             ON CONFLICT (payment_id, step) DO NOTHING
             RETURNING step, reason, transaction_id, amount_minor, currency, recorded_at",
        )
        .bind(request.payment_id.0)
        .bind(&request.transaction_id)
        .bind(request.amount_minor)
        .bind(request.currency)
        .bind(request.now)
        .fetch_optional(self.database.statement(Operation::Worker))
        .await
    }
}

fn entry(line: Line) -> Option<LedgerEntry> {
    let step = Step::ALL.into_iter().find(|step| step.name() == line.step)?;
    let (amount_minor, currency, recorded_at) = (line.amount_minor, line.currency.clone(), line.recorded_at);
    Some(LedgerEntry { step, answer: line.answer(), amount_minor, currency, recorded_at })
}

/// After a broken connection it is unknown whether the statement was committed; an error of the server is an answer.
fn unknown(error: sqlx::Error) -> CallError {
    match error {
        sqlx::Error::Database(error) => CallError::Failed(error.to_string()),
        error => CallError::Unknown(error.to_string()),
    }
}
