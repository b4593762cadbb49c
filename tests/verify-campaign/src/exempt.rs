//! Columns that are no promise, each with its reason: `not-promised.tsv`.

use std::collections::BTreeMap;

/// The list, by pattern.
#[derive(Debug)]
pub struct Exempt {
    reasons: BTreeMap<String, String>,
}

impl Exempt {
    /// The list beside this crate.
    ///
    /// # Panics
    /// When a line has no reason.
    #[expect(clippy::expect_used, reason = "a wrong list is a failed test")]
    pub fn list() -> Self {
        let lines = include_str!("../not-promised.tsv").lines().filter(|line| !line.starts_with('#'));
        let reasons = lines
            .map(|line| line.split_once('\t').expect("a column, a tab, a reason"))
            .map(|(pattern, reason)| (pattern.to_owned(), reason.to_owned()))
            .collect();
        Self { reasons }
    }

    /// The entry for a column, if there is one: `service.schema.table.column`, a path in a JSON document behind it, and
    /// `[column=value]` for rows with that value. Outbox and inbox stand there once, with `*` for the service.
    pub fn of(&self, column: &str, row: &serde_json::Value) -> Option<&str> {
        let table = column.split('.').take(3).chain(["*"]).collect::<Vec<_>>().join(".");
        let names = [column, &table].map(|name| [Some(name.to_owned()), of_any_service(name)]);
        names.into_iter().flatten().flatten().find_map(|name| {
            self.reasons.keys().map(String::as_str).find(|pattern| match pattern.split_once('[') {
                None => *pattern == name,
                Some((of, condition)) => {
                    of == name
                        && condition.trim_end_matches(']').split_once('=').is_some_and(|(key, value)| {
                            row.get(key).is_some_and(|found| found.as_str() == Some(value))
                        })
                }
            })
        })
    }

    /// Whether all of the table, `service.schema.table`, is on the list, as `service.schema.table.*`: it holds hints, and nothing
    /// that a promise is about.
    pub fn is_table(&self, table: &str) -> bool {
        let all = format!("{table}.*");
        let names = [of_any_service(&all), Some(all)];
        names.into_iter().flatten().any(|name| self.reasons.contains_key(&name))
    }

    /// The columns on the list, also where it is only some of their rows.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.reasons.keys().filter_map(|pattern| pattern.split('[').next())
    }
}

fn of_any_service(name: &str) -> Option<String> {
    name.split_once('.').map(|(_, rest)| format!("*.{rest}"))
}
