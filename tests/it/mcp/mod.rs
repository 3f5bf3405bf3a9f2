//! The Model Context Protocol as its clients meet it.

#[path = "../../../examples/fixture/mod.rs"]
#[expect(deprecated, reason = "clients before 2026-07-28 use what later ones have no more")]
mod fixture;
mod gateway;
mod gateway_changes;
mod gateway_eras;
mod gateway_guest;
mod gateway_roster;
mod gateway_stage;
mod gateway_stdio;
mod gateway_trouble;
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
