//! What a process counts, in the Prometheus text format, with bounded labels.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::{
    backplane::{hot::Hot, locks::lock, vitals::House},
    domain::breaker::State,
};

/// Distinct values one open-ended label may take; further ones are counted as `other`.
pub const LABEL_VALUES_MAX: usize = 64;
const BUCKETS: [f64; 13] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Numbers that keep kinds of counters apart; statuses of HTTP are below.
const CALL: u32 = 10_000;
const STATEMENT: u32 = 10_001;

type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;
type Gauges = Family<Labels, Gauge>;
type Seconds = Family<Labels, Histogram, fn() -> Histogram>;

fn seconds() -> Seconds {
    Family::new_with_constructor(|| Histogram::new(BUCKETS))
}

/// All metrics of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    service: &'static str,
    registry: Registry,
    hot: Hot,
    known: Mutex<BTreeSet<String>>,
    http_requests: Counters,
    http_seconds: Seconds,
    http_active: Gauge,
    mcp_requests: Counters,
    mcp_seconds: Seconds,
    mcp_active: Gauge,
    mcp_errors: Counters,
    mcp_retries: Counters,
    mcp_circuit: Gauges,
    published: Counters,
    delivery_seconds: Histogram,
    queued_events: Gauge,
    delivered: Counter,
    delivery_errors: Counters,
    subscribers: Gauge,
    db_operations: Counters,
    db_seconds: Seconds,
    db_size: Gauge,
    db_connections: Gauge,
    db_wait: Histogram,
    contexts: Counter,
    context_seconds: Histogram,
    context_bytes: Histogram,
    memory_calls: Counters,
    memory_seconds: Histogram,
    actor_restarts: Family<Labels, Gauge>,
    mailbox_wait: Family<Labels, Gauge<f64, AtomicU64>>,
    queue_depth: Gauges,
    shed: Counters,
    commit_batch: Histogram,
}

impl Metrics {
    /// All families, registered, for the process of `service`.
    #[must_use]
    pub fn new(service: &'static str) -> Self {
        let mut r = Registry::default();
        let shared = Shared {
            service,
            known: Mutex::default(),
            hot: Hot::default(),
            http_requests: family(&mut r, "http_requests", "Requests answered"),
            http_seconds: timed(
                &mut r,
                "http_request_duration_seconds",
                "Time to the answer's head",
            ),
            http_active: one(&mut r, "http_active_requests", "Requests being answered"),
            mcp_requests: family(&mut r, "mcp_requests", "Calls to services"),
            mcp_seconds: timed(
                &mut r,
                "mcp_request_duration_seconds",
                "Time of calls, with retries",
            ),
            mcp_active: one(&mut r, "mcp_active_requests", "Calls under way"),
            mcp_errors: family(&mut r, "mcp_errors", "Calls that failed"),
            mcp_retries: family(&mut r, "mcp_retries", "Attempts after the first"),
            mcp_circuit: family(
                &mut r,
                "mcp_circuit_state",
                "Breaker of an endpoint: 0 open, 1 half-open, 2 closed",
            ),
            published: family(&mut r, "event_publish", "Events given to the bus"),
            delivery_seconds: plain(
                &mut r,
                "event_delivery_seconds",
                "Time from the bus to the subscribers' queues",
                BUCKETS,
            ),
            queued_events: one(&mut r, "event_queue_size", "Events waiting for slow readers"),
            delivered: one(&mut r, "event_delivery", "Events queued for a subscriber"),
            delivery_errors: family(&mut r, "event_delivery_errors", "Subscribers dropped"),
            subscribers: one(&mut r, "event_subscribers", "Open subscriptions"),
            db_operations: family(&mut r, "db_operations", "Statements by kind and table"),
            db_seconds: timed(&mut r, "db_operation_duration_seconds", "Time of statements"),
            db_size: one(&mut r, "db_size_bytes", "Size of the database file"),
            db_connections: one(&mut r, "db_connections", "Connections in use"),
            db_wait: plain(&mut r, "db_connection_wait_seconds", "Wait for a connection", BUCKETS),
            contexts: one(&mut r, "context_generation", "Contexts built"),
            context_seconds: plain(
                &mut r,
                "context_generation_duration_seconds",
                "Time to build a context",
                BUCKETS,
            ),
            context_bytes: plain(&mut r, "context_size_bytes", "Size of a context", SIZES),
            memory_calls: family(&mut r, "memory_service_calls", "Calls from cognition to memory"),
            memory_seconds: plain(
                &mut r,
                "memory_service_duration_seconds",
                "Time of calls from cognition to memory",
                BUCKETS,
            ),
            actor_restarts: family(&mut r, "cortex_actor_restarts", "Restarts of an actor"),
            mailbox_wait: family(&mut r, "cortex_mailbox_wait_seconds", "Wait of the last ping"),
            queue_depth: family(&mut r, "cortex_queue_depth", "Entries waiting in a queue"),
            shed: family(&mut r, "cortex_requests_shed", "Requests refused: too many at once"),
            commit_batch: plain(&mut r, "cortex_commit_batch_size", "Writes per commit", SIZES),
            registry: r,
        };
        Metrics { shared: Arc::new(shared) }
    }

