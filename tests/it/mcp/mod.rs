//! The Model Context Protocol as its clients meet it.

mod server;
mod server_access;
mod server_bounds;
mod server_era;
mod server_hostile;
mod server_life;
mod upstream;
mod upstream_hostile;
mod upstream_old;
mod upstream_peer;
mod upstream_stdio;
