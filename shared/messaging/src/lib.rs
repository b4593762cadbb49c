//! The bus: publish in order per key, subscribe in a group. `KafkaBus` and `InMemoryBus` behave alike.

pub mod bus;

pub use bus::*;
