//! The request to place an order: parsed by hand, so that all its faults are told at once, each with its place.

use serde_json::{Map, Value};
use service::http::Fault;
use utoipa::ToSchema;

use crate::domain::{
    Address, CurrencyCode, CustomerId, Email, InvalidValue, Line, PaymentMethod, Placement, Quantity,
    Recipient, Sku, Text, UnitPrice,
};

/// The most faults that are told at once: no answer is much larger than its request.
const MAX_FAULTS: usize = 10_000;

/// An order to place. Unknown fields are refused.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the body in OpenAPI; Parser reads it")]
pub(super) struct PlaceOrderRequest {
    /// Who orders: 1 to 100 printable characters.
    #[schema(min_length = 1, max_length = 100, example = "17850")]
    customer_id: String,
    /// ISO 4217, in capitals.
    #[schema(pattern = "^[A-Z]{3}$", example = "GBP")]
    currency: String,
    /// 1 to 2,000 lines; a SKU may stand on several.
    #[schema(min_items = 1, max_items = 2000)]
    lines: Vec<LineRequest>,
    /// A token of the payment provider: 1 to 100 printable characters.
    #[schema(min_length = 1, max_length = 100, example = "tok_visa")]
    payment_method: String,
    /// Who gets the mail and the goods.
    recipient: Option<RecipientRequest>,
}

/// A line to order.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the body in OpenAPI")]
pub(super) struct LineRequest {
    /// 1 to 64 printable characters, case-sensitive; inner spaces are allowed.
    #[schema(min_length = 1, max_length = 64, example = "85123A")]
    sku: String,
    /// 1 to 1,000,000.
    #[schema(minimum = 1, maximum = 1_000_000, example = 6)]
    quantity: i64,
    /// The price of one unit that the cart quoted, in minor units: 0 to 10^9.
    #[schema(minimum = 0, maximum = 1_000_000_000, example = 255)]
    unit_price_minor: i64,
}

/// Who gets the mail and the goods.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the body in OpenAPI")]
pub(super) struct RecipientRequest {
    /// Their name.
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// Their e-mail address.
    #[schema(min_length = 3, max_length = 254, example = "ada@example.org")]
    email: String,
    /// Where they live.
    address: AddressRequest,
}

/// A postal address.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the body in OpenAPI")]
pub(super) struct AddressRequest {
    /// Street and number.
    #[schema(min_length = 1, max_length = 200)]
    street: String,
    /// Town.
    #[schema(min_length = 1, max_length = 100)]
    city: String,
    /// Postal code.
    #[schema(min_length = 1, max_length = 20)]
    postal_code: String,
    /// Country.
    #[schema(min_length = 1, max_length = 100)]
    country: String,
}

/// The content of the order in this body.
///
/// # Errors
/// All faults of the body, in its order.
pub(super) fn parse(body: &Value) -> Result<Placement, Vec<Fault>> {
    let mut parser = Parser { faults: Vec::new() };
    match parser.placement(body) {
        Some(placement) if parser.faults.is_empty() => Ok(placement),
        _ => Err(parser.faults),
    }
}

struct Parser {
    faults: Vec<Fault>,
}

/// An object of the body, and where it is.
struct Object<'a> {
    fields: &'a Map<String, Value>,
    pointer: String,
}

impl Parser {
    fn placement(&mut self, body: &Value) -> Option<Placement> {
        let known = ["customer_id", "currency", "lines", "payment_method", "recipient"];
        let object = self.object(body, String::new(), &known)?;
        let customer_id = self.text(&object, "customer_id", CustomerId::try_new);
        let currency = self.text(&object, "currency", CurrencyCode::try_new);
        let lines = self.lines(&object);
        let payment_method = self.text(&object, "payment_method", PaymentMethod::try_new);
        let recipient = match object.fields.get("recipient") {
            None | Some(Value::Null) => Some(None),
            Some(value) => self.recipient(value, format!("{}/recipient", object.pointer)).map(Some),
        };
        let placement = Placement::try_new(customer_id?, currency?, lines?, payment_method?, recipient?);
        self.accept(placement, || "/lines".to_owned())
    }

