//! The file: CSV, plain or gzipped, read row by row into invoices.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context, bail};
use flate2::read::MultiGzDecoder;
use serde::Deserialize;

use super::encoding::Encoding;
use super::price::Price;
use super::rules::{Invoice, Row};

/// The columns that matter, by their names in the header.
#[derive(Debug, Deserialize)]
struct Record {
    #[serde(rename = "InvoiceNo")]
    invoice: String,
    #[serde(rename = "StockCode")]
    sku: String,
    #[serde(rename = "Quantity")]
    quantity: String,
    #[serde(rename = "UnitPrice")]
    price: String,
    #[serde(rename = "CustomerID")]
    customer_id: String,
}

/// All invoices of a file in the order in which they begin.
#[derive(Debug)]
pub struct Invoices {
    /// One per `InvoiceNo`, also when its rows don't stand together.
    pub invoices: Vec<Invoice>,
    /// Every SKU that the file names.
    pub skus: BTreeSet<String>,
    /// Rows read.
    pub rows: usize,
}

/// Reads `path`, gunzipping it when its name ends in `.gz`.
///
/// # Errors
/// When the file can't be read or a row is broken: the message names file and line.
pub fn read(path: &Path, encoding: Encoding) -> anyhow::Result<Invoices> {
    let file = File::open(path).with_context(|| format!("can't open {}", path.display()))?;
    let is_gzip = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
    let reader: Box<dyn Read> =
        if is_gzip { Box::new(MultiGzDecoder::new(BufReader::new(file))) } else { Box::new(file) };
    parse(encoding.decode(reader)).with_context(|| format!("{} can't be imported", path.display()))
}

fn parse(reader: impl Read) -> anyhow::Result<Invoices> {
    let mut csv = csv::ReaderBuilder::new().from_reader(reader);
    let headers = csv.headers().map_err(|error| broken(error, 1))?.clone();
    for needed in ["InvoiceNo", "StockCode", "Quantity", "UnitPrice", "CustomerID"] {
        if !headers.iter().any(|header| header == needed) {
            bail!(
                "line 1: no column {needed}; the header is {:?}",
                headers.iter().collect::<Vec<_>>().join(",")
            );
        }
    }
    let mut found = Invoices { invoices: Vec::new(), skus: BTreeSet::new(), rows: 0 };
    let mut by_number: HashMap<String, usize> = HashMap::new();
    let mut raw = csv::StringRecord::new();
    loop {
        let line = csv.position().line();
        if !csv.read_record(&mut raw).map_err(|error| broken(error, line))? {
            return Ok(found);
        }
        let record: Record = raw.deserialize(Some(&headers)).with_context(|| format!("line {line}"))?;
        let (number, row) = record.into_row().with_context(|| format!("line {line}"))?;
        found.rows += 1;
        if !found.skus.contains(&row.sku) {
            found.skus.insert(row.sku.clone());
        }
        match by_number.get(&number).and_then(|&index| found.invoices.get_mut(index)) {
            Some(invoice) => invoice.rows.push(row),
            None => {
                by_number.insert(number.clone(), found.invoices.len());
                found.invoices.push(Invoice { number, rows: vec![row] });
            }
        }
    }
}

/// Why a row can't be read. One that is not UTF-8 is most often in an encoding of another age.
fn broken(error: csv::Error, line: u64) -> anyhow::Error {
    let error = match error.kind() {
        csv::ErrorKind::Utf8 { .. } => {
            anyhow::anyhow!(
                "it is not UTF-8; name the file's encoding with --encoding, such as windows-1252 or latin1"
            )
        }
        _ => error.into(),
    };
    error.context(format!("line {line}"))
}