    /// A request begins; [`Metrics::http_done`] ends it.
    pub fn http_begun(&self) {
        self.shared.http_active.inc();
    }

    /// A request was answered. `endpoint` is the route's pattern, never the path.
    pub fn http_done(&self, method: &str, endpoint: &str, status: u16, took: Duration) {
        self.shared.http_active.dec();
        let (count, seconds) = self.shared.hot.get(&[method, endpoint], u32::from(status), || {
            let route = vec![("method", method.to_owned()), ("endpoint", endpoint.to_owned())];
            let seconds = self.shared.http_seconds.get_or_create(&route).clone();
            let status = [("status", status.to_string())];
            let labels = route.into_iter().chain(status).collect();
            (self.shared.http_requests.get_or_create(&labels).clone(), seconds)
        });
        count.inc();
        seconds.observe(took.as_secs_f64());
    }

    /// A call to a service begins; [`Metrics::call_done`] ends it.
    pub fn call_begun(&self) {
        self.shared.mcp_active.inc();
    }

    /// A call to a service ended; `error` is the failure's code.
    pub fn call_done(&self, service: &str, tool: &str, error: Option<&str>, took: Duration) {
        self.shared.mcp_active.dec();
        let call = || vec![("service", self.bounded(service)), ("tool", self.bounded(tool))];
        let (count, seconds) = self.shared.hot.get(&[service, tool], CALL, || {
            let call = call();
            let seconds = self.shared.mcp_seconds.get_or_create(&call).clone();
            (self.shared.mcp_requests.get_or_create(&call).clone(), seconds)
        });
        count.inc();
        seconds.observe(took.as_secs_f64());
        if self.shared.service == "cognition" && service == "memory" {
            self.shared.memory_seconds.observe(took.as_secs_f64());
            let status = if error.is_some() { "error" } else { "success" };
            self.shared.memory_calls.get_or_create(&vec![("status", status.to_owned())]).inc();
        }
        if let Some(code) = error {
            let mut labels = call();
            labels.push(("error_type", code.to_owned()));
            self.shared.mcp_errors.get_or_create(&labels).inc();
        }
    }

    /// An attempt after the first goes out.
    pub fn retried(&self, service: &str) {
        let labels = vec![("service", self.bounded(service))];
        self.shared.mcp_retries.get_or_create(&labels).inc();
    }

    /// A breaker stands somewhere new.
    pub fn circuit(&self, service: &str, endpoint: &str, state: State) {
        let labels = vec![("service", self.bounded(service)), ("endpoint", self.bounded(endpoint))];
        let value = match state {
            State::Open => 0,
            State::HalfOpen => 1,
            State::Closed => 2,
        };
        self.shared.mcp_circuit.get_or_create(&labels).set(value);
    }

    /// An event went to the bus and reached `subscribers` queues after `took`.
    pub fn published(&self, kind: &'static str, subscribers: usize, took: Duration) {
        self.shared.delivery_seconds.observe(took.as_secs_f64());
        self.shared.published.get_or_create(&vec![("event_type", kind.to_owned())]).inc();
        self.shared.delivered.inc_by(u64::try_from(subscribers).unwrap_or(u64::MAX));
    }

    /// A subscriber was dropped.
    pub fn dropped(&self, reason: &'static str) {
        self.shared.delivery_errors.get_or_create(&vec![("reason", reason.to_owned())]).inc();
    }

    /// How many subscriptions are open, and how many events wait in their queues.
    pub fn subscribers(&self, count: usize, queued: usize) {
        self.shared.queued_events.set(i64::try_from(queued).unwrap_or(i64::MAX));
        self.shared.subscribers.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A statement ran.
    pub fn db_operation(&self, operation: &'static str, table: &'static str, took: Duration) {
        let (count, seconds) = self.shared.hot.get(&[operation, table], STATEMENT, || {
            let labels = vec![("operation", operation.to_owned()), ("table", table.to_owned())];
            let seconds = self.shared.db_seconds.get_or_create(&labels).clone();
            (self.shared.db_operations.get_or_create(&labels).clone(), seconds)
        });
        count.inc();
        seconds.observe(took.as_secs_f64());
    }

    /// A connection was got after `waited`; [`Metrics::db_released`] gives it back.
    pub fn db_acquired(&self, waited: Duration) {
        self.shared.db_wait.observe(waited.as_secs_f64());
        self.shared.db_connections.inc();
    }

    /// A connection was given back.
    pub fn db_released(&self) {
        self.shared.db_connections.dec();
    }

    /// The size of the database file now.
    pub fn db_size(&self, bytes: u64) {
        self.shared.db_size.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// One commit carried `writes` writes.
    pub fn committed(&self, writes: usize) {
        self.shared.commit_batch.observe(f64::from(u32::try_from(writes).unwrap_or(u32::MAX)));
    }

    /// A context of `bytes` was built.
    pub fn context_built(&self, took: Duration, bytes: usize) {
        self.shared.contexts.inc();
        self.shared.context_seconds.observe(took.as_secs_f64());
        self.shared.context_bytes.observe(f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)));
    }

