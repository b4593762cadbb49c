//! What analytics measures beyond what every service does.

use async_trait::async_trait;
use iso_currency::Currency;
use metrics::gauge;
use service::Sampler;
use telemetry::metrics::Metric;

use super::postgres::ReadModelStore;

pub const METRICS: &[Metric] = &[Metric::gauge(
    "analytics_revenue",
    &["currency"],
    "Revenue of all confirmed orders in the live generation, in the currency's main unit (not in cents).",
)];

/// Reads the revenue: one row per currency.
#[derive(Debug)]
pub struct RevenueSampler {
    store: ReadModelStore,
}

impl RevenueSampler {
    pub const fn new(store: ReadModelStore) -> Self {
        Self { store }
    }
}

#[async_trait]
impl Sampler for RevenueSampler {
    async fn sample(&self) -> anyhow::Result<()> {
        for (currency, revenue) in self.store.revenue().await? {
            let amount = in_units(&currency, revenue.revenue_minor);
            gauge!("analytics_revenue", "currency" => currency).set(amount);
        }
        Ok(())
    }
}

/// From minor units: a yen has none, a euro a hundred, a dinar a thousand.
pub fn in_units(currency: &str, minor: i128) -> f64 {
    let digits = Currency::from_code(currency).and_then(Currency::exponent).unwrap_or(0);
    #[expect(clippy::cast_precision_loss, reason = "a gauge")]
    let minor = minor as f64;
    minor / 10_f64.powi(i32::from(digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revenue_is_shown_in_the_currencys_own_unit() {
        assert_eq!(in_units("EUR", 1_250).to_string(), "12.5");
        assert_eq!(in_units("JPY", 1_250).to_string(), "1250");
        assert_eq!(in_units("KWD", 1_250).to_string(), "1.25");
    }
}
