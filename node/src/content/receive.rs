//! One attempt to receive a blob from the sources of the moment.
//!
//! Large blobs come piece by piece from several sources at a time ([`gather`]);
//! those of one piece come whole from the first that sends them.

use std::time::Duration;

use patchmesh_topology::share::{Beside, Source, ranking};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::ask::Ask;
use super::fetch::State;
use super::near::{Pins, Sources, nobody};
use super::transfers::Transfer;
use super::writer::off_thread;
use super::{Conduct, Content, Error, Wanted, gather};
use crate::log::in_one_line;
use crate::store::PartialBlob;
use crate::store::manifest::PIECE_LENGTH;

/// How long a node beside that is to fetch a blob too may not know of it yet: it
/// learns of a new generation a little later, or is busy with doing so.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// How soon it is asked again.
pub(super) const ASK_AGAIN: Duration = Duration::from_millis(250);

/// Receives what lacks of a blob and stores it.
pub(super) async fn blob(
    content: &Content,
    sources: Sources,
    wanted: Wanted,
    state: &watch::Sender<State>,
    pins: &Pins,
    transfer: &Transfer,
) -> Result<(), Error> {
    if wanted.length <= PIECE_LENGTH {
        return single(content, sources, wanted, pins, transfer).await;
    }
    let partial = begin(content, &sources, wanted).await?;
    transfer.set_received(partial.received());
    state.send_replace(State::Receiving(partial.clone()));
    if !partial.is_full() {
        gather::pieces(content, sources, wanted, &partial, pins, transfer).await?;
    }
    off_thread(move || partial.finish().map_err(Error::from)).await
}

/// The blob's state from before, or a new one once a source has told the
/// manifest.
async fn begin(content: &Content, sources: &Sources, wanted: Wanted) -> Result<PartialBlob, Error> {
    let Wanted { digest, length, .. } = wanted;
    let store = content.store();
    let resumed = store.run(move |store| store.resume(&digest)).await?;
    if let Some(partial) = resumed {
        let found = partial.manifest().length();
        return if found == length {
            Ok(partial)
        } else {
            Err(Error::Length { digest, said: length, found })
        };
    }
    let mut outcome = Err(nobody(digest));
    for (which, source) in sources.all() {
        match (Ask { source, wanted }).manifest().await {
            Ok(manifest) => return Ok(store.run(move |store| store.partial(&manifest)).await?),
            // What is wrong above is what a person has to know.
            Err(error) if which == Source::Above => outcome = Err(error),
            Err(error) => {
                blame(content, sources, which, &error);
                if matches!(outcome, Err(Error::NoSource { .. })) {
                    outcome = Err(error);
                }
            }
        }
    }
    outcome
}

/// A blob of one piece: the node beside that is to fetch it from above is asked
/// first, where this node is not that one.
async fn single(
    content: &Content,
    mut sources: Sources,
    wanted: Wanted,
    pins: &Pins,
    transfer: &Transfer,
) -> Result<(), Error> {
    if !content.wishes_for(&wanted.digest) && sources.above.is_some() {
        sources.beside.clear();
    }
    let mut outcome = Err(nobody(wanted.digest));
    for which in order(&sources, wanted) {
        let Some(source) = sources.get(which) else { continue };
        let ask = Ask { source, wanted };
        let answer = match which {
            Source::Above => ask.single().await,
            Source::Beside(_) => tokio::select! {
                answer = from_beside(ask) => answer,
                // Somebody beside waits for this node, maybe the very one.
                _ = relied_on(pins), if sources.above.is_some() => continue,
            },
        };
        match answer {
            Ok(bytes) => {
                source.judged(Conduct::Honest);
                content.store().run(move |store| store.put_blob(&bytes)).await?;
                transfer.set_received(wanted.length);
                return Ok(());
            }
            Err(error) => {
                if which != Source::Above {
                    blame(content, &sources, which, &error);
                }
                outcome = Err(error);
            }
        }
    }
    outcome
}

/// Who is asked for a blob of one piece, up to the node above.
fn order(sources: &Sources, Wanted { digest, .. }: Wanted) -> Vec<Source> {
    let Some(own) = &sources.own else { return vec![Source::Above] };
    let named = |(name, _): &(_, _)| Beside { name: Clone::clone(name), holds: false };
    let beside: Vec<Beside> = sources.beside.iter().map(named).collect();
    let mut order = ranking(&digest, own, &beside, 0);
    if sources.above.is_some() {
        let above = order.iter().position(|source| *source == Source::Above);
        order.truncate(above.map_or(0, |place| place + 1));
    }
    order
}

async fn from_beside(ask: Ask<'_>) -> Result<bytes::Bytes, Error> {
    let until = Instant::now() + GRACE;
    loop {
        match ask.single().await {
            Err(Error::Absent { .. }) if Instant::now() < until => sleep(ASK_AGAIN).await,
            answer => return answer,
        }
    }
}

async fn relied_on(pins: &Pins) {
    pins.follow().next().await;
}

/// Draws the consequences of a failure of a node beside.
pub(super) fn blame(content: &Content, sources: &Sources, which: Source, error: &Error) {
    let Source::Beside(number) = which else { return };
    let Some((name, source)) = sources.beside.get(number) else { return };
    match error {
        Error::Deceit { .. } => {
            tracing::error!(
                node = %name, error = in_one_line(error),
                "a node beside sent what it must not; it is dropped",
            );
            content.set_aside(name);
            source.judged(Conduct::Lied);
        }
        // It may have the next one.
        Error::Absent { .. } => {
            tracing::debug!(node = %name, "a node beside does not have a blob");
        }
        _ => {
            tracing::info!(
                node = %name, error = in_one_line(error),
                "a node beside is not asked for a while",
            );
            content.set_aside(name);
        }
    }
}
