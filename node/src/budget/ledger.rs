//! What passed the connections with one node, and how much of it was payload
//! that had been taken from the budget. The rest is overhead.
//!
//! Payload counts when it is handed to the connection or has come from it, so
//! the two differ by no more than what lies in a socket's buffer; that evens out.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::Direction;
use crate::transport::metered::Meter;

/// One node's.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    incoming: Side,
    outgoing: Side,
}

#[derive(Debug, Default)]
struct Side {
    passed: AtomicU64,
    payload: AtomicU64,
    /// The most by which the one was ahead of the other so far.
    settled: AtomicI64,
}

impl Side {
    fn settle(&self) -> u64 {
        let passed = self.passed.load(Ordering::Relaxed);
        let payload = self.payload.load(Ordering::Relaxed);
        let ahead =
            i64::try_from(passed).unwrap_or(i64::MAX) - i64::try_from(payload).unwrap_or(i64::MAX);
        let before = self.settled.fetch_max(ahead, Ordering::Relaxed);
        u64::try_from(ahead - before).unwrap_or(0)
    }
}

impl Ledger {
    /// Payload that was taken passes.
    pub(super) fn moved(&self, direction: Direction, bytes: u64) {
        self.side(direction).payload.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes beside payload since this was asked last.
    pub(super) fn settle(&self, direction: Direction) -> u64 {
        self.side(direction).settle()
    }

    const fn side(&self, direction: Direction) -> &Side {
        match direction {
            Direction::In => &self.incoming,
            Direction::Out => &self.outgoing,
        }
    }
}

impl Meter for Ledger {
    fn read(&self, bytes: u64) {
        self.incoming.passed.fetch_add(bytes, Ordering::Relaxed);
    }

    fn written(&self, bytes: u64) {
        self.outgoing.passed.fetch_add(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_no_payload_is_overhead() {
        let ledger = Ledger::default();
        ledger.read(300);
        assert_eq!(ledger.settle(Direction::In), 300, "a handshake");
        // A frame is taken and comes in two reads.
        ledger.read(600);
        ledger.read(420);
        ledger.moved(Direction::In, 1000);
        assert_eq!(ledger.settle(Direction::In), 20);
        assert_eq!(ledger.settle(Direction::In), 0);
        // Handed to the connection before it leaves: nothing is owed for that.
        ledger.moved(Direction::Out, 5000);
        assert_eq!(ledger.settle(Direction::Out), 0);
        ledger.written(5050);
        assert_eq!(ledger.settle(Direction::Out), 50);
    }
}
