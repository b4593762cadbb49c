//! The section `[inventory]` of the configuration.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Reorder threshold of a SKU whose first replenishment has none.
    pub default_reorder_threshold: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { default_reorder_threshold: 10 }
    }
}
