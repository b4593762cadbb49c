//! A generator of large systems: the orders of a small quiet one are copied, rows and records, straight into databases and topics.
//!
//! In the copy with number n each UUID and each trace's id has n in its last 32 bits, by exclusive or, wherever it stands: it is as
//! long as before, in columns, in JSON, in Avro. Numbers of outbox messages move on by the template's; places on the topics are known beforehand,
//! because the partitioner is.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, ensure};
use chrono::DateTime;
use contracts::topics::{Topic, Topics};
use futures::TryStreamExt;
use futures::future::try_join_all;
use indicatif::{ProgressBar, ProgressStyle};
use messaging::{KafkaConfig, partition_for_key};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use sqlx::{Connection, PgConnection};
use tidings::services::ServiceName;
use tidings::up::databases::database_url;
use tidings::verify::Target;
use tidings::verify::history::{History, Record};

use crate::rows;

/// How many orders are written at once.
const ORDERS_AT_ONCE: usize = 5_000;
/// How long the broker may take for what waits.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(120);

/// Counters that grow with the number of orders.
const COUNTERS: [(ServiceName, &str); 5] = [
    (
        ServiceName::Inventory,
        "UPDATE stock SET committed = committed / $1 * $2, available = replenished - committed / $1 * $2",
    ),
    (ServiceName::Analytics, "UPDATE funnel_by_partition SET orders = orders / $1 * $2"),
    (
        ServiceName::Analytics,
        "UPDATE revenue_by_partition
         SET orders = orders / $1 * $2, units = div(units, $1) * $2, revenue_minor = div(revenue_minor, $1) * $2",
    ),
    (
        ServiceName::Analytics,
        "UPDATE best_sellers_by_partition
         SET units = div(units, $1) * $2, revenue_minor = div(revenue_minor, $1) * $2",
    ),
    (ServiceName::Analytics, "UPDATE time_to_confirm_by_partition SET orders = orders / $1 * $2"),
];

/// A table's rows of orders, as COPY writes them.
struct Table {
    name: String,
    columns: Vec<String>,
    lines: Vec<String>,
}

/// One service's database.
struct Database {
    service: ServiceName,
    conn: PgConnection,
    tables: Vec<Table>,
    /// How many numbers of messages the template takes.
    messages: i64,
}

/// The system that is copied. Its services must have stopped.
pub struct Template {
    topics: Topics,
    kafka: KafkaConfig,
    databases: Vec<Database>,
    records: Vec<Record>,
    orders: usize,
    /// The next offset and the last record of each partition.
    ends: BTreeMap<(Topic, i32), (i64, Option<Record>)>,
    /// How often the orders are there.
    times: u32,
}

impl Template {
    /// Reads the orders of a system that is quiet.
    ///
    /// # Errors
    /// When a database can't be read.
    pub async fn read(target: &Target, topics: &Topics, history: &History) -> anyhow::Result<Self> {
        let mut databases = Vec::new();
        for service in ServiceName::ALL {
            let url = database_url(&target.postgres, &service.database());
            let mut conn = PgConnection::connect(&url).await?;
            // Rows come table by table.
            sqlx::raw_sql("SET session_replication_role = replica").execute(&mut conn).await?;
            let tables = tables(&mut conn).await?;
            let messages =
                sqlx::query_scalar("SELECT last_value FROM outbox.message_ids").fetch_one(&mut conn).await?;
            databases.push(Database { service, conn, tables, messages });
        }
        let of_order = |record: &&Record| record.order_id().is_some();
        let records: Vec<Record> = history.records.iter().filter(of_order).cloned().collect();
        let orders: std::collections::BTreeSet<_> = records.iter().filter_map(Record::order_id).collect();
        let ends = history.ranges.iter().map(|(at, range)| (*at, (range.high, None))).collect();
        Ok(Self {
            topics: topics.clone(),
            kafka: target.kafka.clone(),
            databases,
            records,
            orders: orders.len(),
            ends,
            times: 1,
        })
    }

    /// How many orders there are now.
    pub const fn orders(&self) -> usize {
        self.orders * self.times as usize
    }

