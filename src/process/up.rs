//! `cortex up`: the three services as three supervised child processes on one machine.
//!
//! A child is told to leave by the end of its standard input, which also comes when this process
//! is killed: no child outlives it.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use clap::Args;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStdin, Command},
    sync::{oneshot, watch},
    time::Instant,
};

use crate::{
    backplane::{config::Logs, secrets, token::Tokens},
    cli::welcome::Welcome,
    domain::backoff::Backoff,
    process::{Exit, cognition, core, memory},
    services::conversation::login,
};

/// The pause before a child is started again; it doubles while the child keeps falling.
const RESTART_PAUSE: Backoff =
    Backoff { initial: Duration::from_millis(200), factor: 2.0, cap: Duration::from_secs(5) };
/// A child that lived this long is held for sound: the next pause is the shortest again.
const SOUND_AFTER: Duration = Duration::from_secs(10);
/// Time for all three to be ready.
const READY_DEADLINE: Duration = Duration::from_secs(60);
/// Time for one child to leave before it is killed.
const LEAVE_DEADLINE: Duration = Duration::from_secs(40);
/// What a child prints when it listens.
pub const LISTENING: &str = "listening on ";

/// Everything `up` can be told; the rest of the environment reaches the services as it is.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// Port of core; 0 takes a free one.
    #[arg(long, env = "PORT", default_value_t = core::PORT)]
    pub port: u16,
    /// Port of memory; 0 takes a free one.
    #[arg(long, env = "MEMORY_PORT", default_value_t = memory::PORT)]
    pub memory_port: u16,
    /// Port of cognition; 0 takes a free one.
    #[arg(long, env = "COGNITION_PORT", default_value_t = cognition::PORT)]
    pub cognition_port: u16,
    /// Directory for databases and secrets.
    #[arg(long, env = "CORTEX_DATA_DIR", default_value = "./data")]
    pub data_dir: PathBuf,
    /// Logs.
    #[command(flatten)]
    pub logs: Logs,
}

/// Where a child is, and how to end it.
struct Kept {
    name: &'static str,
    url: String,
    stop: Option<oneshot::Sender<()>>,
    ended: tokio::task::JoinHandle<()>,
}

/// Runs all three until `shutdown`. `welcome` prints what to do next, once everything is ready.
///
/// # Errors
/// [`Exit`] when one of them cannot start.
pub async fn run(
    settings: Settings,
    welcome: impl FnOnce(&Welcome),
    shutdown: impl Future<Output = ()>,
) -> Result<(), Exit> {
    let data_dir = &settings.data_dir;
    std::fs::create_dir_all(data_dir).map_err(|error| {
        Exit::Setting(format!("CORTEX_DATA_DIR: {}: {error}", data_dir.display()))
    })?;
    let secret_path = secrets::ensure_token_secret(data_dir)
        .map_err(|error| Exit::Failed(format!("secret not made: {error}")))?;
    for (flag, port) in [
        ("--port", settings.port),
        ("--memory-port", settings.memory_port),
        ("--cognition-port", settings.cognition_port),
    ] {
        check_free(flag, port)?;
    }
    let mut kept: Vec<Kept> = Vec::new();
    let mut shutdown = std::pin::pin!(shutdown);
    let started = tokio::select! {
        started = start_all(&settings, &secret_path, &mut kept) => started,
        () = &mut shutdown => Ok(None),
    };
    let result = match started {
        Ok(Some(addresses)) => {
            welcome(&addresses);
            shutdown.await;
            Ok(())
        }
        Ok(None) => Ok(()),
        Err(exit) => Err(exit),
    };
    // Last started, first to leave: core stops taking inputs before memory goes.
    while let Some(child) = kept.pop() {
        end(child).await;
    }
    result
}

