//! The Confluent wire format: magic 0, schema id in four bytes (big endian), Avro binary.

use crate::codec::DecodeError;

const MAGIC: u8 = 0;
const HEADER_BYTES: usize = 5;

/// A buffer that holds the header and has room for the body.
pub(super) fn begin(schema_id: u32) -> Vec<u8> {
    let mut value = Vec::with_capacity(256);
    value.push(MAGIC);
    value.extend_from_slice(&schema_id.to_be_bytes());
    value
}

/// The schema id and the body of a record's value.
pub(super) fn split(value: Option<&[u8]>) -> Result<(u32, &[u8]), DecodeError> {
    let value = value.unwrap_or_default();
    match *value {
        [] => Err(DecodeError::Empty),
        [MAGIC, a, b, c, d, ..] => Ok((u32::from_be_bytes([a, b, c, d]), &value[HEADER_BYTES..])),
        [MAGIC, ..] => Err(DecodeError::HeaderTruncated { length: value.len() }),
        [found, ..] => Err(DecodeError::WrongMagic { found }),
    }
}
