//! `loyalty`, a sixth service in one file: ten points for each confirmed order.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use chrono::{DateTime, Utc};
use contracts::AnyEvent;
use contracts::order::OrderConfirmed;
use database::{Database, Operation};
use events::Subscribe as _;
use inbox::{Context, HandlerError, Received, Rejection, Subscriptions, UnitOfWork};
use serde::{Deserialize, Serialize};
use service::http::{Json, Problem};
use service::{Definition, Deps, Service};
use sqlx::PgConnection;
use sqlx::migrate::Migrator;
use utoipa::OpenApi;
use uuid::Uuid;

/// `[loyalty]`, and `TIDINGS_LOYALTY__POINTS_PER_ORDER`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    points_per_order: i32,
}

impl Default for Config {
    fn default() -> Self {
        Self { points_per_order: 10 }
    }
}

fn migrator() -> Migrator {
    sqlx_macros::migrate!("examples/loyalty/migrations")
}

fn main() -> anyhow::Result<()> {
    let definition = Definition {
        name: "loyalty",
        listen: "127.0.0.1:8085",
        migrator: migrator(),
        publishes: &[],
        metrics: &[],
    };
    service::run(definition, |config: &Config, deps: &Deps| {
        Ok(Service::new()
            .consumes(Subscriptions::new().on::<OrderConfirmed>(earn), config.points_per_order)
            .http(routes(deps.database.clone()), Api::openapi()))
    })
}

/// The orders of one batch that earn points.
#[derive(Clone)]
struct Earned(Vec<(Uuid, DateTime<Utc>)>);

fn earn(earned: &mut Earned, event: &OrderConfirmed, _: Context<'_>) -> Result<(), Rejection> {
    earned.0.push((event.order_id, event.occurred_at));
    Ok(())
}

impl UnitOfWork for Earned {
    type Event = AnyEvent;
    type Deps = i32;

    async fn load(
        _: &i32,
        _: &mut PgConnection,
        events: &[Received<AnyEvent>],
    ) -> Result<Self, HandlerError> {
        Ok(Self(Vec::with_capacity(events.len())))
    }

    /// A redelivered event does not arrive here: the inbox has its id, by the same transaction.
    async fn store(self, points: &i32, conn: &mut PgConnection) -> Result<(), HandlerError> {
        let (order_ids, times): (Vec<Uuid>, Vec<DateTime<Utc>>) = self.0.into_iter().unzip();
        sqlx::query(
            "INSERT INTO points (order_id, points, earned_at)
             SELECT order_id, $3, earned_at FROM UNNEST($1::uuid[], $2::timestamptz[]) AS earned (order_id, earned_at)",
        )
        .bind(order_ids)
        .bind(times)
        .bind(points)
        .execute(conn)
        .await?;
        Ok(())
    }
}

#[derive(OpenApi)]
#[openapi(info(title = "loyalty", description = "Points for confirmed orders."), paths(totals))]
struct Api;

fn routes(database: Database) -> Router {
    Router::new().route("/points", get(totals)).with_state(database)
}

/// All points.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Totals {
    orders: i64,
    points: i64,
}

/// How many orders earned points, and how many points.
#[utoipa::path(get, path = "/points", responses((status = 200, body = Totals)))]
async fn totals(State(database): State<Database>) -> Result<Json<Totals>, Problem> {
    let (orders, points) = sqlx::query_as("SELECT count(*), coalesce(sum(points), 0) FROM points")
        .fetch_one(database.statement(Operation::Request))
        .await?;
    Ok(Json(Totals { orders, points }))
}

#[cfg(test)]
mod tests {
    use contracts::{Envelope, Event as _};
    use inbox::testing::{apply, cuts};
    use testkit::postgres::TestDatabase;

    use super::*;

    fn confirmed(order: u128) -> (Envelope, AnyEvent) {
        let (order_id, occurred_at) = (Uuid::from_u128(order), DateTime::UNIX_EPOCH);
        let (event_id, payment_id, sequence) = (Uuid::from_u128(order), Uuid::nil(), 2);
        let event = OrderConfirmed { event_id, occurred_at, order_id, sequence, payment_id }.into_any();
        (Envelope::from_delivered(&[], &event), event)
    }

    #[tokio::test]
    async fn each_confirmed_order_earns_its_points_however_batches_are_cut() {
        for batches in cuts(&[confirmed(1), confirmed(2), confirmed(3)]) {
            let migrate = async |pool: &sqlx::PgPool| Ok(migrator().run(pool).await?);
            let test = TestDatabase::create("loyalty", migrate).await;
            for batch in batches {
                let subscriptions = Subscriptions::new().on::<OrderConfirmed>(earn);
                apply(test.database(), &subscriptions, &10, batch).await.unwrap();
            }
            let totals: (i64, i64) = sqlx::query_as("SELECT count(*), sum(points) FROM points")
                .fetch_one(test.pool())
                .await
                .unwrap();
            assert_eq!(totals, (3, 30));
        }
    }
}
