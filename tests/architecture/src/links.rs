//! Links of Markdown files to files and headings of this repository lead somewhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::Violation;

/// Folders that hold no documentation of ours.
const LEFT_OUT: [&str; 3] = [".git", "target", "node_modules"];

/// Every link below `root` to a file that is not there, or to a heading that its file does not have.
///
/// # Errors
/// When a folder or a file can't be read.
pub fn violations(root: &Path) -> anyhow::Result<Vec<Violation>> {
    let mut pages = Vec::new();
    collect(root, &mut pages)?;
    anyhow::ensure!(pages.len() > 10, "the documentation is not where it was expected: {}", root.display());
    let mut violations = Vec::new();
    for page in pages {
        let text = std::fs::read_to_string(&page).with_context(|| format!("reading {}", page.display()))?;
        let name = page.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
        for (line, link) in links(&text) {
            if let Some(problem) = problem(&page, link) {
                violations.push(Violation::new(&name, line, format!("{link}: {problem}")));
            }
        }
    }
    violations.sort();
    Ok(violations)
}

fn collect(folder: &Path, pages: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if !LEFT_OUT.iter().any(|name| entry.file_name() == *name) {
                collect(&path, pages)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
    Ok(())
}

/// Why a link of `page` leads nowhere.
fn problem(page: &Path, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
    let target = if file.is_empty() { page.to_owned() } else { page.parent()?.join(file) };
    if !target.exists() {
        return Some("there is no such file".to_owned());
    }
    let anchor = anchor.filter(|_| target.extension().is_some_and(|extension| extension == "md"))?;
    let text = std::fs::read_to_string(&target).ok()?;
    (!anchors(&text).contains(anchor)).then(|| "there is no such heading".to_owned())
}

/// The targets of inline links, `[text](target)`, and of images, outside code.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let mut rest = line;
        while let Some((_, after)) = rest.split_once("](") {
            let Some((target, after)) = after.split_once(')') else { break };
            found.push((number, target.split_whitespace().next().unwrap_or_default()));
            rest = after;
        }
    }
    found
}

/// The lines outside blocks of code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_block = false;
    text.lines().zip(1..).filter_map(move |(line, number)| {
        let is_fence = line.trim_start().starts_with("```");
        in_block ^= is_fence;
        (!in_block && !is_fence).then_some((number, line))
    })
}

/// The anchors of all headings, as GitHub makes them: lower case, hyphens for blanks, no other punctuation, and a number behind
/// a heading that was there before.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for (_, line) in prose(text) {
        let heading = line.trim_start_matches('#');
        if heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let kept = |letter: &char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
        let name: String = heading.trim().to_lowercase().chars().filter(kept).collect();
        let name = name.replace(' ', "-");
        let repeated = (1..).map(|number| format!("{name}-{number}"));
        if let Some(anchor) =
            std::iter::once(name.clone()).chain(repeated).find(|anchor| !anchors.contains(anchor))
        {
            anchors.insert(anchor);
        }
    }
    anchors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_are_those_of_github() {
        let found = anchors(
            "# What `tidings verify` compares\n## G1 · Accepted\n## Twice\n```\n# code\n```\n## Twice\n#no heading\n",
        );
        let wanted = ["g1--accepted", "twice", "twice-1", "what-tidings-verify-compares"];
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn dead_links_are_found_and_live_ones_are_not() {
        let page = crate::sources::root().join("docs/deploy.md");
        for (link, dead) in [
            ("adr/README.md", false),
            ("../README.md", false),
            ("#deployment", false),
            ("https://example.com/no#thing", false),
            ("no-such-file.md", true),
            ("#no-such-heading", true),
            ("../README.md#no-such-heading", true),
        ] {
            assert_eq!(problem(&page, link).is_some(), dead, "{link}");
        }
    }

    #[test]
    fn links_in_code_are_none() {
        let text = "[a](b.md) and ![c](d.svg \"title\")\n```\n[e](f.md)\n```\n[g](h.md#i)\n";
        assert_eq!(links(text), [(1, "b.md"), (1, "d.svg"), (5, "h.md#i")]);
    }
}
