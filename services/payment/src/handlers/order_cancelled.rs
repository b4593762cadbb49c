//! `OrderCancelled`: reverses the saga in any state: voids or refunds what was authorized or captured. If the saga has not begun, it
//! never will.

use contracts::order::OrderCancelled;
use inbox::{Context, Rejection};

use crate::adapters::postgres::batch::Batch;
use crate::domain::OrderId;

pub fn order_cancelled(
    batch: &mut Batch,
    event: &OrderCancelled,
    context: Context<'_>,
) -> Result<(), Rejection> {
    batch.change(OrderId(event.order_id), context, |payment| {
        payment.order_cancelled();
        Ok(())
    })
}
