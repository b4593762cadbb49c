//! Which service reacts to which event, stated here once more on purpose: what a service forgets to subscribe to must
//! show, so this list is not taken from the services.

use contracts::order::{OrderCancelled, OrderConfirmed, OrderPlaced};
use contracts::payment::{PaymentCompleted, PaymentDeclined, PaymentRefunded};
use contracts::reservation::{StockRejected, StockReserved};
use contracts::stock::{StockLevelLow, StockLevelRestored, StockReplenished};
use contracts::{Event, Topic};

use crate::services::ServiceName;

/// The full names of the events to which `service` reacts.
pub const fn of(service: ServiceName) -> &'static [&'static str] {
    match service {
        ServiceName::Order => {
            &[StockReserved::TYPE, StockRejected::TYPE, PaymentCompleted::TYPE, PaymentDeclined::TYPE]
        }
        ServiceName::Inventory => &[OrderPlaced::TYPE, OrderConfirmed::TYPE, OrderCancelled::TYPE],
        ServiceName::Payment => &[OrderPlaced::TYPE, OrderCancelled::TYPE, StockReserved::TYPE],
        ServiceName::Notification => {
            &[OrderPlaced::TYPE, OrderConfirmed::TYPE, OrderCancelled::TYPE, PaymentRefunded::TYPE]
        }
        ServiceName::Analytics => &[
            OrderPlaced::TYPE,
            OrderConfirmed::TYPE,
            OrderCancelled::TYPE,
            StockReserved::TYPE,
            PaymentCompleted::TYPE,
            StockReplenished::TYPE,
            StockLevelLow::TYPE,
            StockLevelRestored::TYPE,
        ],
    }
}

/// The topics that carry them.
pub const fn topics(service: ServiceName) -> &'static [Topic] {
    match service {
        ServiceName::Order => &[Topic::Reservations, Topic::Payments],
        ServiceName::Inventory => &[Topic::Orders],
        ServiceName::Payment => &[Topic::Orders, Topic::Reservations],
        ServiceName::Notification => &[Topic::Orders, Topic::Payments],
        ServiceName::Analytics => &Topic::ALL,
    }
}
