//! The section `[analytics]` of the configuration.

use serde::{Deserialize, Serialize};

/// Empty so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {}