impl Record {
    fn into_row(self) -> anyhow::Result<(String, Row)> {
        if self.invoice.is_empty() {
            bail!("no InvoiceNo");
        }
        if self.sku.is_empty() {
            bail!("no StockCode");
        }
        let quantity = self
            .quantity
            .parse()
            .with_context(|| format!("Quantity {:?} is not a whole number", self.quantity))?;
        let price = Price::parse(&self.price).context("UnitPrice")?;
        let customer_id = (!self.customer_id.is_empty()).then_some(self.customer_id);
        Ok((self.invoice, Row { sku: self.sku, quantity, price, customer_id }))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const HEADER: &str =
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";

    fn parse_rows(rows: &str) -> anyhow::Result<Invoices> {
        parse(format!("{HEADER}{rows}").as_bytes())
    }

    #[test]
    fn rows_of_one_invoice_are_one_invoice_even_when_they_stand_apart() {
        let found = parse_rows(
            "1,A,x,1,t,1.00,7,UK\n2,B,\"with, comma\",2,t,1,,UK\n1,BANK CHARGES,x,3,t,0.001,7,UK\n",
        )
        .unwrap();
        let numbers: Vec<_> = found.invoices.iter().map(|i| (i.number.as_str(), i.rows.len())).collect();
        assert_eq!(numbers, [("1", 2), ("2", 1)]);
        assert_eq!(found.skus.iter().map(String::as_str).collect::<Vec<_>>(), ["A", "B", "BANK CHARGES"]);
        assert_eq!(found.invoices[1].rows[0].customer_id, None);
        assert_eq!(found.rows, 3);
    }

    #[test]
    fn a_broken_row_is_an_error_that_names_its_line() {
        for (rows, line, what) in [
            ("1,A,x,1,t,1.00,7,UK\n1,A,x,one,t,1.00,7,UK\n", "line 3", "Quantity"),
            ("1,A,x,1,t,1.00,7,UK\n1,A,x,1,t,cheap,7,UK\n", "line 3", "UnitPrice"),
            ("1,A,\"x\ny\",1,t,1.00,7,UK\n,A,x,1,t,1.00,7,UK\n", "line 4", "InvoiceNo"),
            ("1,A,x,1\n", "line 2", "fields"),
        ] {
            let error = format!("{:#}", parse_rows(rows).unwrap_err());
            assert!(error.contains(line) && error.contains(what), "{error}");
        }
    }

    #[test]
    fn a_file_without_the_columns_is_refused_by_its_header() {
        let error = format!("{:#}", parse("a,b\n1,2\n".as_bytes()).unwrap_err());
        assert!(error.contains("line 1") && error.contains("InvoiceNo"), "{error}");
    }

    #[test]
    fn a_file_in_another_encoding_is_an_error_that_names_the_line_and_the_option() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("latin1.csv");
        let row = b"1,A,x,1,t,1.00,7,UK\n2,B,caf\xe9,1,t,1.00,7,UK\n";
        std::fs::write(&path, [HEADER.as_bytes(), row].concat()).unwrap();
        let error = format!("{:#}", read(&path, Encoding::Utf8).unwrap_err());
        assert!(error.contains("line 3") && error.contains("--encoding"), "{error}");
        assert_eq!(read(&path, Encoding::Windows1252).unwrap().invoices.len(), 2);
    }

    #[test]
    fn a_gzipped_file_is_read_by_its_name_and_a_truncated_one_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let rows: String = (0..2_000).map(|n| format!("{n},A{n},x,1,t,1.00,{n},UK\n")).collect();
        gzip.write_all(format!("{HEADER}{rows}").as_bytes()).unwrap();
        let bytes = gzip.finish().unwrap();
        let whole = dir.path().join("whole.csv.gz");
        std::fs::write(&whole, &bytes).unwrap();
        assert_eq!(read(&whole, Encoding::Utf8).unwrap().invoices.len(), 2_000);
        let cut = dir.path().join("cut.csv.gz");
        std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
        let error = format!("{:#}", read(&cut, Encoding::Utf8).unwrap_err());
        assert!(error.contains("cut.csv.gz") && error.contains("line"), "{error}");
    }
}
