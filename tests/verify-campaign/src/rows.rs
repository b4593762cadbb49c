//! Corruptions of rows, from PostgreSQL's catalog: for every column of every table a changed value, a null and another row's
//! value; for every table a row deleted and a second one inserted.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};

/// The most rows of one table that are corrupted, so that every kind of row is among them.
const ROWS: usize = 14;

/// The most different values of a column that distinguishes kinds of rows.
const KINDS: usize = 10;

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// PostgreSQL's name of its type.
    pub kind: String,
    /// Whether it belongs to the primary key.
    pub is_key: bool,
    /// Whether PostgreSQL computes it.
    pub is_generated: bool,
}

/// A table with the rows that stand for all.
#[derive(Clone, Debug)]
pub struct Table {
    /// `schema.table`.
    pub name: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its rows.
    pub rows: Vec<Row>,
    /// Those that are corrupted, one of each kind.
    pub chosen: Vec<usize>,
}

/// A row.
#[derive(Clone, Debug)]
pub struct Row {
    /// `tableoid = ... AND ctid = ...`.
    pub at: String,
    /// Its columns.
    pub values: Value,
}

/// A statement that corrupts something.
#[derive(Clone, Debug)]
pub struct Corruption {
    /// `schema.table.column`, with a path in a JSON document; `schema.table` for whole rows.
    pub what: String,
    /// What is done.
    pub how: &'static str,
    /// The statement; it returns the row as it is then, or was, and how to find it.
    pub sql: String,
    /// The row before.
    pub row: Value,
    at: String,
    table: String,
    column: String,
}

/// The tables of a database, but for the migrator's own.
///
/// # Errors
/// When the catalog can't be read.
pub async fn tables(conn: &mut PgConnection) -> anyhow::Result<Vec<Table>> {
    type Found = (String, String, String, String, bool, bool);
    let columns: Vec<Found> = sqlx::query_as(
        "SELECT n.nspname, c.relname, a.attname, format_type(a.atttypid, NULL),
             EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND a.attnum = ANY(i.indkey)),
             a.attgenerated <> ''
         FROM pg_class c
         JOIN pg_namespace n ON n.oid = c.relnamespace
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
         WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname NOT LIKE 'pg\\_%'
             AND n.nspname <> 'information_schema' AND c.relname NOT LIKE '%migrations'
         ORDER BY n.nspname, c.relname, a.attnum",
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut tables: BTreeMap<String, Vec<Column>> = BTreeMap::new();
    for (schema, table, name, kind, is_key, is_generated) in columns {
        let column = Column { name, kind, is_key, is_generated };
        tables.entry(format!("{schema}.{table}")).or_default().push(column);
    }
    let mut found = Vec::with_capacity(tables.len());
    for (name, columns) in tables {
        let sql = format!("SELECT tableoid::bigint, ctid::text, to_jsonb(t) FROM {name} t ORDER BY 1, ctid");
        let rows: Vec<(i64, String, Value)> =
            sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&mut *conn).await?;
        let row = |(oid, ctid, values)| Row { at: format!("tableoid = {oid} AND ctid = '{ctid}'"), values };
        let rows: Vec<Row> = rows.into_iter().map(row).collect();
        let chosen = choose(&columns, &rows);
        found.push(Table { name, columns, rows, chosen });
    }
    Ok(found)
}

/// A row for each value of each column that distinguishes kinds of rows, and one for each column that is set anywhere.
fn choose(columns: &[Column], rows: &[Row]) -> Vec<usize> {
    let mut chosen = BTreeSet::new();
    let mut wanted: Vec<Vec<usize>> = Vec::new();
    for column in columns {
        let mut first: BTreeMap<String, usize> = BTreeMap::new();
        for (at, row) in rows.iter().enumerate() {
            let value = &row.values[&column.name];
            if !value.is_null() {
                first.entry(value.to_string()).or_insert(at);
            }
        }
        if first.len() <= KINDS && ["text", "boolean", "integer"].contains(&column.kind.as_str()) {
            wanted.push(first.into_values().collect());
        } else {
            wanted.push(first.into_values().take(1).collect());
        }
    }
    // Kinds first: what distinguishes few kinds is cheap to cover.
    wanted.sort_by_key(Vec::len);
    for row in wanted.into_iter().flatten() {
        if chosen.len() < ROWS {
            chosen.insert(row);
        }
    }
    chosen.into_iter().collect()
}

impl Corruption {
    /// What a finding may call what was corrupted, by the row before and the one `after`.
    pub fn names(&self, after: &Value) -> Vec<String> {
        let mut names = self::names(&self.table, &self.row);
        names.extend(self::names(&self.table, after));
        names
    }
}

impl Corruption {
    /// The same corruption of a row that has moved there.
    #[must_use]
    pub fn moved(self, at: String) -> Self {
        Self { sql: self.sql.replace(&self.at, &at), at, ..self }
    }

