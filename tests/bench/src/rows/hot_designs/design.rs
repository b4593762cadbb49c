//! The designs: tables of a SKU's stock, and the SQL by which units are taken.

use sqlx::postgres::PgArguments;
use sqlx::query::QueryAs;
use sqlx::{PgConnection, Postgres};
use uuid::Uuid;

/// How many rows a SKU has where it has several.
const SLOTS: i64 = 8;

/// How the units of a SKU are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Design {
    /// A row with the number of units.
    OneRow,
    /// Several such rows, of which a transaction locks one that nobody has locked, as in O'Neil's escrow method.
    Slots,
    /// A row per unit; a transaction locks units that nobody has locked.
    Units,
}

/// Whether a transaction waits for rows that others have locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// It takes others.
    Never,
    /// It does, for all of them in their order: only then is it known what is left.
    ForAll,
}

/// The units of a SKU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Books {
    pub(super) available: i64,
    pub(super) reserved: i64,
}

/// Units that a transaction has locked: how many, and the row or rows that have them.
#[derive(Debug, Default)]
pub(super) struct Locked {
    /// The row, and how many of its units are taken.
    rows: Vec<(i64, i64)>,
    pub(super) units: i64,
}

impl Design {
    pub(super) const ALL: [Self; 3] = [Self::OneRow, Self::Slots, Self::Units];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::OneRow => "one row",
            Self::Slots => "eight rows",
            Self::Units => "a row per unit",
        }
    }

    /// Locks up to so many units. `turn` is where a transaction begins to look for a row that is free.
    pub(super) async fn lock(
        self,
        conn: &mut PgConnection,
        wanted: i64,
        wait: Wait,
        turn: i64,
    ) -> Result<Locked, sqlx::Error> {
        let rows: Vec<(i64, i64)> = match (self, wait) {
            (Self::OneRow, _) => {
                sqlx::query_as("SELECT 0::bigint, available FROM stock ORDER BY sku FOR UPDATE")
                    .fetch_all(conn)
                    .await?
            }
            (Self::Slots, Wait::Never) => {
                sqlx::query_as(
                    "SELECT slot, available FROM slots WHERE sku = 'HOT' AND available >= $1
                     ORDER BY (slot + $2) % $3 LIMIT 1 FOR UPDATE SKIP LOCKED",
                )
                .bind(wanted)
                .bind(turn)
                .bind(SLOTS)
                .fetch_all(conn)
                .await?
            }
            (Self::Slots, Wait::ForAll) => {
                sqlx::query_as("SELECT slot, available FROM slots WHERE sku = 'HOT' ORDER BY slot FOR UPDATE")
                    .fetch_all(conn)
                    .await?
            }
            (Self::Units, Wait::Never) => {
                sqlx::query_as(
                    "SELECT unit_id, 1::bigint FROM units WHERE sku = 'HOT' AND order_id IS NULL
                     ORDER BY unit_id LIMIT $1 FOR UPDATE SKIP LOCKED",
                )
                .bind(wanted)
                .fetch_all(conn)
                .await?
            }
            (Self::Units, Wait::ForAll) => {
                sqlx::query_as(
                    "SELECT unit_id, 1::bigint FROM units WHERE sku = 'HOT' AND order_id IS NULL
                     ORDER BY unit_id FOR UPDATE",
                )
                .fetch_all(conn)
                .await?
            }
        };
        let mut locked = Locked::default();
        for (row, available) in rows {
            let taken = available.min(wanted - locked.units);
            if taken > 0 {
                locked.rows.push((row, taken));
                locked.units += taken;
            }
        }
        Ok(locked)
    }

    /// Takes the locked units, for these orders.
    pub(super) async fn take(
        self,
        conn: &mut PgConnection,
        locked: &Locked,
        orders: &[Uuid],
    ) -> Result<(), sqlx::Error> {
        let rows: Vec<i64> = locked.rows.iter().map(|(row, _)| *row).collect();
        let taken: Vec<i64> = locked.rows.iter().map(|(_, taken)| *taken).collect();
        let taking = match self {
            Self::OneRow => sqlx::query(
                "UPDATE stock SET available = available - $1, reserved = reserved + $1 WHERE sku = 'HOT'",
            )
            .bind(locked.units),
            Self::Slots => sqlx::query(
                "UPDATE slots SET available = available - taken.units, reserved = reserved + taken.units
                 FROM unnest($1::bigint[], $2::bigint[]) AS taken (slot, units)
                 WHERE sku = 'HOT' AND slots.slot = taken.slot",
            )
            .bind(rows)
            .bind(taken),
            Self::Units => sqlx::query(
                "UPDATE units SET order_id = taken.order_id
                 FROM unnest($1::bigint[], $2::uuid[]) AS taken (unit_id, order_id)
                 WHERE sku = 'HOT' AND units.unit_id = taken.unit_id",
            )
            .bind(rows)
            .bind(orders),
        };
        taking.execute(conn).await?;
        Ok(())
    }

    pub(super) async fn books(self, conn: &mut PgConnection) -> Result<Books, sqlx::Error> {
        let books: QueryAs<'_, Postgres, (i64, i64), PgArguments> = match self {
            Self::OneRow => sqlx::query_as("SELECT available, reserved FROM stock"),
            Self::Slots => sqlx::query_as(
                "SELECT sum(available)::bigint AS available, sum(reserved)::bigint AS reserved FROM slots",
            ),
            Self::Units => sqlx::query_as(
                "SELECT count(*) FILTER (WHERE u.order_id IS NULL) AS available, count(DISTINCT r.order_id) AS reserved
                 FROM units u LEFT JOIN reservations r ON r.order_id = u.order_id AND r.state = 'reserved'",
            ),
        };
        let (available, reserved) = books.fetch_one(conn).await?;
        Ok(Books { available, reserved })
    }
}

