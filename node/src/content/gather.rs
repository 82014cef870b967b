//! Pieces of one blob from several sources at a time.
//!
//! [`Share`] decides who is asked for what; here is what carries it out: a worker
//! for each source takes frames and puts pieces together, one thread verifies and
//! writes what all of them bring. What always holds:
//!
//! - A piece counts once it is verified and written; one that is false is asked
//!   of somebody else, and who sent it brings nothing more.
//! - What nodes beside rely on comes from above without waiting behind the rest.
//! - When the node above fails, the attempt ends unless others hold the whole
//!   blob: the next attempt may find another one there.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use patchmesh_topology::share::{Share, Source};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::ask::{Ask, SILENCE, is_note};
use super::assemble::Assembler;
use super::near::{Pins, Sources, nobody};
use super::receive::{ASK_AGAIN, GRACE, blame};
use super::transfers::Transfer;
use super::writer::{self, Checkpoints, Queued, Verdict};
use super::{Conduct, Content, Error, PieceSource, Wanted};
use crate::store::PartialBlob;

/// Ranges asked for in one call. What lies beyond is asked for in the next.
const MAX_RANGES: usize = 512;

/// How long a node beside may send nothing, while the one above sends.
const SILENCE_BESIDE: Duration = Duration::from_secs(30);

/// On a thin line a node beside waits long for its own pieces: so many times as
/// long as the slowest of ours took.
const SLOWER: u32 = 8;

/// The longest that a node beside may send nothing, however thin the line.
const LONGEST_SILENCE: Duration = Duration::from_secs(600);

/// Receives the pieces that lack.
pub(super) async fn pieces(
    content: &Content,
    mut sources: Sources,
    wanted: Wanted,
    partial: &PartialBlob,
    pins: &Pins,
    transfer: &Transfer,
) -> Result<(), Error> {
    let beside = sources.ask_who_holds(content, wanted).await;
    transfer.set_source(&sources.to_string());
    let (has_above, missing) = (sources.above.is_some(), partial.missing());
    let share = match &sources.own {
        Some(own) => Share::new(&wanted.digest, own, has_above, &beside, &missing),
        None => Share::alone(&missing),
    };
    let stops = sources.beside.iter().map(|_| CancellationToken::new()).collect();
    let gathering = Gathering {
        content,
        wanted,
        partial,
        transfer,
        stops,
        sources,
        share: watch::Sender::new(share),
        begun: Instant::now(),
        above: Mutex::new(Pulse::default()),
        failure: Mutex::new(None),
    };
    gathering.run(pins).await
}

/// When the node above sent pieces, which tells how long others may take.
#[derive(Debug, Default)]
struct Pulse {
    /// The last one, or when it was asked.
    last: Option<Instant>,
    longest: Duration,
}

struct Gathering<'a> {
    content: &'a Content,
    wanted: Wanted,
    partial: &'a PartialBlob,
    transfer: &'a Transfer,
    sources: Sources,
    /// End what comes from each of those beside.
    stops: Vec<CancellationToken>,
    share: watch::Sender<Share>,
    begun: Instant,
    above: Mutex<Pulse>,
    /// Why the attempt fails, if it does.
    failure: Mutex<Option<Error>>,
}

