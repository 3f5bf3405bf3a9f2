//! How the Model Context Protocol is served.

use std::time::Duration;

use clap::{Args, builder::BoolishValueParser};

use super::{duration, interval};

/// How the Model Context Protocol is served.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Model Context Protocol")]
pub struct Mcp {
    /// Let everybody in who reaches it, as the user of this id; only on a loopback `HOST` (text).
    #[arg(long, env = "MCP_OPEN_AS")]
    pub mcp_open_as: Option<String>,
    /// Keep sessions for clients of 2025-11-25 and before; without them tools cannot ask such
    /// clients anything (true or false).
    #[arg(long, env = "MCP_SESSIONS", default_value = "true", value_parser = BoolishValueParser::new(), num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub mcp_sessions: bool,
    /// Sessions open at once; about 60 kB each (count).
    #[arg(long, env = "MCP_SESSIONS_MAX", default_value_t = 1_000)]
    pub mcp_sessions_max: usize,
    /// Sessions one user has open at once (count).
    #[arg(long, env = "MCP_SESSIONS_PER_USER_MAX", default_value_t = 100)]
    pub mcp_sessions_per_user_max: usize,
    /// Time without a message after which a session ends (seconds).
    #[arg(long, env = "MCP_SESSION_IDLE", default_value = "1800", value_parser = interval)]
    pub mcp_session_idle: Duration,
    /// Time for which a session keeps answers that may not have arrived; each is looked at with each
    /// message (seconds).
    #[arg(long, env = "MCP_SESSION_RESUME", default_value = "5", value_parser = duration)]
    pub mcp_session_resume: Duration,
    /// Subscriptions and session streams open at once (count).
    #[arg(long, env = "MCP_STREAMS_MAX", default_value_t = 1_000)]
    pub mcp_streams_max: usize,
    /// Time a request may take, its client's answers to questions included, when no header sets less
    /// (seconds).
    #[arg(long, env = "MCP_CALL_TIMEOUT", default_value = "300", value_parser = interval)]
    pub mcp_call_timeout: Duration,
    /// Time without traffic after which a comment keeps a stream open (seconds).
    #[arg(long, env = "MCP_KEEP_ALIVE", default_value = "15", value_parser = interval)]
    pub mcp_keep_alive: Duration,
    /// Names this server is called by, in `Host`: a comma list, with or without ports, or * for any
    /// (list). The host of `PUBLIC_URL` is one of them.
    #[arg(long, env = "MCP_ALLOWED_HOSTS", default_value = "localhost,127.0.0.1,[::1]")]
    pub mcp_allowed_hosts: String,
    /// Origins of browsers' pages that may call: a comma list, `:*` for any port, or * for any
    /// origin (list).
    #[arg(
        long,
        env = "MCP_ALLOWED_ORIGINS",
        default_value = "http://localhost:*,http://127.0.0.1:*,http://[::1]:*"
    )]
    pub mcp_allowed_origins: String,
    /// Time for which clients may keep a list (seconds).
    #[arg(long, env = "MCP_LIST_TTL", default_value = "30", value_parser = duration)]
    pub mcp_list_ttl: Duration,
    /// Entries on a page of a list (count).
    #[arg(long, env = "MCP_PAGE_SIZE", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub mcp_page_size: u32,
    /// Where clients find this server, without a path (URL) [default: http and the request's Host].
    #[arg(long, env = "PUBLIC_URL", value_parser = public_url)]
    pub public_url: Option<String>,
    /// Who gives out tokens for this server: a comma list of issuers (URLs) [default: this server].
    #[arg(long, env = "MCP_AUTHORIZATION_SERVERS")]
    pub mcp_authorization_servers: Option<String>,
}

/// Reads a URL that has a scheme and a host, and cuts its trailing slash.
fn public_url(text: &str) -> Result<String, String> {
    let text = text.trim().trim_end_matches('/');
    let wrong = || format!("{text:?} is no URL such as https://cortex.example.com");
    if text.is_empty() {
        return Ok(String::new()); // set but empty, as compose files do, is not set
    }
    let url: http::Uri = text.parse().map_err(|_not_a_url| wrong())?;
    let plain = matches!(url.scheme_str(), Some("http" | "https")) && url.query().is_none();
    if plain && url.authority().is_some() { Ok(text.to_owned()) } else { Err(wrong()) }
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

impl Mcp {
    /// Where clients find this server, if it was told.
    #[must_use]
    pub fn public_url(&self) -> Option<&str> {
        self.public_url.as_deref().filter(|url| !url.is_empty())
    }

    /// Entries on a page of a list.
    #[must_use]
    pub fn page_entries(&self) -> usize {
        usize::try_from(self.mcp_page_size).unwrap_or(usize::MAX)
    }

    /// The user everybody is let in as, if that is so.
    #[must_use]
    pub fn open_as(&self) -> Option<&str> {
        self.mcp_open_as.as_deref().map(str::trim).filter(|user| !user.is_empty())
    }

    /// Names this server is called by; `None` for any.
    #[must_use]
    pub fn hosts(&self) -> Option<Vec<String>> {
        let mut hosts: Vec<String> = list(&self.mcp_allowed_hosts).map(str::to_owned).collect();
        if hosts.iter().any(|host| host == "*") {
            return None;
        }
        let public = self.public_url().and_then(|url| url.parse::<http::Uri>().ok());
        hosts.extend(public.and_then(|url| url.authority().map(ToString::to_string)));
        Some(hosts)
    }

    /// Origins that may call; `None` for any.
    #[must_use]
    pub fn origins(&self) -> Option<Vec<String>> {
        let origins: Vec<String> = list(&self.mcp_allowed_origins).map(str::to_owned).collect();
        (!origins.iter().any(|origin| origin == "*")).then_some(origins)
    }

    /// Who gives out tokens, when it is not this server.
    #[must_use]
    pub fn issuers(&self) -> Vec<String> {
        self.mcp_authorization_servers
            .as_deref()
            .map(|text| list(text).map(str::to_owned).collect())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        mcp: Mcp,
    }

    fn settings(arguments: &[&str]) -> Mcp {
        Only::try_parse_from(["x"].iter().chain(arguments)).unwrap().mcp
    }

    #[test]
    fn hosts_and_origins_are_loopback_unless_told_otherwise() {
        let mcp = settings(&[]);
        assert_eq!(mcp.hosts().unwrap(), ["localhost", "127.0.0.1", "[::1]"]);
        assert_eq!(mcp.origins().unwrap().len(), 3);
        let mcp = settings(&["--mcp-allowed-hosts", "a, b:1", "--public-url", "https://c:8443/"]);
        assert_eq!(mcp.hosts().unwrap(), ["a", "b:1", "c:8443"]);
        let mcp = settings(&["--mcp-allowed-hosts", "*", "--mcp-allowed-origins", "*"]);
        assert_eq!((mcp.hosts(), mcp.origins()), (None, None));
    }

    #[test]
    fn a_public_url_has_a_scheme_and_a_host() {
        assert_eq!(settings(&["--public-url", ""]).public_url(), None);
        for bad in ["cortex", "ftp://x", "https://", "https://x?y", "/mcp"] {
            assert!(Only::try_parse_from(["x", "--public-url", bad]).is_err(), "{bad}");
        }
    }
}
