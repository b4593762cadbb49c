//! Which invoices are orders, and why the others are not. Pure: rows in, orders or reasons out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::price::Price;

/// One row of the file, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// `StockCode`, as it stands.
    pub sku: String,
    /// `Quantity`; negative on returns.
    pub quantity: i64,
    /// `UnitPrice`.
    pub price: Price,
    /// `CustomerID`, if the row has one.
    pub customer_id: Option<String>,
}

/// All rows of one `InvoiceNo`, in file order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invoice {
    /// `InvoiceNo`.
    pub number: String,
    /// At least one.
    pub rows: Vec<Row>,
}

/// Why an invoice is rejected; a rejected invoice bears every reason once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The number begins with `C`.
    CreditNote,
    /// The number begins with another letter.
    Adjustment,
    /// A row has no customer.
    MissingCustomer,
    /// Its rows have different customers.
    SeveralCustomers,
    /// A row has a quantity of zero or less.
    QuantityNotPositive,
    /// A row has a price of zero or less.
    PriceNotPositive,
    /// A row has a price that is not whole pence.
    PriceBelowAPenny,
}

impl Reason {
    /// The code in the rejects file.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::CreditNote => "credit_note",
            Self::Adjustment => "adjustment",
            Self::MissingCustomer => "missing_customer",
            Self::SeveralCustomers => "several_customers",
            Self::QuantityNotPositive => "quantity_not_positive",
            Self::PriceNotPositive => "price_not_positive",
            Self::PriceBelowAPenny => "price_below_a_penny",
        }
    }

    /// How many invoices bear which reason.
    pub fn count<'a>(rejects: impl Iterator<Item = &'a BTreeSet<Self>>) -> BTreeMap<Self, u64> {
        let mut counts = BTreeMap::new();
        for reason in rejects.flatten() {
            *counts.entry(*reason).or_default() += 1;
        }
        counts
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// An order that an invoice becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOrder {
    /// The invoice's number, from which the Idempotency-Key is made.
    pub invoice: String,
    /// Who ordered.
    pub customer_id: String,
    /// The rows as they stand; a SKU may repeat.
    pub lines: Vec<Line>,
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The stock code.
    pub sku: String,
    /// Units, above zero.
    pub quantity: i64,
    /// Price of one unit in minor units, above zero.
    pub unit_price_minor: i64,
}

impl NewOrder {
    /// What the order costs, in minor units. Wide enough for any file.
    pub fn total_minor(&self) -> i128 {
        self.lines.iter().map(|line| i128::from(line.quantity) * i128::from(line.unit_price_minor)).sum()
    }

    /// How many units it asks for.
    pub fn units(&self) -> i128 {
        self.lines.iter().map(|line| i128::from(line.quantity)).sum()
    }
}

