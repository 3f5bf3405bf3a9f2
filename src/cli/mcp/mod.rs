//! `cortex mcp`: a server of the Model Context Protocol from the shell, and this backplane as one
//! on standard input and output.

pub mod ask;
mod bridge;
mod wire;

use std::sync::Arc;

use clap::Args;

use super::{
    place::CORE_URL,
    session::Session,
    trouble::{Outcome, Trouble},
};

/// What `cortex mcp` takes.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub struct McpArgs {
    /// What is asked of a server.
    #[command(subcommand)]
    pub command: Option<ask::McpCommand>,
    #[command(flatten)]
    stdio: Stdio,
}

/// What `cortex mcp --stdio` takes.
#[derive(Args)]
struct Stdio {
    /// Speak the protocol on standard input and output, for clients that start a command.
    #[arg(long)]
    stdio: bool,
    /// URL of a server's endpoint [default: core on this machine, which is started if it is not
    /// running].
    #[arg(long, env = "CORTEX_MCP_URL", value_parser = endpoint)]
    url: Option<String>,
    /// Start a backplane of its own even where core runs already; it ends with the client.
    #[arg(long, conflicts_with = "url")]
    own: bool,
    /// Login name or id of the user to speak as [default: the development user].
    #[arg(long)]
    user: Option<String>,
    #[command(flatten)]
    session: Session,
}

/// A URL of an endpoint; one without a path is core's.
fn endpoint(text: &str) -> Result<String, String> {
    let url: url::Url = text.trim().parse().map_err(|error| format!("{error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("a URL like http://127.0.0.1:8000/mcp".to_owned());
    }
    let text = text.trim().trim_end_matches('/');
    Ok(if url.path() == "/" { format!("{text}/mcp") } else { text.to_owned() })
}

impl McpArgs {
    /// Where to speak to, if it was told.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        self.stdio.url.as_deref()
    }

    /// Whether to speak the protocol on standard input and output.
    #[must_use]
    pub fn is_stdio(&self) -> bool {
        self.stdio.stdio
    }

    /// Whether a core that runs already is passed over.
    #[must_use]
    pub fn wants_own(&self) -> bool {
        self.stdio.own
    }

    /// Where core is, unless told otherwise.
    #[must_use]
    pub fn usual_url() -> String {
        format!("{CORE_URL}/mcp")
    }

    /// The data directory of this machine.
    #[must_use]
    pub fn data_dir(&self) -> &std::path::Path {
        &self.stdio.session.keys.home.data_dir
    }
}

/// Asks a server.
///
/// # Errors
/// [`Trouble`], with the server's own error where it gave one.
pub async fn ask(command: ask::McpCommand) -> Outcome {
    ask::run(command).await
}

/// Passes messages between standard input and output and `url` until the input ends.
///
/// # Errors
/// When nobody is known to speak as.
pub async fn stdio(args: &McpArgs, url: &str) -> Outcome {
    let bearer = args.stdio.session.user(args.stdio.user.as_deref())?;
    let pass = Arc::new(move || bearer.token());
    let (lines, written) = wire::channel();
    let bridge = bridge::Bridge::new(url, pass, lines).map_err(Trouble::plain)?;
    let writing = tokio::spawn(wire::write_lines(written, tokio::io::stdout()));
    bridge.run(tokio::io::stdin()).await;
    if writing.await.is_err() {
        log::debug!("the last lines were not written");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_has_a_path() {
        assert_eq!(endpoint("http://h:1").as_deref(), Ok("http://h:1/mcp"));
        assert_eq!(endpoint("https://h/x/mcp/").as_deref(), Ok("https://h/x/mcp"));
        for bad in ["", "h:1", "ftp://h", "/mcp"] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }
}
