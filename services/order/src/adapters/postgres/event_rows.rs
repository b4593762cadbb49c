//! The table `order_events`.

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::types::Json;
use uuid::Uuid;

use super::StoreError;
use crate::adapters::stored::{self, Metadata, NewEvent};
use crate::application::Recorded;

/// Events as rows, each under its id.
#[derive(Default)]
pub(super) struct EventColumns<'a> {
    order_ids: Vec<Uuid>,
    versions: Vec<i64>,
    kinds: Vec<&'static str>,
    schema_versions: Vec<i32>,
    data: Vec<Json<Box<RawValue>>>,
    metadata: Vec<Json<Metadata<'a>>>,
    occurred_at: Vec<DateTime<Utc>>,
}

impl<'a> EventColumns<'a> {
    pub(super) fn push(&mut self, recorded: &'a Recorded, event_id: Uuid) -> Result<(), StoreError> {
        let stored = stored::store(&recorded.event);
        let NewEvent { kind, schema_version, data } =
            stored.map_err(|error| StoreError::corrupt(recorded.order_id, error))?;
        self.order_ids.push(recorded.order_id.0);
        self.versions.push(recorded.version);
        self.kinds.push(kind);
        self.schema_versions.push(schema_version);
        self.data.push(Json(data));
        self.metadata.push(Json(Metadata::new(event_id, &recorded.cause)));
        self.occurred_at.push(recorded.occurred_at);
        Ok(())
    }

    /// Binds the columns to $1 to $7: order_id, version, type, schema_version, data, metadata, occurred_at.
    pub(super) fn bind(
        self,
        statement: Query<'_, Postgres, PgArguments>,
    ) -> Query<'_, Postgres, PgArguments> {
        statement
            .bind(self.order_ids)
            .bind(self.versions)
            .bind(self.kinds)
            .bind(self.schema_versions)
            .bind(self.data)
            .bind(self.metadata)
            .bind(self.occurred_at)
    }
}
