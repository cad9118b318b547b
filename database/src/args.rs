//! How deployments name their database.

use std::time::Duration;

use clap::Args;
use url::Url;

use crate::{Database, Error, Options};

/// The database, as flags and environment variables: one `DATABASE_URL`, or the `MYSQL_` variables that
/// deployments of this kind use.
#[derive(Clone, Args)]
pub struct DatabaseArgs {
    /// The database: mysql://user:password@host:port/name or sqlite:///path/to/file.db
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_parser = database_url)]
    pub database_url: Option<String>,

    /// The MySQL server where there is no DATABASE_URL: HOST, HOST:PORT, tcp(HOST) or tcp(HOST:PORT)
    #[arg(long, env = "MYSQL_CONNECTION", value_parser = mysql_connection)]
    pub mysql_connection: Option<String>,

    /// The MySQL server's port where MYSQL_CONNECTION names none
    #[arg(long, env = "MYSQL_PORT", default_value_t = 3306, value_parser = clap::value_parser!(u16).range(1..))]
    pub mysql_port: u16,

    /// The MySQL database's name
    #[arg(long, env = "MYSQL_DBNAME")]
    pub mysql_dbname: Option<String>,

    /// The MySQL login as USER:PASSWORD
    #[arg(long, env = "MYSQL_USERPASSWORD", hide_env_values = true)]
    pub mysql_userpassword: Option<String>,

    /// The most connections to the database at a time
    #[arg(
        long,
        env = "DATABASE_MAX_CONNECTIONS",
        default_value_t = 16,
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    pub database_max_connections: u32,

    /// How many seconds one database operation may take
    #[arg(
        long,
        env = "DATABASE_TIMEOUT_SECONDS",
        default_value_t = 15,
        value_parser = clap::value_parser!(u64).range(1..=3600)
    )]
    pub database_timeout_seconds: u64,
}

// === impl DatabaseArgs ===

impl DatabaseArgs {
    /// The database's URL, `None` where nothing names a database.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the variable, where the `MYSQL_` variables are not enough for a URL.
    pub fn url(&self) -> Result<Option<String>, Error> {
        if self.database_url.is_some() {
            return Ok(self.database_url.clone());
        }
        let Some(connection) = &self.mysql_connection else {
            return Ok(None);
        };
        let missing = |variable, expected| {
            Error::Invalid(format!(
                "{variable}: not set, expected {expected} beside MYSQL_CONNECTION"
            ))
        };
        let name = self.mysql_dbname.as_deref().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| missing("MYSQL_DBNAME", "the database's name"))?;
        let login = self
            .mysql_userpassword
            .as_deref()
            .filter(|login| !login.is_empty());
        let login = login.ok_or_else(|| missing("MYSQL_USERPASSWORD", "USER:PASSWORD"))?;
        let (user, password) = login.split_once(':').unwrap_or((login, ""));

        let wrong = |variable| Error::Invalid(format!("{variable}: cannot be part of a URL"));
        let address = address(connection);
        let mut url: Url = format!("mysql://{address}")
            .parse()
            .map_err(|_| wrong("MYSQL_CONNECTION"))?;
        if url.port().is_none() {
            url.set_port(Some(self.mysql_port))
                .map_err(|()| wrong("MYSQL_PORT"))?;
        }
        // The URL's own encoding takes a percent sign for the beginning of something encoded.
        let plain = |text: &str| text.replace('%', "%25");
        url.set_username(&plain(user))
            .map_err(|()| wrong("MYSQL_USERPASSWORD"))?;
        if !password.is_empty() {
            url.set_password(Some(&plain(password)))
                .map_err(|()| wrong("MYSQL_USERPASSWORD"))?;
        }
        url.path_segments_mut()
            .map_err(|()| wrong("MYSQL_DBNAME"))?
            .push(&plain(name));
        Ok(Some(url.into()))
    }

    /// The limits of the connection.
    pub fn options(&self) -> Options {
        Options {
            max_connections: self.database_max_connections,
            operation_timeout: Duration::from_secs(self.database_timeout_seconds),
            ..Options::default()
        }
    }

    /// Opens the database that is named; it may be away.
    ///
    /// # Errors
    /// [`Error::Invalid`] where none is named; else as [`Database::open`].
    pub async fn open(&self) -> Result<Database, Error> {
        let url = self.url()?.ok_or_else(|| {
            Error::Invalid(
                "DATABASE_URL: not set, expected mysql://user:password@host:port/name or \
                 sqlite:///path/to/file.db (or MYSQL_CONNECTION and its companions)"
                    .to_owned(),
            )
        })?;
        Database::open(&url, &self.options()).await
    }
}

impl std::fmt::Debug for DatabaseArgs {
    /// Without the secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseArgs")
            .field("mysql_connection", &self.mysql_connection)
            .field("mysql_port", &self.mysql_port)
            .field("mysql_dbname", &self.mysql_dbname)
            .field("database_max_connections", &self.database_max_connections)
            .finish_non_exhaustive()
    }
}

/// The host, with its port if it has one, of `HOST`, `HOST:PORT`, `tcp(HOST)` or `tcp(HOST:PORT)`.
fn address(connection: &str) -> &str {
    let inner = connection
        .strip_prefix("tcp(")
        .and_then(|rest| rest.strip_suffix(')'));
    inner.unwrap_or(connection)
}

fn mysql_connection(value: &str) -> Result<String, String> {
    let address = address(value);
    let parsed = Url::parse(&format!("mysql://{address}"));
    let host_and_port = |character: char| {
        character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_' | ':' | '[' | ']')
    };
    match parsed {
        Ok(url) if url.has_host() && address.chars().all(host_and_port) => Ok(value.to_owned()),
        _ => Err("expected HOST, HOST:PORT, tcp(HOST) or tcp(HOST:PORT)".to_owned()),
    }
}

fn database_url(value: &str) -> Result<String, String> {
    let known = ["mysql://", "mariadb://", "sqlite://"]
        .iter()
        .any(|scheme| value.starts_with(scheme));
    if known {
        Ok(value.to_owned())
    } else {
        Err("expected mysql://user:password@host:port/name or sqlite:///path/to/file.db".to_owned())
    }
}