/// The order that `invoice` is, or every reason why it is none.
///
/// # Errors
/// The reasons, at least one.
pub fn judge(invoice: Invoice) -> Result<NewOrder, BTreeSet<Reason>> {
    let mut reasons = BTreeSet::new();
    match invoice.number.chars().next() {
        Some('C') => drop(reasons.insert(Reason::CreditNote)),
        Some(first) if first.is_alphabetic() => drop(reasons.insert(Reason::Adjustment)),
        Some(_) | None => {}
    }
    let mut customer_id: Option<String> = None;
    let mut lines = Vec::with_capacity(invoice.rows.len());
    for row in invoice.rows {
        match row.customer_id {
            Some(customer) => match &customer_id {
                Some(first) if *first != customer => drop(reasons.insert(Reason::SeveralCustomers)),
                Some(_) => {}
                None => customer_id = Some(customer),
            },
            None => drop(reasons.insert(Reason::MissingCustomer)),
        }
        if row.quantity <= 0 {
            reasons.insert(Reason::QuantityNotPositive);
        }
        match row.price {
            Price::Minor(unit_price_minor) => {
                lines.push(Line { sku: row.sku, quantity: row.quantity, unit_price_minor });
            }
            Price::NotPositive => drop(reasons.insert(Reason::PriceNotPositive)),
            Price::Fractional => drop(reasons.insert(Reason::PriceBelowAPenny)),
        }
    }
    match customer_id {
        Some(customer_id) if reasons.is_empty() => {
            Ok(NewOrder { invoice: invoice.number, customer_id, lines })
        }
        Some(_) => Err(reasons),
        None => {
            reasons.insert(Reason::MissingCustomer);
            Err(reasons)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(sku: &str, quantity: i64, price: &str) -> Row {
        Row {
            sku: sku.to_owned(),
            quantity,
            price: Price::parse(price).unwrap(),
            customer_id: Some("17850".to_owned()),
        }
    }

    fn anonymous(row: Row) -> Row {
        Row { customer_id: None, ..row }
    }

    fn invoice(number: &str, rows: Vec<Row>) -> Invoice {
        Invoice { number: number.to_owned(), rows }
    }

    fn reasons(number: &str, rows: Vec<Row>) -> Vec<&'static str> {
        judge(invoice(number, rows)).unwrap_err().into_iter().map(Reason::code).collect()
    }

    #[test]
    fn rows_become_lines_in_file_order_and_a_sku_may_repeat() {
        let order = judge(invoice("536365", vec![row("B", 2, "1.5"), row("A", 1, "2"), row("B", 3, "1.25")]))
            .unwrap();
        let lines: Vec<_> =
            order.lines.iter().map(|l| (l.sku.as_str(), l.quantity, l.unit_price_minor)).collect();
        assert_eq!(lines, [("B", 2, 150), ("A", 1, 200), ("B", 3, 125)]);
        assert_eq!((order.total_minor(), order.units()), (875, 6));
        assert_eq!((order.invoice.as_str(), order.customer_id.as_str()), ("536365", "17850"));
    }

    #[test]
    fn each_kind_of_fault_rejects_the_whole_invoice() {
        let good = || row("A", 1, "1");
        assert_eq!(reasons("C1", vec![good()]), ["credit_note"]);
        assert_eq!(reasons("A1", vec![good()]), ["adjustment"]);
        assert_eq!(reasons("c1", vec![good()]), ["adjustment"]);
        assert_eq!(reasons("1", vec![good(), anonymous(good())]), ["missing_customer"]);
        assert_eq!(reasons("1", vec![good(), row("A", 0, "1")]), ["quantity_not_positive"]);
        assert_eq!(reasons("1", vec![good(), row("A", 1, "0")]), ["price_not_positive"]);
        assert_eq!(reasons("1", vec![good(), row("A", 1, "-1")]), ["price_not_positive"]);
        assert_eq!(reasons("1", vec![good(), row("A", 1, "0.001")]), ["price_below_a_penny"]);
    }

    #[test]
    fn an_invoice_of_two_customers_is_no_order() {
        let of = |customer: &str| Row { customer_id: Some(customer.to_owned()), ..row("A", 1, "1") };
        assert_eq!(reasons("1", vec![of("17850"), of("13047")]), ["several_customers"]);
        let without = anonymous(row("A", 1, "1"));
        let both = reasons("1", vec![of("17850"), without, of("13047")]);
        assert_eq!(both, ["missing_customer", "several_customers"]);
        assert!(judge(invoice("1", vec![of("17850"), of("17850")])).is_ok());
    }

    #[test]
    fn every_reason_is_named_once_an_invoice() {
        let rows = vec![
            anonymous(row("A", -1, "0")),
            anonymous(row("A", -2, "0")),
            row("A", 1, "0.005"),
            row("A", 1, "0.005"),
        ];
        assert_eq!(
            reasons("C536379", rows),
            [
                "credit_note",
                "missing_customer",
                "quantity_not_positive",
                "price_not_positive",
                "price_below_a_penny"
            ]
        );
    }
}