/// Makes the tables anew, with so many units.
pub(super) async fn prepare(conn: &mut PgConnection, design: Design, stock: i64) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(
        "DROP TABLE IF EXISTS reservations, messages, stock, slots, units;
         CREATE TABLE reservations (order_id uuid PRIMARY KEY, state text NOT NULL, lines jsonb);
         CREATE TABLE messages (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key uuid NOT NULL, value bytea NOT NULL);
         CREATE TABLE stock (sku text PRIMARY KEY, available bigint NOT NULL CHECK (available >= 0),
             reserved bigint NOT NULL DEFAULT 0) WITH (fillfactor = 50);
         CREATE TABLE slots (sku text, slot bigint, available bigint NOT NULL CHECK (available >= 0),
             reserved bigint NOT NULL DEFAULT 0, PRIMARY KEY (sku, slot)) WITH (fillfactor = 50);
         CREATE TABLE units (unit_id bigint PRIMARY KEY, sku text NOT NULL, order_id uuid UNIQUE);
         CREATE INDEX ON units (sku, unit_id) WHERE order_id IS NULL",
    )
    .execute(&mut *conn)
    .await?;
    let insert = match design {
        Design::OneRow => sqlx::query("INSERT INTO stock (sku, available) VALUES ('HOT', $1)").bind(stock),
        Design::Slots => sqlx::query(
            "INSERT INTO slots (sku, slot, available)
             SELECT 'HOT', n, $1 / $2 + CASE WHEN n < $1 % $2 THEN 1 ELSE 0 END FROM generate_series(0, $2 - 1) AS n",
        )
        .bind(stock)
        .bind(SLOTS),
        Design::Units => {
            sqlx::query("INSERT INTO units (unit_id, sku) SELECT n, 'HOT' FROM generate_series(1, $1) AS n")
                .bind(stock)
        }
    };
    insert.execute(&mut *conn).await?;
    sqlx::raw_sql("ANALYZE stock; ANALYZE slots; ANALYZE units").execute(conn).await?;
    Ok(())
}

/// How many orders have their unit.
pub(super) async fn reserved_orders(conn: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT count(*) FROM reservations WHERE state = 'reserved'").fetch_one(conn).await
}
