//! `cortex user`: who may log in, kept in core's database file.

use std::io::{BufRead, IsTerminal as _};

use clap::{Args, Subcommand};
use diesel::SqliteConnection;
use serde_json::json;

use super::{
    out::{self, Listing},
    people,
    session::Home,
    table::Table,
    trouble::{Outcome, Trouble},
};
use crate::{
    backplane::clock,
    contract::conversation::User,
    services::conversation::{
        login::{self, PASSWORD_BYTES_MAX},
        store,
    },
};

/// Longest login name and id, in bytes.
const NAME_BYTES_MAX: usize = 254;
/// Most bytes read as a password: one more than is taken, and the line's end.
const PASSWORD_LINE_BYTES: usize = PASSWORD_BYTES_MAX + 3;

/// What `cortex user` can do. Core may be running: the database is shared.
#[derive(Subcommand)]
pub enum UserCommand {
    /// Add a user who may log in; the password is asked for.
    Add(AddArgs),
    /// List all users, in the order of their login names.
    List(ListArgs),
    /// Set a user's password; it is asked for.
    Passwd(PasswdArgs),
}

/// What `cortex user add` takes.
#[derive(Args)]
pub struct AddArgs {
    /// Mail address, which is the login name.
    #[arg(value_parser = mail_address)]
    email: String,
    /// Display name [default: the mail address up to the @].
    #[arg(long)]
    name: Option<String>,
    /// The identity everything is stored under [default: a random UUID].
    #[arg(long, value_parser = identity)]
    id: Option<String>,
    /// Read the password from standard input, one line, instead of asking on the terminal.
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    home: Home,
}

/// What `cortex user list` takes.
#[derive(Args)]
pub struct ListArgs {
    /// A table, or one JSON object per line.
    #[arg(short, long, default_value = "table")]
    output: Listing,
    #[command(flatten)]
    home: Home,
}

/// What `cortex user passwd` takes.
#[derive(Args)]
pub struct PasswdArgs {
    /// Mail address of the user.
    email: String,
    /// Read the password from standard input, one line, instead of asking on the terminal.
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    home: Home,
}

/// Does what was asked.
pub(super) fn run(command: UserCommand) -> Outcome {
    match command {
        UserCommand::Add(args) => add(args),
        UserCommand::List(args) => list(&args),
        UserCommand::Passwd(args) => passwd(&args),
    }
}

fn add(args: AddArgs) -> Outcome {
    let path = args.home.database()?;
    let AddArgs { email, name, id, password_stdin, home: _ } = args;
    let name = name.filter(|name| !name.trim().is_empty());
    let user = User {
        user_id: id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
        name: name.unwrap_or_else(|| local_part(&email).to_owned()),
        email,
    };
    let mut connection = people::open_or_make(&path)?;
    // Before the password is asked for: nobody likes to type it in vain.
    must_be_new(&mut connection, &user)?;
    let hash = hash(&ask(password_stdin)?)?;
    insert(&mut connection, &user, &hash)?;
    out::line(&format!("user {} added with the id {}", user.email, user.user_id))
}

/// Neither the login name nor the id may be anybody's name or id: commands take either.
fn must_be_new(connection: &mut SqliteConnection, user: &User) -> Outcome {
    for (what, name) in [("login name", &user.email), ("id", &user.user_id)] {
        if let Some(known) = people::find_in(connection, name)? {
            let User { user_id, email, .. } = known;
            return Err(Trouble::plain(format!(
                "the {what} {name} is taken: {email} with the id {user_id} exists already"
            )));
        }
    }
    Ok(())
}

fn insert(connection: &mut SqliteConnection, user: &User, hash: &str) -> Outcome {
    store::add_user(connection, user, Some(hash), clock::now_micros())
        .map_err(|failure| Trouble::plain(format!("user {}: {failure}", user.email)))
}

fn list(args: &ListArgs) -> Outcome {
    let mut connection = people::open(&args.home.database()?)?;
    let mut table = Table::new(["EMAIL", "NAME", "ID"]);
    people::each_page(&mut connection, |page| {
        let mut lines = String::new();
        for User { user_id, name, email } in page {
            match args.output {
                Listing::Table => table.row([email, name, user_id]),
                Listing::Json => {
                    let user = json!({ "user_id": user_id, "name": name, "email": email });
                    lines.push_str(&format!("{user}\n"));
                }
            }
        }
        if args.output == Listing::Table {
            lines = table.take();
        }
        out::print(&lines)?;
        Ok(None::<()>)
    })?;
    // The header of an empty table.
    if args.output == Listing::Table { out::print(&table.take()) } else { Ok(()) }
}