async fn start_all(
    settings: &Settings,
    secret_path: &Path,
    kept: &mut Vec<Kept>,
) -> Result<Option<Welcome>, Exit> {
    let program = std::env::current_exe()
        .map_err(|error| Exit::Failed(format!("this program cannot be found: {error}")))?;
    let plan = |name, port| Plan {
        program: program.clone(),
        name,
        port,
        data_dir: settings.data_dir.clone(),
        secret_path: secret_path.to_owned(),
        logs: settings.logs.clone(),
        extra: Vec::new(),
    };
    let memory = keep(plan("memory", settings.memory_port)).await?;
    let memory_url = memory.url.clone();
    kept.push(memory);
    let mut cognition = plan("cognition", settings.cognition_port);
    cognition.extra = vec!["--memory-service-url".into(), memory_url.clone()];
    let cognition = keep(cognition).await?;
    let cognition_url = cognition.url.clone();
    kept.push(cognition);
    let mut core = plan("core", settings.port);
    core.extra = vec![
        "--memory-service-url".into(),
        memory_url.clone(),
        "--cognition-service-url".into(),
        cognition_url.clone(),
        "--dev-user=true".into(),
    ];
    let core = keep(core).await?;
    let core_url = core.url.clone();
    kept.push(core);
    for child in kept.iter() {
        ready(child).await?;
    }
    let secret = secrets::read_secret(secret_path)
        .map_err(|error| Exit::Failed(format!("secret not read: {error}")))?;
    let token = Tokens::new(&secret).for_user(
        login::DEV_USER_ID,
        login::DEV_USER_NAME,
        login::DEV_USER_EMAIL,
        Duration::from_secs(24 * 3600),
    )?;
    Ok(Some(Welcome {
        core: core_url,
        memory: memory_url,
        cognition: cognition_url,
        data_dir: settings.data_dir.clone(),
        login: (login::DEV_USER_EMAIL, login::DEV_USER_PASSWORD),
        token,
    }))
}

fn check_free(flag: &str, port: u16) -> Result<(), Exit> {
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(Exit::Setting(format!(
            "{flag}: port {port} is taken by another process; choose another or free it"
        ))),
        Err(error) => Err(Exit::Setting(format!("{flag}: {address}: {error}"))),
    }
}

/// How to start a child.
struct Plan {
    /// This program, found once: the file may be replaced while it runs.
    program: PathBuf,
    name: &'static str,
    port: u16,
    data_dir: PathBuf,
    secret_path: PathBuf,
    logs: Logs,
    extra: Vec<String>,
}

impl Plan {
    fn spawn(&self, port: u16) -> io::Result<Running> {
        let mut command = Command::new(&self.program);
        command
            .arg(self.name)
            .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--stop-with-parent"])
            .arg("--jwt-secret-key-file")
            .arg(&self.secret_path)
            .args(["--log", &self.logs.log, "--log-format", self.logs.log_format.as_str()])
            .args(&self.extra)
            // One secret for all, and each service its own file.
            .env_remove("JWT_SECRET_KEY")
            .env_remove("DATABASE_URL")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .arg("--data-dir")
            .arg(&self.data_dir);
        let mut child = command.spawn()?;
        // Held apart from the child: waiting for a child closes the input it holds.
        let input = child.stdin.take();
        Ok(Running { child, input })
    }
}

/// A child and the input whose end tells it to leave.
struct Running {
    child: Child,
    input: Option<ChildStdin>,
}

/// Starts a child, waits until it listens, and keeps it running from then on.
async fn keep(plan: Plan) -> Result<Kept, Exit> {
    let name = plan.name;
    let failed = |why: String| Exit::Failed(format!("{name} did not start: {why}"));
    let mut running = plan.spawn(plan.port).map_err(|error| failed(error.to_string()))?;
    let child = &mut running.child;
    let (seen, mut url) = watch::channel(None);
    read_output(child, name, seen);
    let listening = tokio::time::timeout(READY_DEADLINE, url.wait_for(Option::is_some));
    let url = tokio::select! {
        found = listening => match found {
            Ok(Ok(found)) => found.clone(),
            Ok(Err(_)) | Err(_) => None,
        },
        status = child.wait() => return Err(fell_at_start(name, status)),
    };
    let Some(url) = url else {
        // Its output ended: it is on its way out, and its exit code says why.
        return Err(match tokio::time::timeout(LEAVE_DEADLINE, child.wait()).await {
            Ok(status) => fell_at_start(name, status),
            Err(_elapsed) => failed("it does not listen".to_owned()),
        });
    };
    let port = url.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(plan.port);
    let (stop, stopped) = oneshot::channel();
    let ended = actix_rt::spawn(supervise(plan, running, port, stopped));
    Ok(Kept { name, url, stop: Some(stop), ended })
}

