//! What operators want of a rollout: to wait, run, pause, halt or be withdrawn.
//!
//! It stands in the plan and is signed with it, so nothing starts, and nothing
//! that operators stopped goes on, on the word of the primary alone.

use jiff::Timestamp;

use super::words;

/// The longest reason, in bytes.
pub const MAX_REASON: usize = 1000;

/// What operators want.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Order {
    /// Not started yet.
    #[default]
    Wait,
    /// Going on, wave by wave.
    Run,
    /// What is open stays open; no further wave opens.
    Pause,
    /// Nothing new starts anywhere; it can be resumed.
    Halt,
    /// As halted, for good.
    Withdraw,
}

words!(
    Order,
    "order",
    "wait, run, pause, halt or withdraw",
    Wait = "wait",
    Run = "run",
    Pause = "pause",
    Halt = "halt",
    Withdraw = "withdraw"
);

/// The last order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// What is wanted.
    pub order: Order,
    /// When it was first started.
    pub started: Option<Timestamp>,
    /// When this was ordered.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Why an order is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is so already.
    #[error("it is so already: the last order was to {0}")]
    Already(Order),
    /// It waits for its start.
    #[error("it was not started yet; `patchmesh rollout start` does")]
    NotStarted,
    /// What was withdrawn does not come back.
    #[error("it was withdrawn at {0}; plan another rollout")]
    Withdrawn(Timestamp),
    /// Stopping asks for a reason.
    #[error("say why, with --reason")]
    NoReason,
    /// A reason that is a book.
    #[error("a reason has at most {MAX_REASON} bytes")]
    LongReason,
}

impl Control {
    /// Runs since ever, as plans without conditions do.
    #[must_use]
    pub fn always() -> Self {
        let at = Timestamp::UNIX_EPOCH;
        Self { order: Order::Run, started: Some(at), at, by: String::new(), reason: String::new() }
    }

    /// Not started; planned by somebody.
    #[must_use]
    pub fn planned(by: &str, at: Timestamp) -> Self {
        Self { order: Order::Wait, started: None, at, by: by.to_owned(), reason: String::new() }
    }

    /// The next order. A repeated `Run` resumes what stopped by itself.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn order(
        &self,
        order: Order,
        at: Timestamp,
        by: &str,
        reason: &str,
    ) -> Result<Self, Refused> {
        if self.order == Order::Withdraw {
            return Err(Refused::Withdrawn(self.at));
        }
        if self.order == order && order != Order::Run {
            return Err(Refused::Already(order));
        }
        let stops = matches!(order, Order::Pause | Order::Halt | Order::Withdraw);
        if order == Order::Pause && self.started.is_none() {
            return Err(Refused::NotStarted);
        }
        if stops && reason.trim().is_empty() {
            return Err(Refused::NoReason);
        }
        if reason.len() > MAX_REASON {
            return Err(Refused::LongReason);
        }
        let started = self.started.or_else(|| (order == Order::Run).then_some(at));
        // Orders follow each other, whatever the clock does.
        let at = at.max(self.at);
        Ok(Self { order, started, at, by: by.to_owned(), reason: reason.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn orders_follow_each_other() {
        let planned = Control::planned("ada", at(1));
        assert_eq!(planned.order(Order::Pause, at(2), "ada", "x"), Err(Refused::NotStarted));
        let running = planned.order(Order::Run, at(5), "ada", "").expect("started");
        assert_eq!(running.started, Some(at(5)));
        assert_eq!(running.order(Order::Halt, at(6), "bob", " "), Err(Refused::NoReason));
        let halted = running.order(Order::Halt, at(6), "bob", "breaks mail").expect("halted");
        let resumed = halted.order(Order::Run, at(4), "bob", "").expect("resumed");
        assert_eq!((resumed.started, resumed.at), (Some(at(5)), at(6)));
        let gone = resumed.order(Order::Withdraw, at(7), "bob", "no good").expect("withdrawn");
        assert_eq!(gone.order(Order::Run, at(8), "bob", ""), Err(Refused::Withdrawn(at(7))));
    }
}
