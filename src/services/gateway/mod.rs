//! The gateway: one server of the Model Context Protocol in front of every service and every
//! upstream, each of which may be slow, sick or gone without hurting the others.

pub mod catalogue;
pub mod listing;
pub mod shelf;
