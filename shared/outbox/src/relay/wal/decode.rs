//! Messages of PostgreSQL's output plugin `pgoutput`, in binary form: which rows were appended, and where transactions end.

use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use chrono::{DateTime, TimeDelta, Utc};
use database::Lsn;
use uuid::Uuid;

use crate::relay::row::Row;

/// A message that is not what the plugin sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log has {0}")]
pub(crate) struct Malformed(&'static str);

/// A row as it was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) row: Box<Row>,
    pub(crate) transaction_id: u64,
    /// Where in the log.
    pub(crate) position: Lsn,
}

/// What the log tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Appended(Appended),
    /// All of a transaction was told; its commit ends here.
    Committed(Lsn),
}

/// Decodes the messages of one session.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// The table's columns, in the order in which a row has them.
    columns: Vec<String>,
}

impl Decoder {
    /// What a message tells; none for one that only prepares for others.
    pub(crate) fn decode(&mut self, position: Lsn, mut message: Bytes) -> Result<Option<Event>, Malformed> {
        match take(&mut message, 1)?[0] {
            b'R' => {
                self.columns = columns(message)?;
                Ok(None)
            }
            b'I' => {
                // Of which table: the publication has one.
                take(&mut message, 5)?;
                Ok(Some(Event::Appended(self.row(position, &mut message)?)))
            }
            b'C' => {
                take(&mut message, 9)?;
                Ok(Some(Event::Committed(Lsn(integer(&take(&mut message, 8)?)?.cast_unsigned()))))
            }
            _ => Ok(None),
        }
    }

    fn row(&self, position: Lsn, message: &mut Bytes) -> Result<Appended, Malformed> {
        let count = take(message, 2)?.get_u16();
        if usize::from(count) != self.columns.len() {
            return Err(Malformed("a row with other columns than its table"));
        }
        let mut values = Vec::with_capacity(self.columns.len());
        for _ in &self.columns {
            values.push(match take(message, 1)?[0] {
                b'n' => None,
                b'b' => {
                    let length = take(message, 4)?.get_u32() as usize;
                    Some(take(message, length)?)
                }
                _ => return Err(Malformed("a value that is not in binary form")),
            });
        }
        let value = |name: &str| {
            let at = self.columns.iter().position(|column| column == name)?;
            values.get(at)?.as_ref()
        };
        let number = |name| value(name).map(|bytes| integer(bytes)).transpose();
        let string = |name| value(name).map(|bytes| text(bytes)).transpose();
        let id = |name| value(name).map(|bytes| uuid(bytes)).transpose();
        let at = |name| value(name).map(|bytes| time(bytes)).transpose();
        let missing = Malformed("a row without one of its columns");
        let names = value("header_names").map(|bytes| array(bytes.clone())).transpose()?;
        let names = names.map(|names| names.iter().map(|name| text(name)).collect()).transpose()?;
        let values_of = value("header_values").map(|bytes| array(bytes.clone())).transpose()?;
        Ok(Appended {
            position,
            transaction_id: number("transaction_id")?.ok_or(missing)?.cast_unsigned(),
            row: Box::new(Row {
                id: number("id")?.ok_or(missing)?,
                previous_id: number("previous_id")?,
                topic: string("topic")?.ok_or(missing)?,
                key: value("key").map(|bytes| Arc::from(&bytes[..])),
                sequence: number("sequence")?,
                value: value("value").map(|bytes| bytes.to_vec()),
                event_id: id("event_id")?,
                event_type: string("event_type")?,
                source: string("source")?,
                subject: string("subject")?,
                event_time: at("event_time")?,
                correlation_id: id("correlation_id")?,
                causation_id: id("causation_id")?,
                user_id: string("user_id")?,
                traceparent: string("traceparent")?,
                tracestate: string("tracestate")?,
                header_names: names,
                header_values: values_of.map(|values| values.iter().map(|value| value.to_vec()).collect()),
                created_at: at("created_at")?.ok_or(missing)?,
                predecessor_published: None,
            }),
        })
    }
}

/// The names of a table's columns.
fn columns(mut message: Bytes) -> Result<Vec<String>, Malformed> {
    take(&mut message, 4)?;
    for _ in ["schema", "table"] {
        word(&mut message)?;
    }
    take(&mut message, 1)?;
    let count = take(&mut message, 2)?.get_u16();
    let column = |_| {
        take(&mut message, 1)?;
        let name = word(&mut message)?;
        // Its type and the type's modifier.
        take(&mut message, 8)?;
        Ok(name)
    };
    (0..count).map(column).collect()
}

fn take(message: &mut Bytes, length: usize) -> Result<Bytes, Malformed> {
    if message.len() < length {
        Err(Malformed("a message that is cut off"))
    } else {
        Ok(message.split_to(length))
    }
}

