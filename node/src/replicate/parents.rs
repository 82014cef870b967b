//! The ways upward: the parent, and those that stand in for it.
//!
//! One of them is followed at a time. The channel of [`Parents::channel`] leads
//! to whichever that is: when another one is followed its connection ends, and the
//! next one leads there. So whoever talks to the parent needs to know nothing of
//! this. The follower decides ([`super::follow`]).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use patchmesh_topology::name::NodeName;
use rustls::ClientConfig;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::transport::address::NodeUrl;
use crate::transport::channel::{self, Destination};
use crate::transport::metered::Meter;

/// How long a parent that lied is not followed where another one is.
const QUARANTINE: Duration = Duration::from_secs(30 * 60);

/// One of them, and how it is reached.
#[derive(Debug, Clone)]
pub struct Way {
    /// Who it is.
    pub name: NodeName,
    /// Where it is.
    pub url: NodeUrl,
    /// Proves that it is that node, and who this one is.
    pub tls: Arc<ClientConfig>,
    /// Counts what passes.
    pub meter: Arc<dyn Meter>,
}

/// All of them; cheap to clone.
#[derive(Debug, Clone)]
pub struct Parents {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    first: Way,
    others: Vec<Way>,
    /// Which is followed; 0 is the first.
    at: watch::Sender<usize>,
    /// Ends the connections to the one that is followed.
    end: Mutex<CancellationToken>,
    /// Until when those that lied are not followed.
    shunned: Mutex<BTreeMap<usize, Instant>>,
}

impl Parents {
    /// The parent, and those that stand in for it in this order.
    #[must_use]
    pub fn new(first: Way, others: Vec<Way>) -> Self {
        let at = watch::Sender::new(0);
        let (end, shunned) = (Mutex::default(), Mutex::default());
        Self { inner: Arc::new(Inner { first, others, at, end, shunned }) }
    }

    /// The one that is followed.
    #[must_use]
    pub fn current(&self) -> &Way {
        self.way(*self.inner.at.borrow())
    }

    /// Its place; 0 is the parent itself.
    #[must_use]
    pub fn at(&self) -> usize {
        *self.inner.at.borrow()
    }

    /// The one at this place, or the parent itself.
    #[must_use]
    pub fn way(&self, place: usize) -> &Way {
        place
            .checked_sub(1)
            .and_then(|place| self.inner.others.get(place))
            .unwrap_or(&self.inner.first)
    }

    /// The place after the one that is followed, in a round without those that
    /// lied; nothing where there is no other.
    #[must_use]
    pub fn next(&self) -> Option<usize> {
        let (count, at) = (self.inner.others.len() + 1, self.at());
        let places = (1..count).map(|step| (at + step) % count);
        places.into_iter().find(|place| !self.is_shunned(*place))
    }

    /// Whether the one at this place lied lately.
    #[must_use]
    pub fn is_shunned(&self, place: usize) -> bool {
        let shunned = self.inner.shunned.lock().unwrap_or_else(PoisonError::into_inner);
        shunned.get(&place).is_some_and(|until| *until > Instant::now())
    }

    /// Follows the one at this place from now on.
    pub fn follow(&self, place: usize) {
        self.inner.at.send_replace(place);
        let mut end = self.inner.end.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *end).cancel();
    }

    /// Follows another one, where there is one, since `name` lied.
    pub fn shun(&self, name: &NodeName) {
        let Some(place) = (0..=self.inner.others.len()).find(|one| self.way(*one).name == *name)
        else {
            return;
        };
        let mut shunned = self.inner.shunned.lock().unwrap_or_else(PoisonError::into_inner);
        shunned.insert(place, Instant::now() + QUARANTINE);
        drop(shunned);
        if self.at() == place
            && let Some(next) = self.next()
        {
            self.follow(next);
        }
    }

    /// Is told when another one is followed.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<usize> {
        self.inner.at.subscribe()
    }

    /// A channel to whichever is followed.
    ///
    /// # Errors
    /// A URL that is none.
    pub fn channel(&self) -> Result<Channel, channel::Error> {
        let parents = self.clone();
        channel::to_changing(&self.inner.first.url, move || {
            // The end first: one that is followed from now on ends this too.
            let end = parents.inner.end.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let Way { url, tls, meter, .. } = parents.current().clone();
            Destination { url, tls, meter: Some(meter), end }
        })
    }

    /// A channel to the one at this place, whoever is followed.
    ///
    /// # Errors
    /// A URL that is none.
    pub fn channel_to(&self, place: usize) -> Result<Channel, channel::Error> {
        let Way { url, tls, meter, .. } = self.way(place).clone();
        channel::to_metered_node(&url, tls, Some(meter))
    }
}
