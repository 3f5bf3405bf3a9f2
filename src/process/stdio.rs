//! `cortex mcp`: a server asked from the shell; a running backplane on standard input and output, or one that lives as
//! long as its client.

use std::{path::Path, time::Duration};

use tokio::{net::TcpStream, sync::oneshot};

use crate::{
    backplane::config::Logs,
    cli::{Trouble, mcp, welcome::Welcome},
    process::{core, up},
};

/// Time to find out whether core runs on this machine.
const LOOK_DEADLINE: Duration = Duration::from_secs(2);

/// Asks a server, or speaks the protocol until standard input ends.
///
/// # Errors
/// What to do, when no backplane runs and none can be started.
pub(crate) async fn run(mut args: mcp::McpArgs, logs: Logs) -> Result<(), Trouble> {
    if let Some(command) = args.command.take() {
        return mcp::ask(command).await;
    }
    if !args.is_stdio() {
        return Err(Trouble::plain("nothing to do: --stdio, tools, call, read or prompts"));
    }
    if let Some(url) = args.url().map(str::to_owned) {
        return mcp::stdio(&args, &url).await;
    }
    if args.wants_own() {
        return with_own(&args, logs).await;
    }
    let usual = format!("127.0.0.1:{}", core::PORT);
    let looked = tokio::time::timeout(LOOK_DEADLINE, TcpStream::connect(usual)).await;
    if matches!(looked, Ok(Ok(_))) {
        return mcp::stdio(&args, &mcp::McpArgs::usual_url()).await;
    }
    with_own(&args, logs).await
}

/// Runs a backplane of its own on free ports, for as long as the client stays.
async fn with_own(args: &mcp::McpArgs, logs: Logs) -> Result<(), Trouble> {
    let (tell, told) = oneshot::channel();
    let (leave, leaving) = oneshot::channel::<()>();
    let settings = own(args.data_dir(), logs);
    let welcome = |ready: &Welcome| drop(tell.send(ready.core.clone()));
    let running = up::run(settings, welcome, async move {
        drop(leaving.await);
    });
    let speaking = async {
        let Ok(url) = told.await else { return Ok(()) };
        let spoken = mcp::stdio(args, &format!("{url}/mcp")).await;
        drop(leave);
        spoken
    };
    let (ran, spoken) = tokio::join!(running, speaking);
    ran.map_err(|exit| Trouble::plain(exit.to_string()))?;
    spoken
}

fn own(data_dir: &Path, logs: Logs) -> up::Settings {
    up::Settings { port: 0, memory_port: 0, cognition_port: 0, data_dir: data_dir.to_owned(), logs }
}
