//! Payment's HTTP edge: `GET /payments/{order_id}`, for people.

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

use super::postgres::{find, row::state_name};
use crate::application::Entry;
use crate::application::provider::{LedgerEntry, Provider};
use crate::domain::{Answer, Charge, State as PaymentState};

/// What the routes need.
#[derive(Clone, Debug)]
pub struct Http {
    /// Payment's database.
    pub database: Database,
    /// Who keeps the ledger.
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

/// The OpenAPI description of these routes.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    Api::openapi()
}

/// The routes.
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
        (status = 404, description = "Payment has not heard of this order", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database or the provider does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn get_payment(
    State(http): State<Http>,
    Path(order_id): Path<Uuid>,
) -> Result<Json<PaymentView>, Problem> {
    let Some(entry) = find(&http.database, order_id).await? else {
        return Err(Problem::not_found(format!(
            "Payment has not heard of an order {order_id}; events may still be on their way."
        )));
    };
    let ledger = http.provider.ledger(entry.payment.payment_id).await;
    let ledger = ledger.map_err(|error| {
        tracing::warn!(%order_id, %error, "the payment provider did not answer");
        Problem::unavailable("the provider did not answer; try again")
    })?;
    Ok(Json(view(&entry, ledger)))
}

fn view(entry: &Entry, ledger: Vec<LedgerEntry>) -> PaymentView {
    let payment = &entry.payment;
    let charge = charge(&payment.state);
    let decline_reason = match &payment.state {
        PaymentState::Declining { reason, .. } | PaymentState::Declined { reason, .. } => {
            Some(reason.clone())
        }
        PaymentState::Unknown
        | PaymentState::AwaitingStock { .. }
        | PaymentState::AwaitingOrder
        | PaymentState::Charging { .. }
        | PaymentState::Completed { .. }
        | PaymentState::Cancelling { .. }
        | PaymentState::Voided { .. }
        | PaymentState::Refunded { .. }
        | PaymentState::Cancelled => None,
    };
    let refund_id =
        if let PaymentState::Refunded { refund_id, .. } = &payment.state { Some(refund_id.0) } else { None };
    PaymentView {
        order_id: payment.order_id.0,
        payment_id: payment.payment_id.0,
        state: state_name(&payment.state),
        amount_minor: charge.map(|charge| charge.money.amount_minor),
        currency: charge.map(|charge| charge.money.currency.clone()),
        decline_reason,
        refund_id,
        updated_at: entry.updated_at,
        ledger: ledger.into_iter().map(ledger_view).collect(),
    }
}

const fn charge(state: &PaymentState) -> Option<&Charge> {
    match state {
        PaymentState::AwaitingStock { charge }
        | PaymentState::Charging { charge, .. }
        | PaymentState::Completed { charge, .. }
        | PaymentState::Declining { charge, .. }
        | PaymentState::Declined { charge, .. }
        | PaymentState::Cancelling { charge, .. }
        | PaymentState::Voided { charge }
        | PaymentState::Refunded { charge, .. } => Some(charge),
        PaymentState::Unknown | PaymentState::AwaitingOrder | PaymentState::Cancelled => None,
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