    /// Copies until there are so many orders at least.
    ///
    /// # Errors
    /// When topics or databases can't be written.
    pub async fn grow(&mut self, orders: usize) -> anyhow::Result<()> {
        let before = self.times;
        let times = u32::try_from(orders.div_ceil(self.orders))?;
        let bar = ProgressBar::new(orders as u64).with_position(self.orders() as u64);
        bar.set_style(ProgressStyle::with_template("{human_pos} of {human_len} orders written, {elapsed}")?);
        let producer: BaseProducer = ClientConfig::from_iter(self.kafka.properties.clone())
            .set("bootstrap.servers", &self.kafka.bootstrap_servers)
            .set("enable.idempotence", "true")
            .set("compression.type", "lz4")
            .set("linger.ms", "20")
            .create()?;
        let at_once = u32::try_from((ORDERS_AT_ONCE / self.orders).max(1))?;
        while self.times < times {
            let copies = self.times..(self.times + at_once).min(times);
            let places = self.produce(&producer, copies.clone())?;
            let writing = self.databases.iter_mut().map(|database| database.write(copies.clone(), &places));
            try_join_all(writing).await?;
            self.times = copies.end;
            bar.set_position(self.orders() as u64);
        }
        producer.flush(FLUSH_TIMEOUT)?;
        ensure!(producer.in_flight_count() == 0, "the broker has not taken everything");
        for database in &mut self.databases {
            for (service, sql) in COUNTERS {
                if service == database.service {
                    let (before, times) = (i64::from(before), i64::from(times));
                    sqlx::query(sql).bind(before).bind(times).execute(&mut database.conn).await?;
                }
            }
            for ((topic, partition), (end, last)) in &self.ends {
                let Some(last) = last else { continue };
                sqlx::query(
                    "UPDATE inbox.consumer_positions SET next_offset = $3, last_record_offset = $3 - 1,
                         last_record_digest = $4, last_record_at = $5
                     WHERE topic = $1 AND partition = $2",
                )
                .bind(self.topics.name(*topic))
                .bind(partition)
                .bind(end)
                .bind(last.digest().as_slice())
                .bind(last.timestamp_ms.and_then(DateTime::from_timestamp_millis))
                .execute(&mut database.conn)
                .await?;
            }
            sqlx::raw_sql("ANALYZE").execute(&mut database.conn).await?;
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Writes the records of some copies; gives the partition and offset of each event.
    fn produce(
        &mut self,
        producer: &BaseProducer,
        copies: Range<u32>,
    ) -> anyhow::Result<HashMap<String, (i32, i64)>> {
        let mut partitions: HashMap<Topic, i32> = HashMap::new();
        for (topic, _) in self.ends.keys() {
            *partitions.entry(*topic).or_default() += 1;
        }
        let mut places = HashMap::new();
        for copy in copies {
            for record in &self.records {
                let copied = |bytes: &[u8]| mapped(bytes, copy);
                let key = record.key.as_deref().map(copied).unwrap_or_default();
                let partition = partition_for_key(&key, partitions[&record.place.topic]);
                let mut headers = OwnedHeaders::new();
                for (name, value) in &record.headers {
                    let value = copied(value);
                    if name == "ce_id" {
                        let end = self.ends.get(&(record.place.topic, partition)).map_or(0, |(end, _)| *end);
                        places.insert(String::from_utf8(value.clone())?, (partition, end));
                    }
                    headers = headers.insert(Header { key: name, value: Some(&value) });
                }
                let value = record.value.as_deref().map(copied);
                let name = self.topics.name(record.place.topic);
                let mut message = BaseRecord::to(&name).partition(partition).key(&key).headers(headers);
                if let Some(value) = &value {
                    message = message.payload(value);
                }
                if let Some(timestamp_ms) = record.timestamp_ms {
                    message = message.timestamp(timestamp_ms);
                }
                send(producer, message)?;
                let (end, last) = self.ends.entry((record.place.topic, partition)).or_default();
                *end += 1;
                *last = Some(Record { key: Some(key.clone()), value: value.clone(), ..record.clone() });
            }
            producer.poll(Duration::ZERO);
        }
        Ok(places)
    }
}

fn send(producer: &BaseProducer, message: BaseRecord<'_, Vec<u8>, Vec<u8>>) -> anyhow::Result<()> {
    let mut message = message;
    loop {
        match producer.send(message) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                producer.poll(Duration::from_millis(50));
                message = back;
            }
            Err((error, _)) => return Err(error).context("writing a record"),
        }
    }
}

impl Database {
    async fn write(
        &mut self,
        copies: Range<u32>,
        places: &HashMap<String, (i32, i64)>,
    ) -> anyhow::Result<()> {
        let last = self.messages * i64::from(copies.end + 1);
        sqlx::query("SELECT setval('outbox.message_ids', greatest($1, 1)), outbox.add_table_partitions(2)")
            .bind(last)
            .execute(&mut self.conn)
            .await?;
        for table in self.tables.iter().filter(|table| !table.lines.is_empty()) {
            let mut lines = String::new();
            for copy in copies.clone() {
                for line in &table.lines {
                    table.copied(line, copy, self.messages, places, &mut lines)?;
                }
            }
            let sql = format!("COPY {} ({}) FROM STDIN", table.name, table.columns.join(", "));
            let mut copying = self.conn.copy_in_raw(&sql).await.with_context(|| sql.clone())?;
            copying.send(lines.as_bytes()).await?;
            copying.finish().await.with_context(|| sql.clone())?;
        }
        Ok(())
    }
}

