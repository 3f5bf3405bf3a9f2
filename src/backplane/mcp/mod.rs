//! Being a server of the Model Context Protocol: a service's table, as the protocol's clients see
//! it. The transport is not here: the same server answers over HTTP and over standard input.

pub mod offers;
mod pages;
mod served;
mod table;
mod visitor;
pub mod watching;
mod words;

pub use pages::Pages;
pub use served::About;
pub use table::{REVISIONS, TableServer, WATCHED_PER_CLIENT_MAX};
pub use visitor::{Visitor, visitor};
pub use words::{answered, failed, gone_wrong};
