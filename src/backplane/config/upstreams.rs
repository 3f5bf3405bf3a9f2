//! Which upstreams there are: the settings' own file, and the usual `mcpServers` JSON.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::duration;
use crate::{
    contract::upstream::{
        Credential, Limits, NAME_CHARS_MAX, Program, Remote, Secret, Share, Transport, UpstreamSpec,
    },
    domain::failure::Failure,
};

/// Which upstreams there are, and what each may cost unless its own settings say otherwise.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Upstreams")]
pub struct UpstreamSettings {
    /// File with other MCP servers to pass on, YAML or JSON, under `upstreams` or `mcpServers`
    /// (path).
    #[arg(long, env = "UPSTREAMS_CONFIG")]
    pub upstreams_config: Option<PathBuf>,
    /// Time for one call of an upstream (seconds).
    #[arg(long, env = "UPSTREAM_CALL_TIMEOUT", default_value = "60", value_parser = duration)]
    pub upstream_call_timeout: Duration,
    /// Time for one of its lists, all pages (seconds).
    #[arg(long, env = "UPSTREAM_LIST_TIMEOUT", default_value = "2", value_parser = duration)]
    pub upstream_list_timeout: Duration,
    /// Time to make a connection to it (seconds).
    #[arg(long, env = "UPSTREAM_CONNECT_TIMEOUT", default_value = "5", value_parser = duration)]
    pub upstream_connect_timeout: Duration,
    /// Time an old server gets to answer whether it is a new one (seconds).
    #[arg(long, env = "UPSTREAM_PROBE_TIMEOUT", default_value = "5", value_parser = duration)]
    pub upstream_probe_timeout: Duration,
    /// Calls of it under way (count).
    #[arg(long, env = "UPSTREAM_CALLS_IN_FLIGHT_MAX", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub upstream_calls_in_flight_max: u16,
    /// Calls that may wait for one of those places (count).
    #[arg(long, env = "UPSTREAM_CALLS_WAITING_MAX", default_value_t = 256)]
    pub upstream_calls_waiting_max: u16,
    /// Longest wait for a place (seconds).
    #[arg(long, env = "UPSTREAM_CALLS_WAIT_MAX", default_value = "0.5", value_parser = duration)]
    pub upstream_calls_wait_max: Duration,
    /// Largest answer of it taken (bytes).
    #[arg(long, env = "UPSTREAM_ANSWER_BYTES_MAX", default_value_t = 16_777_216)]
    pub upstream_answer_bytes_max: usize,
    /// Entries of one of its lists taken (count).
    #[arg(long, env = "UPSTREAM_LIST_ITEMS_MAX", default_value_t = 10_000)]
    pub upstream_list_items_max: usize,
    /// Size of one of its lists taken, all pages (bytes).
    #[arg(long, env = "UPSTREAM_LIST_BYTES_MAX", default_value_t = 16_777_216)]
    pub upstream_list_bytes_max: usize,
    /// Attempts after the first, of what may be repeated (count).
    #[arg(long, env = "UPSTREAM_MAX_RETRIES", default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=20))]
    pub upstream_max_retries: u32,
    /// Failed calls in a row that open its breaker (count).
    #[arg(long, env = "UPSTREAM_BREAKER_THRESHOLD", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub upstream_breaker_threshold: u32,
    /// Time its breaker stays open, the first time (seconds).
    #[arg(long, env = "UPSTREAM_BREAKER_RESET_TIMEOUT", default_value = "10", value_parser = duration)]
    pub upstream_breaker_reset_timeout: Duration,
    /// Sessions open at once with one of the earlier era (count).
    #[arg(long, env = "UPSTREAM_SESSIONS_MAX", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    pub upstream_sessions_max: u16,
    /// Time without a call after which such a session is ended (seconds).
    #[arg(long, env = "UPSTREAM_SESSION_IDLE_TIMEOUT", default_value = "600", value_parser = duration)]
    pub upstream_session_idle_timeout: Duration,
}

impl UpstreamSettings {
    /// What an upstream may cost unless its own settings say otherwise.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            call_timeout: self.upstream_call_timeout,
            list_timeout: self.upstream_list_timeout,
            connect_timeout: self.upstream_connect_timeout,
            probe_timeout: self.upstream_probe_timeout,
            calls_in_flight_max: self.upstream_calls_in_flight_max,
            calls_waiting_max: self.upstream_calls_waiting_max,
            calls_wait_max: self.upstream_calls_wait_max,
            answer_bytes_max: self.upstream_answer_bytes_max,
            list_items_max: self.upstream_list_items_max,
            list_bytes_max: self.upstream_list_bytes_max,
            retries_max: self.upstream_max_retries,
            breaker_failures: self.upstream_breaker_threshold,
            breaker_reset: self.upstream_breaker_reset_timeout,
            sessions_max: self.upstream_sessions_max,
            session_idle: self.upstream_session_idle_timeout,
            ..Limits::default()
        }
    }

    /// The upstreams of the file, if there is one.
    ///
    /// # Errors
    /// A sentence naming the variable and what is wrong.
    pub fn configured(
        &self,
        variables: &BTreeMap<String, String>,
    ) -> Result<Vec<UpstreamSpec>, String> {
        let Some(path) = self.upstreams_config.as_ref().filter(|p| !p.as_os_str().is_empty())
        else {
            return Ok(Vec::new());
        };
        let wrong = |why: String| format!("UPSTREAMS_CONFIG: {}: {why}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        read_upstreams(&text, &self.limits(), variables).map_err(wrong)
    }
}

