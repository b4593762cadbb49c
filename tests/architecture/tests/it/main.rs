//! The rules, asked of this source tree.
#![expect(clippy::unwrap_used, reason = "a test ends where it meets what it does not expect")]

mod prepare;
mod tree;
