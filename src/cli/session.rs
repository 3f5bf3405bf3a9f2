//! Who a command speaks as: a token that was given, or one made with this machine's secret.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::Args;

use super::{
    people,
    trouble::{Outcome, Trouble},
};
use crate::{
    backplane::{
        config::{Data, Identity},
        token::Tokens,
    },
    contract::conversation::User,
    services::conversation::{
        DATABASE_FILE,
        login::{DEV_USER_EMAIL, DEV_USER_ID, DEV_USER_NAME},
    },
};

/// Name of the command line as a service, in the tokens it makes for itself.
const OWN_NAME: &str = "cli";
/// Life of a token made for one request or the opening of one stream.
const OWN_TOKEN_LIFE: Duration = Duration::from_secs(300);

/// Where this machine keeps its data.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Data of this machine")]
pub(super) struct Home {
    /// Directory of `cortex up`: core's database, and the secret that signs tokens.
    #[arg(long, env = "CORTEX_DATA_DIR", default_value = "./data")]
    pub(super) data_dir: PathBuf,
    /// Core's database: `sqlite:///absolute/path` or `sqlite://relative/path` [default: core.db in
    /// the data directory].
    #[arg(long, env = "DATABASE_URL")]
    pub(super) database_url: Option<String>,
}

impl Home {
    /// Where core's database is, whether it exists or not.
    pub(super) fn database(&self) -> Outcome<PathBuf> {
        let data = Data {
            data_dir: self.data_dir.clone(),
            database_url: self.database_url.clone().filter(|url| !url.is_empty()),
            db_pool_size: 1,
            db_pool_timeout: Duration::ZERO,
        };
        data.sqlite_path(DATABASE_FILE).map_err(Trouble::Plain)
    }

    /// The user of this login name or id, if this machine knows them.
    pub(super) fn user(&self, name: &str) -> Outcome<Option<User>> {
        people::find(&self.database()?, name)
    }

    /// [`Home::user`], who must be known.
    pub(super) fn known_user(&self, name: &str) -> Outcome<User> {
        let path = self.database()?;
        people::find(&path, name)?.ok_or_else(|| people::unknown(name, &path))
    }
}

/// Where this machine keeps its data, and what signs its tokens.
#[derive(Args, Clone)]
pub(super) struct Keys {
    #[command(flatten)]
    pub(super) home: Home,
    /// Secret that signs tokens (text) [default: the one in the data directory].
    #[arg(long, env = "JWT_SECRET_KEY", hide_env_values = true)]
    jwt_secret_key: Option<String>,
    /// File that holds the secret (path).
    #[arg(long, env = "JWT_SECRET_KEY_FILE")]
    jwt_secret_key_file: Option<OsString>,
}

impl Keys {
    /// What makes tokens.
    pub(super) fn tokens(&self) -> Outcome<Tokens> {
        let identity = Identity {
            // An empty variable is one that is not set, as compose files write it.
            jwt_secret_key: self.jwt_secret_key.clone().filter(|secret| !secret.is_empty()),
            jwt_secret_key_file: self
                .jwt_secret_key_file
                .clone()
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
            jwt_expiration_hours: 1,
        };
        identity.tokens_or_from(&self.home.data_dir).map_err(|error| {
            let hint = "give --data-dir, JWT_SECRET_KEY or JWT_SECRET_KEY_FILE";
            Trouble::plain(format!("{error}; {hint}"))
        })
    }
}

/// A token that was given, else what makes one.
#[derive(Args, Clone)]
#[command(next_help_heading = "Who asks")]
pub(super) struct Session {
    /// Token to show [default: one made with this machine's secret].
    #[arg(long, env = "CORTEX_TOKEN", hide_env_values = true)]
    token: Option<String>,
    #[command(flatten)]
    pub(super) keys: Keys,
}