/// The file: what it is called differs from program to program.
#[derive(Deserialize)]
struct File {
    #[serde(default, alias = "mcpServers", alias = "servers")]
    upstreams: BTreeMap<String, Entry>,
}

/// One upstream in the file. What other programs keep there for themselves is passed over.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    disabled: bool,
    prefix: Option<String>,
    url: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, Secret>,
    #[serde(default)]
    credential: Credential,
    command: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, Secret>,
    #[serde(default)]
    inherit: Vec<String>,
    cwd: Option<PathBuf>,
    #[serde(default)]
    share: Share,
    children_max: Option<u16>,
    idle_timeout: Option<f64>,
    start_timeout: Option<f64>,
    #[serde(default)]
    limits: Map<String, Value>,
}

/// Reads upstreams from YAML or JSON; `${NAME}` and `${NAME:-else}` in texts are variables.
///
/// # Errors
/// A sentence that says which upstream is wrong, and how; never with a secret in it.
pub fn read_upstreams(
    text: &str,
    limits: &Limits,
    variables: &BTreeMap<String, String>,
) -> Result<Vec<UpstreamSpec>, String> {
    let file: File = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let mut specs = Vec::new();
    for (name, entry) in file.upstreams {
        if entry.disabled {
            continue;
        }
        let of = |why: String| format!("{name}: {why}");
        let limits = overridden(limits, entry.limits.clone()).map_err(of)?;
        let prefix = entry.prefix.clone();
        let transport = transport(entry, &|text| expanded(text, variables)).map_err(of)?;
        let spec = UpstreamSpec { name: name.clone(), prefix, transport, limits };
        check_upstream(&spec).map_err(|failure| of(failure.message))?;
        specs.push(spec);
    }
    Ok(specs)
}

fn overridden(limits: &Limits, own: Map<String, Value>) -> Result<Limits, String> {
    let wrong = |error: serde_json::Error| format!("limits: {error}");
    let mut all: Map<String, Value> =
        serde_json::to_value(limits).and_then(serde_json::from_value).map_err(wrong)?;
    all.extend(own);
    serde_json::from_value(Value::Object(all)).map_err(wrong)
}

fn transport(
    entry: Entry,
    expand: &impl Fn(&str) -> Result<String, String>,
) -> Result<Transport, String> {
    let secrets = |secrets: BTreeMap<String, Secret>| {
        let each = |(key, Secret(value)): (String, Secret)| Ok((key, Secret(expand(&value)?)));
        secrets.into_iter().map(each).collect::<Result<BTreeMap<_, _>, String>>()
    };
    if let Some(command) = entry.command {
        let given = serde_json::json!({"command": expand(&command)?});
        let plain: Program = serde_json::from_value(given).map_err(|error| error.to_string())?;
        let time = |given: Option<f64>, usual| {
            given.map_or(Ok(usual), |seconds| {
                Duration::try_from_secs_f64(seconds)
                    .map_err(|_out_of_range| format!("{seconds} is no time in seconds"))
            })
        };
        let args = entry.args.iter().map(|arg| expand(arg)).collect::<Result<_, _>>()?;
        return Ok(Transport::Stdio(Program {
            args,
            env: secrets(entry.env)?,
            inherit: entry.inherit,
            cwd: entry.cwd,
            share: entry.share,
            children_max: entry.children_max.unwrap_or(plain.children_max),
            idle_timeout: time(entry.idle_timeout, plain.idle_timeout)?,
            start_timeout: time(entry.start_timeout, plain.start_timeout)?,
            command: plain.command,
        }));
    }
    let url = expand(&entry.url.ok_or("needs a url or a command")?)?;
    let remote = Remote {
        headers: secrets(entry.headers)?,
        credential: entry.credential,
        share: entry.share,
        url,
    };
    match entry.kind.as_deref() {
        Some("sse") => Ok(Transport::Sse(remote)),
        // Older files name no type; this is how such servers' URLs end.
        None if remote.url.ends_with("/sse") => Ok(Transport::Sse(remote)),
        None | Some("http" | "streamable-http" | "streamableHttp" | "streamable_http") => {
            Ok(Transport::Http(remote))
        }
        Some(other) => Err(format!("type {other:?} is none of http, sse, stdio")),
    }
}

/// Puts variables in: `${NAME}`, `${env:NAME}`, `${NAME:-else}`.
fn expanded(text: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    let mut whole = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        whole.push_str(before);
        let (inner, behind) = after.split_once('}').ok_or("a ${ has no }")?;
        let (name, otherwise) = match inner.split_once(":-") {
            Some((name, otherwise)) => (name, Some(otherwise)),
            None => (inner, None),
        };
        let name = name.strip_prefix("env:").unwrap_or(name);
        let value = variables.get(name).filter(|value| otherwise.is_none() || !value.is_empty());
        let value = value.map(String::as_str).or(otherwise);
        whole.push_str(value.ok_or_else(|| format!("the variable {name:?} is not set"))?);
        rest = behind;
    }
    whole.push_str(rest);
    Ok(whole)
}

