//! The thread on which the upstreams' connections live, apart from the workers' own loops.

use std::{io, sync::Arc, thread};

use tokio::{runtime, sync::oneshot};

/// The runtime of the upstreams' connections; ends, with every child, when the last handle goes.
#[derive(Clone)]
pub(super) struct Runtime {
    pub(super) handle: runtime::Handle,
    _end: Arc<End>,
}

struct End {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Runtime {
    /// Starts it.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start() -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let thread = thread::Builder::new().name("upstreams".to_owned()).spawn(move || {
            // Whether it was told or left alone: this is its end.
            drop(runtime.block_on(stopped));
        })?;
        Ok(Runtime { handle, _end: Arc::new(End { stop: Some(stop), thread: Some(thread) }) })
    }
}

impl Drop for End {
    fn drop(&mut self) {
        drop(self.stop.take());
        let own =
            self.thread.as_ref().is_some_and(|own| own.thread().id() == thread::current().id());
        if let Some(thread) = self.thread.take().filter(|_| !own) {
            // Its tasks end where they wait; the children's groups are killed with them.
            drop(thread.join());
        }
    }
}
