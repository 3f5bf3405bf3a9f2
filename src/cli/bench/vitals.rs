//! What the measured processes cost: processor time and memory, as the kernel counts them.

use std::{fs, time::Duration};

/// A process that is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    /// What it is called in the report.
    pub(super) name: String,
    /// Its process id.
    pub(super) pid: u32,
}

/// Reads `core=123`; `--pid` takes a comma list of them.
pub(super) fn server(text: &str) -> Result<Server, String> {
    let example = || format!("{text:?} is no process; write NAME=PID, like core=123");
    let (name, pid) = text.trim().split_once('=').ok_or_else(example)?;
    let pid = pid.trim().parse().map_err(|_no_number| example())?;
    if name.trim().is_empty() || pid == 0 {
        return Err(example());
    }
    Ok(Server { name: name.trim().to_owned(), pid })
}

impl Server {
    /// Time its threads ran on a processor so far; `None` when it is not there or the kernel does
    /// not count. The sum over the threads of the first field of `/proc/PID/task/TID/schedstat`
    /// (nanoseconds; Linux, Documentation/scheduler/sched-stats.rst): far steadier on a shared
    /// machine than wall time, and finer than the clock ticks of `/proc/PID/stat`.
    pub(super) fn cpu(&self) -> Option<Duration> {
        let mut nanos = 0_u64;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid)).ok()? {
            let path = task.ok()?.path().join("schedstat");
            // A thread may have ended between the listing and now.
            let Ok(text) = fs::read_to_string(path) else { continue };
            nanos = nanos.saturating_add(text.split_whitespace().next()?.parse().ok()?);
        }
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }

    /// Its resident memory in bytes.
    pub(super) fn resident(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kib.checked_mul(1024)
    }
}

/// What a process used during a run.
#[derive(Clone, Debug)]
pub(super) struct Used {
    /// Which.
    pub(super) server: Server,
    /// Processor time within the window.
    pub(super) cpu: Option<Duration>,
    /// Resident memory before the run, in bytes.
    pub(super) resident_before: Option<u64>,
    /// Resident memory at the end, in bytes.
    pub(super) resident: Option<u64>,
}

/// A reading of all servers at one moment.
#[derive(Clone, Debug)]
pub(super) struct Reading(Vec<(Server, Option<Duration>, Option<u64>)>);

impl Reading {
    /// Reads them now.
    pub(super) fn of(servers: &[Server]) -> Self {
        Reading(
            servers
                .iter()
                .map(|server| (server.clone(), server.cpu(), server.resident()))
                .collect(),
        )
    }

    /// What was used since `before`.
    pub(super) fn since(self, before: Reading) -> Vec<Used> {
        let pairs = self.0.into_iter().zip(before.0);
        pairs
            .map(|((server, cpu, resident), (_, cpu_before, resident_before))| Used {
                server,
                cpu: cpu.zip(cpu_before).and_then(|(now, then)| now.checked_sub(then)),
                resident_before,
                resident,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_named_with_their_ids() {
        assert_eq!(server(" core=12 "), Ok(Server { name: "core".into(), pid: 12 }));
        for bad in ["", "core", "core=", "=1", "core=x", "core=0", "core=-1"] {
            assert!(server(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn this_process_uses_time_and_memory_and_one_that_is_not_there_nothing() {
        let own = Server { name: "own".into(), pid: std::process::id() };
        let before = Reading::of(std::slice::from_ref(&own));
        let mut sum = 0_u64;
        for number in 0..2_000_000_u64 {
            sum = sum.wrapping_mul(31).wrapping_add(std::hint::black_box(number));
        }
        std::hint::black_box(sum);
        let used = Reading::of(std::slice::from_ref(&own)).since(before);
        assert!(used[0].resident.unwrap() > 1024 * 1024);
        assert!(used[0].cpu.unwrap() > Duration::ZERO);
        let gone = Server { name: "gone".into(), pid: u32::MAX };
        assert_eq!((gone.cpu(), gone.resident()), (None, None));
    }
}
