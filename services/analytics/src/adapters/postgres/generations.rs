//! The table `generations`: which rows are live.

use sqlx::PgConnection;

/// Which rows a transaction works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// What readers see.
    Live,
    /// A rebuild's.
    Building(i32),
}

impl Generation {
    /// Its number. The live one is locked until the end of the transaction: a swap waits for those that count into it.
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
