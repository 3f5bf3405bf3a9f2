//! Where a load goes and in whose name: a backplane that runs, or one of its own.

use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use serde_json::Value;

use super::{
    load::Load,
    own::{Backplane, Scratch},
    vitals::{self, Server},
    wire::Reply,
};
use crate::{
    backplane::{client::error_from_body, secrets, token::Tokens},
    cli::{
        complain,
        fetch::base_url,
        place::CORE_URL,
        session::{Bearer, Session},
        trouble::{Outcome, Trouble},
    },
};

/// Where memory listens unless told otherwise.
const MEMORY_URL: &str = "http://127.0.0.1:9000";
/// How much longer a token lives than the run.
const TOKEN_SLACK: Duration = Duration::from_secs(900);
/// Name of the load as a service.
const OWN_NAME: &str = "bench";

/// Where the load goes.
#[derive(Args, Clone)]
#[command(next_help_heading = "Where the load goes")]
pub(super) struct Target {
    /// URL of the process that is measured [default: port 8000 of this machine for core, 9000 for
    /// memory].
    #[arg(long, value_parser = base_url)]
    pub(super) url: Option<String>,
    /// Start a throw-away backplane, measure it and remove it.
    #[arg(long, conflicts_with_all = ["url", "pid", "token", "jwt_secret_key", "jwt_secret_key_file"])]
    own: bool,
    /// Directory below which --own keeps its data for the time of the run; on the disk that is to be
    /// measured [default: the one for temporary files].
    #[arg(long, value_name = "DIR", requires = "own")]
    own_dir: Option<PathBuf>,
    /// Processes of this machine whose processor time and memory are shown: NAME=PID, a comma list
    /// (core=12,memory=34).
    #[arg(long, value_name = "NAME=PID", value_delimiter = ',', value_parser = vitals::server)]
    pid: Vec<Server>,
    #[command(flatten)]
    session: Session,
}

/// Everything that is set before a load begins.
pub(super) struct Stage {
    core: String,
    memory: String,
    /// The processes that are measured.
    pub(super) servers: Vec<Server>,
    names: Names,
    /// What tells the users of this run from those of others.
    run: String,
    own: Option<(Backplane, Scratch)>,
}

/// In whose name the load goes.
enum Names {
    Given(String),
    Made(Tokens),
}

/// Somebody the load speaks for.
pub(super) struct Somebody {
    /// The user's id.
    pub(super) id: String,
    /// The token sent along.
    pub(super) token: String,
}

impl Stage {
    /// Starts a backplane if one is to be started, and finds the names.
    pub(super) async fn set(target: &Target) -> Outcome<Self> {
        let run = format!("bench-{}", uuid::Uuid::now_v7().simple());
        if target.own {
            return Stage::own(target, run).await;
        }
        let url = |usual: &str| target.url.clone().unwrap_or_else(|| usual.to_owned());
        let names = match target.session.user(None)? {
            Bearer::Given(token) => Names::Given(token),
            Bearer::User(tokens, _) | Bearer::Service(tokens, _) => Names::Made(tokens),
        };
        let (core, memory, servers) = (url(CORE_URL), url(MEMORY_URL), target.pid.clone());
        Ok(Stage { core, memory, servers, names, run, own: None })
    }

    async fn own(target: &Target, run: String) -> Outcome<Self> {
        let program = std::env::current_exe()
            .map_err(|error| Trouble::plain(format!("this program cannot be found: {error}")))?;
        let parent = target.own_dir.clone().unwrap_or_else(std::env::temp_dir);
        let scratch = Scratch::below(&parent)?;
        if scratch.is_in_memory() {
            complain(&format!(
                "{} lies in memory: commits reach no disk; --own-dir names another place",
                parent.display()
            ));
        }
        let backplane =
            Backplane::start(&program, scratch.path(), |_| (Vec::new(), Vec::new())).await?;
        let secret = secrets::read_secret(&secrets::token_secret_path(scratch.path()))
            .map_err(|error| Trouble::plain(format!("the secret was not read: {error}")))?;
        let processes = [&backplane.core, &backplane.memory, &backplane.cognition];
        let servers = processes
            .map(|process| Server { name: process.role.to_owned(), pid: process.pid })
            .to_vec();
        let (core, memory) = (backplane.core.url.clone(), backplane.memory.url.clone());
        let names = Names::Made(Tokens::new(&secret));
        Ok(Stage { core, memory, servers, names, run, own: Some((backplane, scratch)) })
    }

    /// Core's address and what stands before its paths.
    pub(super) fn core(&self) -> Outcome<Host> {
        Host::of(&self.core)
    }

    /// Memory's.
    pub(super) fn memory(&self) -> Outcome<Host> {
        Host::of(&self.memory)
    }

    /// The users of this run, who speak to core.
    pub(super) fn users(&self, load: &Load) -> Outcome<Vec<Somebody>> {
        let life = load.whole() + TOKEN_SLACK;
        let tokens = match &self.names {
            Names::Given(token) => {
                return Ok(vec![Somebody { id: self.run.clone(), token: token.clone() }]);
            }
            Names::Made(tokens) => tokens,
        };
        let user = |number: u32| {
            let id = format!("{}-{number}", self.run);
            let email = format!("{id}@example.com");
            let token = tokens.for_user(&id, "Bench", &email, life);
            Ok(Somebody { id, token: token.map_err(|failure| Trouble::of(&failure))? })
        };
        (1..=load.users).map(user).collect()
    }

