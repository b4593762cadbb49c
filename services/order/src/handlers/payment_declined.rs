//! `PaymentDeclined`: cancels an open order; recorded as late once it has ended.

use contracts::payment::PaymentDeclined;
use inbox::{Context, Rejection};

use crate::adapters::contract;
use crate::adapters::postgres::Batch;

pub fn payment_declined(
    batch: &mut Batch,
    event: &PaymentDeclined,
    context: Context<'_>,
) -> Result<(), Rejection> {
    batch.record(event.order_id, contract::payment_declined(event), context)
}
