//! Starts a child's program so that it ends with whoever started it, even one that is killed.

use std::{ffi::OsString, io, os::unix::process::CommandExt as _, process::Command};

use nix::unistd::{Pid, getppid};

/// The hidden command under which `cortex` does this.
pub(super) const COMMAND: &str = "mcp-child";

/// Asks the kernel to kill this process when `parent` dies, then becomes the program. Comes back
/// only with why that failed. Where there is no such kernel, the end of its input must do.
#[must_use]
pub fn become_child(parent: i32, program: &[OsString]) -> io::Error {
    let Some((program, arguments)) = program.split_first() else {
        return io::Error::new(io::ErrorKind::InvalidInput, "no program");
    };
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL) {
        return error.into();
    }
    // It may have died before the kernel was asked.
    if getppid() != Pid::from_raw(parent) {
        return io::Error::other("whoever started this has gone");
    }
    Command::new(program).args(arguments).exec()
}
