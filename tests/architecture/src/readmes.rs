//! Each folder under `tests/` says in the first paragraph of its README what it proves, and names a command that runs it.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;

use crate::Violation;

/// The folders under `tests/` of `root` without such a README, or without a line in `tests/README.md`.
///
/// # Errors
/// When a folder or the Makefile can't be read.
pub fn violations(root: &Path) -> anyhow::Result<Vec<Violation>> {
    let tests = root.join("tests");
    let index = std::fs::read_to_string(tests.join("README.md")).unwrap_or_default();
    let makefile = std::fs::read_to_string(root.join("Makefile")).context("reading the Makefile")?;
    let targets = targets(&makefile);
    let mut violations = in_commands("tests/README.md", &index, &targets, root);
    for entry in std::fs::read_dir(&tests).with_context(|| format!("reading {}", tests.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !entry.file_type()?.is_dir() || name == "target" {
            continue;
        }
        let path = format!("tests/{name}/README.md");
        if !index.contains(&format!("({name}/README.md)")) {
            violations.push(Violation::new("tests/README.md", 0, format!("lacks a link to {path}")));
        }
        match std::fs::read_to_string(root.join(&path)) {
            Ok(text) => violations.extend(in_readme(&path, &text, &targets, root)),
            Err(error) => violations.push(Violation::new(&path, 0, format!("can't be read: {error}"))),
        }
    }
    Ok(violations)
}

fn in_readme(path: &str, text: &str, targets: &BTreeSet<String>, root: &Path) -> Vec<Violation> {
    let mut violations = in_commands(path, text, targets, root);
    let mut paragraphs = text.split("\n\n").map(str::trim);
    if !paragraphs.next().is_some_and(|title| title.starts_with("# ") && !title.contains('\n')) {
        violations.push(Violation::new(path, 1, "begins with a title"));
    }
    if !paragraphs.next().is_some_and(is_one_sentence) {
        violations.push(Violation::new(
            path,
            3,
            "its first paragraph is one sentence: what the folder proves",
        ));
    }
    if commands(text).next().is_none() {
        violations.push(Violation::new(path, 0, "names no command that runs it"));
    }
    violations
}

/// Commands that do not exist.
fn in_commands(path: &str, text: &str, targets: &BTreeSet<String>, root: &Path) -> Vec<Violation> {
    let missing = |command: &str| {
        let mut words = command.split_whitespace();
        let program = words.next()?;
        let exists = match program {
            "make" => words.next().is_some_and(|target| targets.contains(target)),
            _ if program.starts_with("tests/") => root.join(program).is_file(),
            _ => true,
        };
        (!exists).then(|| format!("there is no `{command}`"))
    };
    commands(text).filter_map(|(line, command)| Some(Violation::new(path, line, missing(command)?))).collect()
}

/// The lines of blocks of code, and pieces of code within the text, that run something of this repository.
fn commands(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_block = false;
    text.lines().zip(1..).flat_map(move |(line, number)| {
        let is_fence = line.starts_with("```");
        in_block ^= is_fence;
        let candidates: Vec<&str> = if is_fence {
            Vec::new()
        } else if in_block {
            vec![line.split('#').next().unwrap_or_default().trim()]
        } else {
            line.split('`').skip(1).step_by(2).collect()
        };
        candidates.into_iter().filter(|candidate| runs(candidate)).map(move |command| (number, command))
    })
}

fn runs(candidate: &str) -> bool {
    let mut words = candidate.split_whitespace();
    match (words.next(), words.next()) {
        (Some("make"), Some(_)) => true,
        (Some(program), _) => {
            candidate.contains("cargo test") || (program.starts_with("tests/") && !program.ends_with('/'))
        }
        (None, _) => false,
    }
}

/// One sentence: an end at its end, and none before.
fn is_one_sentence(paragraph: &str) -> bool {
    let Some(sentence) = paragraph.strip_suffix('.') else { return false };
    let is_prose = !sentence.is_empty() && !sentence.starts_with(['#', '-', '|', '`']);
    let mut ends = sentence.match_indices(['.', '!', '?']);
    is_prose && !ends.any(|(at, _)| sentence[at + 1..].starts_with(char::is_whitespace))
}

fn targets(makefile: &str) -> BTreeSet<String> {
    let rules = makefile.lines().filter(|line| !line.starts_with(['\t', '#', '.', ' ']));
    let names = rules.filter_map(|line| line.split_once(':')).map(|(names, _)| names);
    names.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules_of(text: &str) -> Vec<String> {
        let targets = targets("demo: build ## Start\n\tcargo run\ntest test-kafka: export X := 1\n");
        let root = crate::sources::root();
        in_readme("tests/x/README.md", text, &targets, &root).into_iter().map(|found| found.rule).collect()
    }

    #[test]
    fn a_readme_with_one_sentence_and_a_command_passes() {
        for command in [
            "`make test-kafka` runs it.",
            "```\ncargo test -p x   # quick\n```",
            "`tests/mutations/run --check`",
        ] {
            assert_eq!(
                rules_of(&format!("# X\n\nIt proves `a.b` and c.\n\n{command}\n")),
                [""; 0],
                "{command}"
            );
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (text, wanted) in [
            ("It proves x.\n\n`make demo`\n", "begins with a title"),
            ("# X\n\nIt proves x. It is quick.\n\n`make demo`\n", "is one sentence"),
            ("# X\n\n- a list\n\n`make demo`\n", "is one sentence"),
            ("# X\n\nIt proves x.\n\nSee `make` and `tests/x/`.\n", "names no command"),
            ("# X\n\nIt proves x.\n\n`make no-such-target`\n", "there is no `make no-such-target`"),
            ("# X\n\nIt proves x.\n\n```\ntests/no/such --file\n```\n", "there is no `tests/no/such --file`"),
        ] {
            let found = rules_of(text);
            assert!(found.iter().any(|rule| rule.contains(wanted)), "{text}: {found:?}");
        }
    }
}
