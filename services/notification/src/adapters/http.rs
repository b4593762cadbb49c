//! Notification's HTTP API: `GET /notifications`, without personal data, and `POST /notifications/{id}/retry`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use chrono::{DateTime, Utc};
use database::Database;
use serde::{Deserialize, Serialize};
use service::http::{Json, Path, Problem, Query};
use tokio::sync::Notify;
use utoipa::{IntoParams, OpenApi, ToSchema};
use uuid::Uuid;

use super::postgres::reads::{MailRecord, find};
use super::postgres::retries::{Retried, list_failed, retry};
use crate::application::mail::MailId;

/// Failed mails of one answer.
const PAGE: u16 = 100;

/// What the routes need.
#[derive(Clone, Debug)]
pub struct Http {
    pub database: Database,
    /// Wakes the mailer.
    pub wake: Arc<Notify>,
}

/// Either `order_id`, or `status` with or without `cursor`.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Selection {
    /// The order that the mails are about.
    order_id: Option<Uuid>,
    /// Instead of an order: all mails in this state.
    #[param(inline)]
    status: Option<Status>,
    /// With `status`: only mails behind this one, `next_cursor` of the page before.
    #[param(value_type = Option<String>, pattern = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\\.[a-z_]{1,32}$")]
    cursor: Option<MailId>,
}

#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Status {
    Failed,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum Listing {
    OfOrder(NotificationsView),
    Failed(FailedPage),
}

/// An order's notifications. At most one of each kind, so that there are no pages.
#[derive(Debug, Serialize, ToSchema)]
struct NotificationsView {
    order_id: Uuid,
    /// `present`; `absent` when the order has no recipient, so that nothing is mailed; `unknown` while it isn't known.
    recipient_status: String,
    notifications: Vec<NotificationView>,
}

/// Failed mails, those of the oldest orders first.
#[derive(Debug, Serialize, ToSchema)]
struct FailedPage {
    notifications: Vec<NotificationView>,
    /// Where the next page begins; none at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// One mail, without its recipient and its text.
#[derive(Debug, Serialize, ToSchema)]
struct NotificationView {
    /// What `retry` calls it: the order's id and the kind, joined by a dot.
    id: String,
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
    paths(list_notifications, retry_notification)
)]
struct Api;

pub fn openapi() -> utoipa::openapi::OpenApi {
    Api::openapi()
}

pub fn routes(http: Http) -> Router {
    Router::new()
        .route("/notifications", get(list_notifications))
        .route("/notifications/{id}/retry", post(retry_notification))
        .with_state(http)
}

/// The mails about an order, oldest first; or those that have failed, a hundred at a time.
#[utoipa::path(
    get,
    path = "/notifications",
    params(Selection),
    responses(
        (status = 200, description = "The order's notifications, or a page of failed ones", body = Listing),
        (status = 400, description = "Neither an order nor a status is named, or both", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "Notification has no record of this order", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn list_notifications(
    State(http): State<Http>,
    Query(selection): Query<Selection>,
) -> Result<Json<Listing>, Problem> {
    let database = &http.database;
    let listing = match selection {
        Selection { order_id: Some(order_id), status: None, cursor: None } => {
            Listing::OfOrder(of_order(database, order_id).await?)
        }
        Selection { order_id: None, status: Some(Status::Failed), cursor } => {
            Listing::Failed(failed(database, cursor.as_ref()).await?)
        }
        Selection { .. } => {
            return Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "invalid-query",
                "The query string can't be understood",
            )
            .detail("name either order_id, or status=failed with or without a cursor"));
        }
    };
    Ok(Json(listing))
}

async fn of_order(database: &Database, order_id: Uuid) -> Result<NotificationsView, Problem> {
    let Some((recipient_status, mails)) = find(database, order_id).await? else {
        return Err(Problem::not_found(format!(
            "Notification has no record of order {order_id}; its events may still be in flight."
        )));
    };
    let notifications = mails.into_iter().map(|mail| view(order_id, mail)).collect();
    Ok(NotificationsView { order_id, recipient_status, notifications })
}

async fn failed(database: &Database, cursor: Option<&MailId>) -> Result<FailedPage, Problem> {
    let mails = list_failed(database, cursor, PAGE).await?;
    let is_full = mails.len() == usize::from(PAGE);
    let notifications: Vec<NotificationView> =
        mails.into_iter().map(|failed| view(failed.order_id, failed.mail)).collect();
    let next_cursor = notifications.last().filter(|_| is_full).map(|last| last.id.clone());
    Ok(FailedPage { notifications, next_cursor })
}

/// Sends a mail that has failed once more, with all its attempts before it.
#[utoipa::path(
    post,
    path = "/notifications/{id}/retry",
    params(("id" = String, Path, description = "The notification's `id`", pattern = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\\.[a-z_]{1,32}$")),
    responses(
        (status = 200, description = "The mail, which is pending again", body = NotificationView),
        (status = 400, description = "This is no id of a notification", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such notification", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The notification has not failed", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn retry_notification(
    State(http): State<Http>,
    Path(id): Path<MailId>,
) -> Result<Json<NotificationView>, Problem> {
    match retry(&http.database, &id).await? {
        Retried::Pending(mail) => {
            tracing::info!(order_id = %id.order_id, kind = id.kind, "mail retried");
            http.wake.notify_one();
            Ok(Json(view(id.order_id, mail)))
        }
        Retried::NotFailed(state) => Err(Problem::new(
            StatusCode::CONFLICT,
            "notification-not-failed",
            "The notification has not failed",
        )
        .detail(format!("its state is {state}; only failed ones can be retried"))),
        Retried::Unknown => Err(Problem::not_found(format!("there is no notification {id}"))),
    }
}

fn view(order_id: Uuid, mail: MailRecord) -> NotificationView {
    let MailRecord { kind, state, message_id, subject, transport, .. } = mail;
    let MailRecord { attempts, last_error, created_at, completed_at, .. } = mail;
    NotificationView {
        id: MailId { order_id, kind: kind.clone() }.to_string(),
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
