//! A place for one line: who makes it, who uses it, since when nobody does.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use tokio::time::Instant;

use super::{call::Missed, lines::Line};

/// A place for one line.
pub(super) struct Slot {
    pub(super) line: Mutex<Option<Line>>,
    /// Held by whoever makes the line.
    pub(super) making: Arc<tokio::sync::Mutex<()>>,
    /// The last attempt that failed, for those who waited for it.
    pub(super) failed: Mutex<Option<(Instant, Missed)>>,
    pub(super) used: Mutex<Instant>,
    in_use: AtomicUsize,
}

/// A line for one call; keeps it from being ended as idle.
pub(super) struct Taken {
    pub(super) line: Line,
    pub(super) _in_use: Option<InUse>,
}

/// Counts one who uses it.
pub(super) struct InUse(pub(super) Arc<Slot>);

impl InUse {
    pub(super) fn of(slot: &Arc<Slot>) -> Self {
        slot.in_use.fetch_add(1, Ordering::AcqRel);
        InUse(Arc::clone(slot))
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        *held(&self.0.used) = Instant::now();
        self.0.in_use.fetch_sub(1, Ordering::AcqRel);
    }
}

pub(super) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slot {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Slot {
            line: Mutex::default(),
            making: Arc::default(),
            failed: Mutex::default(),
            used: Mutex::new(Instant::now()),
            in_use: AtomicUsize::new(0),
        })
    }

    /// Whether some call has it at this moment.
    pub(super) fn is_used(&self) -> bool {
        self.in_use.load(Ordering::Acquire) > 0
    }

    /// The line, if it is up.
    pub(super) fn ready(&self) -> Option<Line> {
        held(&self.line).clone().filter(Line::is_open)
    }
}
