//! Who gets an order: its only personal data, which never prints.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::text::Text;
use super::values::InvalidValue;

/// Who gets the mail and the goods.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    pub name: Text<200>,
    pub email: Email,
    pub address: Address,
}

/// A postal address.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    pub street: Text<200>,
    pub city: Text<100>,
    pub postal_code: Text<20>,
    pub country: Text<100>,
}

/// Personal data never prints: what shows an order in a log or an error shows that there is some, and no more.
macro_rules! prints_nothing {
    ($($name:ident),+) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )+};
}

prints_nothing!(Recipient, Address, Email);

/// An e-mail address as it was written, which the mailer can put into an envelope.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Email(String);

impl Email {
    /// The address, if it is one that every mail server takes.
    ///
    /// # Errors
    /// When it is not.
    pub fn try_new(text: &str) -> Result<Self, InvalidValue> {
        match contracts::email::Address::try_new(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(invalid) => Err(InvalidValue(invalid.to_string())),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipient_that_is_printed_stays_unknown() {
        let address = Address {
            street: Text::trusted("1 High Street".to_owned()),
            city: Text::trusted("Leeds".to_owned()),
            postal_code: Text::trusted("LS1".to_owned()),
            country: Text::trusted("GB".to_owned()),
        };
        let email = Email::try_new("zoe@example.org").unwrap();
        let recipient = Recipient { name: Text::trusted("Zoe".to_owned()), email, address };
        assert_eq!(format!("{recipient:?}"), "Recipient { .. }");
        assert_eq!(format!("{:?}", recipient.address), "Address { .. }");
        assert_eq!(format!("{:?}", recipient.email), "Email { .. }");
    }
}
