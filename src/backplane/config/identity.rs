//! Who may call, and how tokens are signed.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::path_or_none;
use crate::backplane::{
    secrets::{read_secret, token_secret_path},
    token::{SECRET_BYTES_MIN, Tokens},
};

/// Who may call, and how tokens are signed.
#[derive(Args, Clone)]
#[command(next_help_heading = "Identity")]
pub struct Identity {
    /// Secret that signs tokens, the same in every process (text, at least 32 bytes; required).
    #[arg(long, env = "JWT_SECRET_KEY", hide_env_values = true)]
    pub jwt_secret_key: Option<String>,
    /// File that holds the secret, instead of `JWT_SECRET_KEY` (path).
    #[arg(long, env = "JWT_SECRET_KEY_FILE", value_parser = path_or_none)]
    pub jwt_secret_key_file: Option<PathBuf>,
    /// Life of a user's token (hours).
    #[arg(long, env = "JWT_EXPIRATION_HOURS", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=8760))]
    pub jwt_expiration_hours: u32,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("jwt_secret_key_file", &self.jwt_secret_key_file)
            .field("jwt_expiration_hours", &self.jwt_expiration_hours)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// The secret, from the variable or its file.
    ///
    /// # Errors
    /// A sentence naming the variable when it is missing, unreadable or too short.
    pub fn secret(&self) -> Result<String, String> {
        let (name, secret) = match (&self.jwt_secret_key, &self.jwt_secret_key_file) {
            (Some(secret), _) if !secret.is_empty() => ("JWT_SECRET_KEY", secret.clone()),
            (_, Some(path)) if !path.as_os_str().is_empty() => {
                let secret = read_secret(path)
                    .map_err(|error| format!("JWT_SECRET_KEY_FILE: {}: {error}", path.display()))?;
                ("JWT_SECRET_KEY_FILE", secret)
            }
            _ => {
                return Err("JWT_SECRET_KEY: not set; give every process the same secret of at \
                            least 32 bytes (or JWT_SECRET_KEY_FILE)"
                    .to_owned());
            }
        };
        if secret.len() < SECRET_BYTES_MIN {
            return Err(format!(
                "{name}: {} bytes are too few; at least {SECRET_BYTES_MIN} are needed",
                secret.len()
            ));
        }
        Ok(secret)
    }

    /// The secret from the variables, else from the data directory: for commands that people run
    /// beside `cortex up`.
    ///
    /// # Errors
    /// A sentence that says what to set.
    pub fn tokens_or_from(&self, data_dir: &std::path::Path) -> Result<Tokens, String> {
        // Set but empty, as compose files do, is not set.
        let key = self.jwt_secret_key.as_ref().is_some_and(|key| !key.is_empty());
        let file = self.jwt_secret_key_file.as_ref();
        if key || file.is_some_and(|path| !path.as_os_str().is_empty()) {
            return Ok(Tokens::new(&self.secret()?));
        }
        let path = token_secret_path(data_dir);
        read_secret(&path).map(|secret| Tokens::new(&secret)).map_err(|error| {
            format!("JWT_SECRET_KEY: not set, and {} cannot be read: {error}", path.display())
        })
    }

    /// Life of a user's token.
    #[must_use]
    pub fn token_life(&self) -> Duration {
        Duration::from_secs(u64::from(self.jwt_expiration_hours) * 3600)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_or_short_secret_names_its_variable() {
        let identity = |secret: Option<&str>| Identity {
            jwt_secret_key: secret.map(str::to_owned),
            jwt_secret_key_file: None,
            jwt_expiration_hours: 1,
        };
        for bad in [None, Some(""), Some("short")] {
            assert!(identity(bad).secret().unwrap_err().starts_with("JWT_SECRET_KEY:"));
        }
        assert!(identity(Some(&"x".repeat(32))).secret().is_ok());
    }
}
