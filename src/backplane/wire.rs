//! Where HTTP clients get their connections from: the network, unless they are given another.

use std::{fmt, sync::Arc};

use awc::Client;

use crate::backplane::config::Calls;

/// Makes a client with at most so many connections.
type Make = dyn Fn(&Calls, usize) -> Client + Send + Sync;

/// The way out of a process. Tests put a network of their own in its place, with faults that come
/// from a seed; everything above the connections stays as it is.
#[derive(Clone, Default)]
pub struct Wire(Option<Arc<Make>>);

impl Wire {
    /// A way out over clients that `make` makes.
    pub fn of(make: impl Fn(&Calls, usize) -> Client + Send + Sync + 'static) -> Self {
        Wire(Some(Arc::new(make)))
    }

    /// A client of at most so many connections, unless it is the network's turn to give one.
    pub(crate) fn client(&self, settings: &Calls, connections: usize) -> Option<Client> {
        self.0.as_ref().map(|make| make(settings, connections))
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Wire(given)" } else { "Wire(network)" })
    }
}
