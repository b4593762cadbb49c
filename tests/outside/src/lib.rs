//! Parcels are sent by one side and tracked by the other: an event in JSON, a topic, a table on each side.

pub mod depot;
pub mod parcel;
pub mod tracking;