fn fell_at_start(name: &str, status: io::Result<std::process::ExitStatus>) -> Exit {
    match status {
        // It has said itself which setting is wrong.
        Ok(status) if status.code() == Some(78) => Exit::Setting(format!("{name} did not start")),
        Ok(status) => Exit::Failed(format!("{name} did not start: {status}")),
        Err(error) => Exit::Failed(format!("{name} did not start: {error}")),
    }
}

/// Reads a child's output to its end; the line that says where it listens is passed on.
fn read_output(child: &mut Child, name: &'static str, seen: watch::Sender<Option<String>>) {
    let Some(output) = child.stdout.take() else { return };
    actix_rt::spawn(async move {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            match line.split_once(LISTENING) {
                Some((_, url)) => {
                    seen.send_replace(Some(url.trim().to_owned()));
                }
                None => log::info!("{name}: {line}"),
            }
        }
    });
}

/// Starts the child again whenever it falls, until told to stop.
async fn supervise(
    plan: Plan,
    mut running: Running,
    port: u16,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut falls = 0;
    loop {
        let begun = Instant::now();
        tokio::select! {
            status = running.child.wait() => match status {
                Ok(status) => log::warn!("{} fell: {status}", plan.name),
                Err(error) => log::warn!("{} fell: {error}", plan.name),
            },
            _ = &mut stopped => return leave(running, plan.name).await,
        }
        falls = if begun.elapsed() >= SOUND_AFTER { 0 } else { falls + 1 };
        running = loop {
            let pause = RESTART_PAUSE.ceiling(falls);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = &mut stopped => return,
            }
            match plan.spawn(port) {
                Ok(mut running) => {
                    log::info!("{} starts again", plan.name);
                    let (seen, _) = watch::channel(None);
                    read_output(&mut running.child, plan.name, seen);
                    break running;
                }
                Err(error) => {
                    log::error!("{} did not start: {error}", plan.name);
                    falls += 1;
                }
            }
        };
    }
}

/// Lets a child leave: the end of its input tells it to.
async fn leave(running: Running, name: &str) {
    let Running { mut child, input } = running;
    drop(input);
    match tokio::time::timeout(LEAVE_DEADLINE, child.wait()).await {
        Ok(Ok(status)) if status.success() => log::info!("{name} has left"),
        Ok(Ok(status)) => log::warn!("{name} left with {status}"),
        Ok(Err(error)) => log::error!("{name} left: {error}"),
        Err(_elapsed) => {
            log::error!("{name} did not leave within {} s; killed", LEAVE_DEADLINE.as_secs());
            if let Err(error) = child.kill().await {
                log::error!("{name} not killed: {error}");
            }
        }
    }
}

async fn end(mut kept: Kept) {
    if let Some(stop) = kept.stop.take()
        && stop.send(()).is_err()
    {
        log::debug!("{} had no keeper any more", kept.name);
    }
    if let Err(error) = kept.ended.await {
        log::error!("the keeper of {} fell: {error}", kept.name);
    }
}

/// Waits until a child says that it is ready.
async fn ready(child: &Kept) -> Result<(), Exit> {
    let http = awc::Client::builder().timeout(Duration::from_secs(2)).finish();
    let url = format!("{}/health/ready", child.url);
    let asking = async {
        loop {
            if let Ok(response) = http.get(&url).send().await
                && response.status().is_success()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(READY_DEADLINE, asking).await.map_err(|_elapsed| {
        Exit::Failed(format!("{} was not ready within {} s", child.name, READY_DEADLINE.as_secs()))
    })
}
