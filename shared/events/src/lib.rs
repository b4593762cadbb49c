//! The system's integration events in the libraries: what the outbox publishes, and what the inbox decodes and routes.

mod decoder;
mod publisher;
mod subscribe;

pub use decoder::AvroDecoder;
pub use publisher::{LastEvent, Publication, PublishError, Publisher, Row};
pub use subscribe::{Subscribe, topics_of};
