//! The sending side of one transfer: pieces in the order asked, as far as they
//! were granted, each as soon as it is there.
//!
//! Nothing is read that was not granted, and little ahead of what the network
//! takes. With many transfers at a time each gets smaller frames, so that all
//! of them together hold no more than [`MEMORY`].

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use jiff::Timestamp;
use patchmesh_proto::replication::{TransferRequest, TransferResponse};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::Status;

use super::Error;
use super::grant::{NOTE, note};
use super::read::Reader;
use super::shared::{Sharer, Sharers};
use crate::budget::Pace;
use crate::store::manifest::{PIECE_LENGTH, piece_count, piece_length};

/// Ranges that may be asked for and not sent.
const MAX_RANGES: usize = 1024;

/// Bytes that all transfers of a node hold at most, about: up to four of them send
/// whole pieces.
const MEMORY: u64 = 12 << 20;

/// Frames that one transfer holds: one read ahead, one encoded, one that the
/// network has begun with.
const FRAMES: u64 = 3;

/// What a receiver says.
pub(super) type Requests = BoxStream<'static, Result<TransferRequest, Status>>;

/// A part of a piece that is being read or was.
struct Part {
    piece: u64,
    offset: u32,
    reading: Reading,
}

/// A part that goes as soon as the budget lets it.
struct Due {
    piece: u64,
    offset: u32,
    data: Bytes,
    taking: BoxFuture<'static, ()>,
}

impl Due {
    /// As it goes now, and how long ago its grant came where it is to say so.
    fn frame(self, asked: Option<Instant>) -> TransferResponse {
        let now = Timestamp::now().as_microsecond();
        let sent_at = u64::try_from(now).unwrap_or(0);
        // Nothing would mean that it is not said.
        let waited = asked.map_or(0, |asked| {
            u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX).max(1)
        });
        let Self { piece, offset, data, .. } = self;
        TransferResponse { piece, offset, data, sent_at, held: String::new(), waited }
    }
}

/// A read that ends when nobody waits for it any more.
struct Reading(JoinHandle<Result<Bytes, Error>>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One transfer.
pub(super) struct Sending {
    requests: Requests,
    reader: Reader,
    length: u64,
    pace: Arc<Pace>,
    sharer: Sharer,
    asked: VecDeque<Range<u64>>,
    /// Where the first piece of them goes on.
    offset: u64,
    /// Granted and not read.
    credit: u64,
    /// When the grant came that ended a time without any; until its frame goes.
    asked_at: Option<Instant>,
    /// Being read, in order.
    parts: VecDeque<Part>,
    /// Read, and waits for the budget.
    due: Option<Due>,
    /// The receiver has said all.
    ended: bool,
}

impl Sending {
    pub(super) fn new(
        reader: Reader,
        length: u64,
        pace: Pace,
        sendings: &Sharers,
        first: TransferRequest,
        requests: Requests,
    ) -> Result<Self, Status> {
        let mut sending = Self {
            requests,
            reader,
            length,
            pace: Arc::new(pace),
            sharer: sendings.begin(),
            asked: VecDeque::new(),
            offset: 0,
            credit: 0,
            asked_at: None,
            parts: VecDeque::new(),
            due: None,
            ended: false,
        };
        sending.told(first)?;
        Ok(sending)
    }

    /// The next frame; nothing when all was sent.
    pub(super) async fn next(&mut self) -> Result<Option<TransferResponse>, Status> {
        loop {
            self.read_ahead();
            if let Some(due) = &mut self.due {
                let taken = timeout(NOTE, &mut due.taking).await;
                if taken.is_err() {
                    if let Some(hold) = self.pace.held() {
                        return Ok(Some(note(hold)));
                    }
                    continue;
                }
                let asked = self.asked_at.take();
                return Ok(self.due.take().map(|due| due.frame(asked)));
            }
            let Some(part) = self.parts.front_mut() else {
                if self.ended {
                    return Ok(None);
                }
                self.listen().await?;
                continue;
            };
            let read = tokio::select! {
                biased;
                read = &mut part.reading.0 => read,
                request = self.requests.next(), if !self.ended => {
                    self.heard(request)?;
                    continue;
                }
            };
            let data = read.map_err(|_| Error::Stopped)??;
            // It is there: it was polled just now.
            let Some(part) = self.parts.pop_front() else { continue };
            let (piece, offset) = (part.piece, part.offset);
            let (pace, bytes) = (self.pace.clone(), data.len() as u64);
            let taking = async move { pace.take(bytes).await }.boxed();
            self.due = Some(Due { piece, offset, data, taking });
        }
    }

    async fn listen(&mut self) -> Result<(), Status> {
        let request = self.requests.next().await;
        self.heard(request)
    }

    fn heard(&mut self, request: Option<Result<TransferRequest, Status>>) -> Result<(), Status> {
        match request {
            Some(request) => self.told(request?),
            None => {
                self.ended = true;
                Ok(())
            }
        }
    }

    fn told(&mut self, request: TransferRequest) -> Result<(), Status> {
        let pieces = piece_count(self.length);
        for range in request.ranges {
            if range.end > pieces {
                let (start, end) = (range.start, range.end);
                let text = format!("pieces {start} to {end} of a blob of {pieces} pieces");
                return Err(Status::invalid_argument(text));
            }
            if range.start < range.end {
                self.asked.push_back(range.start..range.end);
            }
        }
        if self.asked.len() > MAX_RANGES {
            return Err(Status::invalid_argument(format!("more than {MAX_RANGES} ranges")));
        }
        let is_idle = self.credit == 0 && self.parts.is_empty() && self.due.is_none();
        if is_idle && request.grant > 0 {
            self.asked_at = Some(Instant::now());
        }
        self.credit = self.credit.saturating_add(request.grant);
        Ok(())
    }

    /// Begins to read what is due and granted: the part that is sent next and
    /// one more.
    fn read_ahead(&mut self) {
        while self.parts.len() < 2 {
            let Some(range) = self.asked.front_mut() else { return };
            let piece = range.start;
            let left = piece_length(self.length, piece) - self.offset;
            let length = left
                .min(self.credit)
                .min(self.pace.frame())
                .min(self.sharer.part_of(MEMORY / FRAMES));
            // An empty blob has one empty piece, which needs no grant.
            if length == 0 && self.length > 0 {
                return;
            }
            let at = piece * PIECE_LENGTH + self.offset;
            let reading = self.reader.clone().read(at..at + length);
            self.parts.push_back(Part {
                piece,
                // Within a piece.
                offset: u32::try_from(self.offset).unwrap_or(u32::MAX),
                reading: Reading(tokio::spawn(reading)),
            });
            self.credit -= length;
            self.offset += length;
            if length == left {
                self.offset = 0;
                range.start += 1;
                if range.is_empty() {
                    self.asked.pop_front();
                }
            }
        }
    }
}
