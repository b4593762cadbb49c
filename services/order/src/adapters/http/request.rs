//! The request to place an order.

use serde::Deserialize;
use service::http::{Content, Fault, Faults, Field, List, UnknownFields};
use utoipa::ToSchema;

use crate::domain::{
    Address, CurrencyCode, CustomerId, Email, Line, PaymentMethod, Placement, Quantity, Recipient, Sku, Text,
    UnitPrice,
};

/// An order to place. Unknown fields are refused.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct PlaceOrderRequest {
    /// Who orders: 1 to 100 printable characters.
    #[schema(value_type = String, min_length = 1, max_length = 100, example = "17850")]
    customer_id: Field<String>,
    /// ISO 4217, in capitals.
    #[schema(value_type = String, pattern = "^[A-Z]{3}$", example = "GBP")]
    currency: Field<String>,
    /// 1 to 2,000 lines; a SKU may stand on several.
    #[schema(value_type = Vec<LineRequest>, min_items = 1, max_items = 2000)]
    lines: Field<List<LineRequest, { Placement::MAX_LINES }>>,
    /// A token of the payment provider: 1 to 100 printable characters.
    #[schema(value_type = String, min_length = 1, max_length = 100, example = "tok_visa")]
    payment_method: Field<String>,
    /// Who gets the mail and the goods.
    #[schema(value_type = Option<RecipientRequest>)]
    recipient: Field<RecipientRequest>,
    #[serde(skip)]
    #[schema(ignore)]
    unknown: UnknownFields,
}

/// A line to order.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct LineRequest {
    /// 1 to 64 printable characters, case-sensitive; inner spaces are allowed.
    #[schema(value_type = String, min_length = 1, max_length = 64, example = "85123A")]
    sku: Field<String>,
    /// 1 to 1,000,000.
    #[schema(value_type = i64, minimum = 1, maximum = 1_000_000, example = 6)]
    quantity: Field<i128>,
    /// The price of one unit that the cart quoted, in minor units: 0 to 10^9.
    #[schema(value_type = i64, minimum = 0, maximum = 1_000_000_000, example = 255)]
    unit_price_minor: Field<i128>,
    #[serde(skip)]
    #[schema(ignore)]
    unknown: UnknownFields,
}

/// Who gets the mail and the goods.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct RecipientRequest {
    /// Their name.
    #[schema(value_type = String, min_length = 1, max_length = 200)]
    name: Field<String>,
    /// Their e-mail address.
    #[schema(value_type = String, min_length = 3, max_length = 254, example = "ada@example.org")]
    email: Field<String>,
    /// Where they live.
    #[schema(value_type = AddressRequest)]
    address: Field<AddressRequest>,
    #[serde(skip)]
    #[schema(ignore)]
    unknown: UnknownFields,
}

/// A postal address.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct AddressRequest {
    /// Street and number.
    #[schema(value_type = String, min_length = 1, max_length = 200)]
    street: Field<String>,
    /// Town.
    #[schema(value_type = String, min_length = 1, max_length = 100)]
    city: Field<String>,
    /// Postal code.
    #[schema(value_type = String, min_length = 1, max_length = 20)]
    postal_code: Field<String>,
    /// Country.
    #[schema(value_type = String, min_length = 1, max_length = 100)]
    country: Field<String>,
    #[serde(skip)]
    #[schema(ignore)]
    unknown: UnknownFields,
}

/// Each keeps its unknown fields.
macro_rules! objects {
    ($($object:ty),+) => {
        $(impl Content for $object {
            fn unknown(&mut self) -> Option<&mut UnknownFields> {
                Some(&mut self.unknown)
            }
        })+
    };
}

objects!(PlaceOrderRequest, LineRequest, RecipientRequest, AddressRequest);

/// The content of the order in this body.
///
/// # Errors
/// The faults of the body.
pub(super) fn parse(request: Field<PlaceOrderRequest>) -> Result<Placement, Vec<Fault>> {
    let mut faults = Faults::default();
    let placement = faults.object("", request).and_then(|request| placement(request, &mut faults));
    faults.none_or(placement)
}

fn placement(request: PlaceOrderRequest, faults: &mut Faults) -> Option<Placement> {
    faults.unknown("", &request.unknown);
    let customer_id = faults.text("/customer_id", request.customer_id, CustomerId::try_new);
    let currency = faults.text("/currency", request.currency, CurrencyCode::try_new);
    let lines = faults.array("/lines", request.lines).and_then(|sent| lines(sent, faults));
    let payment_method = faults.text("/payment_method", request.payment_method, PaymentMethod::try_new);
    let recipient = match request.recipient {
        Field::Missing => Some(None),
        sent => faults.object("/recipient", sent).and_then(|sent| recipient(sent, faults)).map(Some),
    };
    let placement = Placement::try_new(customer_id?, currency?, lines?, payment_method?, recipient?);
    faults.check("/lines", placement)
}

fn lines(sent: List<LineRequest, { Placement::MAX_LINES }>, faults: &mut Faults) -> Option<Vec<Line>> {
    faults.check("/lines", Placement::check_line_count(sent.count()))?;
    let lines: Vec<Option<Line>> =
        sent.into_items().into_iter().enumerate().map(|(index, sent)| line(index, sent, faults)).collect();
    lines.into_iter().collect()
}

fn line(index: usize, sent: Field<LineRequest>, faults: &mut Faults) -> Option<Line> {
    let at = format!("/lines/{index}");
    let sent = faults.object(&at, sent)?;
    faults.unknown(&at, &sent.unknown);
    let sku = faults.text(format_args!("{at}/sku"), sent.sku, Sku::try_new);
    let quantity = faults.integer(format_args!("{at}/quantity"), sent.quantity, Quantity::try_new);
    let unit_price_minor =
        faults.integer(format_args!("{at}/unit_price_minor"), sent.unit_price_minor, UnitPrice::try_new);
    Some(Line { sku: sku?, quantity: quantity?, unit_price_minor: unit_price_minor? })
}

fn recipient(sent: RecipientRequest, faults: &mut Faults) -> Option<Recipient> {
    faults.unknown("/recipient", &sent.unknown);
    let name = faults.text("/recipient/name", sent.name, Text::try_new);
    let email = faults.text("/recipient/email", sent.email, Email::try_new);
    let address = faults.object("/recipient/address", sent.address).and_then(|sent| address(sent, faults));
    Some(Recipient { name: name?, email: email?, address: address? })
}

fn address(sent: AddressRequest, faults: &mut Faults) -> Option<Address> {
    faults.unknown("/recipient/address", &sent.unknown);
    let street = faults.text("/recipient/address/street", sent.street, Text::try_new);
    let city = faults.text("/recipient/address/city", sent.city, Text::try_new);
    let postal_code = faults.text("/recipient/address/postal_code", sent.postal_code, Text::try_new);
    let country = faults.text("/recipient/address/country", sent.country, Text::try_new);
    Some(Address { street: street?, city: city?, postal_code: postal_code?, country: country? })
}

#[cfg(test)]
mod tests;
