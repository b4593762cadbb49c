//! The published language: typed integration events, their envelope and their wire form.

#![warn(missing_docs)]

pub mod codec;
pub mod compatibility;
pub mod email;
pub mod envelope;
pub mod event;
pub mod gate;
pub mod generated;
pub mod http;
mod schemas;
pub mod text;
pub mod topics;
pub mod upcast;

pub use cloudevents::clock;
pub use cloudevents::{Cause, Envelope, EnvelopeError, TraceContext};
pub use codec::{Codec, DecodeError, EncodeError, RegistryConfig, RegistryError};
pub use event::{AnyEvent, Event};
pub use generated::{order, payment, reservation, stock};
pub use topics::{Topic, Topics};
pub use upcast::{UpcastError, Upcasters};
