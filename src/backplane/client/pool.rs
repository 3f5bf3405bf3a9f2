//! A worker's connections to one service: each endpoint has its own, so that one that hangs cannot
//! hold its sisters' connections, and those of an endpoint that was taken out close after its last
//! call.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use awc::Client;

use super::attempt::http_client;
use crate::backplane::{config::Calls, discovery::Endpoint};

/// The connections of one worker to one service.
pub(crate) struct Pool {
    settings: Arc<Calls>,
    clients: RefCell<BTreeMap<String, Client>>,
}

impl Pool {
    pub(crate) fn new(settings: &Arc<Calls>) -> Self {
        Pool { settings: Arc::clone(settings), clients: RefCell::default() }
    }

    /// The connections to `endpoint`. Those to endpoints that are no longer among `present` are
    /// let go; a call under way holds its own until it ends.
    pub(crate) fn of(&self, endpoint: &Endpoint, present: &[Arc<Endpoint>]) -> Client {
        let mut clients = self.clients.borrow_mut();
        if clients.len() > present.len() || !clients.contains_key(&endpoint.url) {
            clients.retain(|url, _| present.iter().any(|endpoint| endpoint.url == *url));
        }
        if let Some(client) = clients.get(&endpoint.url) {
            return client.clone();
        }
        let client =
            http_client(&self.settings, usize::from(self.settings.max_connections_per_service));
        clients.insert(endpoint.url.clone(), client.clone());
        client
    }
}
