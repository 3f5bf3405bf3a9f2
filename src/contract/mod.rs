//! Floor 2: what one part may ask another; each type is both a JSON body and an actor's words.

pub mod cognition;
pub mod conversation;
pub mod event;
pub mod fact;
pub mod health;
pub mod item;
pub mod log;
pub mod memory;
pub mod offers;
pub mod outbox;
pub mod understanding;
pub mod upstream;
