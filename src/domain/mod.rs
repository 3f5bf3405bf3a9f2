//! Floor 1: the words and the decisions of Cortex, as functions of state, input and `now`.

pub mod admission;
pub mod analysis;
pub mod apart;
pub mod backoff;
pub mod balance;
pub mod breaker;
pub mod budget;
pub mod entities;
pub mod facts;
pub mod failure;
pub mod gateway;
pub mod latency;
pub mod outbox;
pub mod permission;
pub mod principal;
pub mod published;
pub mod relevance;
pub mod reply;
pub mod retrieval;
pub mod roster;
pub mod sentiment;
pub mod sse;
pub mod storage_fault;
pub mod text;
pub mod understanding;
pub mod window;
