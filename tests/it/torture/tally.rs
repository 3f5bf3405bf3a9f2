//! What was counted and what went wrong, kept while the run goes on and told at its end.

use std::{cell::RefCell, collections::BTreeMap, fmt::Write as _, rc::Rc, time::Duration};

use tokio::time::Instant;

/// Most wrongs that are told one by one.
const WRONGS_TOLD_MAX: usize = 40;

/// Shared by everyone in a run. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Tally(Rc<Inner>);

#[derive(Default)]
struct Inner {
    counts: RefCell<BTreeMap<String, u64>>,
    wrongs: RefCell<Vec<String>>,
    rss_max: RefCell<BTreeMap<&'static str, u64>>,
    /// Kills after which nothing has succeeded yet, by what must.
    open: RefCell<Vec<(&'static str, Instant)>>,
    recoveries: RefCell<BTreeMap<&'static str, Vec<Duration>>>,
}

impl Tally {
    pub(crate) fn count(&self, what: &str) {
        self.add(what, 1);
    }

    pub(crate) fn add(&self, what: &str, more: u64) {
        *self.0.counts.borrow_mut().entry(what.to_owned()).or_default() += more;
    }

    pub(crate) fn counted(&self, what: &str) -> u64 {
        self.0.counts.borrow().get(what).copied().unwrap_or_default()
    }

    /// Something that must not be.
    pub(crate) fn wrong(&self, what: String) {
        let mut wrongs = self.0.wrongs.borrow_mut();
        if wrongs.len() < WRONGS_TOLD_MAX {
            say(&format!("torture: WRONG: {what}"));
        }
        wrongs.push(what);
    }

    pub(crate) fn wrongs(&self) -> Vec<String> {
        self.0.wrongs.borrow().clone()
    }

    /// A process of this role had so many bytes resident.
    pub(crate) fn resident(&self, role: &'static str, bytes: u64) {
        let mut rss = self.0.rss_max.borrow_mut();
        let most = rss.entry(role).or_default();
        *most = bytes.max(*most);
    }

    pub(crate) fn most_resident(&self) -> BTreeMap<&'static str, u64> {
        self.0.rss_max.borrow().clone()
    }

    /// A process of this role was killed just now.
    pub(crate) fn killed(&self, role: &'static str) {
        self.0.open.borrow_mut().push((role, Instant::now()));
    }

    /// What was asked then and needs this role has succeeded.
    pub(crate) fn succeeded(&self, role: &'static str, asked: Instant) {
        let over = |&(of, killed): &(&str, Instant)| of == role && killed <= asked;
        let mut open = self.0.open.borrow_mut();
        let mut recoveries = self.0.recoveries.borrow_mut();
        for (_, killed) in open.iter().filter(|one| over(one)) {
            recoveries.entry(role).or_default().push(killed.elapsed());
        }
        open.retain(|one| !over(one));
    }

    /// Everything, for people.
    pub(crate) fn summary(&self, seed: u64, elapsed: Duration) -> String {
        let mut text = format!("torture: seed {seed}, {:.1} s\n", elapsed.as_secs_f64());
        for (what, count) in &*self.0.counts.borrow() {
            line(&mut text, what, &count.to_string());
        }
        for (role, bytes) in &*self.0.rss_max.borrow() {
            let mebibytes = bytes / 1024 / 1024;
            line(&mut text, &format!("most resident, {role}"), &format!("{mebibytes} MiB"));
        }
        for (role, times) in &mut *self.0.recoveries.borrow_mut() {
            times.sort_unstable();
            let (middle, last) = (times[times.len() / 2], times[times.len() - 1]);
            let told = format!("p50 {middle:.0?}, max {last:.0?} of {}", times.len());
            line(&mut text, &format!("first success after a kill, {role}"), &told);
        }
        line(&mut text, "wrong", &self.0.wrongs.borrow().len().to_string());
        text
    }
}

fn line(text: &mut String, what: &str, value: &str) {
    writeln!(text, "  {what:<52} {value}").expect("a string takes everything");
}

/// A line for whoever watches: shown with `--nocapture`, or when the run fails.
#[expect(clippy::print_stdout, reason = "the run tells its plan and its sums")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}
