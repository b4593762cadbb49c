//! The table `generations`: which rows are live.

use sqlx::PgConnection;

/// Whose rows a transaction works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// The one that readers see.
    Live,
    /// One in the making.
    Building(i32),
}

impl Generation {
    /// Its number, held until the transaction ends: a swap waits for whoever counts into the live generation.
    pub(super) async fn number(self, conn: &mut PgConnection) -> Result<i32, sqlx::Error> {
        match self {
            Self::Building(number) => Ok(number),
            Self::Live => {
                sqlx::query_scalar("SELECT generation FROM generations WHERE state = 'live' FOR KEY SHARE")
                    .fetch_one(conn)
                    .await
            }
        }
    }
}
