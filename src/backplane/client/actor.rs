//! The client actor: owns this worker's connections to one service and makes calls that survive
//! passing trouble.

use std::{rc::Rc, sync::Arc};

use actix::prelude::*;
use serde_json::Value;

use crate::{
    answers_ping,
    backplane::{
        client::{
            CallTool, Caller, ClientsShared, OpenStream, ReadResource,
            line::Line,
            stream::{self, StreamReader},
        },
        token::ServiceToken,
    },
    domain::failure::{Failure, Kind},
};

/// One service as one worker reaches it.
pub(crate) struct ServiceClient {
    line: Rc<Line>,
}

impl ServiceClient {
    pub(crate) fn new(service: &str, shared: &ClientsShared, token: Arc<ServiceToken>) -> Self {
        ServiceClient { line: Rc::new(Line::new(service, shared, token)) }
    }
}

impl Actor for ServiceClient {
    type Context = Context<Self>;
}
impl Supervised for ServiceClient {}
answers_ping!(ServiceClient);

impl Handler<CallTool> for ServiceClient {
    type Result = ResponseFuture<Result<Value, Failure>>;
    fn handle(&mut self, call: CallTool, _: &mut Context<Self>) -> Self::Result {
        let line = Rc::clone(&self.line);
        let context = call.context.clone();
        Box::pin(context.scope(async move {
            let CallTool { context, named, tool, arguments, repeatable, caller } = call;
            let called = (named, tool.as_str());
            while_present(caller, line.call(called, arguments, &context, repeatable)).await
        }))
    }
}

impl Handler<ReadResource> for ServiceClient {
    type Result = ResponseFuture<Result<Value, Failure>>;
    fn handle(&mut self, read: ReadResource, _: &mut Context<Self>) -> Self::Result {
        let line = Rc::clone(&self.line);
        let context = read.context.clone();
        Box::pin(context.scope(async move {
            let ReadResource { context, path, caller } = read;
            while_present(caller, line.read(&path, &context)).await
        }))
    }
}

impl Handler<OpenStream> for ServiceClient {
    type Result = Result<StreamReader, Failure>;
    fn handle(&mut self, open: OpenStream, _: &mut Context<Self>) -> Self::Result {
        stream::open(Rc::clone(&self.line), open)
    }
}

/// Does the work unless the caller goes away before its end.
async fn while_present<T>(
    caller: Caller,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        result = work => result,
        _ = caller => Err(Failure::new(Kind::Timeout, "the caller has gone")),
    }
}