    /// The statement that undoes a change of one column, once the corruption knows where its row is now; it returns how to find the
    /// row after it. None for other corruptions.
    pub fn undo(&self) -> Option<String> {
        let Self { table, column, at, .. } = self;
        let row = self.row.to_string().replace('\'', "''");
        (self.how == "change" && !column.contains('.')).then(|| {
            format!(
                "UPDATE {table} SET {column} = (jsonb_populate_record(NULL::{table}, '{row}')).{column} WHERE {at}
                 RETURNING {}",
                place(table)
            )
        })
    }
}

/// The expression that says how to find a row.
fn place(table: &str) -> String {
    let table = table.rsplit('.').next().unwrap_or_default();
    format!("format('tableoid = %s AND ctid = %L', {table}.tableoid::oid, {table}.ctid)")
}

impl Table {
    /// Every corruption of the chosen rows.
    pub fn corruptions(&self) -> Vec<Corruption> {
        let mut corruptions = Vec::new();
        for row in self.chosen.iter().filter_map(|at| self.rows.get(*at)) {
            for column in self.columns.iter().filter(|column| !column.is_generated) {
                self.change(row, column, &mut corruptions);
            }
            self.shift(row, &mut corruptions);
            self.whole(row, &mut corruptions);
        }
        corruptions
    }

    fn corruption(&self, row: &Row, path: &str, how: &'static str, sql: &str) -> Corruption {
        let what = if path.is_empty() { self.name.clone() } else { format!("{}.{path}", self.name) };
        let table = self.name.rsplit('.').next().unwrap_or_default();
        let sql = format!("{sql} RETURNING to_jsonb({table}), {}", place(&self.name));
        let (at, row, column) = (row.at.clone(), row.values.clone(), path.to_owned());
        Corruption { what, how, sql, row, at, table: self.name.clone(), column }
    }

    fn change(&self, row: &Row, column: &Column, corruptions: &mut Vec<Corruption>) {
        let (table, name, at) = (&self.name, &column.name, &row.at);
        let value = &row.values[name];
        let set = |expression: &str| format!("UPDATE {table} SET {name} = {expression} WHERE {at}");
        if value.is_null() {
            let expression = from_nothing(&column.kind);
            corruptions.push(self.corruption(row, name, "set", &set(&expression)));
            return;
        }
        corruptions.push(self.corruption(row, name, "null", &set("NULL")));
        if column.kind == "jsonb" {
            for path in leaves(value) {
                let (steps, leaf) = (path.join(","), leaf(value, &path));
                let quoted = steps.replace('\'', "''");
                let changed = changed_json(leaf).replace('\'', "''");
                let to = format!("jsonb_set({name}, '{{{quoted}}}', '{changed}')");
                let path = format!("{name}.{}", steps_without_numbers(&path));
                corruptions.push(self.corruption(row, &path, "change", &set(&to)));
                corruptions.push(self.corruption(
                    row,
                    &path,
                    "remove",
                    &set(&format!("{name} #- '{{{quoted}}}'")),
                ));
            }
        } else {
            corruptions.push(self.corruption(row, name, "change", &set(&changed(name, &column.kind))));
        }
        let is_name =
            column.kind == "uuid" || name.ends_with("_id") || ["sku", "key"].contains(&name.as_str());
        let other =
            self.rows.iter().map(|row| &row.values[name]).find(|other| !other.is_null() && *other != value);
        if let (true, Some(other)) = (is_name, other) {
            let other = other.as_str().map_or_else(|| other.to_string(), str::to_owned).replace('\'', "''");
            corruptions.push(self.corruption(row, name, "move", &set(&format!("'{other}'"))));
        }
    }

    /// One unit from a column to another: what a constraint on their sum does not see.
    fn shift(&self, row: &Row, corruptions: &mut Vec<Corruption>) {
        let (table, at) = (&self.name, &row.at);
        let is_figure = |column: &&Column| {
            column.kind == "bigint" && !column.is_key && !row.values[&column.name].is_null()
        };
        let figures: Vec<&str> =
            self.columns.iter().filter(is_figure).map(|column| column.name.as_str()).collect();
        for to in &figures {
            for from in figures.iter().filter(|from| *from != to) {
                let sql = format!("UPDATE {table} SET {to} = {to} + 1, {from} = {from} - 1 WHERE {at}");
                corruptions.push(self.corruption(row, &format!("{to}, {from}"), "shift", &sql));
            }
        }
    }

    fn whole(&self, row: &Row, corruptions: &mut Vec<Corruption>) {
        let (table, at) = (&self.name, &row.at);
        corruptions.push(self.corruption(row, "", "delete", &format!("DELETE FROM {table} WHERE {at}")));
        for key in self.columns.iter().filter(|column| column.is_key) {
            let columns: Vec<&str> = self
                .columns
                .iter()
                .filter(|column| !column.is_generated)
                .map(|column| column.name.as_str())
                .collect();
            let values: Vec<String> = columns
                .iter()
                .map(|name| if *name == key.name { changed(name, &key.kind) } else { (*name).to_owned() })
                .collect();
            let (columns, values) = (columns.join(", "), values.join(", "));
            let sql = format!(
                "INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {values} FROM {table} WHERE {at}"
            );
            corruptions.push(self.corruption(row, "", "insert", &sql));
        }
    }
}

