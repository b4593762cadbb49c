//! `GET /orders`.

use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;
use service::http::{Json, Problem, Query};
use utoipa::IntoParams;
use uuid::Uuid;

use super::views::{ListedBody, PageBody};
use super::{Api, problems};
use crate::adapters::postgres::ListQuery;
use crate::domain::{CustomerId, OrderId, Status};

/// Orders of a page, unless the client says otherwise.
const DEFAULT_LIMIT: i64 = 20;
/// The most orders of a page.
const MAX_LIMIT: i64 = 100;

/// Which orders to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParameters {
    /// Only this customer's.
    #[param(min_length = 1, max_length = 100)]
    customer_id: Option<String>,
    /// Only those that stand there: `placed`, `confirmed` or `cancelled`.
    #[param(pattern = "^(placed|confirmed|cancelled)$")]
    status: Option<String>,
    /// At most so many: 1 to 100.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    #[param(min_length = 32, max_length = 32, pattern = "^[0-9a-f]{32}$")]
    cursor: Option<String>,
}

impl TryFrom<ListParameters> for ListQuery {
    type Error = Problem;

    fn try_from(parameters: ListParameters) -> Result<Self, Problem> {
        let customer_id = parameters.customer_id.as_deref().map(CustomerId::try_new).transpose();
        let status = parameters.status.as_deref().map(|name| {
            Status::parse(name)
                .ok_or_else(|| problems::invalid_parameter("status must be placed, confirmed or cancelled"))
        });
        let limit = parameters.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(problems::invalid_parameter(format!("limit must be 1 to {MAX_LIMIT}")));
        }
        let before = parameters.cursor.as_deref().map(|cursor| {
            Uuid::try_parse(cursor)
                .map(OrderId)
                .map_err(|_| problems::invalid_parameter("cursor must be the next_cursor of a page"))
        });
        Ok(Self {
            customer_id: customer_id
                .map_err(|invalid| problems::invalid_parameter(format!("customer_id {invalid}")))?,
            status: status.transpose()?,
            before: before.transpose()?,
            limit,
        })
    }
}

/// List orders, newest first.
#[utoipa::path(
    get,
    path = "/orders",
    tag = "orders",
    params(ListParameters),
    responses(
        (status = 200, description = "A page of orders", body = PageBody),
        (status = 400, description = "An invalid parameter", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list_orders(
    State(api): State<Arc<Api>>,
    Query(parameters): Query<ListParameters>,
) -> Result<Json<PageBody>, Problem> {
    let query = ListQuery::try_from(parameters)?;
    let page = api.store.list(&query).await?;
    let next_cursor = page.next.map(|last| last.0.simple().to_string());
    Ok(Json(PageBody { orders: page.orders.iter().map(ListedBody::from).collect(), next_cursor }))
}
