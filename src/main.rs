//! The `cortex` binary: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    cortex::process::main()
}