    /// The users of this run, for whom a service speaks to memory.
    pub(super) fn users_of_service(&self, load: &Load) -> Outcome<Vec<Somebody>> {
        let token = match &self.names {
            Names::Given(token) => token.clone(),
            Names::Made(tokens) => tokens
                .for_service(OWN_NAME, &["memory"], load.whole() + TOKEN_SLACK)
                .map_err(|failure| Trouble::of(&failure))?,
        };
        let user = |number| Somebody { id: format!("{}-{number}", self.run), token: token.clone() };
        Ok((1..=load.users).map(user).collect())
    }

    /// Ends what was started; says what is left behind.
    pub(super) async fn clear(self, writes: bool) {
        if let Some((backplane, scratch)) = self.own {
            backplane.stop().await;
            drop(scratch);
        } else if writes && matches!(self.names, Names::Made(_)) {
            complain(&format!(
                "what was sent stays in memory under the users {run}-1 and on; `cortex call memory \
                 forget_user '{{\"user_id\": \"{run}-1\"}}'` removes it",
                run = self.run
            ));
        }
    }
}

/// Where a process is, as a connection needs it.
#[derive(Clone, Debug)]
pub(super) struct Host {
    /// Its base URL.
    pub(super) url: String,
    /// Its address.
    pub(super) address: SocketAddr,
    authority: String,
    /// What stands before every path.
    prefix: String,
}

impl Host {
    pub(super) fn of(url: &str) -> Outcome<Self> {
        let rest = url.strip_prefix("http://").unwrap_or(url);
        let (authority, prefix) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let bare = authority.rsplit_once(':').is_none_or(|(_, port)| port.ends_with(']'));
        let named = if bare { format!("{authority}:80") } else { authority.to_owned() };
        let addresses = named.to_socket_addrs();
        let mut addresses = addresses.map_err(|error| Trouble::plain(format!("{url}: {error}")))?;
        let address = addresses.next();
        let address = address.ok_or_else(|| Trouble::plain(format!("{url} has no address")))?;
        let (authority, prefix) = (authority.to_owned(), prefix.to_owned());
        Ok(Host { url: url.to_owned(), address, authority, prefix })
    }

    /// A request to it, rendered; a body makes it a `POST`.
    pub(super) fn request(
        &self,
        path: &str,
        accept: &str,
        token: &str,
        body: Option<&Value>,
    ) -> bytes::Bytes {
        self.request_with(path, accept, token, "", body)
    }

    /// The same with further headers, each line with its end.
    pub(super) fn request_with(
        &self,
        path: &str,
        accept: &str,
        token: &str,
        headers: &str,
        body: Option<&Value>,
    ) -> bytes::Bytes {
        let Host { authority, prefix, .. } = self;
        let method = if body.is_some() { "POST" } else { "GET" };
        let mut text = format!(
            "{method} {prefix}{path} HTTP/1.1\r\nHost: {authority}\r\nAccept: {accept}\r\n\
             Authorization: Bearer {token}\r\n{headers}"
        );
        if let Some(body) = body {
            let body = body.to_string();
            let length = body.len();
            text.push_str(&format!(
                "Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            ));
        } else {
            text.push_str("\r\n");
        }
        text.into()
    }
}

/// Whether an answer says that the request itself is wrong: then there is nothing to measure.
pub(super) fn judge(reply: &Reply) -> Outcome {
    if reply.status < 400 {
        return Ok(());
    }
    let body: Option<Value> = serde_json::from_slice(&reply.body).ok();
    let failure = error_from_body(reply.status, body.as_ref());
    if failure.is_ours() { Ok(()) } else { Err(Trouble::Answered(failure)) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_has_everything_a_server_needs() {
        let host = Host::of("http://127.0.0.1:8000/deep").unwrap();
        let body = json!({"content": "é"});
        let post = host.request("/input", "application/json", "T", Some(&body));
        let text = String::from_utf8(post.to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("POST /deep/input HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n"),
            "{head}"
        );
        assert!(head.contains("\r\nAuthorization: Bearer T\r\n"), "{head}");
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
        let get = host.request("/x", "text/event-stream", "T", None);
        assert!(get.starts_with(b"GET /deep/x HTTP/1.1\r\n") && get.ends_with(b"T\r\n\r\n"));
    }

    #[test]
    fn a_url_without_a_port_means_port_80() {
        assert_eq!(Host::of("http://127.0.0.1").unwrap().address.port(), 80);
        assert_eq!(Host::of("http://[::1]").unwrap().address.port(), 80);
        assert_eq!(Host::of("http://[::1]:9").unwrap().address.port(), 9);
        assert!(Host::of("http://127.0.0.1:99999").is_err());
    }

    #[test]
    fn only_what_is_wrong_with_the_request_ends_a_run_before_it_begins() {
        let reply = |status, body: &'static str| Reply {
            status,
            retry_after: None,
            closes: false,
            body: body.into(),
        };
        assert!(judge(&reply(200, "{}")).is_ok());
        assert!(judge(&reply(503, r#"{"error":{"code":"overloaded","message":"m"}}"#)).is_ok());
        let error = judge(&reply(401, r#"{"error":{"code":"auth_error","message":"no"}}"#));
        assert_eq!(error.unwrap_err().to_string(), "auth_error: no");
        assert!(judge(&reply(404, "<html>")).is_err());
    }
}
