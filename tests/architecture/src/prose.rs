//! Pages of documentation have one width, and tables whose cells can be read in a terminal.

use std::path::Path;

use anyhow::Context;

use crate::Violation;

/// The longest line of text.
const WIDTH: usize = 120;

/// The longest cell of a table: two lines.
const CELL: usize = 2 * WIDTH;

/// Lines and cells that are too long, in all pages below `root`.
///
/// # Errors
/// When a folder or a file can't be read.
pub fn violations(root: &Path) -> anyhow::Result<Vec<Violation>> {
    let mut violations = Vec::new();
    walk(root, root, &mut violations)?;
    violations.sort();
    Ok(violations)
}

fn walk(root: &Path, folder: &Path, violations: &mut Vec<Violation>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let is_left_out = ["target", "node_modules"].iter().any(|left_out| name == *left_out);
        if entry.file_type()?.is_dir() {
            if !is_left_out && !name.to_string_lossy().starts_with('.') {
                walk(root, &path, violations)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "md") {
            let page = path.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
            let text = std::fs::read_to_string(&path).with_context(|| format!("reading {page}"))?;
            violations.extend(in_page(&page, &text));
        }
    }
    Ok(())
}

fn in_page(name: &str, text: &str) -> Vec<Violation> {
    let mut in_block = false;
    let mut violations = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let is_fence = line.trim_start().starts_with("```");
        in_block ^= is_fence;
        if in_block || is_fence || line.starts_with(['!', '#', '<']) {
            continue;
        }
        if line.starts_with('|') {
            let longest = line.split('|').map(|cell| cell.trim().chars().count()).max().unwrap_or_default();
            if longest > CELL {
                violations.push(Violation::new(name, number, format!("a cell of {longest} characters")));
            }
        } else if is_too_long(line) {
            violations.push(Violation::new(name, number, format!("a line of more than {WIDTH} characters")));
        }
    }
    violations
}

/// A line that could be broken. The backslash of a hard break does not count.
fn is_too_long(line: &str) -> bool {
    let content = line.trim().trim_start_matches(['-', '*']).trim_start();
    line.trim_end_matches('\\').chars().count() > WIDTH && content.contains(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_broken_and_cells_beyond_two_lines_are_named() {
        let words = "word ".repeat(30);
        let link = format!("[x]({})", "y".repeat(200));
        let page = format!("{words}\n- {link}\n```\n{words}\n```\n| {words} | b |\n| {words}{words} | b |\n");
        let lines: Vec<usize> = in_page("x.md", &page).into_iter().map(|found| found.line).collect();
        assert_eq!(lines, [1, 7]);
    }
}
