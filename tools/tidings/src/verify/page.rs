//! The registry of checks as the last section of docs/guarantees.md.

use std::fmt::Write as _;

use super::check::{Check, Guarantee};

/// The section's heading; everything below it is generated.
const HEADING: &str = "## What `tidings verify` compares";

/// The section: a table for each guarantee.
pub fn checks() -> String {
    let mut page =
        format!("{HEADING}\n\n`tidings verify --list-checks` prints this list; `make generate` writes it.\n");
    for guarantee in Guarantee::ALL {
        let _ = write!(
            page,
            "\n**{guarantee}, {}**\n\n| what | is compared with |\n|---|---|\n",
            guarantee.title()
        );
        for check in Check::ALL.iter().filter(|check| check.guarantee() == guarantee) {
            let _ = writeln!(page, "| {} | {} |", check.what(), check.with());
        }
    }
    page
}

/// The page with its last section written anew.
pub fn with_checks(page: &str) -> String {
    let before = page.find(HEADING).map_or(page, |at| &page[..at]);
    format!("{}\n\n{}", before.trim_end(), checks())
}
