//! The vocabulary of the system tests: a running stack, orders placed into it, its verdict.
//!
//! The five binaries are those beside the test's own target directory: `make build` (which `make test` does first)
//! keeps them fresh. With `TIDINGS_TEST_KAFKA` and `TIDINGS_TEST_REGISTRY` everything runs on those.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use contracts::clock;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use testkit::wait::eventually;
use tidings::client::{Client, OrderView};
use tidings::services::ServiceName;
use tidings::up::databases::database_url;
use tidings::up::options::{Options, RealKafka};
use tidings::up::ports::Ports;
use tidings::up::process::Say;
use tidings::up::stack::Stack;
use tidings::verify::failures::Failures;
use tidings::verify::report::Report;
use tidings::verify::{self, Target};
use tokio::sync::{Mutex, MutexGuard};
use uuid::Uuid;

/// How long an order may take to end, with services dying and coming back; a consumer that stays away from its group is replaced
/// after two minutes (docs/adr/0013).
pub const ENDS_WITHIN: Duration = Duration::from_secs(180);

/// Five processes, a database server and a broker are enough for one machine at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// A turn on this machine; the next test waits for its end.
pub async fn turn() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().await
}

/// The system under test.
pub struct System {
    stack: Stack,
    _turn: MutexGuard<'static, ()>,
}

/// What to run on: real components if the environment names them. Each test has topics of its own.
///
/// # Panics
/// When only one of broker and registry is named.
#[expect(clippy::disallowed_methods, reason = "tests find real components by the environment")]
pub fn options() -> Options {
    let real = match (std::env::var("TIDINGS_TEST_KAFKA"), std::env::var("TIDINGS_TEST_REGISTRY")) {
        (Ok(bootstrap_servers), Ok(registry)) => Some(RealKafka { bootstrap_servers, registry }),
        _ => None,
    };
    Options {
        kafka: real,
        ports: Ports::Auto,
        topics_prefix: Some(format!("system-{}", clock::new_id().simple())),
        ..Options::default()
    }
}

/// Shows what the stack says in the test's output.
pub fn say() -> Say {
    Arc::new(|line| println!("{line}"))
}

impl System {
    /// Starts everything and adds stock.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Self {
        Self::start_on(&options()).await
    }

    /// Starts everything on these parts.
    ///
    /// # Panics
    /// When it does not start.
    #[expect(clippy::panic, reason = "a test without a system has failed")]
    pub async fn start_on(options: &Options) -> Self {
        let turn = turn().await;
        match Stack::start(options, say()).await {
            Ok(stack) => Self { stack, _turn: turn },
            Err(error) => panic!("the system does not start: {error:#}"),
        }
    }

    /// Stops everything.
    ///
    /// # Errors
    /// When a part does not end in time.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stack.stop().await
    }

    /// Stops the services; broker, registry and databases stay.
    ///
    /// # Errors
    /// When a service could not be run.
    pub async fn stop_services(&mut self) -> anyhow::Result<()> {
        self.stack.stop_services().await
    }

    /// The stack itself.
    pub const fn stack(&self) -> &Stack {
        &self.stack
    }

    /// A client of one service.
    ///
    /// # Errors
    /// When the HTTP client can't be built.
    pub fn client(&self, service: ServiceName) -> anyhow::Result<Client> {
        self.stack.client(service)
    }

    /// Adds units of a SKU.
    ///
    /// # Errors
    /// When inventory refuses.
    pub async fn replenish(&self, sku: &str, quantity: u64) -> anyhow::Result<()> {
        let key = clock::new_id().to_string();
        let answer = self.client(ServiceName::Inventory)?.replenish(sku, &key, quantity).await;
        answer.into_result().map(drop).context("replenishing")
    }

    /// Places an order of `quantity` units, paid with `payment_method`, for a customer with an address.
    ///
    /// # Errors
    /// When order refuses.
    pub async fn place(&self, sku: &str, quantity: u64, payment_method: &str) -> anyhow::Result<Uuid> {
        let key = clock::new_id().to_string();
        let request = request(sku, quantity, payment_method);
        let placed = self.client(ServiceName::Order)?.place_order(&key, &request).await.into_result()?;
        Ok(placed.order_id)
    }

    /// Cancels an order in the customer's name.
    ///
    /// # Errors
    /// When order refuses.
    pub async fn cancel(&self, order_id: Uuid) -> anyhow::Result<()> {
        let path = format!("/orders/{order_id}/cancellation");
        let key = clock::new_id().to_string();
        let answer = self.client(ServiceName::Order)?.post::<Value>(&path, &key, &json!({})).await;
        answer.into_result().map(drop)
    }

    /// The order once it has ended.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn ended(&self, order_id: Uuid) -> OrderView {
        eventually(&format!("order {order_id} ends"), ENDS_WITHIN, async || {
            let order = self.client(ServiceName::Order)?.order(order_id).await.into_result()?;
            if order.ended_at.is_some() { Ok(order) } else { Err(anyhow::anyhow!("{order:?}")) }
        })
        .await
    }

    /// The verdict once the system is quiet.
    ///
    /// # Errors
    /// When a part can't be read.
    pub async fn verify(&self) -> anyhow::Result<Report> {
        let options = verify::Options { wait: Some(ENDS_WITHIN), failures: Failures::Unexpected };
        verify::run(&Target::from(self.stack.system()), options).await
    }

    /// A connection to one service's database.
    ///
    /// # Errors
    /// When it can't be reached.
    pub async fn database(&self, service: ServiceName) -> anyhow::Result<PgConnection> {
        let url = database_url(&self.stack.system().postgres, &service.database());
        Ok(PgConnection::connect(&url).await?)
    }

    /// How many orders have not ended.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn open_orders(&self) -> anyhow::Result<i64> {
        let mut database = self.database(ServiceName::Order).await?;
        let open = sqlx::query_scalar("SELECT count(*) FROM orders WHERE status = 'placed'");
        Ok(open.fetch_one(&mut database).await?)
    }
}

/// The body of `POST /orders`.
pub fn request(sku: &str, quantity: u64, payment_method: &str) -> Value {
    json!({
        "customer_id": "customer-1",
        "currency": "EUR",
        "lines": [{ "sku": sku, "quantity": quantity, "unit_price_minor": 1_250 }],
        "payment_method": payment_method,
        "recipient": {
            "name": "Customer One",
            "email": "customer-1@example.com",
            "address": { "street": "1 Example Street", "city": "Example", "postal_code": "EX1", "country": "GB" },
        },
    })
}
