//! A rate that all who share it keep to together, in turn.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use patchmesh_topology::link::rate::Rate;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// How much of the rate passes at once at most: what comes behind waits no longer for it.
const AT_ONCE: Duration = Duration::from_millis(100);

/// How long it takes at most until each of those who wait has had its turn, as far as
/// [`LEAST`] lets it: clients give up who get nothing for half a minute.
const TURN: Duration = Duration::from_secs(10);

/// The least that passes at once.
const LEAST: usize = 4 << 10;

/// Lets bytes pass at a rate. Whoever waits waits in turn, a part at a time, so that all get
/// on alike; one that goes away gives its place up.
#[derive(Debug)]
pub struct Pace {
    rate: Rate,
    /// When what has passed will have taken its time.
    free_at: Mutex<Instant>,
    waiting: AtomicUsize,
}

/// One who waits, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn among(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pace {
    /// At this rate.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self { rate, free_at: Mutex::new(Instant::now()), waiting: AtomicUsize::new(0) }
    }

    /// Waits until so many bytes may pass.
    pub async fn pass(&self, bytes: usize) {
        if self.rate.is_unlimited() {
            return;
        }
        let _waiting = Waiting::among(&self.waiting);
        let mut free_at = self.free_at.lock().await;
        sleep_until(*free_at).await;
        *free_at = (*free_at).max(Instant::now()) + self.rate.time_of(bytes as u64);
    }

    /// The first part of some bytes, which passes at once; the others stay.
    #[must_use]
    pub fn part(&self, bytes: &mut Bytes) -> Bytes {
        let waiting = self.waiting.load(Ordering::Relaxed).max(1) as u64;
        let share = self.rate.bytes_in(AT_ONCE).min(self.rate.bytes_in(TURN) / waiting);
        let most = usize::try_from(share).unwrap_or(usize::MAX).max(LEAST);
        bytes.split_to(bytes.len().min(most))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn pace(rate: &str) -> Arc<Pace> {
        Arc::new(Pace::new(rate.parse().expect("a rate")))
    }

    /// How long it takes so many to pass so many parts each.
    async fn taken(pace: &Arc<Pace>, tasks: usize, parts: usize, bytes: usize) -> Duration {
        let began = Instant::now();
        let run = |pace: Arc<Pace>| async move {
            for _ in 0..parts {
                pace.pass(bytes).await;
            }
        };
        let running: Vec<_> = (0..tasks).map(|_| tokio::spawn(run(Arc::clone(pace)))).collect();
        for one in running {
            one.await.expect("ended");
        }
        began.elapsed()
    }

    #[tokio::test]
    async fn all_together_are_no_faster() {
        // 20 parts of 10 kB at 1 MB/s, of which the last need not be waited for.
        let took = taken(&pace("8Mbit/s"), 4, 5, 10_000).await;
        assert!(took >= Duration::from_millis(190), "{took:?}");
    }

    #[tokio::test]
    async fn what_was_not_used_is_not_made_up_for() {
        let pace = pace("8Mbit/s");
        pace.pass(1000).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let took = taken(&pace, 1, 11, 10_000).await;
        assert!(took >= Duration::from_millis(100), "{took:?}");
    }

    #[tokio::test]
    async fn whoever_goes_away_holds_up_nobody() {
        // Each of them would take a quarter of an hour.
        let pace = pace("8kbit/s");
        pace.pass(1000).await;
        let gone: Vec<_> = (0..100)
            .map(|_| {
                let pace = Arc::clone(&pace);
                tokio::spawn(async move { pace.pass(1_000_000).await })
            })
            .collect();
        tokio::task::yield_now().await;
        gone.iter().for_each(tokio::task::JoinHandle::abort);
        let passed = tokio::time::timeout(Duration::from_secs(60), pace.pass(1000)).await;
        assert!(passed.is_ok(), "it waits for those who are gone");
    }

    #[test]
    fn large_parts_are_cut_by_the_rate() {
        let cut = |rate: &str, length: usize| {
            let mut bytes = Bytes::from(vec![0; length]);
            (pace(rate).part(&mut bytes).len(), bytes.len())
        };
        assert_eq!(cut("8kbit/s", 10_000), (4096, 5904));
        assert_eq!(cut("8Mbit/s", 1 << 20), (100_000, (1 << 20) - 100_000));
        assert_eq!(cut("unlimited", 1 << 20), (1 << 20, 0));
        // A thousand of them: all have had a turn within ten seconds.
        let crowded = pace("8Mbit/s");
        crowded.waiting.store(1000, Ordering::Relaxed);
        assert_eq!(crowded.part(&mut Bytes::from(vec![0; 1 << 20])).len(), 10_000);
    }
}
