//! The import as a whole: its files, and a service that is not there.

use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use embedded::ports::ReservedPort;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;

const FILE: &str =
    "InvoiceNo,StockCode,Quantity,UnitPrice,CustomerID\n1,A,1,1.00,7\n2,A,1,1.00,7\nC3,A,1,1.00,7\n";

fn options(file: &Path, url: &str) -> Options {
    Options {
        file: file.to_owned(),
        encoding: Encoding::Utf8,
        order_url: url.to_owned(),
        inventory_url: url.to_owned(),
        concurrency: 2,
        limit: None,
        replenish: None,
        rejects: file.with_file_name("rejects.csv"),
        timeout: Duration::from_secs(2),
        quiet: true,
    }
}

#[tokio::test]
async fn rejects_are_never_written_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("orders.csv");
    std::fs::write(&file, FILE).unwrap();
    let soft = dir.path().join("soft.csv");
    std::os::unix::fs::symlink(&file, &soft).unwrap();
    let hard = dir.path().join("hard.csv");
    std::fs::hard_link(&file, &hard).unwrap();
    std::fs::create_dir(dir.path().join("below")).unwrap();
    for rejects in [file.clone(), soft, hard, dir.path().join("below/../orders.csv")] {
        let error = dry_run(&file, Encoding::Utf8, &rejects).unwrap_err().to_string();
        assert!(error.contains("--rejects"), "{error}");
        let options = Options { rejects: rejects.clone(), ..options(&file, "http://127.0.0.1:1") };
        let error = run(&options).await.unwrap_err().to_string();
        assert!(error.contains("--rejects"), "{error}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), FILE, "{}", rejects.display());
    }
    dry_run(&file, Encoding::Utf8, &dir.path().join("rejects.csv")).unwrap();
}

#[tokio::test]
async fn an_import_into_a_closed_port_ends_once_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("orders.csv");
    std::fs::write(&file, FILE).unwrap();
    let port = ReservedPort::reserve(0).unwrap();
    let url = format!("http://{}", port.address());
    let ended = tokio::time::timeout(Duration::from_secs(60), run(&options(&file, &url))).await;
    let error = format!("{:#}", ended.expect("it ends by itself").unwrap_err());
    assert!(error.contains(&url) && error.contains("tidings up"), "{error}");
}

#[tokio::test]
async fn a_service_that_ceases_to_answer_ends_the_run_once_and_the_rest_is_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("orders.csv");
    let rows: String = (1..=40).map(|number| format!("{number},A,1,1.00,7\n")).collect();
    std::fs::write(&file, format!("InvoiceNo,StockCode,Quantity,UnitPrice,CustomerID\n{rows}")).unwrap();
    let app =
        Router::new().route("/health/ready", get(StatusCode::OK)).fallback(StatusCode::SERVICE_UNAVAILABLE);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });

    // Order by order, it would take 20 times as long.
    let options = Options { timeout: Duration::from_secs(4), ..options(&file, &url) };
    let ended = tokio::time::timeout(Duration::from_secs(60), run(&options)).await;

    let summary = ended.expect("it ends by itself").unwrap();
    assert_eq!((summary.unknown, summary.unsent), (2, 38), "{summary}");
    assert!(
        !summary.is_complete() && summary.to_string().contains("the same command continues"),
        "{summary}"
    );
}
