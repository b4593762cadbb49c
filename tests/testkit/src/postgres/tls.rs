//! A PostgreSQL with TLS, and the certificates for it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use embedded::postgres::{PostgresOptions, PrivatePostgres, Storage};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

/// An authority's certificate, `ca.pem`, and keys and certificates that it gave: `server` for 127.0.0.1, and `client` for the
/// role `postgres`. In a folder that goes with this value.
#[derive(Debug)]
pub struct Certificates {
    dir: tempfile::TempDir,
}

impl Certificates {
    /// Makes them with openssl.
    ///
    /// # Errors
    /// When it is missing or fails.
    pub fn make() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let script = "set -e
            openssl req -x509 -newkey rsa:2048 -nodes -days 7 -subj '/CN=a test authority' -keyout ca.key -out ca.pem
            echo 'subjectAltName=IP:127.0.0.1' > names
            for name in server:127.0.0.1 client:postgres; do
                file=${name%%:*}
                openssl req -newkey rsa:2048 -nodes -subj \"/CN=${name#*:}\" -keyout $file.key -out $file.csr
                openssl x509 -req -in $file.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 7 -out $file.crt -extfile names
            done";
        let made = Command::new("sh").args(["-c", script]).current_dir(dir.path()).output();
        let made = made.context("certificates are made with openssl: install the package openssl")?;
        anyhow::ensure!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
        Ok(Self { dir })
    }

    /// The path of a file.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// A server that offers TLS, with these rules of authentication: the lines of its pg_hba.conf.
///
/// # Errors
/// When it does not start.
pub async fn postgres_with_tls(certificates: &Certificates, rules: &str) -> anyhow::Result<PrivatePostgres> {
    let server = PrivatePostgres::start(&Storage::Temporary, &PostgresOptions::for_tests()).await?;
    let mut admin = PgConnection::connect(&server.url("postgres")).await?;
    let data: String = sqlx::query_scalar("SHOW data_directory").fetch_one(&mut admin).await?;
    let text = |name: &str| read(&certificates.path(name));
    // The server writes them, because they must be its own.
    for (name, content) in [
        ("server.key", text("server.key")?),
        ("server.crt", text("server.crt")?),
        ("ca.pem", text("ca.pem")?),
        ("pg_hba.conf", rules.to_owned()),
    ] {
        let lines: Vec<String> = content.lines().map(|line| format!("('{line}')")).collect();
        let statement =
            format!("COPY (VALUES {}) TO PROGRAM 'umask 077; cat > {data}/{name}'", lines.join(", "));
        admin.execute(AssertSqlSafe(statement)).await?;
    }
    for statement in
        ["ALTER SYSTEM SET ssl_ca_file = 'ca.pem'", "ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()"]
    {
        admin.execute(statement).await?;
    }
    Ok(server)
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))
}
