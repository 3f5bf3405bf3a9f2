//! A throw-away backplane: the three processes as children, in a directory of their own.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStdin, Command},
    time::Instant,
};

use crate::{
    backplane::secrets,
    cli::{
        fetch::Web,
        trouble::{Outcome, Trouble},
    },
};

/// Time for a process to listen, and to be ready.
const READY_DEADLINE: Duration = Duration::from_secs(60);
/// Time for a process to leave before it is killed.
const LEAVE_DEADLINE: Duration = Duration::from_secs(40);
/// Time for one question whether it is ready, and between two of them.
const READY_PAUSE: Duration = Duration::from_millis(50);
/// What a process prints when it listens.
const LISTENING: &str = "listening on ";

/// How a process is started.
#[derive(Clone, Debug)]
pub struct Start {
    /// The program: this one.
    pub program: PathBuf,
    /// What stands before it on the command line (`taskset -c 0`); usually nothing.
    pub before: Vec<OsString>,
    /// The role: core, memory or cognition.
    pub role: &'static str,
    /// Where its data and the secret are.
    pub data_dir: PathBuf,
    /// Further arguments.
    pub arguments: Vec<String>,
}

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    /// Its role.
    pub role: &'static str,
    /// Where it listens.
    pub url: String,
    /// Its process id.
    pub pid: u32,
    child: Child,
    /// Its end tells the process to leave; held apart, because waiting for a child closes what it
    /// holds.
    input: Option<ChildStdin>,
}

impl Start {
    /// Starts it on a free port; returns once it listens.
    ///
    /// # Errors
    /// When it does not listen within a minute.
    pub async fn listening(self) -> Outcome<Process> {
        let role = self.role;
        let failed = |why: &str| Trouble::plain(format!("{role} did not start: {why}"));
        let secret =
            secrets::ensure_token_secret(&self.data_dir).map_err(|e| failed(&e.to_string()))?;
        let mut words = self.before.into_iter();
        let mut command = match words.next() {
            Some(first) => {
                let mut command = Command::new(first);
                command.args(words).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        command.arg(role).args(["--host", "127.0.0.1", "--port", "0", "--stop-with-parent"]);
        command.args(["--log", "error"]).arg("--jwt-secret-key-file").arg(secret);
        if role != "cognition" {
            command.arg("--data-dir").arg(&self.data_dir);
        }
        command.args(&self.arguments).env_remove("JWT_SECRET_KEY").env_remove("DATABASE_URL");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| failed(&error.to_string()))?;
        let pid = child.id().ok_or_else(|| failed("it ended at once"))?;
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or_else(|| failed("it has no output"))?;
        let listening = async {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some((_, url)) = line.split_once(LISTENING) {
                    return Some(url.trim().to_owned());
                }
            }
            None
        };
        match tokio::time::timeout(READY_DEADLINE, listening).await {
            Ok(Some(url)) => Ok(Process { role, url, pid, child, input }),
            Ok(None) => Err(failed("it ended; what it said is above")),
            Err(_elapsed) => Err(failed("it does not listen")),
        }
    }
}

impl Process {
    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// When it is not within a minute.
    pub async fn ready(&self) -> Outcome {
        let (web, url) = (Web::new(), format!("{}/health/ready", self.url));
        let until = Instant::now() + READY_DEADLINE;
        loop {
            let answer = web.get(&url, None, READY_DEADLINE).await;
            if answer.is_ok_and(|answer| (200..300).contains(&answer.status)) {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(Trouble::plain(format!("{} is not ready", self.role)));
            }
            tokio::time::sleep(READY_PAUSE).await;
        }
    }

    /// Lets it leave, and kills it if it does not.
    pub async fn stop(mut self) {
        drop(self.input.take());
        if tokio::time::timeout(LEAVE_DEADLINE, self.child.wait()).await.is_err() {
            self.kill().await;
        }
    }

    /// Kills it now, as a crash would.
    pub async fn kill(mut self) {
        if let Err(error) = self.child.kill().await {
            log::error!("{} not killed cause={error}", self.role);
        }
    }
}

/// A directory that goes with this value.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new directory below `parent`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn below(parent: &Path) -> Outcome<Self> {
        let path = parent.join(format!("cortex-bench-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir_all(&path)
            .map_err(|error| Trouble::plain(format!("{}: {error}", path.display())))?;
        Ok(Scratch(path))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Whether it lies in memory, where a commit reaches no disk.
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
        lies_in_memory(&mounts, &self.0)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            log::error!("{} not removed cause={error}", self.0.display());
        }
    }
}

/// Whether the file system that holds `path` is one in memory, by the table of mounts.
fn lies_in_memory(mounts: &str, path: &Path) -> bool {
    let fields = mounts.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let holding = fields.filter(|(point, _)| path.starts_with(point));
    let kind = holding.max_by_key(|(point, _)| point.len()).map(|(_, kind)| kind);
    kind.is_some_and(|kind| kind == "tmpfs" || kind == "ramfs")
}

/// Core, memory and cognition.
#[derive(Debug)]
pub struct Backplane {
    /// Core.
    pub core: Process,
    /// Cognition.
    pub cognition: Process,
    /// Memory.
    pub memory: Process,
}

impl Backplane {
    /// Starts all three with the data in `data_dir`; returns once they are ready. `further` gives
    /// what stands before a role's program and further arguments for it.
    ///
    /// # Errors
    /// When one of them does not start.
    pub async fn start(
        program: &Path,
        data_dir: &Path,
        further: impl Fn(&'static str) -> (Vec<OsString>, Vec<String>),
    ) -> Outcome<Self> {
        let start = |role: &'static str, own: Vec<String>| {
            let (before, mut arguments) = further(role);
            arguments.extend(own);
            let (program, data_dir) = (program.to_owned(), data_dir.to_owned());
            Start { program, before, role, data_dir, arguments }.listening()
        };
        let to = |role: &str, url: &str| vec![format!("--{role}-service-url"), url.to_owned()];
        let memory = start("memory", Vec::new()).await?;
        let cognition = start("cognition", to("memory", &memory.url)).await?;
        let mut both = to("cognition", &cognition.url);
        both.extend(to("memory", &memory.url));
        let core = start("core", both).await?;
        let backplane = Backplane { core, cognition, memory };
        for process in [&backplane.memory, &backplane.cognition, &backplane.core] {
            process.ready().await?;
        }
        Ok(backplane)
    }

    /// Ends all three, core first.
    pub async fn stop(self) {
        self.core.stop().await;
        self.cognition.stop().await;
        self.memory.stop().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_that_holds_a_path_says_whether_it_is_in_memory() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /ram tmpfs rw 0 0\n/dev/vdb /ram/disk xfs rw 0";
        assert!(lies_in_memory(mounts, Path::new("/ram/x")));
        assert!(!lies_in_memory(mounts, Path::new("/ram/disk/x")));
        assert!(!lies_in_memory(mounts, Path::new("/ramx")));
        assert!(!lies_in_memory("", Path::new("/ram")));
    }

    #[test]
    fn a_scratch_directory_goes_with_its_value() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::below(parent.path()).unwrap();
        let path = scratch.path().to_owned();
        assert!(path.is_dir());
        drop(scratch);
        assert!(!path.exists());
    }
}
