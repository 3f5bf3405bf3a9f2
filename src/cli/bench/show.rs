//! How far a run is, on standard error, where a person watches.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::report::per_second;

/// A bar over the time of a run; nothing where nobody watches.
pub(super) struct Show(ProgressBar);

impl Show {
    /// A bar for a run of this length. It hides itself where standard error is no terminal.
    pub(super) fn new(quiet: bool, duration: Duration) -> Self {
        if quiet {
            return Show(ProgressBar::hidden());
        }
        let bar = ProgressBar::new(millis(duration));
        let style = ProgressStyle::with_template("{wide_bar} {msg}");
        Show(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
    }

    /// The run is so far, with so many answers.
    pub(super) fn progress(&self, elapsed: Duration, count: u64) {
        self.0.set_message(format!("{count} answers, {:.0}/s", per_second(count, elapsed)));
        self.0.set_position(millis(elapsed));
    }

    /// What is done before the measuring.
    pub(super) fn say(&self, what: &'static str) {
        self.0.set_message(what);
        self.0.tick();
    }

    /// Takes the bar away.
    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
