//! The file's encoding: other ones are read as UTF-8.

use std::io::Read;

use encoding_rs::WINDOWS_1252;
use encoding_rs_io::DecodeReaderBytesBuilder;

/// How the file's characters are encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Encoding {
    /// UTF-8
    #[default]
    #[value(name = "utf-8")]
    Utf8,
    /// Windows code page 1252, which has all characters of ISO 8859-1
    #[value(name = "windows-1252", alias = "latin1")]
    Windows1252,
}

impl Encoding {
    /// The same text in UTF-8. UTF-8 itself is passed on unseen: whoever reads it checks it row by row.
    pub(super) fn decode(self, reader: Box<dyn Read>) -> Box<dyn Read> {
        match self {
            Self::Utf8 => reader,
            Self::Windows1252 => {
                Box::new(DecodeReaderBytesBuilder::new().encoding(Some(WINDOWS_1252)).build(reader))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(encoding: Encoding, bytes: &'static [u8]) -> String {
        let mut text = String::new();
        encoding.decode(Box::new(bytes)).read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn each_byte_is_the_character_of_its_encoding() {
        assert_eq!(read(Encoding::Windows1252, b"caf\xe9 \xa310"), "caf\u{e9} \u{a3}10");
        assert_eq!(
            read(Encoding::Windows1252, b"\x80 \x93caf\xe9\x94 \x9f"),
            "\u{20ac} \u{201c}caf\u{e9}\u{201d} \u{178}"
        );
        assert_eq!(read(Encoding::Utf8, "caf\u{e9}".as_bytes()), "caf\u{e9}");
    }

    #[test]
    fn a_long_text_is_read_in_pieces() {
        let bytes: &'static [u8] = &[0xe9; 20_000];
        assert_eq!(read(Encoding::Windows1252, bytes), "\u{e9}".repeat(20_000));
    }
}