fn passwd(args: &PasswdArgs) -> Outcome {
    let path = args.home.database()?;
    let unknown = || people::unknown(&args.email, &path);
    let mut connection = people::open(&path)?;
    store::user_by_email(&mut connection, &args.email)
        .map_err(|failure| Trouble::of(&failure))?
        .ok_or_else(unknown)?;
    let hash = hash(&ask(args.password_stdin)?)?;
    let now = clock::now_micros();
    let changed = store::set_password(&mut connection, &args.email, &hash, now)
        .map_err(|failure| Trouble::of(&failure))?;
    if !changed {
        return Err(unknown());
    }
    out::line(&format!("the password of {} is set", args.email))
}

fn hash(password: &str) -> Outcome<String> {
    login::hash_password(password).map_err(|failure| Trouble::of(&failure))
}

/// A password that may be set: twice from the terminal, or one line of standard input.
fn ask(from_input: bool) -> Outcome<String> {
    let password = if from_input {
        first_line(std::io::stdin().lock())?
    } else {
        if !std::io::stdin().is_terminal() {
            return Err(Trouble::plain("no terminal to ask on; use --password-stdin"));
        }
        twice()?
    };
    login::acceptable(&password).map_err(|failure| Trouble::of(&failure))?;
    Ok(password)
}

fn twice() -> Outcome<String> {
    let prompt = |text: &str| {
        rpassword::prompt_password(text)
            .map_err(|error| Trouble::plain(format!("the password was not read: {error}")))
    };
    let password = prompt("Password: ")?;
    if password == prompt("Again: ")? {
        Ok(password)
    } else {
        Err(Trouble::plain("the two passwords differ; nothing was changed"))
    }
}

fn first_line(input: impl BufRead) -> Outcome<String> {
    let mut line = String::new();
    let limit = u64::try_from(PASSWORD_LINE_BYTES).unwrap_or(u64::MAX);
    input
        .take(limit)
        .read_line(&mut line)
        .map_err(|error| Trouble::plain(format!("the password was not read: {error}")))?;
    let line = line.strip_suffix('\n').unwrap_or(&line);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

fn local_part(email: &str) -> &str {
    email.split('@').next().unwrap_or(email)
}

fn mail_address(text: &str) -> Result<String, String> {
    let text = identity(text.trim())?;
    let ends = text.split_once('@').filter(|(name, host)| !name.is_empty() && !host.is_empty());
    if ends.is_some() { Ok(text) } else { Err("try name@example.com".to_owned()) }
}

fn identity(text: &str) -> Result<String, String> {
    let fits = (1..=NAME_BYTES_MAX).contains(&text.len())
        && !text.chars().any(|letter| letter.is_whitespace() || letter.is_control());
    if fits {
        Ok(text.to_owned())
    } else {
        Err(format!("1 to {NAME_BYTES_MAX} bytes without spaces"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn login_names_are_mail_addresses() {
        assert_eq!(mail_address(" ann@example.com ").as_deref(), Ok("ann@example.com"));
        assert_eq!(local_part("ann@example.com"), "ann");
        for bad in ["", "ann", "@x", "x@", "a b@x", "a\u{1b}@x", &"x@".repeat(200)] {
            assert!(mail_address(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_password_is_one_line_without_its_end() {
        for (input, expected) in [
            ("secret word\n", "secret word"),
            ("secret\r\nmore\n", "secret"),
            ("  kept  ", "  kept  "),
            ("", ""),
        ] {
            assert_eq!(first_line(input.as_bytes()).unwrap(), expected);
        }
        let long = first_line("x".repeat(10_000).as_bytes()).unwrap();
        assert!(login::acceptable(&long).is_err());
        assert!(first_line(&b"\xff\n"[..]).is_err());
    }

    #[test]
    fn neither_a_login_name_nor_an_id_is_given_twice() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("core.db");
        let user = |id: &str, email: &str| User {
            user_id: id.to_owned(),
            name: String::new(),
            email: email.to_owned(),
        };
        let mut connection = people::open_or_make(&path).unwrap();
        insert(&mut connection, &user("1", "a@x"), "h").unwrap();
        assert!(must_be_new(&mut connection, &user("2", "b@x")).is_ok());
        for (id, email, what) in [("2", "a@x", "login name a@x"), ("1", "b@x", "id 1")] {
            let error = must_be_new(&mut connection, &user(id, email)).unwrap_err().to_string();
            assert_eq!(error, format!("the {what} is taken: a@x with the id 1 exists already"));
        }
        assert!(insert(&mut connection, &user("1", "b@x"), "h").is_err());
    }
}
