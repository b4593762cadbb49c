//! Payment's HTTP API: `GET /payments/{order_id}`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use chrono::{DateTime, Utc};
use database::Database;
use serde::Serialize;
use service::http::{Json, Path, Problem};
use utoipa::{OpenApi, ToSchema};
use uuid::Uuid;

use super::postgres::{reads::find, row::state_name};
use crate::application::provider::{LedgerEntry, Provider};
use crate::application::saga_job::SagaJob;
use crate::domain::{Answer, NextStep, State as PaymentState};

/// What the routes need.
#[derive(Clone, Debug)]
pub struct Http {
    pub database: Database,
    pub provider: Arc<dyn Provider>,
}

/// A payment as people see it.
#[derive(Debug, Serialize, ToSchema)]
struct PaymentView {
    order_id: Uuid,
    payment_id: Uuid,
    /// `awaiting_stock`, `awaiting_order`, `authorizing`, `checking_fraud`, `capturing`, `completed`, `declining`, `declined`,
    /// `resolving_authorization`, `resolving_capture`, `voiding`, `refunding`, `voided`, `refunded` or `cancelled`.
    state: &'static str,
    /// Minor units of the currency; absent while the order isn't known, or if it was cancelled before it was charged.
    #[serde(skip_serializing_if = "Option::is_none")]
    amount_minor: Option<i64>,
    /// ISO 4217.
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<String>,
    /// Why the provider refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    decline_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refund_id: Option<Uuid>,
    updated_at: DateTime<Utc>,
    /// The provider's own books about this payment, in order.
    ledger: Vec<LedgerView>,
}

/// One line of the provider's books.
#[derive(Debug, Serialize, ToSchema)]
struct LedgerView {
    /// `authorize`, `check_fraud`, `capture`, `void` or `refund`.
    step: &'static str,
    approved: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    amount_minor: i64,
    currency: String,
    recorded_at: DateTime<Utc>,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tidings: payment",
        description = "The money of each order, and the provider's ledger behind it."
    ),
    paths(get_payment)
)]
struct Api;

pub fn openapi() -> utoipa::openapi::OpenApi {
    Api::openapi()
}

pub fn routes(http: Http) -> Router {
    Router::new().route("/payments/{order_id}", get(get_payment)).with_state(http)
}

/// The payment of an order, with the provider's ledger entries.
#[utoipa::path(
    get,
    path = "/payments/{order_id}",
    params(("order_id" = Uuid, Path, description = "The order that is paid")),
    responses(
        (status = 200, description = "What payment knows of the order", body = PaymentView),
        (status = 400, description = "That is no order id", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "Payment has no record of this order", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database or the provider does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn get_payment(
    State(http): State<Http>,
    Path(order_id): Path<Uuid>,
) -> Result<Json<PaymentView>, Problem> {
    let Some(job) = find(&http.database, order_id).await? else {
        return Err(Problem::not_found(format!(
            "Payment has no record of order {order_id}; its events may still be in flight."
        )));
    };
    let ledger = http.provider.ledger(job.payment.payment_id).await;
    let ledger = ledger.map_err(|error| {
        tracing::warn!(%order_id, %error, "payment provider did not answer");
        Problem::unavailable("the provider did not answer; try again")
    })?;
    Ok(Json(view(&job, ledger)))
}

fn view(job: &SagaJob, ledger: Vec<LedgerEntry>) -> PaymentView {
    let payment = &job.payment;
    let charge = payment.state.charge();
    let (decline_reason, refund_id) = match &payment.state {
        PaymentState::InProgress { next: NextStep::VoidDeclined { reason, .. }, .. }
        | PaymentState::Declined { reason, .. } => (Some(reason.clone()), None),
        PaymentState::Refunded { refund_id, .. } => (None, Some(refund_id.0)),
        PaymentState::Unknown
        | PaymentState::AwaitingStock { .. }
        | PaymentState::AwaitingOrder
        | PaymentState::InProgress { .. }
        | PaymentState::Completed { .. }
        | PaymentState::Voided { .. }
        | PaymentState::Cancelled => (None, None),
    };
    PaymentView {
        order_id: payment.order_id.0,
        payment_id: payment.payment_id.0,
        state: state_name(&payment.state),
        amount_minor: charge.map(|charge| charge.money.amount_minor),
        currency: charge.map(|charge| charge.money.currency.clone()),
        decline_reason,
        refund_id,
        updated_at: job.updated_at,
        ledger: ledger.into_iter().map(ledger_view).collect(),
    }
}

fn ledger_view(entry: LedgerEntry) -> LedgerView {
    let (approved, transaction_id, reason) = match entry.answer {
        Answer::Approved { transaction_id } => (true, Some(transaction_id.0), None),
        Answer::Declined { reason } => (false, None, Some(reason)),
    };
    LedgerView {
        step: entry.step.name(),
        approved,
        transaction_id,
        reason,
        amount_minor: entry.amount_minor,
        currency: entry.currency,
        recorded_at: entry.recorded_at,
    }
}
