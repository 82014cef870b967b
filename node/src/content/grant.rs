//! Grants: how a receiver paces what another node sends it.
//!
//! A source sends only bytes that were granted. [`granted`] sits between the
//! network and whoever puts pieces together, and grants more as bytes come in:
//!
//! - never more under way than the [`Window`] says, so that a slow line has no
//!   long queue and a long one is filled;
//! - only what the node's budget lets in at that moment;
//! - for all transfers of a node together at most [`MAX_PIECES`] at a time, from
//!   the grant until the piece is written, so that memory stays bounded however many
//!   blobs move; what is critical has room of its own ([`CRITICAL_PIECES`]), so that
//!   bulk never stands in its way.
//!
//! While the budget lets nothing in, [`granted`] says so every few seconds with
//! a message that only has `held` set, as a source does.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, empty, unfold};
use futures_util::{FutureExt, StreamExt};
use jiff::Timestamp;
use patchmesh_proto::replication::{TransferRequest, TransferResponse};
use patchmesh_topology::link::Class;
use patchmesh_topology::link::queue::Hold;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, sleep_until};
use tonic::Status;

use super::shared::{Sharer, Sharers};
use super::{Frame, Frames};
use crate::budget::window::{Arrival, Window};
use crate::budget::{Budget, Pace};
use crate::store::manifest::{PIECE_LENGTH, piece_length};

/// Pieces that may be granted and not written, for all transfers of a node: it
/// fills a line of 1 Gbit/s and 100 ms, with some that wait for the disk.
const MAX_PIECES: usize = 20;

/// The same for pieces from nodes beside this one: a few for each of a site's.
/// They have room of their own. Each such node may be waiting for the node above
/// to send on what it was asked for; if what it asks above had to wait for room
/// that is held by what it asks beside, two of them could wait for each other for
/// ever.
const MAX_PIECES_BESIDE: usize = 24;

/// The same for critical content alone.
const CRITICAL_PIECES: usize = 6;

/// What all transfers of a node grant at once, about: each puts its messages
/// together in a buffer that stays four times as large as the largest was. Up to
/// four transfers have whole pieces, which cost the sender least: it hashes a piece
/// for each part of it that it sends.
const AT_ONCE: u64 = 4 << 20;

/// How often it is said that nothing may come: often enough for a person who
/// looks, and far below the time after which a source counts as gone.
pub(super) const NOTE: Duration = Duration::from_secs(3);

/// What a node has to take things in: its budget, and room for what was granted.
#[derive(Debug, Clone)]
pub struct Intake {
    pub(super) budget: Budget,
    above: Rooms,
    beside: Rooms,
    /// How many transfers come in.
    transfers: Sharers,
}

/// Room for pieces of one kind of source.
#[derive(Debug, Clone)]
struct Rooms {
    bulk: Arc<Semaphore>,
    critical: Arc<Semaphore>,
}

impl Rooms {
    fn of(pieces: usize) -> Self {
        let room = |pieces| Arc::new(Semaphore::new(pieces));
        Self { bulk: room(pieces), critical: room(CRITICAL_PIECES) }
    }
}

impl Intake {
    /// Room for a node with this budget.
    #[must_use]
    pub fn new(budget: Budget) -> Self {
        let (above, beside) = (Rooms::of(MAX_PIECES), Rooms::of(MAX_PIECES_BESIDE));
        Self { budget, above, beside, transfers: Sharers::default() }
    }

    /// The same node as it takes things in from nodes beside it.
    pub(super) fn for_beside(&self) -> Self {
        Self { above: self.beside.clone(), ..self.clone() }
    }

    fn room(&self, class: Class) -> Arc<Semaphore> {
        let Rooms { bulk, critical } = &self.above;
        if class <= Class::Critical { critical.clone() } else { bulk.clone() }
    }
}

/// One transfer as its receiver paces it.
pub(super) struct Granting {
    frames: Sent,
    requests: mpsc::Sender<TransferRequest>,
    window: Box<dyn Window>,
    pace: Arc<Pace>,
    room: Arc<Semaphore>,
    sharer: Sharer,
    /// Lengths of the pieces that were asked for and are not granted whole, as
    /// bytes that are left.
    due: VecDeque<u64>,
    /// Whether room was had for the first of them.
    begun: bool,
    /// Room for pieces that were granted and have not come whole.
    held: VecDeque<OwnedSemaphorePermit>,
    /// Granted and not come.
    under_way: u64,
    /// When that was granted which is the first after nothing was under way.
    probe: Option<Instant>,
    next: Option<BoxFuture<'static, (u64, Option<OwnedSemaphorePermit>)>>,
}

/// Lengths of the pieces of `ranges` in a blob of this length.
fn lengths(ranges: &[Range<u64>], length: u64) -> VecDeque<u64> {
    ranges.iter().cloned().flatten().map(|piece| piece_length(length, piece)).collect()
}

/// What a source sends.
type Sent = BoxStream<'static, Result<TransferResponse, Status>>;

