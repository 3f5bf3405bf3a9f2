//! Where a process keeps its data.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{duration, interval};

/// Where a process keeps its data.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Data")]
pub struct Data {
    /// Directory for databases and secrets.
    #[arg(long, env = "CORTEX_DATA_DIR", default_value = "./data")]
    pub data_dir: PathBuf,
    /// Database: `sqlite:///absolute/path` or `sqlite://relative/path` [default: a file in the
    /// data directory].
    #[arg(long, env = "DATABASE_URL")]
    pub database_url: Option<String>,
    /// Connections that read at once (count).
    #[arg(long, env = "DB_POOL_SIZE", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub db_pool_size: u16,
    /// Time to wait for a connection (seconds).
    #[arg(long, env = "DB_POOL_TIMEOUT", default_value = "5", value_parser = duration)]
    pub db_pool_timeout: Duration,
}

/// How a store is shared with other processes of this host, and how it is looked over.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Store")]
pub struct Storage {
    /// Time between looks at what other processes stored, for live streams (seconds).
    #[arg(long, env = "STORE_POLL_INTERVAL", default_value = "0.05", value_parser = interval)]
    pub store_poll_interval: Duration,
    /// Time a write waits for another process that writes the store; then it is refused as
    /// overloaded (seconds).
    #[arg(long, env = "STORE_LOCK_TIMEOUT", default_value = "5", value_parser = duration)]
    pub store_lock_timeout: Duration,
    /// Largest store that is looked over whole before it is used; 0 looks over none (bytes).
    #[arg(long, env = "STORE_CHECK_MAX", default_value_t = 67_108_864)]
    pub store_check_max: u64,
}

impl Data {
    /// The path of the SQLite file: from `DATABASE_URL`, or `file` in the data directory.
    ///
    /// # Errors
    /// A sentence naming the variable when its value is not a SQLite URL.
    pub fn sqlite_path(&self, file: &str) -> Result<PathBuf, String> {
        let set = self.database_url.as_ref().filter(|url| !url.is_empty());
        let Some(url) = set else { return Ok(self.data_dir.join(file)) };
        let rest = url
            .split_once("://")
            .filter(|(scheme, _)| *scheme == "sqlite" || scheme.starts_with("sqlite+"))
            .map(|(_, rest)| rest)
            .ok_or_else(|| {
                "DATABASE_URL: only sqlite:///absolute/path or sqlite://relative/path".to_owned()
            })?;
        if rest.contains(":memory:") || rest.contains('?') {
            return Err("DATABASE_URL: must name a file, without parameters".to_owned());
        }
        if rest.is_empty() || rest == "/" {
            return Ok(self.data_dir.join(file));
        }
        // `sqlite:///./x` and `sqlite:///x.db` of earlier generations mean a relative path only
        // when they say so with a dot.
        Ok(match rest.strip_prefix("/./") {
            Some(relative) => PathBuf::from(relative),
            None => PathBuf::from(rest),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(url: Option<&str>) -> Data {
        Data {
            data_dir: "d".into(),
            database_url: url.map(str::to_owned),
            db_pool_size: 1,
            db_pool_timeout: Duration::ZERO,
        }
    }

    #[test]
    fn an_interval_is_not_nothing() {
        assert_eq!(interval("50ms"), Ok(Duration::from_millis(50)));
        for bad in ["0", "0.0001", "soon"] {
            assert!(interval(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn database_urls_name_absolute_and_relative_files() {
        for (url, path) in [
            (None, "d/x.db"),
            (Some(""), "d/x.db"),
            (Some("sqlite:///var/lib/x.db"), "/var/lib/x.db"),
            (Some("sqlite://x.db"), "x.db"),
            (Some("sqlite:///./memory_service.db"), "memory_service.db"),
            (Some("sqlite+aiosqlite:///var/x.db"), "/var/x.db"),
            (Some("sqlite://"), "d/x.db"),
        ] {
            assert_eq!(data(url).sqlite_path("x.db"), Ok(path.into()), "{url:?}");
        }
        assert!(
            data(Some("postgres://h/d")).sqlite_path("x").unwrap_err().contains("DATABASE_URL")
        );
    }
}