impl Session {
    /// Speaks as a user: the one of that name, else whose token was given, else the development
    /// user.
    pub(super) fn user(&self, name: Option<&str>) -> Outcome<Bearer> {
        if let (Some(token), None) = (self.given(), name) {
            return Ok(Bearer::Given(token));
        }
        let user = match name {
            Some(name) => self.keys.home.known_user(name)?,
            None => User {
                user_id: DEV_USER_ID.to_owned(),
                name: DEV_USER_NAME.to_owned(),
                email: DEV_USER_EMAIL.to_owned(),
            },
        };
        Ok(Bearer::User(self.keys.tokens()?, user))
    }

    /// Speaks to `audience` as a service.
    pub(super) fn service(&self, audience: &str) -> Outcome<Bearer> {
        match self.given() {
            Some(token) => Ok(Bearer::Given(token)),
            None => Ok(Bearer::Service(self.keys.tokens()?, audience.to_owned())),
        }
    }

    fn given(&self) -> Option<String> {
        let token = self.token.as_deref().map(str::trim);
        token.filter(|token| !token.is_empty()).map(str::to_owned)
    }
}

/// Whose token goes along.
pub(super) enum Bearer {
    /// One that was given.
    Given(String),
    /// Made for a user, anew each time.
    User(Tokens, User),
    /// Made for a service, anew each time.
    Service(Tokens, String),
}

impl Bearer {
    /// A token that is good now.
    pub(super) fn token(&self) -> Outcome<String> {
        let made = match self {
            Bearer::Given(token) => return Ok(token.clone()),
            Bearer::User(tokens, user) => {
                tokens.for_user(&user.user_id, &user.name, &user.email, OWN_TOKEN_LIFE)
            }
            Bearer::Service(tokens, audience) => {
                tokens.for_service(OWN_NAME, &[audience], OWN_TOKEN_LIFE)
            }
        };
        made.map_err(|failure| Trouble::of(&failure))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use super::*;
    use crate::{backplane::secrets, domain::principal::Principal};

    /// A command's keys with a data directory and nothing else.
    pub(in crate::cli) fn keys(data_dir: &Path) -> Keys {
        Keys {
            home: Home { data_dir: data_dir.to_owned(), database_url: None },
            jwt_secret_key: None,
            jwt_secret_key_file: None,
        }
    }

    fn session(data_dir: &Path, token: Option<&str>) -> Session {
        Session { token: token.map(str::to_owned), keys: keys(data_dir) }
    }

    #[test]
    fn without_a_token_one_is_made_with_the_data_directorys_secret() {
        let dir = tempfile::tempdir().unwrap();
        secrets::ensure_token_secret(dir.path()).unwrap();
        let session = session(dir.path(), None);
        let tokens = session.keys.tokens().unwrap();
        let user = session.user(None).unwrap().token().unwrap();
        assert_eq!(tokens.read(&user, "core").unwrap().confined_to(), Some(DEV_USER_ID));
        let service = session.service("memory").unwrap().token().unwrap();
        assert_eq!(
            tokens.read(&service, "memory"),
            Ok(Principal::Service { name: OWN_NAME.to_owned() })
        );
        assert!(tokens.read(&service, "cognition").is_err());
    }

    #[test]
    fn a_given_token_goes_as_it_is_and_needs_no_secret() {
        let nowhere = Path::new("/nonexistent");
        let given = session(nowhere, Some(" T "));
        assert_eq!(given.user(None).unwrap().token().unwrap(), "T");
        assert_eq!(given.service("memory").unwrap().token().unwrap(), "T");
        let error = session(nowhere, Some("")).service("memory").err().unwrap().to_string();
        assert!(error.contains("JWT_SECRET_KEY") && error.contains("/nonexistent"), "{error}");
    }

    #[test]
    fn an_unknown_user_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = session(dir.path(), None).user(Some("ann@example.com")).err().unwrap();
        assert!(error.to_string().contains("\"ann@example.com\""), "{error}");
    }
}
