//! What orders add up to, kind by kind.

mod counted;
mod failed_mails;
mod held;
mod money;

use std::collections::BTreeMap;

pub use counted::Counted;
pub use failed_mails::FailedMails;
pub use held::Held;
pub use money::Money;

/// Sums over some orders, exact.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    pub(super) held: Held,
    pub(super) counted: Counted,
    pub(super) money: Money,
    pub(super) failed_mails: FailedMails,
}

/// Adds sums by key.
fn add<K: Ord + Clone, S: Default>(to: &mut BTreeMap<K, S>, from: &BTreeMap<K, S>, add: impl Fn(&mut S, &S)) {
    for (key, sum) in from {
        add(to.entry(key.clone()).or_default(), sum);
    }
}

/// Adds sums of several kinds.
fn add_each<const N: usize>(to: &mut [i128; N], from: &[i128; N]) {
    to.iter_mut().zip(from).for_each(|(sum, part)| *sum += part);
}