/// The frames of a transfer that `opening` opens for `ranges` of a blob of `length`
/// bytes, granted by and by over `requests`. Grants begin before the source has
/// answered, which saves a round trip.
///
/// # Errors
/// Of `opening`.
pub(super) async fn granted(
    intake: &Intake,
    (pace, class): (Pace, Class),
    window: Box<dyn Window>,
    (ranges, length): (&[Range<u64>], u64),
    requests: mpsc::Sender<TransferRequest>,
    opening: impl Future<Output = Result<Sent, Status>>,
) -> Result<Frames, Status> {
    let mut granting = Granting {
        frames: empty().boxed(),
        requests,
        window,
        pace: Arc::new(pace),
        room: intake.room(class),
        sharer: intake.transfers.begin(),
        due: lengths(ranges, length),
        begun: false,
        held: VecDeque::new(),
        under_way: 0,
        probe: None,
        next: None,
    };
    let mut opening = pin!(opening);
    granting.frames = loop {
        // What does not fit waits for the source: nobody else takes it off.
        if granting.requests.capacity() > 0 {
            granting.begin_grant();
        }
        tokio::select! {
            opened = &mut opening => break opened?,
            granted = pending_grant(&mut granting.next), if granting.requests.capacity() > 0 => {
                granting.next = None;
                granting.grant(granted).await;
            }
        }
    };
    let frames = unfold(granting, |mut granting| async move {
        let frame = granting.frame().await?;
        Some((frame, granting))
    });
    Ok(frames.boxed())
}

impl Granting {
    async fn frame(&mut self) -> Option<Result<Frame, Status>> {
        loop {
            self.begin_grant();
            let granted = tokio::select! {
                frame = self.frames.next() => {
                    return Some(frame?.map(|frame| {
                        let room = self.came(&frame);
                        Frame::new(frame, room)
                    }));
                }
                granted = pending_grant(&mut self.next) => granted,
                // Began anew whenever anything moves.
                () = sleep(NOTE), if self.next.is_some() && self.under_way == 0 => {
                    if let Some(hold) = self.pace.held() {
                        return Some(Ok(note(hold).into()));
                    }
                    continue;
                }
            };
            self.next = None;
            self.grant(granted).await;
        }
    }

    /// Prepares the next grant, where the window has room for it.
    fn begin_grant(&mut self) {
        if self.next.is_some() {
            return;
        }
        let Some(left) = self.due.front().copied() else { return };
        let window = self.window.bytes().min(self.pace.in_flight());
        let part = self.window.part().min(window / 4);
        let part = part.min(self.pace.frame()).min(self.sharer.part_of(AT_ONCE));
        let bytes = left.min(part).max(left.min(1));
        if self.under_way > 0 && self.under_way + bytes > window {
            return;
        }
        let (pace, room) = (self.pace.clone(), (!self.begun).then(|| self.room.clone()));
        let rest = self.window.not_before();
        self.next = Some(
            async move {
                let permit = match room {
                    // The semaphore is never closed.
                    Some(room) => room.acquire_owned().await.ok(),
                    None => None,
                };
                if let Some(rest) = rest {
                    sleep_until(rest.into()).await;
                }
                pace.take(bytes).await;
                (bytes, permit)
            }
            .boxed(),
        );
    }

    async fn grant(&mut self, (bytes, permit): (u64, Option<OwnedSemaphorePermit>)) {
        self.begun = true;
        self.held.extend(permit);
        if let Some(left) = self.due.front_mut() {
            *left -= bytes.min(*left);
            if *left == 0 {
                self.due.pop_front();
                self.begun = false;
            }
        }
        let now = Instant::now();
        if self.under_way == 0 {
            self.probe = Some(now);
        }
        self.under_way += bytes;
        self.window.granted(now, bytes);
        let request = TransferRequest { grant: bytes, ..TransferRequest::default() };
        // Where the other side has gone, the frames say so.
        let _ = self.requests.send(request).await;
    }

    /// Counts a frame; gives the room that goes with it.
    fn came(&mut self, frame: &TransferResponse) -> Vec<OwnedSemaphorePermit> {
        let bytes = frame.data.len() as u64;
        self.under_way = self.under_way.saturating_sub(bytes);
        if bytes == 0 {
            return Vec::new();
        }
        self.pace.came(bytes);
        let here = Timestamp::now().as_microsecond();
        let there = i64::try_from(frame.sent_at).unwrap_or(i64::MAX);
        let delay_micros = here.saturating_sub(there);
        let at = Instant::now();
        let waited = Some(Duration::from_micros(frame.waited)).filter(|waited| !waited.is_zero());
        let trip = self.probe.take().zip(waited);
        let trip = trip.and_then(|(begun, waited)| at.duration_since(begun).checked_sub(waited));
        self.window.arrived(Arrival { at, bytes, delay_micros, trip });
        let (under_way, window) = (self.under_way, self.window.bytes());
        tracing::trace!(bytes, delay_micros, ?trip, under_way, window, "a frame came");
        self.spare()
    }

    /// The room that what is under way, or a piece that is granted in part, needs
    /// no more. A transfer that waits for room holds none beyond that: many of them
    /// would wait for each other.
    fn spare(&mut self) -> Vec<OwnedSemaphorePermit> {
        let needed = self.under_way.div_ceil(PIECE_LENGTH) + u64::from(self.begun);
        let spare = self.held.len().saturating_sub(usize::try_from(needed).unwrap_or(usize::MAX));
        self.held.drain(..spare).collect()
    }
}

/// A message that only says what holds a transfer back.
pub(super) fn note(hold: Hold) -> TransferResponse {
    TransferResponse { held: hold.as_str().to_owned(), ..TransferResponse::default() }
}

async fn pending_grant<T>(next: &mut Option<BoxFuture<'static, T>>) -> T {
    match next {
        Some(next) => next.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "lists of ranges are what is tested")]
mod tests {
    use super::*;

    #[test]
    fn the_last_piece_is_short() {
        assert_eq!(lengths(&[0..1, 2..3], 2 * PIECE_LENGTH + 5), [PIECE_LENGTH, 5]);
        assert_eq!(lengths(&[0..1], 0), [0]);
    }
}
