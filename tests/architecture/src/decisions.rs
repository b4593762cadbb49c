//! The index of decisions says of each page what the page says of itself: its title, and the first sentence of its status.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;

use crate::Violation;

const INDEX: &str = "docs/adr/README.md";

/// Pages that the index of `root` lacks or describes otherwise, and rows without a page.
///
/// # Errors
/// When the folder can't be read.
pub fn violations(root: &Path) -> anyhow::Result<Vec<Violation>> {
    let index = std::fs::read_to_string(root.join(INDEX)).context("reading the index of decisions")?;
    let mut pages = BTreeMap::new();
    for entry in std::fs::read_dir(root.join("docs/adr")).context("reading docs/adr")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "README.md" {
            pages.insert(name.clone(), std::fs::read_to_string(root.join("docs/adr").join(name))?);
        }
    }
    Ok(compare(&index, &pages))
}

fn compare(index: &str, pages: &BTreeMap<String, String>) -> Vec<Violation> {
    let rows: BTreeMap<&str, &str> =
        index.lines().filter_map(|line| Some((line.split_once("](")?.1.split_once(')')?.0, line))).collect();
    let mut violations = Vec::new();
    for (name, page) in pages {
        match row(name, page) {
            None => violations.push(Violation::new(
                &format!("docs/adr/{name}"),
                0,
                "begins with `# N. Title` and `Status: ...`",
            )),
            Some(expected) if rows.get(name.as_str()) == Some(&expected.as_str()) => {}
            Some(expected) => violations.push(Violation::new(INDEX, 0, format!("lacks the row {expected}"))),
        }
    }
    let gone = rows.keys().filter(|name| !pages.contains_key(**name));
    violations.extend(gone.map(|name| Violation::new(INDEX, 0, format!("{name} is no page"))));
    violations
}

/// The row that describes this page.
fn row(name: &str, page: &str) -> Option<String> {
    let (number, title) = page.lines().next()?.strip_prefix("# ")?.split_once(". ")?;
    let status = page.split("\n\n").find_map(|paragraph| paragraph.strip_prefix("Status: "))?;
    let status = without_links(&status.split_whitespace().collect::<Vec<_>>().join(" "));
    let sentence = status.split(". ").next()?.trim_end_matches('.');
    Some(format!("| {number} | [{title}]({name}) | {sentence} |"))
}

/// The text with each link replaced by its words.
fn without_links(text: &str) -> String {
    let mut parts = text.split("](");
    let mut words = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        words.push_str(part.split_once(')').map_or(part, |(_, behind)| behind));
    }
    words.replace('[', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str =
        "# 7. Events are facts\n\nStatus: superseded by [ADR\n9](0009-x.md) (names). More.\n\n## Context\n";

    fn found(index: &str, pages: &[(&str, &str)]) -> Vec<String> {
        let pages = pages.iter().map(|(name, page)| ((*name).to_owned(), (*page).to_owned())).collect();
        compare(index, &pages).into_iter().map(|violation| violation.rule).collect()
    }

    #[test]
    fn a_row_has_the_title_and_the_first_sentence_of_the_status() {
        let row = "| 7 | [Events are facts](0007-x.md) | superseded by ADR 9 (names) |";
        assert_eq!(found(&format!("# Decisions\n\n{row}\n"), &[("0007-x.md", PAGE)]), [""; 0]);
        let last = "# 8. Short\n\nStatus: in force since 0.2.0.\n";
        assert_eq!(
            found("| 8 | [Short](0008-y.md) | in force since 0.2.0 |", &[("0008-y.md", last)]),
            [""; 0]
        );
    }

    #[test]
    fn what_differs_or_is_missing_is_named() {
        let row = "| 7 | [Events are facts](0007-x.md) | superseded by ADR 9 (names) |";
        for (index, pages, wanted) in [
            (
                row.replace("superseded by ADR 9 (names)", "in force"),
                vec![("0007-x.md", PAGE)],
                "lacks the row",
            ),
            (row.replace("facts", "facts, mostly"), vec![("0007-x.md", PAGE)], "lacks the row"),
            (String::new(), vec![("0007-x.md", PAGE)], "lacks the row"),
            (row.to_owned(), vec![], "0007-x.md is no page"),
            (String::new(), vec![("0008-y.md", "# No number\n")], "begins with"),
        ] {
            let found = found(&index, &pages);
            assert!(found.iter().any(|rule| rule.contains(wanted)), "{index}: {found:?}");
        }
    }
}