/// Another value of a column, as SQL.
fn changed(name: &str, kind: &str) -> String {
    match kind {
        "uuid" => format!(
            "(overlay({name}::text placing translate(right({name}::text, 1), '0123456789abcdef', '123456789abcdef0') from 36))::uuid"
        ),
        "bigint" | "integer" | "smallint" | "numeric" => format!("{name} + 1"),
        "boolean" => format!("NOT {name}"),
        "timestamp with time zone" => format!("{name} + interval '1000 days'"),
        "bytea" => format!("'\\x78'::bytea || {name}"),
        "text[]" => format!("'{{x}}'::text[] || {name}"),
        "bytea[]" => format!("ARRAY['\\x78'::bytea] || {name}"),
        "xid8" => "'1'::xid8".to_owned(),
        _ => format!("'x' || {name}"),
    }
}

/// A value for a column that has none, as SQL.
fn from_nothing(kind: &str) -> String {
    match kind {
        "uuid" => "'01234567-89ab-7def-8123-456789abcdef'",
        "bigint" | "integer" | "smallint" | "numeric" => "1",
        "boolean" => "true",
        "timestamp with time zone" => "now()",
        "bytea" => "'\\x78'",
        "text[]" => "'{x}'",
        "bytea[]" => "ARRAY['\\x78'::bytea]",
        "jsonb" => "'{\"x\": 1}'",
        _ => "'x'",
    }
    .to_owned()
}

/// The paths to all leaves of a JSON document; the first element stands for all of an array.
fn leaves(value: &Value) -> Vec<Vec<String>> {
    let below = |name: String, value: &Value| -> Vec<Vec<String>> {
        leaves(value)
            .into_iter()
            .map(|mut path| {
                path.insert(0, name.clone());
                path
            })
            .collect()
    };
    match value {
        Value::Object(fields) => fields.iter().flat_map(|(name, value)| below(name.clone(), value)).collect(),
        Value::Array(items) => items.first().map(|item| below("0".to_owned(), item)).unwrap_or_default(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => vec![Vec::new()],
    }
}

fn leaf<'a>(value: &'a Value, path: &[String]) -> &'a Value {
    path.iter().fold(value, |value, step| match value {
        Value::Array(items) => step.parse().ok().and_then(|at: usize| items.get(at)).unwrap_or(&Value::Null),
        other => &other[step.as_str()],
    })
}

fn changed_json(leaf: &Value) -> String {
    match leaf {
        Value::Null => "\"x\"".to_owned(),
        Value::Bool(is) => (!is).to_string(),
        Value::Number(number) => number.as_i64().map_or(0, |number| number + 1).to_string(),
        Value::String(text) => Value::String(format!("x{text}")).to_string(),
        Value::Array(_) | Value::Object(_) => "null".to_owned(),
    }
}

fn steps_without_numbers(path: &[String]) -> String {
    let steps: Vec<&str> =
        path.iter().map(String::as_str).filter(|step| step.parse::<usize>().is_err()).collect();
    steps.join(".")
}

/// What a finding may call a row: the ids, SKUs, currencies and the like that it bears.
fn names(table: &str, row: &Value) -> Vec<String> {
    let text = |name: &str| row.get(name).and_then(Value::as_str).map(str::to_owned);
    let number = |name: &str| row.get(name).and_then(Value::as_i64);
    let ids = ["order_id", "payment_id", "event_id", "sku", "idempotency_key"].into_iter().filter_map(text);
    let mut names: Vec<String> = ids.collect();
    let short = |topic: &str| topic.rsplit('.').next().unwrap_or_default().to_owned();
    // A part of a counter is named as the counter.
    match table.trim_end_matches("_by_partition") {
        "inbox.consumer_positions" => {
            let topic = text("topic").map(|topic| short(&topic)).unwrap_or_default();
            names.push(format!("{topic}/{}", number("partition").unwrap_or_default()));
        }
        "inbox.consumer_topics" => {
            names.extend(text("topic"));
            names.extend(text("topic").map(|topic| format!("{}/", short(&topic))));
        }
        "inbox.dead_letter_keys" => {
            names.extend(text("key_digest").map(|digest| digest.trim_start_matches("\\x")[..16].to_owned()));
        }
        "inbox.deduplication" => names.push("'s inbox".to_owned()),
        "outbox.table_partitions" => names.push("'s outbox".to_owned()),
        "public.generations" => {
            names.extend(number("generation").map(|generation| format!("generation {generation}")));
            names.extend(["the generations".to_owned(), "generation ".to_owned()]);
        }
        "public.funnel" => names.extend(text("stage")),
        "public.revenue" | "public.best_sellers" => names.extend(text("currency")),
        "public.time_to_confirm" => names.push("confirmed within ms".to_owned()),
        _ => {}
    }
    // A row of another generation is named by it.
    if row.get("generation").is_some() {
        names.push("of generation".to_owned());
    }
    names.extend(text("subject"));
    names.extend(text("order_id").is_none().then(|| text("customer_id")).flatten());
    names
}
