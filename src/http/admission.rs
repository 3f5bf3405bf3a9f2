//! Shedding load: what a process cannot work on now is refused at once, and cheaply.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_web::http::Method;

use crate::{
    backplane::{config::Http, locks::lock, metrics::Metrics, seldom::Seldom},
    domain::{
        admission::{Admission, Places, Refused},
        failure::{Failure, Kind},
    },
};

/// When a refused caller may come back.
const COME_BACK: Duration = Duration::from_secs(1);

/// The doors of a process: inputs and everything else have places of their own, so that slow
/// questions do not keep inputs out. Cheap to clone; clones share the places.
#[derive(Clone, Debug)]
pub struct Admissions {
    inputs: Door,
    others: Door,
    refusals: Arc<Seldom>,
    metrics: Metrics,
}

#[derive(Clone, Debug)]
struct Door {
    name: &'static str,
    inside: Arc<Mutex<Admission>>,
}

/// A place inside; whoever drops it leaves.
#[derive(Debug)]
pub struct Place {
    door: Door,
    user: Option<Arc<str>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.door.inside).leave(self.user.as_ref());
    }
}

impl Admissions {
    /// Doors with the places that are set.
    #[must_use]
    pub fn new(http: &Http, metrics: &Metrics) -> Self {
        let door = |name, max: u16| {
            let shared_percent = usize::from(http.users_places_percent);
            let places = Places { max: usize::from(max), shared_percent };
            Door { name, inside: Arc::new(Mutex::new(Admission::new(places))) }
        };
        Admissions {
            inputs: door("inputs", http.inputs_in_flight_max),
            others: door("requests", http.requests_in_flight_max),
            refusals: Arc::default(),
            metrics: metrics.clone(),
        }
    }

    /// Lets a request of `user` in; `None` is a place that needs none.
    ///
    /// # Errors
    /// `overloaded` when there is none.
    pub fn enter(
        &self,
        method: &Method,
        path: &str,
        user: Option<Arc<str>>,
    ) -> Result<Option<Place>, Failure> {
        match class(method, path) {
            Class::Free => Ok(None),
            Class::Input => self.enter_at(&self.inputs, user).map(Some),
            Class::Other => self.enter_at(&self.others, user).map(Some),
        }
    }

    /// Lets a request of `user` in among the others, whatever its path: for routes that know only
    /// when they have read more whether they need a place.
    ///
    /// # Errors
    /// `overloaded` when there is no place.
    pub fn enter_others(&self, user: Option<Arc<str>>) -> Result<Place, Failure> {
        self.enter_at(&self.others, user)
    }

    fn enter_at(&self, door: &Door, user: Option<Arc<str>>) -> Result<Place, Failure> {
        let entered = lock(&door.inside).enter(user.as_ref());
        entered.map(|()| Place { door: door.clone(), user }).map_err(|refused| {
            self.tell(door.name);
            let text = match refused {
                Refused::Full => "too much to do at this moment",
                Refused::Share => "too many requests of this user are under way",
            };
            Failure::new(Kind::Overloaded, text).retry_after(COME_BACK)
        })
    }

    fn tell(&self, door: &'static str) {
        self.metrics.shed(door);
        if let Some(count) = self.refusals.happened() {
            log::warn!("requests refused: too many at once door={door} count={count}");
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Always let in: health, and streams and the protocol's endpoint, which have bounds of their
    /// own.
    Free,
    Input,
    Other,
}

fn class(method: &Method, path: &str) -> Class {
    let path = path.strip_prefix("/v1").unwrap_or(path);
    let health = path == "/" || path == "/metrics" || path.starts_with("/health");
    if health || path == "/mcp" || *method == Method::OPTIONS {
        return Class::Free;
    }
    if *method == Method::GET {
        return if path.ends_with("/stream") { Class::Free } else { Class::Other };
    }
    let takes = path.ends_with("/input") || path.ends_with("/messages");
    if takes || path.starts_with("/tool/store_input") { Class::Input } else { Class::Other }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_and_streams_are_free_and_inputs_have_their_own_door() {
        for (method, path, expected) in [
            (Method::GET, "/health/ready", Class::Free),
            (Method::GET, "/v1/health", Class::Free),
            (Method::GET, "/metrics", Class::Free),
            (Method::GET, "/output/stream", Class::Free),
            (Method::GET, "/resource/log/stream", Class::Free),
            (Method::OPTIONS, "/input", Class::Free),
            (Method::POST, "/mcp", Class::Free),
            (Method::POST, "/input", Class::Input),
            (Method::POST, "/v1/conversation/c/messages", Class::Input),
            (Method::POST, "/tool/store_inputs", Class::Input),
            (Method::POST, "/tool/get_context", Class::Other),
            (Method::GET, "/resource/history/u", Class::Other),
            (Method::POST, "/auth/login", Class::Other),
        ] {
            assert_eq!(class(&method, path), expected, "{path}");
        }
    }
}
