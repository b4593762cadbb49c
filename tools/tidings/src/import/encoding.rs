//! The file's encoding: bytes of ISO 8859-1 and Windows-1252 are read as UTF-8.

use std::io::{self, Read};

/// How the file's characters are encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Encoding {
    /// UTF-8
    #[default]
    #[value(name = "utf-8")]
    Utf8,
    /// ISO 8859-1
    Latin1,
    /// Windows code page 1252
    #[value(name = "windows-1252")]
    Windows1252,
}

/// What Windows-1252 has where ISO 8859-1 has control characters, from 0x80; five bytes mean nothing.
const WINDOWS_1252: [char; 32] = [
    '\u{20ac}', '\u{fffd}', '\u{201a}', '\u{192}', '\u{201e}', '\u{2026}', '\u{2020}', '\u{2021}', '\u{2c6}',
    '\u{2030}', '\u{160}', '\u{2039}', '\u{152}', '\u{fffd}', '\u{17d}', '\u{fffd}', '\u{fffd}', '\u{2018}',
    '\u{2019}', '\u{201c}', '\u{201d}', '\u{2022}', '\u{2013}', '\u{2014}', '\u{2dc}', '\u{2122}', '\u{161}',
    '\u{203a}', '\u{153}', '\u{fffd}', '\u{17e}', '\u{178}',
];

impl Encoding {
    /// The same text in UTF-8. UTF-8 itself is passed on unseen: whoever reads it checks it row by row.
    pub(super) fn decode(self, reader: Box<dyn Read>) -> Box<dyn Read> {
        match self {
            Self::Utf8 => reader,
            Self::Latin1 | Self::Windows1252 => {
                Box::new(Decoded { reader, encoding: self, decoded: Vec::new(), read: 0 })
            }
        }
    }

    fn character(self, byte: u8) -> char {
        match byte {
            0x80..=0x9f if self == Self::Windows1252 => WINDOWS_1252[usize::from(byte - 0x80)],
            _ => char::from(byte),
        }
    }
}

/// A reader of one byte a character.
struct Decoded {
    reader: Box<dyn Read>,
    encoding: Encoding,
    decoded: Vec<u8>,
    /// How much of `decoded` was read.
    read: usize,
}

impl Read for Decoded {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.read == self.decoded.len() {
            let mut bytes = [0; 8 * 1024];
            let count = self.reader.read(&mut bytes)?;
            let text: String = bytes[..count].iter().map(|byte| self.encoding.character(*byte)).collect();
            (self.decoded, self.read) = (text.into_bytes(), 0);
        }
        let left = &self.decoded[self.read..];
        let count = left.len().min(into.len());
        into[..count].copy_from_slice(&left[..count]);
        self.read += count;
        Ok(count)
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
        assert_eq!(read(Encoding::Latin1, b"caf\xe9 \xa310"), "caf\u{e9} \u{a3}10");
        assert_eq!(
            read(Encoding::Windows1252, b"\x80 \x93caf\xe9\x94 \x9f"),
            "\u{20ac} \u{201c}caf\u{e9}\u{201d} \u{178}"
        );
        assert_eq!(read(Encoding::Utf8, "caf\u{e9}".as_bytes()), "caf\u{e9}");
    }

    #[test]
    fn a_long_text_is_read_in_pieces() {
        let bytes: &'static [u8] = &[0xe9; 20_000];
        assert_eq!(read(Encoding::Latin1, bytes), "\u{e9}".repeat(20_000));
    }
}
