//! How many connections each service may open, so that all of them fit into the server.

use anyhow::{Context as _, bail};
use sqlx::PgConnection;

use super::databases;

/// What a pool has by default, and the least that a service takes.
const DEFAULT: usize = 16;
const LEAST: usize = 4;

/// What a service opens beside its pool: the relay's session and its listener, the session of a rebuild or a migration, and a
/// fresh connection that sees whether the server answers.
const BESIDE_POOL: usize = 4;

/// Kept for others: `tidings verify`, `psql`, monitoring.
const KEPT: usize = 8;

/// The bounds of the services' pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pools {
    /// Of each service.
    pub(super) service: usize,
    /// Of payment's built-in provider, beside it.
    pub(super) provider: usize,
}

/// What a server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits {
    max_connections: usize,
    /// For superusers and for roles with `pg_use_reserved_connections`.
    reserved: usize,
    /// Open now.
    used: usize,
}

impl Pools {
    const fn of(service: usize) -> Self {
        Self { service, provider: service / 2 }
    }

    const fn sum(self, services: usize) -> usize {
        (self.service + BESIDE_POOL) * services + self.provider
    }

    /// The largest pools with which all connections of so many services fit.
    fn that_fit(limits: Limits, services: usize) -> Option<Self> {
        let free = limits.max_connections.saturating_sub(limits.reserved + limits.used);
        (LEAST..=DEFAULT).rev().map(Self::of).find(|pools| pools.sum(services) + KEPT <= free)
    }
}

/// The pools of so many services for the server at `base`.
///
/// # Errors
/// When it does not answer, or takes too few connections.
pub(super) async fn pools(base: &str, services: usize) -> anyhow::Result<Pools> {
    let least = Pools::of(LEAST);
    let needed = || format!("{services} services need {} connections", least.sum(services) + KEPT);
    let asked = databases::ask(base, async |server| Ok(limits(server).await?)).await;
    let limits = asked.with_context(needed)?;
    let Some(pools) = Pools::that_fit(limits, services) else {
        let Limits { max_connections, reserved, used } = limits;
        bail!(
            "{} takes {max_connections} connections, of which {reserved} are reserved and {used} are open: {} are left. {services} \
             services need {}: {services} times {LEAST} in a pool and {BESIDE_POOL} beside it, {} for the payment provider, and {KEPT} \
             are kept for others. Raise max_connections, or close what is open.",
            databases::without_password(base),
            max_connections.saturating_sub(reserved + used),
            least.sum(services) + KEPT,
            least.provider,
        );
    };
    Ok(pools)
}

/// Of other roles' sessions, a role without privileges sees little more than database and user; workers of the server lack one of
/// them.
async fn limits(server: &mut PgConnection) -> Result<Limits, sqlx::Error> {
    let (max_connections, reserved, used): (i32, i32, i64) = sqlx::query_as(
        "SELECT current_setting('max_connections')::integer,
             current_setting('superuser_reserved_connections')::integer
                 + coalesce(current_setting('reserved_connections', true), '0')::integer,
             (SELECT count(*) FROM pg_stat_activity
              WHERE datid IS NOT NULL AND usesysid IS NOT NULL AND pid <> pg_backend_pid())",
    )
    .fetch_one(server)
    .await?;
    let count = |number: i64| usize::try_from(number).unwrap_or_default();
    Ok(Limits {
        max_connections: count(max_connections.into()),
        reserved: count(reserved.into()),
        used: count(used),
    })
}

#[cfg(test)]
mod tests {
    use sqlx::Connection as _;
    use testkit::postgres::{PostgresOptions, PrivatePostgres, Storage};

    use super::*;

    const SERVICES: usize = 5;

    const fn stock(used: usize) -> Limits {
        Limits { max_connections: 100, reserved: 3, used }
    }

    #[test]
    fn a_stock_server_takes_five_services_and_leaves_room() {
        let pools = Pools::that_fit(stock(0), SERVICES).unwrap();
        assert_eq!(pools, Pools { service: 12, provider: 6 });
        assert!(pools.sum(SERVICES) + KEPT <= 97, "{}", pools.sum(SERVICES));
        assert_eq!(Pools::that_fit(stock(10), SERVICES).unwrap().service, 10);
    }

    #[test]
    fn each_further_service_takes_its_share() {
        let pools = Pools::that_fit(stock(0), 6).unwrap();
        assert_eq!(pools, Pools { service: 10, provider: 5 });
        assert!(pools.sum(6) + KEPT <= 97, "{}", pools.sum(6));
        assert_eq!(Pools::that_fit(stock(0), 11), None);
    }

    #[test]
    fn a_large_server_changes_nothing() {
        let limits = Limits { max_connections: 200, reserved: 3, used: 5 };
        assert_eq!(Pools::that_fit(limits, SERVICES), Some(Pools { service: DEFAULT, provider: 8 }));
    }

    #[tokio::test]
    async fn sessions_of_other_roles_count_for_a_role_without_privileges() {
        let options = PostgresOptions { max_connections: 100, ..PostgresOptions::for_tests() };
        let postgres = PrivatePostgres::start(&Storage::Temporary, &options).await.unwrap();
        let url = postgres.url("postgres");
        let mut sessions = Vec::new();
        for _ in 0..5 {
            sessions.push(PgConnection::connect(&url).await.unwrap());
        }
        sqlx::query("CREATE ROLE stranger LOGIN CREATEDB PASSWORD 'stranger'")
            .execute(&mut sessions[0])
            .await
            .unwrap();
        let (_, host) = url.rsplit_once('@').unwrap();
        let mut stranger =
            PgConnection::connect(&format!("postgres://stranger:stranger@{host}")).await.unwrap();
        let seen = limits(&mut stranger).await.unwrap();
        // A parallel worker of the server may be among them for a moment.
        assert!((5..=7).contains(&seen.used), "{seen:?}");
        assert_eq!((seen.max_connections, seen.reserved), (100, 3));
        drop(stranger);
        drop(sessions);
        postgres.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_server_with_too_few_connections_or_none_left_is_refused_with_the_number_that_is_needed() {
        let options = PostgresOptions { max_connections: 20, ..PostgresOptions::for_tests() };
        let postgres = PrivatePostgres::start(&Storage::Temporary, &options).await.unwrap();
        let url = postgres.url("postgres");
        let refused = async || format!("{:#}", pools(&url, SERVICES).await.unwrap_err());
        let needed = Pools::of(LEAST).sum(SERVICES) + KEPT;
        let error = refused().await;
        assert!(
            error.contains("takes 20 connections") && error.contains(&format!("need {needed}")),
            "{error}"
        );
        assert!(error.contains("Raise max_connections"), "{error}");

        let mut sessions = Vec::new();
        while let Ok(session) = PgConnection::connect(&url).await {
            sessions.push(session);
        }
        let error = refused().await;
        assert!(error.contains("takes no more connections") && error.contains("max_connections"), "{error}");
        assert!(error.contains(&format!("need {needed} connections")), "{error}");
        drop(sessions);
        postgres.stop().await.unwrap();
    }

    #[test]
    fn what_is_open_already_counts() {
        assert_eq!(Pools::that_fit(stock(47), SERVICES).unwrap().service, LEAST);
        assert_eq!(Pools::that_fit(stock(48), SERVICES), None);
        assert_eq!(Pools::that_fit(stock(200), SERVICES), None);
    }
}
