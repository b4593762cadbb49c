//! `PaymentCompleted`: confirms an open order; recorded as late once it has ended.

use contracts::payment::PaymentCompleted;
use inbox::{Context, Rejection};

use crate::adapters::contract;
use crate::adapters::postgres::Batch;

pub fn payment_completed(
    batch: &mut Batch,
    event: &PaymentCompleted,
    context: Context<'_>,
) -> Result<(), Rejection> {
    batch.record(event.order_id, contract::payment_completed(event), context)
}
