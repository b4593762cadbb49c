//! The rules of stock: pure functions, without I/O, clock or ids.

pub mod lines;
pub mod order_id;
pub mod refusal;
pub mod reservation;
pub mod sku;
pub mod stock_level;

#[cfg(test)]
mod tests;

pub use lines::Lines;
pub use order_id::OrderId;
pub use refusal::Refusal;
pub use reservation::{
    Decision, OrderFact, Reservation, ReservationEvent, ReservationId, ReservationState, Shortage,
};
pub use sku::{InvalidSku, Sku};
pub use stock_level::{Books, LevelChange, StockEvent, StockLevel};
