//! One place a service can be called at, as all workers see it: its breaker, its load, its silence.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::{
    backplane::{
        breaker::{BreakerCell, KeptBreaker},
        locks::lock,
    },
    domain::{balance::Candidate, latency},
};

/// Calls without an answer for this long have the endpoint checked.
const HANGS_AFTER: Duration = Duration::from_secs(2);
/// Latency that failures that come at once can pile up to.
const FAILING_LATENCY_MAX: Duration = Duration::from_secs(1);

/// One place a service can be called at.
pub struct Endpoint {
    /// The service's name.
    pub service: String,
    /// Its base URL, without a slash at the end.
    pub url: String,
    pub(super) breaker: KeptBreaker,
    epoch: Instant,
    outstanding: AtomicU32,
    usable: AtomicBool,
    /// Whether an attempt has failed since the last health check was begun.
    suspected: AtomicBool,
    /// When an answer last came, or the first call began with none under way: milliseconds.
    heard: AtomicU64,
    /// Peak latency in microseconds (high half) and when it was seen in milliseconds (low half);
    /// 0 before the first answer.
    peak: AtomicU64,
    /// Whether it has been taken out: calls under way finish, streams move.
    retired: watch::Sender<bool>,
    /// The store it has, as far as it has said so.
    store: Mutex<Option<Arc<str>>>,
    /// Whether that is not the one this process is bound to: nothing goes there.
    foreign: AtomicBool,
}

impl Endpoint {
    /// An endpoint nothing is known of yet.
    pub(super) fn new(service: &str, url: &str, breaker: KeptBreaker) -> Self {
        Endpoint {
            service: service.to_owned(),
            url: url.to_owned(),
            breaker,
            epoch: Instant::now(),
            outstanding: AtomicU32::new(0),
            usable: AtomicBool::new(true),
            suspected: AtomicBool::new(false),
            heard: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            retired: watch::Sender::new(false),
            store: Mutex::default(),
            foreign: AtomicBool::new(false),
        }
    }

    pub(super) fn hold_for(&self, usable: bool) {
        self.usable.store(usable, Ordering::Relaxed);
    }

    /// Takes it out: nothing new goes there.
    pub(super) fn retire(&self) {
        self.retired.send_replace(true);
    }

    /// Ends when the endpoint is taken out.
    pub(crate) async fn until_retired(&self) {
        let mut retired = self.retired.subscribe();
        // The sender lives as long as we do: it cannot be gone.
        drop(retired.wait_for(|retired| *retired).await);
    }

    /// It says which store it has, or that it has none; `bound` is the one that is wanted.
    pub(crate) fn says(&self, store: Option<&str>, bound: Option<&str>) {
        *lock(&self.store) = store.map(Into::into);
        self.judge(bound);
    }

    /// Whether it has the store that is wanted, by what it has said.
    pub(super) fn judge(&self, bound: Option<&str>) {
        let store = self.store();
        let foreign = matches!((store.as_deref(), bound), (Some(own), Some(bound)) if own != bound);
        if foreign && !self.foreign.swap(true, Ordering::Relaxed) {
            let Endpoint { service, url, .. } = self;
            log::error!(
                "endpoint has another store and is not used service={service} url={url} \
                 store={} wanted={}",
                store.as_deref().unwrap_or_default(),
                bound.unwrap_or_default()
            );
        } else if !foreign && self.foreign.swap(false, Ordering::Relaxed) {
            log::info!("endpoint has the right store service={} url={}", self.service, self.url);
        }
    }

    /// It refused a call that was meant for another store.
    pub(crate) fn estrange(&self) {
        self.suspected.store(true, Ordering::Relaxed);
        if !self.foreign.swap(true, Ordering::Relaxed) {
            let Endpoint { service, url, .. } = self;
            log::error!("endpoint has another store and is not used service={service} url={url}");
        }
    }

