//! Paragraphs in lines of the width that all pages have.

/// The longest line of a page.
const WIDTH: usize = 120;

/// The paragraph in lines of at most [`WIDTH`], each but the first behind `indent` blanks. The first one begins there, too.
pub(crate) fn wrapped(paragraph: &str, indent: usize) -> String {
    let mut text = String::new();
    let mut column = indent;
    for word in paragraph.split_whitespace() {
        let length = word.chars().count();
        if column > indent && column + 1 + length > WIDTH {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else if column > indent {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_longer_and_no_word_is_lost() {
        let paragraph = "word ".repeat(100);
        let text = format!("  {}", wrapped(&paragraph, 2));
        assert!(text.lines().all(|line| line.starts_with("  ") && line.len() <= WIDTH), "{text}");
        assert!(text.lines().count() == 5, "{text}");
        assert_eq!(text.split_whitespace().count(), 100);
    }
}
