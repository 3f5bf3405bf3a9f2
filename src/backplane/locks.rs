//! Locking: what a thread that panicked left behind is used all the same.
//!
//! Nothing here holds a lock over a step that may fail half-way, so that what is behind it is whole.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, also after a panic of another holder.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