    fn lines(&mut self, object: &Object<'_>) -> Option<Vec<Line>> {
        let pointer = "/lines";
        let lines = match object.fields.get("lines") {
            Some(Value::Array(lines)) => lines,
            Some(_) => return self.refuse(pointer, "must be an array"),
            None => return self.refuse(pointer, "is required"),
        };
        if lines.is_empty() || lines.len() > Placement::MAX_LINES {
            let detail = format!("must have 1 to {} lines; has {}", Placement::MAX_LINES, lines.len());
            return self.refuse(pointer, &detail);
        }
        let lines: Vec<Option<Line>> = lines
            .iter()
            .enumerate()
            .map(|(index, item)| self.line(item, format!("{pointer}/{index}")))
            .collect();
        lines.into_iter().collect()
    }

    fn line(&mut self, item: &Value, pointer: String) -> Option<Line> {
        let object = self.object(item, pointer, &["sku", "quantity", "unit_price_minor"])?;
        let sku = self.text(&object, "sku", Sku::try_new);
        let quantity = self.integer(&object, "quantity", Quantity::try_new);
        let unit_price_minor = self.integer(&object, "unit_price_minor", UnitPrice::try_new);
        Some(Line { sku: sku?, quantity: quantity?, unit_price_minor: unit_price_minor? })
    }

    fn recipient(&mut self, value: &Value, pointer: String) -> Option<Recipient> {
        let object = self.object(value, pointer, &["name", "email", "address"])?;
        let name = self.text(&object, "name", Text::try_new);
        let email = self.text(&object, "email", Email::try_new);
        let address = match object.fields.get("address") {
            Some(value) => self.address(value, format!("{}/address", object.pointer)),
            None => self.refuse(&format!("{}/address", object.pointer), "is required"),
        };
        Some(Recipient { name: name?, email: email?, address: address? })
    }

    fn address(&mut self, value: &Value, pointer: String) -> Option<Address> {
        let object = self.object(value, pointer, &["street", "city", "postal_code", "country"])?;
        let street = self.text(&object, "street", Text::try_new);
        let city = self.text(&object, "city", Text::try_new);
        let postal_code = self.text(&object, "postal_code", Text::try_new);
        let country = self.text(&object, "country", Text::try_new);
        Some(Address { street: street?, city: city?, postal_code: postal_code?, country: country? })
    }

    fn object<'a>(&mut self, value: &'a Value, pointer: String, known: &[&str]) -> Option<Object<'a>> {
        let Value::Object(fields) = value else { return self.refuse(&pointer, "must be an object") };
        for name in fields.keys().filter(|name| !known.contains(&name.as_str())) {
            let escaped = name.replace('~', "~0").replace('/', "~1");
            let _: Option<()> = self.refuse(&format!("{pointer}/{escaped}"), "is not known");
        }
        Some(Object { fields, pointer })
    }

    fn text<T>(
        &mut self,
        object: &Object<'_>,
        name: &str,
        parse: impl Fn(&str) -> Result<T, InvalidValue>,
    ) -> Option<T> {
        let pointer = || format!("{}/{name}", object.pointer);
        match object.fields.get(name) {
            Some(Value::String(text)) => self.accept(parse(text), pointer),
            Some(_) => self.refuse(&pointer(), "must be a string"),
            None => self.refuse(&pointer(), "is required"),
        }
    }

    fn integer<T>(
        &mut self,
        object: &Object<'_>,
        name: &str,
        parse: impl Fn(i64) -> Result<T, InvalidValue>,
    ) -> Option<T> {
        let pointer = || format!("{}/{name}", object.pointer);
        match object.fields.get(name) {
            // What leaves 64 bits leaves every limit of ours, on the same side.
            Some(Value::Number(number)) if number.is_u64() => {
                self.accept(parse(number.as_i64().unwrap_or(i64::MAX)), pointer)
            }
            Some(Value::Number(number)) if number.is_i64() => {
                self.accept(parse(number.as_i64().unwrap_or(i64::MIN)), pointer)
            }
            Some(_) => self.refuse(&pointer(), "must be an integer"),
            None => self.refuse(&pointer(), "is required"),
        }
    }

    fn accept<T>(&mut self, parsed: Result<T, InvalidValue>, pointer: impl FnOnce() -> String) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(InvalidValue(detail)) => self.refuse(&pointer(), &detail),
        }
    }

    fn refuse<T>(&mut self, pointer: &str, detail: &str) -> Option<T> {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(Fault { pointer: pointer.to_owned(), detail: detail.to_owned() });
        }
        None
    }
}

#[cfg(test)]
mod tests;
