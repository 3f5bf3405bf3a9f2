//! Sessions of clients of 2025-11-25 and before: bounded in number, each its user's alone.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::Stream;
use rmcp::{
    model::{ClientJsonRpcMessage, ServerJsonRpcMessage},
    transport::{
        WorkerTransport,
        common::server_side_http::{ServerSseMessage, SessionId},
        streamable_http_server::{
            SessionManager,
            session::local::{LocalSessionManager, LocalSessionManagerError, LocalSessionWorker},
        },
    },
};

use crate::backplane::config::Mcp;

/// When a client whose stream broke is asked to come back for the rest.
pub(super) const RETRY: Duration = Duration::from_secs(1);

tokio::task_local! {
    /// The user in whose name the task asks for sessions; a session's own end has none.
    static USER: Arc<str>;
}

/// Runs `work` in the name of `user`.
pub(super) async fn in_name_of<F: Future>(user: Arc<str>, work: F) -> F::Output {
    USER.scope(user, work).await
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoSession {
    #[error("too many sessions are open")]
    Full,
    #[error("no session of that id")]
    Unknown,
    #[error(transparent)]
    Library(#[from] LocalSessionManagerError),
}

/// The library's sessions, with a bound and with owners.
#[derive(Debug)]
pub(super) struct Sessions {
    library: LocalSessionManager,
    owners: Mutex<HashMap<SessionId, Arc<str>>>,
    max: usize,
    per_user_max: usize,
}

impl Sessions {
    pub(super) fn new(settings: &Mcp) -> Self {
        let mut library = LocalSessionManager::default();
        library.session_config.keep_alive = Some(settings.mcp_session_idle);
        library.session_config.sse_retry = Some(RETRY);
        library.session_config.completed_cache_ttl = settings.mcp_session_resume;
        Sessions {
            library,
            owners: Mutex::default(),
            max: settings.mcp_sessions_max,
            per_user_max: settings.mcp_sessions_per_user_max,
        }
    }

    fn owners(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<str>>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a session is there for whoever asks. Another user's is as good as none: its id must
    /// open nothing.
    fn is_theirs(&self, id: &SessionId) -> bool {
        let user = USER.try_with(Arc::clone).ok();
        self.owners().get(id).is_some_and(|owner| user.is_none_or(|user| user == *owner))
    }

    fn has_room_for(&self, user: &Arc<str>, owners: &HashMap<SessionId, Arc<str>>) -> bool {
        let of_user = owners.values().filter(|owner| *owner == user).count();
        owners.len() < self.max && of_user < self.per_user_max
    }

    /// Books a session, if there is still room when it is made.
    fn book(&self, id: &SessionId, user: Arc<str>) -> bool {
        let mut owners = self.owners();
        let room = self.has_room_for(&user, &owners);
        if room {
            owners.insert(id.clone(), user);
        }
        room
    }
}

impl SessionManager for Sessions {
    type Error = NoSession;
    type Transport = WorkerTransport<LocalSessionWorker>;

    async fn create_session(&self) -> Result<(SessionId, Self::Transport), NoSession> {
        let user = USER.try_with(Arc::clone).unwrap_or_default();
        if !self.has_room_for(&user, &self.owners()) {
            return Err(NoSession::Full);
        }
        let (id, transport) = self.library.create_session().await?;
        if !self.book(&id, user) {
            self.library.close_session(&id).await?;
            return Err(NoSession::Full);
        }
        Ok((id, transport))
    }

    async fn initialize_session(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<ServerJsonRpcMessage, NoSession> {
        Ok(self.library.initialize_session(id, message).await?)
    }

    async fn has_session(&self, id: &SessionId) -> Result<bool, NoSession> {
        Ok(self.is_theirs(id) && self.library.has_session(id).await?)
    }

    async fn close_session(&self, id: &SessionId) -> Result<(), NoSession> {
        if !self.is_theirs(id) {
            // A session's own end comes after the one its client asked for.
            return if USER.try_with(|_user| ()).is_ok() {
                Err(NoSession::Unknown)
            } else {
                Ok(())
            };
        }
        self.owners().remove(id);
        Ok(self.library.close_session(id).await?)
    }

    async fn create_stream(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, NoSession> {
        Ok(self.library.create_stream(id, message).await?)
    }

    async fn accept_message(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<(), NoSession> {
        Ok(self.library.accept_message(id, message).await?)
    }

    async fn create_standalone_stream(
        &self,
        id: &SessionId,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, NoSession> {
        Ok(self.library.create_standalone_stream(id).await?)
    }

    async fn resume(
        &self,
        id: &SessionId,
        last_event_id: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, NoSession> {
        Ok(self.library.resume(id, last_event_id).await?)
    }
}