/// Text up to a zero.
fn word(message: &mut Bytes) -> Result<String, Malformed> {
    let end = message.iter().position(|byte| *byte == 0).ok_or(Malformed("a name without an end"))?;
    let word = text(&take(message, end)?)?;
    take(message, 1)?;
    Ok(word)
}

fn text(bytes: &[u8]) -> Result<String, Malformed> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Malformed("text that is not UTF-8"))
}

fn integer(bytes: &[u8]) -> Result<i64, Malformed> {
    Ok(i64::from_be_bytes(bytes.try_into().map_err(|_| Malformed("a number of another size"))?))
}

fn uuid(bytes: &[u8]) -> Result<Uuid, Malformed> {
    Uuid::from_slice(bytes).map_err(|_| Malformed("a UUID of another size"))
}

/// Microseconds since the year 2000.
fn time(bytes: &[u8]) -> Result<DateTime<Utc>, Malformed> {
    const EPOCH_S: i64 = 946_684_800;
    let epoch = DateTime::from_timestamp(EPOCH_S, 0).ok_or(Malformed("no epoch"))?;
    epoch
        .checked_add_signed(TimeDelta::microseconds(integer(bytes)?))
        .ok_or(Malformed("a time that is too far away"))
}

/// The elements of an array of one dimension, none of them null.
fn array(mut bytes: Bytes) -> Result<Vec<Bytes>, Malformed> {
    let dimensions = take(&mut bytes, 12)?.get_u32();
    if dimensions == 0 {
        return Ok(Vec::new());
    }
    let length = take(&mut bytes, 8)?.get_u32();
    let element = |_| {
        let length = take(&mut bytes, 4)?.get_u32() as usize;
        take(&mut bytes, length)
    };
    (0..length).map(element).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relation(columns: &[&str]) -> Bytes {
        let mut message = b"R\0\0\0\x01outbox\0messages\0d".to_vec();
        message.extend(u16::try_from(columns.len()).unwrap().to_be_bytes());
        for column in columns {
            message.extend([&[0], column.as_bytes(), &[0; 9]].concat());
        }
        message.into()
    }

    fn insert(values: &[Option<&[u8]>]) -> Bytes {
        let mut message = b"I\0\0\0\x01N".to_vec();
        message.extend(u16::try_from(values.len()).unwrap().to_be_bytes());
        for value in values {
            match value {
                None => message.push(b'n'),
                Some(value) => {
                    let length = u32::try_from(value.len()).unwrap().to_be_bytes();
                    message.extend([&b"b"[..], &length, value].concat());
                }
            }
        }
        message.into()
    }

    #[test]
    fn a_row_is_read_by_the_names_of_its_columns() {
        let mut decoder = Decoder::default();
        let columns = ["transaction_id", "id", "topic", "key", "created_at", "header_names"];
        assert_eq!(decoder.decode(Lsn(5), relation(&columns)), Ok(None));
        let names =
            [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 25, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, b'a', 0, 0, 0, 0];
        let appended = decoder.decode(
            Lsn(5),
            insert(&[
                Some(&9_i64.to_be_bytes()),
                Some(&7_i64.to_be_bytes()),
                Some(b"orders"),
                None,
                Some(&1_000_000_i64.to_be_bytes()),
                Some(&names),
            ]),
        );
        let Ok(Some(Event::Appended(Appended { row, transaction_id, position: Lsn(5) }))) = appended else {
            panic!("{appended:?}")
        };
        assert_eq!((transaction_id, row.id, row.topic.as_str(), &row.key), (9, 7, "orders", &None));
        assert_eq!(row.created_at.to_rfc3339(), "2000-01-01T00:00:01+00:00");
        assert_eq!(row.header_names, Some(vec!["a".to_owned(), String::new()]));
    }

    #[test]
    fn a_commit_is_told_by_its_end() {
        let commit = [&b"C\0"[..], &1_u64.to_be_bytes(), &2_u64.to_be_bytes(), &[0; 8]].concat();
        assert_eq!(Decoder::default().decode(Lsn(5), commit.into()), Ok(Some(Event::Committed(Lsn(2)))));
    }

    #[test]
    fn what_is_cut_off_or_of_another_table_is_an_error() {
        let mut decoder = Decoder::default();
        decoder.decode(Lsn(5), relation(&["id"])).unwrap();
        let whole = insert(&[Some(&7_i64.to_be_bytes())]);
        for length in 1..whole.len() {
            assert!(decoder.decode(Lsn(5), whole.slice(..length)).is_err(), "{length}");
        }
        assert!(decoder.decode(Lsn(5), whole).is_err(), "without a topic");
        assert!(decoder.decode(Lsn(5), insert(&[None, None])).is_err());
    }
}
