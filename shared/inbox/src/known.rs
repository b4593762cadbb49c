//! What the database knows of the records of a transaction: two statements for all parts, ids before floor and keys.

use std::collections::{BTreeSet, HashMap, HashSet};

use messaging::{Delivered, TopicPartition};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::dead_letters::Blocked;
use crate::decoded::Part;
use crate::decoding::Item;
use crate::record_id::made_id;
use crate::seen::{self, Forgotten, Sighting};

/// What the database knows of the records.
#[derive(Clone, Default)]
pub(crate) struct Known {
    pub(crate) new: HashSet<Uuid>,
    pub(crate) forgotten: HashMap<String, Forgotten>,
    pub(crate) blocked: Blocked,
}

/// Inserts the ids of these parts, which are of different partitions and sorted by them, and locks the rows of their keys. Records
/// of types without a subscription leave nothing, so that parts of these alone need no statement.
pub(crate) async fn look_up(conn: &mut PgConnection, parts: &[&Part]) -> Result<Known, sqlx::Error> {
    let mut met = HashSet::new();
    let mut sightings = Vec::new();
    let (mut topics, mut keys) = (BTreeSet::new(), BTreeSet::new());
    for part in parts {
        let (partition, log) = (part.partition(), part.log());
        for (record, item) in part.records().iter().zip(part.items()) {
            let Some(id) = id_of(partition, record, item) else { continue };
            topics.insert(partition.topic.as_str());
            keys.extend(record.key.as_deref().map(|key| (partition.topic.as_str(), key)));
            if met.insert(id) {
                sightings.push(Sighting { id, partition, log, offset: record.offset });
            }
        }
    }
    if sightings.is_empty() {
        return Ok(Known::default());
    }
    let new = seen::insert_new(conn, &sightings).await?;
    let (forgotten, blocked) = floor_and_keys(conn, topics, keys).await?;
    Ok(Known { new, forgotten, blocked })
}

/// A topic, its floor and first floor, and those of the asked keys that have open dead letters.
type TopicRow = (String, Uuid, Option<Uuid>, Vec<Vec<u8>>);

/// What is forgotten of each of these topics, and which of these keys have open dead letters: the rows of those that have or had
/// some are locked, in one order. Asked after the ids were inserted: the lock that their insertion took holds off a transaction
/// that would raise the floor, also while this statement waits for a key. A row that was waited for is read as it stands then.
async fn floor_and_keys(
    conn: &mut PgConnection,
    topics: BTreeSet<&str>,
    keys: BTreeSet<(&str, &[u8])>,
) -> Result<(HashMap<String, Forgotten>, Blocked), sqlx::Error> {
    let (topics_of_keys, keys): (Vec<&str>, Vec<&[u8]>) = keys.into_iter().unzip();
    let rows: Vec<TopicRow> = sqlx::query_as(
        "WITH locked AS (
             SELECT d.topic, k.key, d.open_letters
             FROM inbox.dead_letter_keys d
             JOIN unnest($1::text[], $2::bytea[]) AS k (topic, key) ON d.topic = k.topic AND d.key_digest = sha256(k.key)
             ORDER BY d.topic, d.key_digest FOR UPDATE OF d
         )
         SELECT batch.topic, d.floor, t.first_floor,
             ARRAY(SELECT key FROM locked WHERE locked.topic = batch.topic AND open_letters > 0)
         FROM inbox.deduplication d
         CROSS JOIN unnest($3::text[]) AS batch (topic)
         LEFT JOIN inbox.consumer_topics t ON t.topic = batch.topic",
    )
    .bind(topics_of_keys)
    .bind(keys)
    .bind(topics.into_iter().collect::<Vec<&str>>())
    .fetch_all(conn)
    .await?;
    let (mut forgotten, mut blocked) = (HashMap::new(), Blocked::default());
    for (topic, floor, first_floor, keys) in rows {
        keys.iter().for_each(|key| blocked.insert(&topic, key));
        forgotten.insert(topic, Forgotten::new(first_floor, floor));
    }
    Ok((forgotten, blocked))
}

/// The id under which a record is remembered; none for a type without a subscription.
pub(crate) fn id_of(partition: &TopicPartition, record: &Delivered, item: &Item) -> Option<Uuid> {
    match item {
        Item::Event(received) => Some(received.envelope.event_id),
        Item::Unknown(_) | Item::Undecodable(_) => Some(made_id(partition, record)),
        Item::Skipped => None,
    }
}