    /// How many entries wait in `queue`.
    pub fn queue_depth(&self, queue: &'static str, depth: usize) {
        let labels = vec![("queue", queue.to_owned())];
        self.shared
            .queue_depth
            .get_or_create(&labels)
            .set(i64::try_from(depth).unwrap_or(i64::MAX));
    }

    /// A request was refused at `door`, because there were too many at once.
    pub fn shed(&self, door: &'static str) {
        self.shared.shed.get_or_create(&vec![("door", door.to_owned())]).inc();
    }

    /// Everything as text, with the actors' vitals as they are now.
    #[must_use]
    pub fn render(&self, house: &House) -> String {
        for signs in house.signs() {
            let labels = vec![("actor", signs.name.clone())];
            self.shared.actor_restarts.get_or_create(&labels).set(signs.restarts.into());
            if let Some(latency) = signs.mailbox_latency {
                self.shared.mailbox_wait.get_or_create(&labels).set(latency.as_secs_f64());
            }
        }
        let mut text = String::new();
        match encode(&mut text, &self.shared.registry) {
            Ok(()) => text,
            Err(error) => {
                log::error!("metrics not rendered cause={error}");
                String::new()
            }
        }
    }

    /// A label value, or `other` once there are too many of them.
    fn bounded(&self, value: &str) -> String {
        let mut known = lock(&self.shared.known);
        if known.contains(value) {
            return value.to_owned();
        }
        if known.len() >= LABEL_VALUES_MAX {
            return "other".to_owned();
        }
        known.insert(value.to_owned());
        value.to_owned()
    }
}

const SIZES: [f64; 13] = [
    1.0,
    2.0,
    8.0,
    32.0,
    128.0,
    512.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    8_388_608.0,
];

fn family<M>(registry: &mut Registry, name: &str, help: &str) -> Family<Labels, M>
where
    M: Default + Clone + prometheus_client::encoding::EncodeMetric + Send + Sync + 'static,
    M: prometheus_client::metrics::TypedMetric + std::fmt::Debug,
{
    let metric = Family::<Labels, M>::default();
    registry.register(name, help, metric.clone());
    metric
}

fn timed(registry: &mut Registry, name: &str, help: &str) -> Seconds {
    let metric = seconds();
    registry.register(name, help, metric.clone());
    metric
}

fn one<M>(registry: &mut Registry, name: &str, help: &str) -> M
where
    M: Default + Clone + prometheus_client::registry::Metric,
{
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

fn plain(registry: &mut Registry, name: &str, help: &str, buckets: [f64; 13]) -> Histogram {
    let metric = Histogram::new(buckets);
    registry.register(name, help, metric.clone());
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carries_the_names_dashboards_know() {
        let metrics = Metrics::new("core");
        metrics.http_begun();
        metrics.http_done("GET", "/health", 200, Duration::from_millis(1));
        metrics.call_begun();
        metrics.call_done("memory", "store_input", Some("timeout"), Duration::from_millis(1));
        metrics.circuit("memory", "http://m", State::HalfOpen);
        let text = metrics.render(&House::new());
        for line in [
            "http_requests_total{method=\"GET\",endpoint=\"/health\",status=\"200\"} 1",
            "http_active_requests 0",
            "mcp_errors_total{service=\"memory\",tool=\"store_input\",error_type=\"timeout\"} 1",
            "mcp_circuit_state{service=\"memory\",endpoint=\"http://m\"} 1",
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} not in\n{text}");
        }
    }

    #[test]
    fn open_ended_labels_are_bounded() {
        let metrics = Metrics::new("core");
        for n in 0..1000 {
            metrics.retried(&format!("service-{n}"));
        }
        let text = metrics.render(&House::new());
        assert_eq!(text.matches("mcp_retries_total{").count(), LABEL_VALUES_MAX + 1);
        assert!(text.contains("mcp_retries_total{service=\"other\"} 936"));
    }
}
