//! The bars of the product as ratios measured side by side within one run.
fn main() {}
