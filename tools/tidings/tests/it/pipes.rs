//! A reader that has gone away, as in `tidings verify | head`.

use std::path::Path;
use std::process::{Command, Stdio};

/// What the command says on standard error, and its code, when nobody reads its standard output.
fn unread(arguments: &[&str], dir: &Path) -> (String, Option<i32>) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_tidings"))
        .args(arguments)
        .env("XDG_RUNTIME_DIR", dir)
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    (String::from_utf8_lossy(&output.stderr).into_owned(), output.status.code())
}

#[test]
fn a_reader_that_has_gone_away_ends_nothing_in_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("orders.csv");
    std::fs::write(&file, "InvoiceNo,StockCode,Quantity,UnitPrice,CustomerID\n1,A,1,1.00,7\n").unwrap();
    let (file, rejects) = (file.to_str().unwrap(), dir.path().join("rejects.csv"));
    let import = ["import", file, "--dry-run", "--rejects", rejects.to_str().unwrap()];
    let avro = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../avro");
    for arguments in [
        &["verify", "--list-checks"][..],
        &import,
        &[&import[..], &["--json"]].concat(),
        &["schemas", "check", avro.to_str().unwrap()],
        &["--help"],
    ] {
        assert_eq!(unread(arguments, dir.path()), (String::new(), Some(0)), "{arguments:?}");
    }
}
