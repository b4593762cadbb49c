//! The rule of e-mail addresses, for the edge that takes them and for the mailer that writes them into an envelope.

use std::fmt;

use email_address::EmailAddress;
use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};

use crate::text::{InvalidText, check};

/// The most octets of an address (RFC 5321's limit of a path, without its brackets).
pub const MAX_OCTETS: usize = 254;

/// The most octets of the part before the `@`.
pub const LOCAL_PART_MAX_OCTETS: usize = 64;

/// An address as it goes into an envelope: ASCII, its domain in lower case, an international one in Punycode. It is
/// personal data, so it does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    local_part: String,
    domain: String,
}

/// Why an address is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// No text at all, or none that can be printed.
    #[error(transparent)]
    Text(InvalidText),
    /// There is no `@`, or nothing before it.
    #[error("must be an e-mail address, such as name@example.org")]
    NoAddress,
    /// The whole is too long as it would be sent.
    #[error("must have at most {MAX_OCTETS} octets as an e-mail address, with its domain in Punycode")]
    TooLong,
    /// The part before the `@` is too long.
    #[error("must have at most {LOCAL_PART_MAX_OCTETS} octets before the @")]
    LocalPartTooLong,
    /// The mail server would need SMTPUTF8 (RFC 6531).
    #[error("must be ASCII before the @: other characters need SMTPUTF8, which is not used")]
    LocalPartNotAscii,
    /// The part before the `@` is no dot-atom (RFC 5322).
    #[error(
        "must have letters, digits and !#$%&'*+-/=?^_`{{|}}~ before the @, with single dots between them"
    )]
    LocalPart,
    /// An address literal, or an address instead of a name.
    #[error("must have the name of a domain after the @, not a network address")]
    NetworkAddress,
    /// A name without a dot is one of a local network.
    #[error("must have a domain with a dot after the @, such as example.org")]
    NoDot,
    /// The domain is no host name (RFC 1123, UTS 46).
    #[error("must have a domain after the @: labels of 1 to 63 letters, digits and hyphens, and no port")]
    Domain,
}

impl Address {
    /// The address that this text is.
    ///
    /// # Errors
    /// When it is none, or none that every mail server takes.
    pub fn try_new(text: &str) -> Result<Self, InvalidAddress> {
        // The mapping of UTS 46 would drop what is invisible.
        check(text, MAX_OCTETS).map_err(|invalid| match invalid {
            InvalidText::TooLong { .. } => InvalidAddress::TooLong,
            InvalidText::Empty
            | InvalidText::OuterSpace
            | InvalidText::NotPrintable { .. }
            | InvalidText::DotSegment => InvalidAddress::Text(invalid),
        })?;
        let (local_part, domain) = text.rsplit_once('@').ok_or(InvalidAddress::NoAddress)?;
        check_local_part(local_part)?;
        let domain = ascii_domain(domain)?;
        if local_part.len() + 1 + domain.len() > MAX_OCTETS {
            return Err(InvalidAddress::TooLong);
        }
        Ok(Self { local_part: local_part.to_owned(), domain })
    }

    /// What stands before the `@`.
    #[must_use]
    pub fn local_part(&self) -> &str {
        &self.local_part
    }

    /// What stands after the `@`.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").finish_non_exhaustive()
    }
}

fn check_local_part(local_part: &str) -> Result<(), InvalidAddress> {
    if local_part.is_empty() {
        Err(InvalidAddress::NoAddress)
    } else if !local_part.is_ascii() {
        Err(InvalidAddress::LocalPartNotAscii)
    } else if local_part.len() > LOCAL_PART_MAX_OCTETS {
        Err(InvalidAddress::LocalPartTooLong)
    } else if local_part.starts_with('"') || !EmailAddress::is_valid_local_part(local_part) {
        Err(InvalidAddress::LocalPart)
    } else {
        Ok(())
    }
}

fn ascii_domain(domain: &str) -> Result<String, InvalidAddress> {
    if domain.starts_with('[') {
        return Err(InvalidAddress::NetworkAddress);
    }
    let ascii = Uts46::new()
        .to_ascii(domain.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Verify)
        .map_err(|_| InvalidAddress::Domain)?;
    let (_, top) = ascii.rsplit_once('.').ok_or(InvalidAddress::NoDot)?;
    // No top-level domain consists of digits (RFC 3696).
    if top.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidAddress::NetworkAddress);
    }
    Ok(ascii.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_ascii_with_an_international_domain_in_punycode() {
        for (text, local_part, domain) in [
            ("ada@example.org", "ada", "example.org"),
            ("Ada.Lovelace+x@Example.ORG", "Ada.Lovelace+x", "example.org"),
            ("o'neil!#$%&*-/=?^_`{|}~@example.org", "o'neil!#$%&*-/=?^_`{|}~", "example.org"),
            ("ada@müller.example", "ada", "xn--mller-kva.example"),
            ("ada@例え.テスト", "ada", "xn--r8jz45g.xn--zckzah"),
            ("ada@xn--mller-kva.example", "ada", "xn--mller-kva.example"),
        ] {
            let address = Address::try_new(text).unwrap();
            assert_eq!((address.local_part(), address.domain()), (local_part, domain), "{text}");
        }
        assert_eq!(format!("{:?}", Address::try_new("ada@example.org")), "Ok(Address { .. })");
    }

    #[test]
    fn what_no_mail_server_takes_is_refused_with_its_reason() {
        use InvalidAddress::{
            Domain, LocalPart, LocalPartNotAscii, LocalPartTooLong, NetworkAddress, NoAddress, NoDot, Text,
            TooLong,
        };
        let long = |label: usize| format!("ada@{}.org", "a".repeat(label));
        let labels = format!("{}@{}org", "x".repeat(64), "aaaaaaaaa.".repeat(18) + "aaaaaa.");
        for (text, reason) in [
            ("", Text(InvalidText::Empty)),
            ("ada@exam\u{ad}ple.org", Text(InvalidText::NotPrintable { found: '\u{ad}' })),
            ("ada", NoAddress),
            ("@example.org", NoAddress),
            ("ada@", Domain),
            (".ada@example.org", LocalPart),
            ("ada.@example.org", LocalPart),
            ("a..da@example.org", LocalPart),
            ("a da@example.org", LocalPart),
            ("a@da@example.org", LocalPart),
            ("ada\\@example.org", LocalPart),
            ("\"ada\"@example.org", LocalPart),
            ("jörg@example.org", LocalPartNotAscii),
            (&format!("{}@example.org", "x".repeat(65)), LocalPartTooLong),
            ("ada@[192.0.2.1]", NetworkAddress),
            ("ada@[IPv6:2001:db8::1]", NetworkAddress),
            ("ada@192.0.2.1", NetworkAddress),
            ("ada@localhost", NoDot),
            ("ada@example.org:25", Domain),
            ("ada@example.org.", Domain),
            ("ada@example..org", Domain),
            ("ada@-example.org", Domain),
            ("ada@exa_mple.org", Domain),
            ("ada@example.org\r\nDATA", Text(InvalidText::NotPrintable { found: '\r' })),
            (&long(64), Domain),
            (&labels, TooLong),
        ] {
            assert_eq!(Address::try_new(text), Err(reason), "{text}");
        }
        assert!(Address::try_new(&long(63)).is_ok());
    }
}
