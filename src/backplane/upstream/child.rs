//! A child process that speaks MCP: started in a group of its own, read with bounds, ended whole,
//! always reaped.

use std::{
    process::{ExitStatus, Stdio},
    sync::{Arc, Weak},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    sync::mpsc,
    time::timeout,
};

use super::{
    Surroundings, bound,
    call::Missed,
    pipe::{Out, Pipe},
};
use crate::contract::upstream::Program;

/// Variables every child inherits.
const INHERITED: [&str; 6] = ["PATH", "HOME", "LANG", "TMPDIR", "TZ", "USER"];
/// Time a child has to leave after its input ended, and again after SIGTERM.
const LEAVE_TIME: Duration = Duration::from_secs(2);
/// Time to read what a child that has gone had still written.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Time a child has to leave of itself after it has closed its output.
const EXIT_TIME: Duration = Duration::from_secs(1);
/// Time a child may take nothing of what it is sent.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// Lines on standard output that are no messages, in a row, after which it is given up.
const NONSENSE_MAX: u32 = 1000;
/// Longest line of standard error that is logged, in bytes.
const STDERR_LINE_MAX: usize = 2048;
/// The last line of standard error is told with the end of a child, up to so many characters.
const LAST_LINE_CHARS: usize = 300;

/// A process group that is killed when this is dropped.
struct Group(Option<Pid>);

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(Err(error)) = self.0.map(|group| killpg(group, signal)) {
            // Nobody there any more is as good.
            log::debug!("group not signalled signal={signal} cause={error}");
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

/// Starts the program and speaks with it until the pipe is dropped or either side ends; must run on
/// the upstreams' runtime.
///
/// # Errors
/// When it cannot be started.
pub(super) fn start(
    program: &Program,
    surroundings: &Surroundings,
    pipe: &Arc<Pipe>,
    outgoing: mpsc::Receiver<Out>,
) -> Result<(), Missed> {
    let name = &pipe.ears.name;
    let mut child = command(program, surroundings)
        .spawn()
        .map_err(|error| Missed::unreached(name, format!("{}: {error}", program.command)))?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    let group = Group(pid);
    let (Some(stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(Missed::unreached(name, "it has no standard input or output"));
    };
    log::info!("child started upstream={name} pid={}", pid.map_or(0, Pid::as_raw));
    let speaking = Speaking { stdin, stdout, stderr, outgoing };
    tokio::spawn(tend(child, group, speaking, Arc::downgrade(pipe), Arc::clone(name)));
    Ok(())
}

fn command(program: &Program, surroundings: &Surroundings) -> Command {
    let mut command = match &surroundings.helper {
        // It asks the kernel to be ended with us, then becomes the program.
        Some(helper) => {
            let mut command = Command::new(helper);
            let own = std::process::id().to_string();
            command.args([bound::COMMAND, &own, "--"]).arg(&program.command);
            command
        }
        None => Command::new(&program.command),
    };
    command.args(&program.args).env_clear();
    let inherited = INHERITED.iter().copied().chain(program.inherit.iter().map(String::as_str));
    for variable in inherited {
        if let Some(value) = surroundings.variable(variable) {
            command.env(variable, value);
        }
    }
    command.envs(program.env.iter().map(|(variable, value)| (variable, &value.0)));
    if let Some(folder) = &program.cwd {
        command.current_dir(folder);
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command
}

struct Speaking {
    stdin: ChildStdin,
    stdout: ChildStdout,
    stderr: ChildStderr,
    outgoing: mpsc::Receiver<Out>,
}

/// Speaks with a child to the end, and reaps it.
async fn tend(
    mut child: Child,
    group: Group,
    speaking: Speaking,
    pipe: Weak<Pipe>,
    name: Arc<str>,
) {
    let Speaking { stdin, stdout, stderr, outgoing } = speaking;
    let most = pipe.upgrade().map_or(0, |pipe| pipe.limits.answer_bytes_max);
    let last_line = Arc::new(std::sync::Mutex::new(String::new()));
    let errors = tokio::spawn(log_errors(stderr, Arc::clone(&name), Arc::clone(&last_line)));
    let mut reading = tokio::spawn(hear(stdout, pipe.clone(), most));
    let mut writing = tokio::spawn(say(stdin, outgoing));
    let mut status = None;
    let why = tokio::select! {
        ended = child.wait() => {
            // A grandchild may hold the pipe open; what matters was written before.
            drop(timeout(LAST_WORDS, &mut reading).await);
            status = ended.ok();
            format!("it has ended: {}", spelled(status))
        }
        heard = &mut reading => {
            // Its output ends a moment before itself, which says more.
            status = timeout(EXIT_TIME, child.wait()).await.ok().and_then(Result::ok);
            match status {
                Some(_) => format!("it has ended: {}", spelled(status)),
                None => heard.unwrap_or_else(|_fell| "its reader fell".to_owned()),
            }
        }
        said = &mut writing => said.unwrap_or_else(|_fell| "its writer fell".to_owned()),
    };
    if let Some(pipe) = pipe.upgrade() {
        let last = last_line.lock().map(|line| line.clone()).unwrap_or_default();
        log::warn!("child ended upstream={name} cause={why:?} last_line={last:?}");
        pipe.end(&why);
    }
    // Its input ends here, which is how a child is asked to leave.
    if !writing.is_finished() {
        writing.abort();
        drop(writing.await);
    }
    if status.is_none() {
        status = leave(&mut child, &group).await;
    }
    // Whoever it leaves behind goes with it.
    drop(group);
    reading.abort();
    errors.abort();
    log::debug!("child reaped upstream={name} status={}", spelled(status));
}

/// Asks a child to leave, more firmly each time.
async fn leave(child: &mut Child, group: &Group) -> Option<ExitStatus> {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        if let Ok(ended) = timeout(LEAVE_TIME, child.wait()).await {
            return ended.ok();
        }
        group.signal(signal);
    }
    child.wait().await.ok()
}

fn spelled(status: Option<ExitStatus>) -> String {
    status.map_or_else(|| "status unknown".to_owned(), |status| status.to_string())
}

/// Sends what is to be sent; ends when the pipe is dropped.
async fn say(mut stdin: ChildStdin, mut outgoing: mpsc::Receiver<Out>) -> String {
    while let Some(Out { mut body, .. }) = outgoing.recv().await {
        body.push(b'\n');
        match timeout(WRITE_TIME, stdin.write_all(&body)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return format!("its input is closed: {error}"),
            Err(_elapsed) => return "it takes no input".to_owned(),
        }
    }
    "nobody asks it any more".to_owned()
}

/// Reads messages, one a line, until there are no more.
async fn hear(stdout: ChildStdout, pipe: Weak<Pipe>, most: usize) -> String {
    let mut lines = Lines::new(stdout, most);
    let mut nonsense = 0;
    loop {
        let line = lines.next().await;
        let Some(pipe) = pipe.upgrade() else {
            return "nobody asks it any more".to_owned();
        };
        match line {
            Line::Whole(line) if line.trim_ascii().is_empty() => {}
            Line::Whole(line) => match pipe.heard(line) {
                Ok(()) => nonsense = 0,
                Err(why) => {
                    nonsense += 1;
                    log::debug!("line not understood upstream={} cause={why}", pipe.ears.name);
                }
            },
            Line::TooLong(beginning) => pipe.overflowed(beginning),
            Line::End => return "its output is closed".to_owned(),
        }
        if nonsense >= NONSENSE_MAX {
            return format!("{NONSENSE_MAX} lines in a row were no messages");
        }
    }
}

async fn log_errors(stderr: ChildStderr, name: Arc<str>, last: Arc<std::sync::Mutex<String>>) {
    let mut lines = Lines::new(stderr, STDERR_LINE_MAX);
    loop {
        let line = match lines.next().await {
            Line::Whole(line) | Line::TooLong(line) => line,
            Line::End => return,
        };
        let text = String::from_utf8_lossy(line.get(..STDERR_LINE_MAX).unwrap_or(line));
        let text = text.trim_end();
        if text.is_empty() {
            continue;
        }
        log::debug!("child said upstream={name} line={text:?}");
        if let Ok(mut last) = last.lock() {
            *last = text.chars().take(LAST_LINE_CHARS).collect();
        }
    }
}

/// A line of a child's output.
enum Line<'a> {
    Whole(&'a [u8]),
    /// Only its beginning.
    TooLong(&'a [u8]),
    End,
}

/// Cuts a stream into lines of bounded length.
struct Lines<R> {
    from: BufReader<R>,
    line: Vec<u8>,
    most: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    fn new(from: R, most: usize) -> Self {
        Lines { from: BufReader::with_capacity(65_536, from), line: Vec::new(), most }
    }

    async fn next(&mut self) -> Line<'_> {
        self.line.clear();
        let mut length = 0_usize;
        loop {
            let (taken, ended) = match self.from.fill_buf().await {
                Ok([]) | Err(_) if length == 0 => return Line::End,
                Ok([]) | Err(_) => break,
                Ok(bytes) => {
                    let end = memchr::memchr(b'\n', bytes);
                    let piece = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
                    length = length.saturating_add(piece.len());
                    let room = self.most.saturating_sub(self.line.len()).min(piece.len());
                    self.line.extend_from_slice(piece.get(..room).unwrap_or_default());
                    (piece.len() + usize::from(end.is_some()), end.is_some())
                }
            };
            self.from.consume(taken);
            if ended {
                break;
            }
        }
        if length > self.most { Line::TooLong(&self.line) } else { Line::Whole(&self.line) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_cut_to_their_bound_and_the_next_one_is_whole() {
        let text = b"one\n\nmuch too long a line\nlast";
        let mut lines = Lines::new(&text[..], 8);
        let mut seen = Vec::new();
        loop {
            match lines.next().await {
                Line::Whole(line) => seen.push(format!("={}", String::from_utf8_lossy(line))),
                Line::TooLong(line) => seen.push(format!("~{}", String::from_utf8_lossy(line))),
                Line::End => break,
            }
        }
        assert_eq!(seen, ["=one", "=", "~much too", "=last"]);
    }
}
