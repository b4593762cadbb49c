//! The embedded OTLP receiver as a program with Jaeger's ports: what tests put into a container where Jaeger's image is missing.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::Context;
use axum::Router;
use axum::routing::get;
use clap::Parser;
use testkit::otlp::OtlpReceiver;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// OTLP over gRPC.
const GRPC: u16 = 4317;
/// OTLP over HTTP.
const HTTP: u16 = 4318;
/// The query API.
const QUERY: u16 = 16686;
/// `GET /status` says whether it is ready.
const HEALTH: u16 = 13133;

/// Takes spans on ports 4317 (gRPC) and 4318 (HTTP), answers Jaeger's query API on 16686 and `/status` on 13133.
#[derive(Debug, Parser)]
struct Arguments {
    /// The address on which it listens.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    listen: IpAddr,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { listen } = Arguments::parse();
    let at = |port| SocketAddr::new(listen, port);
    let mut terminate = signal(SignalKind::terminate())?;
    let receiver = OtlpReceiver::start_at(&[at(HTTP), at(QUERY)], at(GRPC)).await?;
    let health = TcpListener::bind(at(HEALTH)).await.with_context(|| format!("port {HEALTH}"))?;
    let routes = Router::new().route("/status", get(async || "ready"));
    tokio::select! {
        served = axum::serve(health, routes) => served?,
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    receiver.stop().await;
    Ok(())
}