/// Whether an upstream can be one.
///
/// # Errors
/// `validation_error` that says what is wrong.
pub fn check_upstream(spec: &UpstreamSpec) -> Result<(), Failure> {
    let wrong = |field: &str, why: &str| Err(Failure::invalid_field(field, why, "value_error"));
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if spec.name.is_empty() || spec.name.len() > NAME_CHARS_MAX || !spec.name.chars().all(fits) {
        return wrong("name", "must be 1 to 32 of A-Z a-z 0-9 _ -");
    }
    if spec
        .prefix
        .as_ref()
        .is_some_and(|text| text.len() > NAME_CHARS_MAX || !text.chars().all(fits))
    {
        return wrong("prefix", "must be up to 32 of A-Z a-z 0-9 _ -");
    }
    match &spec.transport {
        Transport::Http(remote) | Transport::Sse(remote) => {
            if !remote.url.starts_with("http://") && !remote.url.starts_with("https://") {
                return wrong("url", "must begin with http:// or https://");
            }
            let authority = remote.url.split('/').nth(2).unwrap_or_default();
            if authority.contains('@') {
                return wrong("url", "must not hold a login; use credential");
            }
        }
        Transport::Stdio(program) => {
            if program.command.is_empty() || program.command.contains('\0') {
                return wrong("command", "must be a program");
            }
            let bad = |name: &String| name.is_empty() || name.contains(['=', '\0']);
            if program.env.keys().chain(&program.inherit).any(bad) {
                return wrong("env", "holds a name that is none");
            }
            if program.args.iter().any(|arg| arg.contains('\0'))
                || program.env.values().any(|value| value.0.contains('\0'))
            {
                return wrong("args", "must not hold NUL");
            }
        }
    }
    let Limits { call_timeout, list_timeout, answer_bytes_max, .. } = spec.limits;
    if call_timeout.is_zero() || list_timeout.is_zero() || answer_bytes_max == 0 {
        return wrong("limits", "times and sizes must be above 0");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<UpstreamSpec>, String> {
        let variables = [("TOKEN", "hush"), ("EMPTY", "")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        read_upstreams(text, &Limits::default(), &BTreeMap::from(variables))
    }

    #[test]
    fn the_usual_json_is_read_as_it_is() {
        let specs = read(
            r#"{"mcpServers": {
            "files": {"command": "npx", "args": ["-y", "${EMPTY:-server}"], "env": {"K": "${env:TOKEN}"}, "autoApprove": []},
            "old": {"url": "https://h.example/sse"},
            "off": {"command": "x", "disabled": true},
            "new": {"type": "streamable-http", "url": "http://h/mcp", "headers": {"X-Key": "${TOKEN}"}}}}"#,
        )
        .unwrap();
        let [files, new, old] = &specs[..] else { panic!("{specs:?}") };
        let Transport::Stdio(program) = &files.transport else { panic!("{files:?}") };
        assert_eq!((program.args[1].as_str(), program.env["K"].0.as_str()), ("server", "hush"));
        assert!(matches!(old.transport, Transport::Sse(_)));
        let Transport::Http(remote) = &new.transport else { panic!("{new:?}") };
        assert_eq!(remote.headers["X-Key"].0, "hush");
        assert!(!format!("{specs:?}").contains("hush"));
    }

    #[test]
    fn our_own_yaml_has_credentials_limits_and_sharing() {
        let specs = read(
            "upstreams:\n  a:\n    url: http://h/mcp\n    credential: {env: TOKEN}\n    share: principal\n    limits: {call_timeout: 1.5}\n",
        )
        .unwrap();
        assert_eq!(specs[0].limits.call_timeout, Duration::from_millis(1500));
        assert_eq!(specs[0].limits.list_timeout, Limits::default().list_timeout);
        let Transport::Http(remote) = &specs[0].transport else { panic!("no http") };
        assert_eq!(remote.credential, Credential::Env("TOKEN".to_owned()));
        assert_eq!(remote.share, Share::Principal);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("upstreams: {a: {}}", "needs a url or a command"),
            ("upstreams: {a b: {url: 'http://h'}}", "must be 1 to 32"),
            ("upstreams: {a: {url: 'ftp://h'}}", "must begin with http"),
            ("upstreams: {a: {url: 'http://me:pw@h/'}}", "must not hold a login"),
            ("upstreams: {a: {url: '${NOT_THERE}'}}", "\"NOT_THERE\" is not set"),
            ("upstreams: {a: {url: 'http://h', limits: {speed: 1}}}", "unknown field"),
            ("upstreams: {a: {url: 'http://h', type: carrier}}", "none of http, sse, stdio"),
            ("upstreams: {a: {command: x, env: {'A=B': c}}}", "a name that is none"),
        ] {
            let why = read(text).unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
        }
    }
}