impl Gathering<'_> {
    async fn run(&self, pins: &Pins) -> Result<(), Error> {
        let (queue, verdicts, writer) = writer::spawn(self.partial.clone());
        let mut checkpoints = Checkpoints::new(self.partial.clone());
        let mut workers: Vec<BoxFuture<'_, ()>> = Vec::new();
        for (which, source) in self.sources.all() {
            workers.push(Box::pin(self.work(which, source, queue.clone(), false)));
        }
        if let Some(above) = &self.sources.above {
            workers.push(Box::pin(self.work(Source::Above, above, queue.clone(), true)));
        }
        let overseen = tokio::select! {
            _ = join_all(workers) => Ok(()),
            outcome = self.oversee(verdicts, pins, &mut checkpoints) => outcome,
        };
        // What is in the queue still gets written.
        drop(queue);
        let written = writer.await.map_err(|_| Error::Stopped)?.map_err(Error::from);
        self.transfer.set_received(self.partial.received());
        let synced = checkpoints.end().await;
        written.and(overseen).and(self.outcome()).and(synced)
    }

    fn outcome(&self) -> Result<(), Error> {
        if self.share.borrow().is_done() {
            let share = self.share.borrow();
            let good = self.sources.all().filter(|(which, _)| share.is_proven(*which));
            good.for_each(|(_, source)| source.judged(Conduct::Honest));
            return Ok(());
        }
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        Err(failure.unwrap_or_else(|| nobody(self.wanted.digest)))
    }

    /// Hears what became of pieces and who relies on this node, until the writer
    /// ends.
    async fn oversee(
        &self,
        mut verdicts: mpsc::Receiver<Verdict>,
        pins: &Pins,
        checkpoints: &mut Checkpoints,
    ) -> Result<(), Error> {
        let mut pinned = pins.follow();
        loop {
            tokio::select! {
                verdict = verdicts.recv() => {
                    let Some(verdict) = verdict else { return Ok(()) };
                    self.judge(verdict);
                    self.transfer.set_received(self.partial.received());
                    checkpoints.poll().await?;
                }
                pieces = pinned.next() => self.share.send_modify(|share| {
                    pieces.into_iter().for_each(|piece| { share.pin(piece); });
                }),
            }
        }
    }

    fn judge(&self, Verdict { piece, from, fault }: Verdict) {
        match fault {
            None => {
                self.share.send_if_modified(|share| share.proven(piece));
            }
            Some(fault) => {
                self.share.send_modify(|share| share.refuted(piece));
                let Some(source) = self.sources.get(from) else { return };
                let ask = Ask { source, wanted: self.wanted };
                self.failed(from, ask.deceit(fault.into()));
            }
        }
    }

    /// Brings what one source is asked for until there is nothing more to bring.
    async fn work(
        &self,
        which: Source,
        source: &Arc<dyn PieceSource>,
        queue: mpsc::Sender<Queued>,
        pinned: bool,
    ) {
        let mut changes = self.share.subscribe();
        loop {
            changes.mark_unchanged();
            let now = self.begun.elapsed();
            let mut ranges = Vec::new();
            self.share.send_if_modified(|share| {
                ranges = if pinned {
                    share.take_pinned(now, MAX_RANGES)
                } else {
                    share.take(which, now, MAX_RANGES)
                };
                false
            });
            if ranges.is_empty() {
                let (is_over, again) = {
                    let share = self.share.borrow();
                    (share.is_over(), share.look_again(which, now))
                };
                if is_over {
                    return;
                }
                let again = async {
                    match again.filter(|_| !pinned) {
                        Some(at) => sleep_until(self.begun + at).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    _ = changes.changed() => {}
                    () = again => {}
                }
                continue;
            }
            let brought = match which {
                Source::Above => self.bring(which, source, ranges, &queue).await,
                Source::Beside(number) => tokio::select! {
                    brought = self.bring(which, source, ranges, &queue) => brought,
                    // It is told elsewhere why.
                    () = stopped(self.stops.get(number)) => continue,
                },
            };
            match brought {
                Ok(()) if pinned => {}
                Ok(()) => {
                    let now = self.begun.elapsed();
                    self.share.send_if_modified(|share| {
                        share.rested(which, now);
                        false
                    });
                }
                Err(Error::Stopped) => return,
                Err(error) => self.failed(which, error),
            }
        }
    }

    async fn bring(
        &self,
        which: Source,
        source: &Arc<dyn PieceSource>,
        ranges: Vec<Range<u64>>,
        queue: &mpsc::Sender<Queued>,
    ) -> Result<(), Error> {
        let ask = Ask { source, wanted: self.wanted };
        self.beat(which, false);
        let mut frames = ask.pieces(&ranges, SILENCE).await?;
        let mut assembler = Assembler::new(self.partial.manifest().clone(), ranges);
        let mut held = Vec::new();
        while !assembler.is_done() {
            let frame = match which {
                Source::Above => ask.next(&mut frames, SILENCE).await?,
                Source::Beside(_) => tokio::select! {
                    frame = ask.next(&mut frames, LONGEST_SILENCE) => frame?,
                    waited = self.impatience() => return Err(ask.silent(waited)),
                },
            };
            if is_note(&frame) {
                self.beat(which, false);
                self.transfer.set_note(&frame.held);
                continue;
            }
            let (frame, room) = frame.into_parts();
            held.extend(room);
            self.transfer.came(frame.data.len() as u64);
            let whole = assembler.push(frame).map_err(|deceit| ask.deceit(deceit))?;
            let Some((piece, bytes)) = whole else { continue };
            self.beat(which, true);
            let turn = self.content.inner.writes.clone().acquire_owned().await;
            held.push(turn.map_err(|_| Error::Stopped)?);
            let _room = std::mem::take(&mut held);
            self.share.send_if_modified(|share| {
                share.came(which, piece);
                false
            });
            if queue.send(Queued { piece, bytes, from: which, _room }).await.is_err() {
                // The writer has a reason, which it tells itself.
                return Err(Error::Stopped);
            }
        }
        if which == Source::Above {
            self.pulse().last = None;
        }
        Ok(())
    }

    /// Notes when the node above was asked or brought a piece.
    fn beat(&self, which: Source, brought: bool) {
        if which == Source::Above {
            let now = Instant::now();
            let mut pulse = self.pulse();
            if let (true, Some(last)) = (brought, pulse.last) {
                pulse.longest = pulse.longest.max(now - last);
            }
            pulse.last = Some(now);
        }
    }

    fn pulse(&self) -> MutexGuard<'_, Pulse> {
        self.above.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when a node beside has sent nothing for too long, which is told.
    async fn impatience(&self) -> Duration {
        let since = Instant::now();
        loop {
            let patience = self.patience();
            if since.elapsed() >= patience {
                return patience;
            }
            sleep_until(since + patience).await;
        }
    }

    /// How long a node beside may send nothing.
    fn patience(&self) -> Duration {
        let pulse = self.pulse();
        let now = pulse.last.map(|last| last.elapsed()).unwrap_or_default();
        (pulse.longest.max(now) * SLOWER).clamp(SILENCE_BESIDE, LONGEST_SILENCE)
    }

    fn failed(&self, which: Source, error: Error) {
        let now = self.begun.elapsed();
        let is_early = matches!(error, Error::Absent { .. }) && now < GRACE;
        if let (Source::Beside(number), false) = (which, is_early) {
            blame(self.content, &self.sources, which, &error);
            if let Some(stop) = self.stops.get(number) {
                stop.cancel();
            }
        }
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        // What is wrong above is what a person has to know.
        if which == Source::Above || failure.is_none() {
            *failure = Some(error);
        }
        drop(failure);
        self.share.send_modify(|share| match which {
            Source::Beside(_) if is_early => share.later(which, now + ASK_AGAIN),
            _ => share.gone(which),
        });
    }
}

async fn stopped(stop: Option<&CancellationToken>) {
    match stop {
        Some(stop) => stop.cancelled().await,
        None => std::future::pending().await,
    }
}
