//! Standard output and standard error: the only writer. A reader that has gone away (`tidings verify | head`) ends nothing, and the
//! exit code stays that of the command.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write as _};

/// Prints a text as it is.
///
/// # Errors
/// When it can't be written although somebody reads.
pub(crate) fn text(text: &(impl Display + ?Sized)) -> io::Result<()> {
    let mut output = io::stdout().lock();
    quietly(write!(output, "{text}").and_then(|()| output.flush()))
}

/// Prints a line.
///
/// # Errors
/// As [`text`].
pub(crate) fn line(line: &(impl Display + ?Sized)) -> io::Result<()> {
    text(&format_args!("{line}\n"))
}

/// Says something beside the output. If it can't be written, nobody can be told.
pub fn diagnostic(line: &(impl Display + ?Sized)) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn quietly(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reader_that_has_gone_away_is_no_error() {
        assert!(quietly(Err(ErrorKind::BrokenPipe.into())).is_ok());
        assert!(quietly(Err(ErrorKind::StorageFull.into())).is_err());
        assert!(quietly(Ok(())).is_ok());
    }
}
