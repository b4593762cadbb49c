//! Notification's HTTP API: `GET /notifications?order_id=`, without personal data.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use chrono::{DateTime, Utc};
use database::Database;
use serde::{Deserialize, Serialize};
use service::http::{Json, Problem, Query};
use utoipa::{IntoParams, OpenApi, ToSchema};
use uuid::Uuid;

use super::postgres::reads::{MailRecord, find};

#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct OrderQuery {
    /// The order that the mails are about.
    order_id: Uuid,
}

/// An order's notifications. At most one of each kind, so that there are no pages.
#[derive(Debug, Serialize, ToSchema)]
struct NotificationsView {
    order_id: Uuid,
    /// `present`; `absent` when the order has no recipient, so that nothing is mailed; `unknown` while it isn't known.
    recipient_status: String,
    notifications: Vec<NotificationView>,
}

/// One mail, without its recipient and its text.
#[derive(Debug, Serialize, ToSchema)]
struct NotificationView {
    /// `order_received`, `order_confirmed`, `order_cancelled` or `payment_refunded`.
    kind: String,
    /// `pending`, `sent` or `failed`.
    state: String,
    message_id: String,
    subject: String,
    /// `smtp`, or `none` where no SMTP server is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    transport: Option<String>,
    attempts: i32,
    /// Why the last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    created_at: DateTime<Utc>,
    /// When it was sent or given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_at: Option<DateTime<Utc>>,
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Tidings: notification", description = "The mails that customers got about their orders."),
    paths(list_notifications)
)]
struct Api;

pub fn openapi() -> utoipa::openapi::OpenApi {
    Api::openapi()
}

pub fn routes(database: Database) -> Router {
    Router::new().route("/notifications", get(list_notifications)).with_state(database)
}

/// The mails about an order, oldest first.
#[utoipa::path(
    get,
    path = "/notifications",
    params(OrderQuery),
    responses(
        (status = 200, description = "The order's notifications", body = NotificationsView),
        (status = 400, description = "No order is named", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "Notification has no record of this order", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn list_notifications(
    State(database): State<Database>,
    Query(query): Query<OrderQuery>,
) -> Result<Json<NotificationsView>, Problem> {
    let order_id = query.order_id;
    let Some((recipient_status, mails)) = find(&database, order_id).await? else {
        return Err(Problem::not_found(format!(
            "Notification has no record of order {order_id}; its events may still be in flight."
        )));
    };
    Ok(Json(NotificationsView {
        order_id,
        recipient_status,
        notifications: mails.into_iter().map(view).collect(),
    }))
}

fn view(mail: MailRecord) -> NotificationView {
    let MailRecord { kind, state, message_id, subject, transport, .. } = mail;
    let MailRecord { attempts, last_error, created_at, completed_at, .. } = mail;
    NotificationView {
        kind,
        state,
        message_id,
        subject,
        transport,
        attempts,
        last_error,
        created_at,
        completed_at,
    }
}
