//! Code that a page prints is code that is compiled and tested.

/// The blocks of this language, one after the other, without empty lines.
pub fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}");
    let mut is_inside = false;
    let mut lines = Vec::new();
    for line in page.lines() {
        if line.starts_with("```") {
            is_inside = line == fence;
        } else if is_inside && !line.trim().is_empty() {
            lines.push(line.to_owned());
        }
    }
    lines
}

/// The lines of a file, as [`blocks`] gives them.
pub fn lines(file: &str) -> Vec<String> {
    file.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_other_languages_and_text_between_them_are_left_out() {
        let page = "text\n```rust\none\n\ntwo\n```\nmore\n```\nshell\n```\n```rust\nthree\n```\n";
        assert_eq!(blocks(page, "rust"), ["one", "two", "three"]);
        assert_eq!(lines("one\n\ntwo\nthree\n"), blocks(page, "rust"));
    }
}
