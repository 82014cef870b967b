//! What can't wait is begun at once, whatever else is being fetched.

use super::{Content, Error, Urgency, Wanted};
use crate::log::in_one_line;

/// Critical blobs that are begun beside the background's own number; more of
/// them come first in its queue.
const MAX_BESIDE: usize = 8;

/// Begins to fetch the first of `wanted` that lack.
pub(super) async fn begin(content: Content, wanted: Vec<Wanted>) {
    let missing = content.store().run(move |store| {
        let mut missing = Vec::new();
        for one in wanted {
            if missing.len() < MAX_BESIDE && !store.has(&one.digest)? {
                missing.push(one);
            }
        }
        Ok::<_, Error>(missing)
    });
    match missing.await {
        // Whoever asks for one of them from now on joins its fetch.
        Ok(missing) => missing.into_iter().for_each(|one| {
            drop(content.ensure(one, Urgency::Background));
        }),
        Err(error) => {
            tracing::error!(error = in_one_line(&error), "can't look up which payloads are held");
        }
    }
}