impl Table {
    fn copied(
        &self,
        line: &str,
        copy: u32,
        messages: i64,
        places: &HashMap<String, (i32, i64)>,
        to: &mut String,
    ) -> anyhow::Result<()> {
        let fields: Vec<&str> = line.split('\t').collect();
        let place = if self.name == "inbox.events" {
            let event_id = self.columns.iter().position(|column| column == "event_id");
            let event_id = event_id.and_then(|at| fields.get(at)).copied().unwrap_or_default();
            let event_id = String::from_utf8(mapped(event_id.as_bytes(), copy))?;
            Some(*places.get(&event_id).with_context(|| format!("no record of event {event_id}"))?)
        } else {
            None
        };
        for (at, (column, field)) in self.columns.iter().zip(&fields).enumerate() {
            if at > 0 {
                to.push('\t');
            }
            match (column.as_str(), place) {
                // Its prefix may have an id of its own.
                ("topic", _) => to.push_str(field),
                ("partition", Some((partition, _))) => to.push_str(&partition.to_string()),
                ("\"offset\"", Some((_, offset))) => to.push_str(&offset.to_string()),
                ("id" | "previous_id" | "last_message_id", _) if *field != "\\N" => {
                    to.push_str(&(field.parse::<i64>()? + i64::from(copy) * messages).to_string());
                }
                _ => match field.strip_prefix("\\\\x") {
                    Some(hex) => {
                        to.push_str("\\\\x");
                        for byte in mapped(&from_hex(hex)?, copy) {
                            to.push_str(&format!("{byte:02x}"));
                        }
                    }
                    None => to.push_str(std::str::from_utf8(&mapped(field.as_bytes(), copy))?),
                },
            }
        }
        to.push('\n');
        Ok(())
    }
}

/// Every table that has rows of orders, with these rows.
async fn tables(conn: &mut PgConnection) -> anyhow::Result<Vec<Table>> {
    let mut tables = Vec::new();
    for table in rows::tables(conn).await? {
        let columns: Vec<String> =
            table.columns.iter().map(|column| column.name.replace("offset", "\"offset\"")).collect();
        let has = |name: &str| columns.iter().any(|column| column == name);
        let filter = match table.name.as_str() {
            "inbox.events" | "outbox.messages" => "topic NOT LIKE '%stock'",
            _ if has("order_id") || has("payment_id") => "true",
            _ => continue,
        };
        let sql =
            format!("COPY (SELECT {} FROM {} WHERE {filter}) TO STDOUT", columns.join(", "), table.name);
        let copied: Vec<_> = conn.copy_out_raw(&sql).await?.try_collect().await?;
        let copied = String::from_utf8(copied.concat())?;
        let lines = copied.lines().map(str::to_owned).collect();
        tables.push(Table { name: table.name, columns, lines });
    }
    Ok(tables)
}

fn from_hex(hex: &str) -> anyhow::Result<Vec<u8>> {
    let pair = |at| Ok(u8::from_str_radix(hex.get(at..at + 2).context("half a byte")?, 16)?);
    (0..hex.len()).step_by(2).map(pair).collect()
}

/// The bytes with each UUID in them as the copy has it: written in lower case, with hyphens or without (as ids of traces are).
fn mapped(bytes: &[u8], copy: u32) -> Vec<u8> {
    let mut mapped = bytes.to_vec();
    let mut at = 0;
    while at < mapped.len() {
        let length = uuid_length(&mapped[at..]);
        let after_hex = at > 0 && is_hex(mapped[at - 1]);
        if length == 0 || after_hex {
            at += 1;
            continue;
        }
        let last = at + length - 8..at + length;
        let digits = std::str::from_utf8(&mapped[last.clone()]).unwrap_or_default();
        let digits = u32::from_str_radix(digits, 16).unwrap_or_default() ^ copy;
        mapped[last].copy_from_slice(format!("{digits:08x}").as_bytes());
        // A correlation id that was drawn from its key would be another one; one of version 7 is drawn at random.
        if length == 36 && mapped[at + 14] == b'5' {
            mapped[at + 14] = b'7';
        }
        at += length;
    }
    mapped
}

/// How long the UUID is that the bytes begin with; 0 where they don't.
fn uuid_length(bytes: &[u8]) -> usize {
    let fits = |(at, byte): (usize, &u8)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => is_hex(*byte),
    };
    // What follows in Avro may look like a digit.
    if bytes.len() >= 36 && bytes[..36].iter().enumerate().all(fits) {
        36
    } else if bytes.len() >= 32 && bytes[..32].iter().all(|byte| is_hex(*byte)) {
        32
    } else {
        0
    }
}

const fn is_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_uuid_in_a_text_is_another_one_in_a_copy_and_comes_back() {
        let text =
            "capture_01a2265cf3a1758d939a5cc1087431bb,{\"a\":\"01a2265c-f3a1-758d-939a-5cc1087431bb\"} 1-2";
        let copied = mapped(text.as_bytes(), 0x1_0001);
        let expected = text.replace("5cc1087431bb", "5cc1087531ba");
        assert_eq!(String::from_utf8(copied.clone()).unwrap(), expected);
        assert_eq!(mapped(&copied, 0x1_0001), text.as_bytes());
    }
}
