//! TUF client.
fn main() {}
