//! No part of a password in what the command says about its options.

use std::process::Command;

use proptest::prelude::*;
use tidings::client::Client;
use tidings::up::databases;

/// How much of a password is too much.
const PART: usize = 6;

fn password() -> impl Strategy<Value = String> {
    "[A-Za-z0-9/?#@:%&=+!~^$*()-]{12,24}"
}

fn hidden(password: &str, said: &str) -> Result<(), TestCaseError> {
    for start in 0..=password.len() - PART {
        prop_assert!(!said.contains(&password[start..start + PART]), "{password}: {said}");
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_part_of_a_password_in_an_address_is_shown(password in password()) {
        for url in [
            format!("postgres://u:{password}@127.0.0.1:1/x"),
            format!("postgres://127.0.0.1:1/x?password={password}"),
            format!("http://u:{password}@127.0.0.1:1"),
            format!("u:{password}@127.0.0.1:1"),
        ] {
            let client = match Client::try_new(&url) {
                Ok(client) => format!("{client:?} {}", client.shown()),
                Err(error) => format!("{error:#}"),
            };
            let database = match databases::check(&url) {
                Ok(()) => String::new(),
                Err(error) => format!("{error:#}"),
            };
            hidden(&password, &format!("{client} {database} {}", databases::without_password(&url)))?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn no_part_of_a_password_in_an_option_is_printed(password in password()) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("orders.csv");
        std::fs::write(&file, "InvoiceNo,StockCode,Quantity,UnitPrice,CustomerID\n1,A,1,1.00,7\n").unwrap();
        for url in [format!("http://u:{password}@127.0.0.1:1"), format!("postgres://u:{password}@127.0.0.1:1/x")] {
            let output = Command::new(env!("CARGO_BIN_EXE_tidings"))
                .args(["import", "orders.csv", "--timeout", "1", "--url", &url])
                .current_dir(dir.path())
                .env("XDG_RUNTIME_DIR", dir.path())
                .output()
                .unwrap();
            let said = [output.stdout, output.stderr].concat();
            prop_assert_eq!(output.status.code(), Some(1));
            hidden(&password, &String::from_utf8_lossy(&said))?;
        }
    }
}
