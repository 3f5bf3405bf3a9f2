//! Memory, cognition and core in this process, on free ports, with data of their own.

use std::path::Path;

use super::{
    API_KEY, Node, SECRET, eventually,
    node::{Door, Role},
    proxy::ChaosProxy,
};

/// A running cluster. End every test with [`Cluster::stop`]; dropping it otherwise is a failure.
pub(crate) struct Cluster {
    pub(crate) memory: Node,
    pub(crate) cognition: Node,
    pub(crate) core: Node,
    /// Between memory and the two that call it, if asked for.
    pub(crate) memory_proxy: Option<ChaosProxy>,
    /// Between cognition and core, if asked for.
    pub(crate) cognition_proxy: Option<ChaosProxy>,
    data: tempfile::TempDir,
}

/// How a cluster is to be.
#[derive(Default)]
pub(crate) struct Builder {
    memory: Vec<String>,
    cognition: Vec<String>,
    core: Vec<String>,
    memory_proxy: bool,
    cognition_proxy: bool,
}

impl Cluster {
    /// A cluster with the settings of the product, except that it listens on free ports, logs
    /// nothing and leaves quickly.
    pub(crate) async fn start() -> Self {
        Cluster::builder().start().await
    }

    pub(crate) fn builder() -> Builder {
        Builder::default()
    }

    /// The directory all data is in; each process has a directory of its own name below.
    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    /// Stops whatever still runs, core first. Each must leave in time, without a failure, and
    /// free its port.
    pub(crate) async fn stop(mut self) {
        self.core.stop().await;
        self.cognition.stop().await;
        self.memory.stop().await;
    }

    /// Returns once core follows memory's log, from when on what is stored is streamed, and
    /// cognition does.
    pub(crate) async fn until_followed(&self) {
        let memory = self.memory.anonymous();
        eventually("core and cognition follow memory's log", || async {
            let metrics = memory.get("/metrics").await.text();
            metrics.lines().any(|line| line == "event_subscribers 2")
        })
        .await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let nodes = [&self.memory, &self.cognition, &self.core];
        let leaked = nodes.iter().any(|node| node.is_running());
        assert!(!leaked || std::thread::panicking(), "end the test with `cluster.stop().await`");
    }
}

impl Builder {
    /// Further arguments for memory, as on its command line.
    pub(crate) fn memory_args(mut self, arguments: &[&str]) -> Self {
        self.memory.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Further arguments for cognition.
    pub(crate) fn cognition_args(mut self, arguments: &[&str]) -> Self {
        self.cognition.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Further arguments for core.
    pub(crate) fn core_args(mut self, arguments: &[&str]) -> Self {
        self.core.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Core and cognition reach memory through a proxy that can break.
    pub(crate) fn with_memory_proxy(mut self) -> Self {
        self.memory_proxy = true;
        self
    }

    /// Core reaches cognition through a proxy that can break.
    pub(crate) fn with_cognition_proxy(mut self) -> Self {
        self.cognition_proxy = true;
        self
    }

    /// Starts all three, and returns once core follows memory's log.
    pub(crate) async fn start(self) -> Cluster {
        let cluster = self.start_without_follower().await;
        cluster.until_followed().await;
        cluster
    }

    /// Starts all three, where core cannot follow memory's log.
    pub(crate) async fn start_without_follower(self) -> Cluster {
        let data = tempfile::tempdir().unwrap();
        let (memory_door, cognition_door, core_door) = (Door::new(), Door::new(), Door::new());
        let memory_proxy = proxy(self.memory_proxy, &memory_door).await;
        let cognition_proxy = proxy(self.cognition_proxy, &cognition_door).await;
        let memory_url = url(memory_proxy.as_ref(), &memory_door);
        let cognition_url = url(cognition_proxy.as_ref(), &cognition_door);
        let directory = |role: Role| data.path().join(role.name()).display().to_string();
        let start = |door, role, own: &[&str], further: Vec<String>| {
            let own = own.iter().map(|&argument| argument.to_owned());
            Node::start_at(door, role, common().chain(own).chain(further).collect())
        };
        let own = ["--data-dir", &directory(Role::Memory)];
        let memory = start(memory_door, Role::Memory, &own, self.memory);
        let own = ["--data-dir", &directory(Role::Cognition), "--memory-service-url", &memory_url];
        let cognition = start(cognition_door, Role::Cognition, &own, self.cognition);
        let own = [
            "--data-dir",
            &directory(Role::Core),
            "--memory-service-url",
            &memory_url,
            "--cognition-service-url",
            &cognition_url,
            "--service-discovery-api-key",
            API_KEY,
            "--dev-user",
            "true",
        ];
        let core = start(core_door, Role::Core, &own, self.core);
        Cluster { memory, cognition, core, memory_proxy, cognition_proxy, data }
    }
}

fn common() -> impl Iterator<Item = String> {
    let arguments =
        ["--workers", "1", "--log", "off", "--shutdown-grace", "5", "--jwt-secret-key", SECRET];
    arguments.into_iter().map(str::to_owned)
}

async fn proxy(wanted: bool, before: &Door) -> Option<ChaosProxy> {
    if wanted { Some(ChaosProxy::start(before.address()).await) } else { None }
}

fn url(proxy: Option<&ChaosProxy>, door: &Door) -> String {
    match proxy {
        Some(proxy) => proxy.url(),
        None => format!("http://{}", door.address()),
    }
}
