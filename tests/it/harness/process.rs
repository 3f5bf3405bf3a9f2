//! The real program as a child process: its output, its signals, its exit code.

use std::{
    cell::RefCell,
    path::Path,
    process::{ExitStatus, Stdio},
    rc::Rc,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::{Child, Command},
    sync::watch,
};

use super::{Client, SECRET, within};

/// A running `cortex`. Dropping it kills it.
pub(crate) struct RealProcess {
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

/// The lines of one output so far.
struct Lines {
    read: Rc<RefCell<Vec<String>>>,
    count: watch::Receiver<usize>,
}

impl RealProcess {
    /// Runs `cortex` with these arguments and nothing in its environment.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        RealProcess::start_with(arguments, &[])
    }

    /// Runs `cortex` with these arguments and exactly this environment.
    pub(crate) fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_cortex"))
            .args(arguments)
            .env_clear()
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stdout = Lines::of(child.stdout.take().unwrap());
        let stderr = Lines::of(child.stderr.take().unwrap());
        RealProcess { child, stdout, stderr }
    }

    /// Runs one role on a free port, with the test secret and its data in `data`.
    pub(crate) fn start_role(role: &str, data: &Path, further: &[&str]) -> Self {
        let data = data.display().to_string();
        let mut arguments = vec![role, "--port", "0", "--workers", "1"];
        arguments.extend(["--jwt-secret-key", SECRET]);
        arguments.extend(["--data-dir", &data]);
        arguments.extend(further);
        RealProcess::start(&arguments)
    }

    /// Where it listens, once it says so.
    pub(crate) async fn url(&mut self) -> String {
        let line = self.line_with("listening on ").await;
        line.split_once("listening on ").unwrap().1.trim().to_owned()
    }

    /// A client of it, once it listens.
    pub(crate) async fn client(&mut self) -> Client {
        Client::new(&self.url().await)
    }

    /// The first line of standard output that contains `text`, once there is one.
    pub(crate) async fn line_with(&mut self, text: &str) -> String {
        let what = format!("a line with {text:?}");
        match within(&what, self.stdout.find(text)).await {
            Some(line) => line,
            None => panic!("ended without {what}; it said: {}", self.stderr()),
        }
    }

    /// Everything it wrote to standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.read.borrow().join("\n")
    }

    /// Everything it wrote to standard output so far.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.read.borrow().join("\n")
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("it has not been waited for")
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        self.child.start_kill().unwrap();
        self.wait().await;
    }

    /// `kill -9` of one whose output is still wanted: wait for its end next.
    pub(crate) fn start_kill(&mut self) {
        self.child.start_kill().unwrap();
    }

    /// Its id, for as long as it has not been waited for.
    pub(crate) fn running(&self) -> Option<u32> {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Sends a signal by its name: `TERM`, `INT`, `STOP`, `CONT`.
    pub(crate) async fn signal(&self, name: &str) {
        // The shell's own `kill`: a bare machine need not have another.
        let mut shell = Command::new("sh");
        let kill = format!("kill -{name} {}", self.id());
        let status = shell.args(["-c", &kill]).status().await;
        assert!(status.unwrap().success(), "kill -{name}");
    }

    /// SIGTERM, and its exit code.
    pub(crate) async fn terminate(mut self) -> Option<i32> {
        self.signal("TERM").await;
        self.wait().await.code()
    }

    /// Waits for its end.
    pub(crate) async fn wait(&mut self) -> ExitStatus {
        let status = within("the process ends", self.child.wait()).await.unwrap();
        within("its output ends", self.stderr.end()).await;
        status
    }
}

impl Lines {
    fn of(output: impl AsyncRead + Unpin + 'static) -> Self {
        let read = Rc::new(RefCell::new(Vec::new()));
        let (counted, count) = watch::channel(0);
        let kept = Rc::clone(&read);
        actix_rt::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                kept.borrow_mut().push(line);
                counted.send_modify(|count| *count += 1);
            }
        });
        Lines { read, count }
    }

    /// The first line with `text`; `None` when the output ends without one.
    async fn find(&mut self, text: &str) -> Option<String> {
        loop {
            let found = self.read.borrow().iter().find(|line| line.contains(text)).cloned();
            if found.is_some() || self.count.changed().await.is_err() {
                return found;
            }
        }
    }

    async fn end(&mut self) {
        while self.count.changed().await.is_ok() {}
    }
}
