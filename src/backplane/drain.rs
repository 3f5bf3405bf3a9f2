//! The signal that a process is leaving: streams end themselves on it, nothing new begins.

use tokio::sync::watch;

/// Says "leave". Kept by the process; everyone else holds a [`Drain`].
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

/// Hears "leave". Cheap to clone.
#[derive(Clone, Debug)]
pub struct Drain(watch::Receiver<bool>);

/// A connected pair.
#[must_use]
pub fn pair() -> (Trigger, Drain) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Drain(receiver))
}

impl Trigger {
    /// Says it. Saying it twice changes nothing.
    pub fn pull(&self) {
        self.0.send_replace(true);
    }
}

impl Drain {
    /// Whether it was said.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it is said, or when nobody is left to say it.
    pub async fn leaving(&mut self) {
        if self.0.wait_for(|leaving| *leaving).await.is_err() {
            log::debug!("the drain trigger is gone; leaving");
        }
    }
}