    /// Whether it has another store than the one this process is bound to.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.foreign.load(Ordering::Relaxed)
    }

    /// The store it has, if it has said so.
    #[must_use]
    pub fn store(&self) -> Option<Arc<str>> {
        lock(&self.store).clone()
    }

    /// Its circuit breaker.
    #[must_use]
    pub fn breaker(&self) -> &Arc<BreakerCell> {
        &self.breaker.cell
    }

    /// Calls under way to it, from all workers.
    #[must_use]
    pub fn outstanding(&self) -> u32 {
        self.outstanding.load(Ordering::Relaxed)
    }

    /// Whether discovery holds it for reachable.
    #[must_use]
    pub fn usable(&self) -> bool {
        self.usable.load(Ordering::Relaxed)
    }

    /// What is known of it at this moment, for choosing.
    pub(crate) fn candidate(&self, tried: bool, now: Instant) -> Candidate {
        Candidate {
            outstanding: self.outstanding(),
            latency: self.latency(now),
            usable: self.usable(),
            refusing: self.breaker().refuses(now).is_some(),
            probe_due: self.breaker().awaits_probe(now),
            tried,
        }
    }

    /// Whether a call that waits elsewhere should come here: it is held for reachable, admits
    /// calls, and is not itself silent for `limit`.
    pub(crate) fn could_take_over(&self, limit: Duration, now: Instant) -> bool {
        self.usable()
            && !self.is_foreign()
            && self.breaker().refuses(now).is_none()
            && self.silence(now) < limit
    }

    /// For how long calls have been under way without any answer; zero when none is.
    #[must_use]
    pub fn silence(&self, now: Instant) -> Duration {
        if self.outstanding() == 0 {
            return Duration::ZERO;
        }
        let heard = Duration::from_millis(self.heard.load(Ordering::Relaxed));
        now.saturating_duration_since(self.epoch).saturating_sub(heard)
    }

    /// How long it takes to answer, as far as that still counts, or how long it has been silent;
    /// `None` before the first answer.
    #[must_use]
    pub fn latency(&self, now: Instant) -> Option<Duration> {
        let silence = self.silence(now);
        let (peak, seen) = unpack(self.peak.load(Ordering::Relaxed));
        if peak.is_zero() {
            return (!silence.is_zero()).then_some(silence);
        }
        Some(latency::faded(peak, self.gap(seen, now)).max(silence))
    }

    pub(crate) fn begin(&self) {
        if self.outstanding.fetch_add(1, Ordering::Relaxed) == 0 {
            self.heard_now(Instant::now());
        }
    }

    pub(crate) fn end(&self) {
        self.outstanding.fetch_sub(1, Ordering::Relaxed);
    }

    /// It answers, whatever it says.
    pub(crate) fn heard_now(&self, now: Instant) {
        self.heard.store(self.millis(now), Ordering::Relaxed);
    }

    /// An attempt took so long, to its answer or until it was given up.
    pub(crate) fn took(&self, sample: Duration, now: Instant) {
        let learn = |old: u64| {
            let (peak, seen) = unpack(old);
            let learned = latency::peak(peak, sample, self.gap(seen, now));
            let micros = u32::try_from(learned.as_micros()).unwrap_or(u32::MAX).max(1);
            Some((u64::from(micros) << 32) | (self.millis(now) & u64::from(u32::MAX)))
        };
        let _before = self.peak.fetch_update(Ordering::Relaxed, Ordering::Relaxed, learn);
    }

    /// An attempt failed there: have it checked. To the balance it counts as twice as slow as
    /// before, because an endpoint that fails at once must not look like the quickest.
    pub(crate) fn failed(&self, took: Duration, now: Instant) {
        self.suspected.store(true, Ordering::Relaxed);
        let before = self.latency(now).unwrap_or(Duration::from_millis(1));
        self.took(took.max(before.saturating_mul(2).min(FAILING_LATENCY_MAX)), now);
    }

    /// Whether there is a sign of trouble since the last check was begun.
    pub(super) fn is_suspected(&self, now: Instant) -> bool {
        self.suspected.load(Ordering::Relaxed) || self.silence(now) > HANGS_AFTER
    }

    /// A check begins: what was suspected is being looked into.
    pub(super) fn looked_into(&self) {
        self.suspected.store(false, Ordering::Relaxed);
    }

    fn millis(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.epoch).as_millis();
        u64::try_from(passed).unwrap_or(u64::MAX)
    }

    /// Time since a moment of which the low half is known; longer than 49 days wraps, which gives
    /// a latency too much weight until the next answer.
    fn gap(&self, seen: u32, now: Instant) -> Duration {
        let now = u32::try_from(self.millis(now) & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        Duration::from_millis(u64::from(now.wrapping_sub(seen)))
    }
}

fn unpack(packed: u64) -> (Duration, u32) {
    let low = u32::try_from(packed & u64::from(u32::MAX)).unwrap_or_default();
    (Duration::from_micros(packed >> 32), low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backplane::{
        breaker::BreakerActor, client::test_settings, metrics::Metrics, vitals::House,
    };

    fn endpoint() -> Endpoint {
        tokio::time::pause();
        let policy = test_settings().breaker();
        let (house, metrics) = (House::new(), Metrics::new("test"));
        let breaker = BreakerActor::start(&house, &metrics, "memory", "http://m", policy);
        Endpoint::new("memory", "http://m", breaker)
    }

    #[actix::test]
    async fn silence_counts_as_latency_until_an_answer_comes() {
        let endpoint = endpoint();
        let ms = Duration::from_millis;
        assert_eq!(endpoint.latency(Instant::now()), None);
        endpoint.begin();
        endpoint.begin();
        tokio::time::advance(ms(40)).await;
        assert_eq!(endpoint.latency(Instant::now()), Some(ms(40)));
        endpoint.heard_now(Instant::now());
        endpoint.took(ms(40), Instant::now());
        endpoint.end();
        tokio::time::advance(ms(300)).await;
        assert_eq!(endpoint.silence(Instant::now()), ms(300), "one is still under way");
        assert!(!endpoint.could_take_over(ms(250), Instant::now()));
        endpoint.end();
        assert_eq!(endpoint.silence(Instant::now()), Duration::ZERO);
        let latency = endpoint.latency(Instant::now()).unwrap();
        assert!((ms(30)..ms(40)).contains(&latency), "{latency:?}");
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(endpoint.latency(Instant::now()).unwrap() < ms(1), "it gets another chance");
    }

    #[actix::test]
    async fn an_attempt_that_was_given_up_is_remembered_when_nothing_is_under_way() {
        let endpoint = endpoint();
        endpoint.begin();
        tokio::time::advance(Duration::from_millis(250)).await;
        endpoint.took(Duration::from_millis(250), Instant::now());
        endpoint.end();
        let latency = endpoint.latency(Instant::now()).unwrap();
        assert!(latency > Duration::from_millis(240), "{latency:?}");
    }
}
