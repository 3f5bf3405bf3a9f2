//! `cortex token`: a token for a person or a program.

use std::time::Duration;

use clap::{ArgGroup, Args, builder::NonEmptyStringValueParser};

use super::{
    out,
    session::Keys,
    trouble::{Outcome, Trouble},
};
use crate::contract::conversation::User;

/// Life of a service's token unless told otherwise, in hours.
const SERVICE_HOURS: u32 = 1;

/// What `cortex token` takes.
#[derive(Args, Clone)]
#[command(group = ArgGroup::new("whose").required(true).args(["user", "service"]))]
pub struct TokenArgs {
    /// Make a token for the user with this login name or id, as core's database has them.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    user: Option<String>,
    /// Make a token for the calling service of this name; it acts for any user.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    service: Option<String>,
    /// Id of the user, who is then not looked up: for users this machine does not know.
    #[arg(long, requires = "user", conflicts_with = "service", value_parser = NonEmptyStringValueParser::new())]
    id: Option<String>,
    /// Display name, with --id [default: the name given to --user].
    #[arg(long, requires = "id", conflicts_with = "service")]
    name: Option<String>,
    /// Mail address, with --id [default: the name given to --user].
    #[arg(long, requires = "id", conflicts_with = "service")]
    email: Option<String>,
    /// Services the token is good at, with --service: a comma list, or given several times.
    #[arg(
        long,
        value_name = "SERVICES",
        value_delimiter = ',',
        default_values = ["core", "memory", "cognition"],
        conflicts_with = "user",
        value_parser = NonEmptyStringValueParser::new()
    )]
    audience: Vec<String>,
    /// Life of the token, 1 to 8760 (hours) [default: JWT_EXPIRATION_HOURS, else 24, for a user; 1
    /// for a service].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=8760))]
    hours: Option<u32>,
    #[arg(
        long,
        env = "JWT_EXPIRATION_HOURS",
        default_value_t = 24,
        hide = true,
        value_parser = clap::value_parser!(u32).range(1..=8760)
    )]
    jwt_expiration_hours: u32,
    #[command(flatten)]
    keys: Keys,
}

/// Prints a token, and nothing else.
pub(super) fn run(args: &TokenArgs) -> Outcome {
    out::line(&make(args)?)
}

fn make(args: &TokenArgs) -> Outcome<String> {
    let tokens = args.keys.tokens()?;
    let made = match (&args.user, &args.service) {
        (Some(name), _) => {
            let User { user_id, name, email } = subject(args, name)?;
            let hours = args.hours.unwrap_or(args.jwt_expiration_hours);
            tokens.for_user(&user_id, &name, &email, life(hours))
        }
        (None, service) => {
            let audience: Vec<&str> = args.audience.iter().map(|name| name.trim()).collect();
            let name = service.as_deref().unwrap_or_default().trim();
            tokens.for_service(name, &audience, life(args.hours.unwrap_or(SERVICE_HOURS)))
        }
    };
    made.map_err(|failure| Trouble::of(&failure))
}

/// Who the token is for: as told, or as core's database knows them.
fn subject(args: &TokenArgs, given: &str) -> Outcome<User> {
    if let Some(id) = &args.id {
        return Ok(User {
            user_id: id.clone(),
            name: args.name.clone().unwrap_or_else(|| given.to_owned()),
            email: args.email.clone().unwrap_or_else(|| given.to_owned()),
        });
    }
    args.keys.home.known_user(given).map_err(|trouble| match trouble {
        Trouble::Plain(text) => Trouble::plain(format!(
            "{text}; --id ID makes a token for a user this machine does not know"
        )),
        other @ (Trouble::Answered(_)
        | Trouble::Unreachable { .. }
        | Trouble::TooLarge(_)
        | Trouble::Output(_)
        | Trouble::Found(_)
        | Trouble::Unopened(_)
        | Trouble::ReaderGone) => other,
    })
}

fn life(hours: u32) -> Duration {
    Duration::from_secs(u64::from(hours) * 3600)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{backplane::secrets, domain::principal::Principal, services::conversation::store};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: TokenArgs,
    }

    fn token(dir: &tempfile::TempDir, words: &[&str]) -> Result<String, String> {
        let data_dir = dir.path().display().to_string();
        let start = ["token", "--data-dir", data_dir.as_str()];
        let line = Line::try_parse_from(start.iter().chain(words)).map_err(|e| e.to_string())?;
        make(&line.args).map_err(|trouble| trouble.to_string())
    }

    fn home() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        secrets::ensure_token_secret(dir.path()).unwrap();
        dir
    }

    fn read(dir: &tempfile::TempDir, token: &str, audience: &str) -> Option<Principal> {
        let keys = super::super::session::tests::keys(dir.path());
        keys.tokens().unwrap().read(token, audience).ok()
    }

    fn ann() -> Principal {
        Principal::User { id: "u1".into(), name: "Ann".into(), email: "ann@example.com".into() }
    }

    #[test]
    fn a_known_user_is_looked_up_by_login_name_and_by_id() {
        let dir = home();
        let path = dir.path().join("core.db");
        let mut connection = super::super::people::open_or_make(&path).unwrap();
        let user =
            User { user_id: "u1".into(), name: "Ann".into(), email: "ann@example.com".into() };
        store::add_user(&mut connection, &user, None, 0).unwrap();
        for name in ["ann@example.com", "u1"] {
            let made = token(&dir, &["--user", name]).unwrap();
            assert_eq!(read(&dir, &made, "memory"), Some(ann()), "{name}");
        }
        let error = token(&dir, &["--user", "bob"]).unwrap_err();
        assert!(error.contains("\"bob\"") && error.contains("--id"), "{error}");
    }

    #[test]
    fn an_unknown_user_is_described_in_full() {
        let dir = home();
        let words = ["--user", "ann", "--id", "u1", "--name", "Ann", "--email", "ann@example.com"];
        let made = token(&dir, &words).unwrap();
        assert_eq!(read(&dir, &made, "core"), Some(ann()));
    }

    #[test]
    fn a_services_token_is_good_for_its_audience() {
        let dir = home();
        let ops = Some(Principal::Service { name: "ops".into() });
        let made = token(&dir, &["--service", "ops"]).unwrap();
        for audience in ["core", "memory", "cognition"] {
            assert_eq!(read(&dir, &made, audience), ops, "{audience}");
        }
        let words = ["--service", "ops", "--audience", "a,b", "--audience", "c"];
        let narrow = token(&dir, &words).unwrap();
        assert_eq!(read(&dir, &narrow, "b"), ops);
        assert_eq!(read(&dir, &narrow, "c"), ops);
        assert_eq!(read(&dir, &narrow, "core"), None);
    }

    #[test]
    fn a_token_is_for_one_of_both_and_lives_a_sensible_time() {
        let dir = home();
        for words in [
            &[][..],
            &["--user", "a", "--service", "b"],
            &["--user", "a", "--id", "1", "--audience", "core"],
            &["--service", "b", "--id", "1"],
            &["--service", "b", "--name", "n"],
            &["--service", "b", "--hours", "0"],
            &["--service", ""],
        ] {
            assert!(token(&dir, words).is_err(), "{words:?}");
        }
    }
}
