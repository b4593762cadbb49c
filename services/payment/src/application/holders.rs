//! Who holds a worker's place while a step is performed (docs/adr/0036).

use service::leases::Holder;

use super::saga_job::SagaJob;

/// The kind of holder of a worker's places that a payment method is.
pub(crate) const PAYMENT_METHOD: &str = "payment method";

/// The same of a customer.
pub(crate) const CUSTOMER: &str = "customer";

impl SagaJob {
    /// Who holds a place while its next step is performed: its payment method, its customer, and retries as a whole. A retry
    /// counts twice for the former, so that they leave retries of others a place.
    pub fn holders(&self) -> Vec<Holder> {
        let method = self.payment.state.charge().map(|charge| charge.method.token().to_owned());
        let method = method.map(|name| Holder { kind: PAYMENT_METHOD, name });
        let customer = self.cause.as_ref().and_then(|cause| cause.user_id.clone());
        let customer = customer.map(|name| Holder { kind: CUSTOMER, name });
        let mut holders: Vec<Holder> = method.into_iter().chain(customer).collect();
        if self.attempts > 0 {
            holders.extend(holders.clone());
            holders.push(Holder::retries());
        }
        holders
    }
}
