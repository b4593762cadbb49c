//! Avro binary to a value, strictly: never panics and never allocates much, whatever the bytes.

use std::io::Read;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;

/// No single value of ours comes near this; a broker's message limit is 1 MiB unless raised.
const MAX_ALLOCATION_BYTES: usize = 4 * 1024 * 1024;

/// Why bytes are not the value that a schema describes.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// They end early.
    Truncated,
    /// So many bytes follow the value.
    Leftover(usize),
    /// They don't fit.
    Malformed(apache_avro::Error),
}

/// A reader for what was written with `schema`.
pub(crate) fn reader(schema: &Schema) -> Result<GenericDatumReader<'_>, apache_avro::Error> {
    // Takes effect once per process, so it stands where every decode passes first.
    apache_avro::util::max_allocation_bytes(MAX_ALLOCATION_BYTES);
    // Human-readable, because UUIDs stand as text in the schemas.
    GenericDatumReader::builder(schema).human_readable(true).build()
}

/// The value that all of `bytes` are.
pub(crate) fn read(reader: &GenericDatumReader<'_>, bytes: &[u8]) -> Result<Value, BodyError> {
    read_all(bytes, |body| reader.read_value(body))
}

/// What `read` makes of `bytes`, if it takes all of them.
pub(crate) fn read_all<T>(
    bytes: &[u8],
    read: impl FnOnce(&mut Body<'_>) -> Result<T, apache_avro::Error>,
) -> Result<T, BodyError> {
    let mut body = Body { rest: bytes, overrun: false };
    let value = read(&mut body);
    // Checked before the result: Avro's reader takes the end of the input within a string or union for a null.
    if body.overrun {
        return Err(BodyError::Truncated);
    }
    match value {
        Ok(_) if !body.rest.is_empty() => Err(BodyError::Leftover(body.rest.len())),
        value => value.map_err(BodyError::Malformed),
    }
}

/// The bytes of a value, which remember whether more was asked for than they are.
pub(crate) struct Body<'a> {
    rest: &'a [u8],
    overrun: bool,
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.rest.read(buffer)?;
        self.overrun |= count < buffer.len();
        Ok(count)
    }
}
