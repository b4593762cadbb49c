//! The side that tracks parcels: each move once, and only between depots that it knows.

use std::collections::HashSet;

use inbox::{Context, HandlerError, Received, Rejection, Subscriptions, UnitOfWork};
use sqlx::PgConnection;

use crate::parcel::{MOVED, ParcelMoved};

/// Its tables: the depots that are known, and where each parcel was, in order.
pub const TABLES: &str = "CREATE TABLE depots (depot text PRIMARY KEY);
    CREATE TABLE track (step bigserial PRIMARY KEY, parcel text NOT NULL, depot text NOT NULL)";

/// What a batch of moves changes.
#[derive(Clone)]
pub struct Track {
    known: HashSet<String>,
    steps: Vec<ParcelMoved>,
}

impl UnitOfWork for Track {
    type Event = ParcelMoved;
    type Deps = ();

    async fn load(
        _: &(),
        conn: &mut PgConnection,
        _: &[Received<ParcelMoved>],
    ) -> Result<Self, HandlerError> {
        let depots: Vec<String> = sqlx::query_scalar("SELECT depot FROM depots").fetch_all(conn).await?;
        Ok(Self { known: depots.into_iter().collect(), steps: Vec::new() })
    }

    async fn store(self, _: &(), conn: &mut PgConnection) -> Result<(), HandlerError> {
        for ParcelMoved { parcel, depot } in self.steps {
            sqlx::query("INSERT INTO track (parcel, depot) VALUES ($1, $2)")
                .bind(parcel)
                .bind(depot)
                .execute(&mut *conn)
                .await?;
        }
        Ok(())
    }
}

/// What it subscribes to.
pub fn subscriptions() -> Subscriptions<Track> {
    Subscriptions::new().on_type(MOVED, moved)
}

fn moved(track: &mut Track, event: &ParcelMoved, _: Context<'_>) -> Result<(), Rejection> {
    if !track.known.contains(&event.depot) {
        return Err(Rejection::new("unknown_depot", &event.depot));
    }
    track.steps.push(event.clone());
    Ok(())
}
