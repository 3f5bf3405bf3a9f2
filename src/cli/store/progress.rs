//! Long work on a thread of its own, with a line on the terminal that says how far it is.

use std::{
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior};

use super::super::trouble::{Outcome, Trouble};

/// Work shorter than this says nothing; then there is a line this often.
const SAYING_INTERVAL: Duration = Duration::from_secs(1);

/// Runs `work`; if it takes long and standard error is a terminal, `how_far` is shown there.
pub(super) async fn watched<T: Send + 'static>(
    how_far: impl Fn() -> String,
    work: impl FnOnce() -> Outcome<T> + Send + 'static,
) -> Outcome<T> {
    let mut working = tokio::task::spawn_blocking(work);
    let terminal = std::io::stderr().is_terminal();
    let mut ticks = tokio::time::interval_at(Instant::now() + SAYING_INTERVAL, SAYING_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said = false;
    loop {
        tokio::select! {
            done = &mut working => {
                if said {
                    say("");
                }
                return done.map_err(|error| Trouble::plain(format!("it fell: {error}")))?;
            }
            _ = ticks.tick(), if terminal => {
                say(&how_far());
                said = true;
            }
        }
    }
}

/// Writes over the line before.
fn say(line: &str) {
    let mut terminal = std::io::stderr().lock();
    if write!(terminal, "\r\x1b[K{line}").and_then(|()| terminal.flush()).is_err() {
        log::debug!("standard error is closed");
    }
}

/// A size for people.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => {
            let tenths = bytes.saturating_mul(10) / unit;
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_readable() {
        for (bytes, text) in
            [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB")]
        {
            assert_eq!(size(bytes), text);
        }
    }

    #[tokio::test]
    async fn work_gives_its_outcome_and_a_panic_is_an_error() {
        assert_eq!(watched(String::new, || Ok(7)).await.unwrap(), 7);
        let fallen: Outcome<()> = watched(String::new, || panic!("on purpose")).await;
        assert!(fallen.is_err());
    }
}
