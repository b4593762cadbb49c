//! Which problem (RFC 9457) each error of the order API is.

use axum::http::StatusCode;
use events::PublishError;
use outbox::AppendError;
use service::group_commit::Failure;
use service::http::Problem;

use crate::adapters::postgres::{StoreError, WrittenByNewerRelease};
use crate::adapters::watch::TooManyWaiters;
use crate::domain::Refusal;

pub(super) fn not_found(order_id: impl std::fmt::Display) -> Problem {
    Problem::not_found(format!("there is no order {order_id}"))
}

pub(super) fn invalid_parameter(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid-parameter", "A parameter of the request is invalid")
        .detail(detail)
}

impl From<TooManyWaiters> for Problem {
    fn from(limit: TooManyWaiters) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-waiters", "Too many requests are waiting")
            .detail(format!("{limit}; try again, or without waiting"))
            .retry_after_s(1)
    }
}

impl From<WrittenByNewerRelease> for Problem {
    fn from(newer: WrittenByNewerRelease) -> Self {
        let title = "A newer release has written this";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "written-by-a-newer-release", title)
            .detail(format!("{newer}; a replica of that release can tell"))
            .retry_after_s(5)
    }
}

/// Of a request whose group was not committed.
pub(super) fn of_group(failure: Failure<StoreError>) -> Problem {
    match failure {
        Failure::Failed(error) => Problem::from(&*error),
        Failure::Panicked => Problem::internal(),
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::from(&error)
    }
}

impl From<&StoreError> for Problem {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Refused(refusal @ Refusal::AlreadyConfirmed) => {
                Self::new(StatusCode::CONFLICT, "order-confirmed", "The order was confirmed")
                    .detail(refusal.to_string())
            }
            StoreError::Refused(refusal @ Refusal::UnknownOrder) => Self::not_found(refusal.to_string()),
            StoreError::Append(PublishError::Append(AppendError::TooLarge { bytes, limit, .. })) => {
                let detail = format!(
                    "its event would have {bytes} bytes, more than the {limit} that the broker takes"
                );
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "order-too-large", "The order is too large")
                    .detail(detail)
            }
            StoreError::Database(error) => Self::from(error),
            StoreError::Refused(
                Refusal::AlreadyPlaced | Refusal::WrongAmount { .. } | Refusal::SecondPayment { .. },
            )
            | StoreError::Append(_)
            | StoreError::Corrupt { .. } => {
                tracing::error!(%error, "unexpected internal error while handling request");
                Self::internal()
            }
        }
    }
}
