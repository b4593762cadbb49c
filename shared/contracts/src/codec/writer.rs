//! A writer's schema, ready to read with.

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;

use crate::codec::DecodeError;
use crate::codec::body::{self, BodyError};
use crate::compatibility;
use crate::event::AnyEvent;
use crate::schemas::{self, Bundled};

/// How much of Avro's own words an error repeats.
const MAX_DETAIL_CHARS: usize = 200;

/// What a schema id stands for.
pub(super) enum Writer {
    /// An event of ours, of this or another version.
    Event(EventReader),
    /// A record that this binary doesn't know.
    Foreign { full_name: String },
    /// No schema under which an event of ours can have been written.
    Unreadable { detail: String },
}

/// Reads one version of an event and resolves it to the newest.
pub(super) struct EventReader {
    newest: &'static Bundled,
    reader: GenericDatumReader<'static>,
    /// The writer's schema is the newest: nothing to resolve.
    is_newest: bool,
}

impl Writer {
    /// The writer whose schema this is. Its schema lives as long as the program, as ids are cached permanently.
    pub(super) fn parse(text: &str) -> Self {
        let schema = match Schema::parse_str(text) {
            Ok(schema) => schema,
            Err(error) => return Self::Unreadable { detail: brief(&error) },
        };
        let Schema::Record(record) = &schema else {
            return Self::Unreadable { detail: "it describes no record".to_owned() };
        };
        let full_name = record.name.fullname(None);
        let Some(newest) = schemas::newest(&full_name) else { return Self::Foreign { full_name } };
        let known = schemas::all().iter().find(|bundled| {
            bundled.event_type == full_name && compatibility::is_identical(bundled.schema, &schema)
        });
        if let Some(bundled) = known {
            return Self::bundled(bundled);
        }
        let problems = compatibility::can_read(&schema, newest.schema);
        if !problems.is_empty() {
            return Self::Unreadable { detail: compatibility::in_one_line(&problems) };
        }
        Self::event(newest, Box::leak(Box::new(schema)), false)
    }

    /// The writer of a schema of `avro/`.
    pub(super) fn bundled(bundled: &'static Bundled) -> Self {
        match schemas::newest(bundled.event_type) {
            Some(newest) => Self::event(newest, bundled.schema, newest.version == bundled.version),
            None => Self::Foreign { full_name: bundled.event_type.to_owned() },
        }
    }

    fn event(newest: &'static Bundled, schema: &'static Schema, is_newest: bool) -> Self {
        match body::reader(schema) {
            Ok(reader) => Self::Event(EventReader { newest, reader, is_newest }),
            Err(error) => Self::Unreadable { detail: brief(&error) },
        }
    }
}

impl EventReader {
    pub(super) const fn newest(&self) -> &'static Bundled {
        self.newest
    }

    /// The event in `body`, resolved to the newest version of its schema.
    pub(super) fn read(&self, body: &[u8]) -> Result<AnyEvent, DecodeError> {
        if self.is_newest { self.read_newest(body) } else { self.read_resolved(body) }
    }

    /// Without a tree of values in between.
    fn read_newest(&self, body: &[u8]) -> Result<AnyEvent, DecodeError> {
        let event_type = self.newest.event_type;
        let read =
            |body: &mut body::Body<'_>| AnyEvent::from_bytes(event_type, &self.reader, body).transpose();
        let event = body::read_all(body, read).map_err(|error| self.fault(error))?;
        event.ok_or_else(|| self.malformed("no Rust type is known".to_owned()))
    }

    fn read_resolved(&self, body: &[u8]) -> Result<AnyEvent, DecodeError> {
        let value = body::read(&self.reader, body).map_err(|error| self.fault(error))?;
        // Avro's words would repeat the value itself, which may hold personal data.
        let value = value
            .resolve_with_names(self.newest.schema, self.newest.names.get_names())
            .map_err(|_| self.malformed("it does not resolve to the newest version".to_owned()))?;
        match AnyEvent::from_avro(self.newest.event_type, &value) {
            Some(event) => event.map_err(|error| self.malformed(brief(&error))),
            None => Err(self.malformed("no Rust type is known".to_owned())),
        }
    }

    fn fault(&self, error: BodyError) -> DecodeError {
        let event_type = self.newest.event_type.to_owned();
        match error {
            BodyError::Truncated => DecodeError::Truncated { event_type },
            BodyError::Leftover(count) => DecodeError::Leftover { event_type, count },
            BodyError::Malformed(error) => self.malformed(brief(&error)),
        }
    }

    fn malformed(&self, detail: String) -> DecodeError {
        DecodeError::Malformed { event_type: self.newest.event_type.to_owned(), detail }
    }
}

fn brief(error: &apache_avro::Error) -> String {
    error.to_string().chars().take(MAX_DETAIL_CHARS).collect()
}
