//! How nodes, users and stock clients reach each other: one TLS port per node
//! for gRPC and HTTPS, a unix socket for the host's own administrator, an
//! optional plain HTTP port for what is open to all, and channels to other
//! nodes.
//!
//! Both ends use the same HTTP/2 sizes, which stand here.

use std::time::Duration;

pub mod address;
pub mod channel;
pub mod ending;
pub mod metered;
#[cfg(feature = "server")]
pub mod server;

#[cfg(all(test, feature = "server"))]
mod tests;

/// HTTP/2 window of one stream. Payload never meets it: it is granted by the
/// receiver (see [`crate::content`]), and less of it than this.
const STREAM_WINDOW: u32 = 32 << 20;

/// HTTP/2 window of a whole connection: more than all that a node ever grants
/// together, so that documents find room beside it.
const CONNECTION_WINDOW: u32 = 64 << 20;

/// The largest HTTP/2 frame: one piece of content in one frame.
const MAX_FRAME: u32 = 1 << 20;

/// The largest HTTP/2 header list that is read.
const MAX_HEADERS: u32 = 16 << 10;

/// How often a silent connection is asked whether the peer is still there.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// The largest frame between a node and a machine. What was read into stays allocated
/// for as long as the connection, and of those there are thousands.
const MACHINE_FRAME: u32 = 16 << 10;

/// HTTP/2 window of what a machine sends: a request has a few MiB at most.
#[cfg(feature = "server")]
const MACHINE_WINDOW: u32 = 1 << 20;

/// How often a machine asks whether its node is still there, and the node the machine:
/// often enough for what forgets silent connections on the way.
const MACHINE_KEEP_ALIVE: Duration = Duration::from_secs(240);

/// How long the peer may take to answer that.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
