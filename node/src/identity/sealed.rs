//! Batches as machines signed them, and the check that they did.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use jiff::Timestamp;
use patchmesh_proto::convert;
use patchmesh_proto::report::SignedBatch;
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::name::{GroupName, MachineName};
use patchmesh_topology::report::{Batch, MAX_BATCH};
use prost::Message;
use rustls_pki_types::CertificateDer;

use crate::identity::certificate::{self, Certificate, Subject};
use crate::identity::{CLOCK_SKEW, sha256, tls};

/// What a machine's signature covers before a batch without a roll-up, and before one
/// with it: whoever does not know roll-ups finds no signature there.
const CONTEXTS: [&[u8]; 2] = [b"patchmesh-report-v1\0", b"patchmesh-report-v2\0"];

/// The longest certificate that is read; ours have some 700 bytes.
const MAX_CERTIFICATE: usize = 8 << 10;

/// The longest signature that is read; P-256 has at most 72 bytes.
const MAX_SIGNATURE: usize = 256;

/// Certificates whose issuer was checked and is not checked again. When there are
/// more, all are forgotten.
const MAX_CHECKED: usize = 4096;

/// Why a batch will never be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A part is too long.
    #[error("the {part} has {bytes} bytes, at most {most} are taken: make smaller batches")]
    Long {
        /// Which part.
        part: &'static str,
        /// Its bytes.
        bytes: usize,
        /// The bound.
        most: usize,
    },
    /// No certificate of a mesh.
    #[error("the batch's certificate cannot be used")]
    Certificate(#[source] certificate::Error),
    /// A certificate of somebody who is no machine.
    #[error("the batch's certificate is that of {0}, which is no machine")]
    NoMachine(Subject),
    /// Another CA, or altered.
    #[error("the batch's certificate was not issued by this mesh's CA")]
    Issuer,
    /// Another mesh.
    #[error("the batch is of mesh {found}, this is mesh {ours}")]
    Mesh {
        /// The batch's.
        found: String,
        /// This one.
        ours: String,
    },
    /// Altered, or signed by somebody else.
    #[error("the batch's signature is not that of its certificate's key: it was altered")]
    Signature,
    /// A batch with a roll-up that some would take for one without, or the other way
    /// round.
    #[error(
        "the batch's signature is for a batch {}: what has a roll-up is signed as patchmesh-report-v2, and nothing else is",
        if *has_roll_up { "without a roll-up, and it has one" } else { "with a roll-up, and it has none" }
    )]
    Form {
        /// Whether it has one.
        has_roll_up: bool,
    },
    /// Signed bytes that are no batch.
    #[error("the batch cannot be read: {0}")]
    Content(String),
    /// A machine speaks for another.
    #[error("the batch is about machine {about}, but {by} signed it")]
    Foreign {
        /// Whom it is about.
        about: MachineName,
        /// Who signed it.
        by: MachineName,
    },
}

/// Who signed a batch, by the mesh's CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The machine.
    pub name: MachineName,
    /// Its group.
    pub group: GroupName,
    /// SHA-256 of its key's SubjectPublicKeyInfo.
    pub key: Sha256,
    /// When the certificate was issued, by the primary's clock, to the second.
    pub issued_at: Timestamp,
    /// The key as a point of the curve.
    point: Vec<u8>,
}

/// A batch that its machine signed.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// What it says.
    pub batch: Batch,
    /// Who says it.
    pub holder: Arc<Holder>,
    /// Where the machine was seen, by the first node that took the batch.
    pub seen_from: Option<IpAddr>,
    /// As it came, to be passed on unchanged.
    pub wire: SignedBatch,
}

impl Sealed {
    /// The bytes that it takes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.wire.encoded_len() as u64
    }
}

/// Checks batches of one mesh.
#[derive(Debug)]
pub struct Verifier {
    mesh_id: String,
    ca: CertificateDer<'static>,
    checked: Mutex<HashMap<Sha256, Arc<Holder>>>,
}

impl Verifier {
    /// For the mesh with this CA.
    #[must_use]
    pub fn new(mesh_id: String, ca: CertificateDer<'static>) -> Self {
        Self { mesh_id, ca, checked: Mutex::default() }
    }

    /// Checks sizes, certificate, signature and content, in this order: nothing
    /// is read that nobody of this mesh has signed. Takes a tenth of a
    /// millisecond: to be called off the async threads.
    ///
    /// # Errors
    /// What is wrong with it, for good.
    pub fn check(&self, mut wire: SignedBatch) -> Result<Sealed, Error> {
        bounded("batch", wire.batch.len(), MAX_BATCH)?;
        bounded("certificate", wire.certificate.len(), MAX_CERTIFICATE)?;
        bounded("signature", wire.signature.len(), MAX_SIGNATURE)?;
        let holder = self.holder(&wire.certificate)?;
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &holder.point);
        let is_signed = |form: &bool| {
            let signed = signed(&wire.batch, *form);
            key.verify(&signed, &wire.signature).is_ok()
        };
        let is_for_roll_ups = [false, true].into_iter().find(is_signed).ok_or(Error::Signature)?;
        let content = |error: &dyn std::fmt::Display| Error::Content(error.to_string());
        let message = patchmesh_proto::report::Batch::decode(wire.batch.clone())
            .map_err(|error| content(&error))?;
        let batch = Batch::try_from(message).map_err(|error: convert::Error| content(&error))?;
        let has_roll_up = batch.rolled_up.is_some();
        if has_roll_up != is_for_roll_ups {
            return Err(Error::Form { has_roll_up });
        }
        if batch.mesh_id != self.mesh_id {
            return Err(Error::Mesh { found: batch.mesh_id, ours: self.mesh_id.clone() });
        }
        if batch.machine != holder.name {
            return Err(Error::Foreign { about: batch.machine, by: holder.name.clone() });
        }
        let seen_from = wire.seen_from.parse().ok();
        if seen_from.is_none() {
            wire.seen_from.clear();
        }
        Ok(Sealed { batch, holder, seen_from, wire })
    }

    /// Whose certificate it is. Its dates do not matter here: whoever connects is
    /// checked for them, and what was signed stays so when it travels for long.
    fn holder(&self, der: &[u8]) -> Result<Arc<Holder>, Error> {
        let digest = sha256(der);
        let checked = || self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = checked().get(&digest) {
            return Ok(known.clone());
        }
        let certificate = Certificate::parse(der).map_err(Error::Certificate)?;
        tls::check_issuer(&certificate, &self.ca).map_err(|_| Error::Issuer)?;
        if certificate.mesh_id != self.mesh_id {
            return Err(Error::Mesh { found: certificate.mesh_id, ours: self.mesh_id.clone() });
        }
        let Subject::Machine { name, group } = certificate.subject.clone() else {
            return Err(Error::NoMachine(certificate.subject));
        };
        let holder = Arc::new(Holder {
            name,
            group,
            key: certificate.spki_sha256,
            issued_at: issued_at(&certificate),
            point: certificate.public_key().map_err(Error::Certificate)?,
        });
        let mut checked = checked();
        if checked.len() >= MAX_CHECKED {
            checked.clear();
        }
        checked.insert(digest, holder.clone());
        Ok(holder)
    }
}

/// When the CA issued a certificate; it states a little earlier.
pub(crate) fn issued_at(certificate: &Certificate) -> Timestamp {
    certificate.not_before.checked_add(CLOCK_SKEW).unwrap_or(certificate.not_before)
}

/// What the signature of a batch covers, by whether it has a roll-up.
#[must_use]
pub fn signed(batch: &[u8], has_roll_up: bool) -> Vec<u8> {
    [CONTEXTS[usize::from(has_roll_up)], batch].concat()
}

const fn bounded(part: &'static str, bytes: usize, most: usize) -> Result<(), Error> {
    if bytes <= most { Ok(()) } else { Err(Error::Long { part, bytes, most }) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::identity::testing::TestMesh;
    use crate::reports::testing::Reporter;

    fn verifier(mesh: &TestMesh) -> Verifier {
        Verifier::new(mesh.ca.mesh_id().to_owned(), mesh.ca.certificate().clone())
    }

    #[test]
    fn what_a_machine_signed_is_taken_and_nothing_else() {
        let mesh = TestMesh::new();
        let verifier = verifier(&mesh);
        let pc = Reporter::new(&mesh, "pc-1");
        let good = pc.batch(0, 3);
        let sealed = verifier.check(good.clone()).unwrap();
        assert_eq!((sealed.batch.run(), sealed.holder.name.as_str()), (0..3, "pc-1"));

        let mut altered = good.clone();
        altered.batch = [&good.batch[..], &[0x0a, 0]].concat().into();
        assert_eq!(verifier.check(altered).unwrap_err(), Error::Signature);
        // Somebody else's certificate on it.
        let mut stolen = good.clone();
        stolen.certificate = Reporter::new(&mesh, "pc-2").batch(0, 1).certificate;
        assert_eq!(verifier.check(stolen).unwrap_err(), Error::Signature);
        // One who speaks for another.
        let mut other = pc.message(0, 1);
        other.machine = "pc-2".to_owned();
        assert!(matches!(verifier.check(pc.seal(&other)), Err(Error::Foreign { .. })));
        let mut other = pc.message(0, 1);
        other.mesh_id = "another".to_owned();
        assert!(matches!(verifier.check(pc.seal(&other)), Err(Error::Mesh { .. })));
        // Of another mesh with the same id.
        let stranger = Reporter::new(&TestMesh::new(), "pc-1").batch(0, 1);
        assert_eq!(verifier.check(stranger).unwrap_err(), Error::Issuer);
        // A node's own certificate.
        let node = Reporter::of(mesh.node("lyon"), "pc-1").batch(0, 1);
        assert!(matches!(verifier.check(node), Err(Error::NoMachine(_))));
        let large = SignedBatch { batch: vec![0; MAX_BATCH + 1].into(), ..good };
        assert!(matches!(verifier.check(large), Err(Error::Long { part: "batch", .. })));
    }

    #[test]
    fn a_roll_up_is_signed_as_one_and_nothing_else_is() {
        let mesh = TestMesh::new();
        let pc = Reporter::new(&mesh, "pc-1");
        let with = pc.rolled_up(0, 3, 4);
        let sealed = verifier(&mesh).check(pc.seal(&with)).unwrap();
        assert_eq!(sealed.batch.run(), 0..7);
        let error = verifier(&mesh).check(pc.seal_as(&with, false)).unwrap_err();
        assert_eq!(error, Error::Form { has_roll_up: true });
        assert!(error.to_string().contains("patchmesh-report-v2"), "{error}");
        let error = verifier(&mesh).check(pc.seal_as(&pc.message(0, 3), true)).unwrap_err();
        assert_eq!(error, Error::Form { has_roll_up: false });
    }

    #[test]
    fn signed_bytes_that_are_no_batch_are_named() {
        let mesh = TestMesh::new();
        let pc = Reporter::new(&mesh, "pc-1");
        let mut wrong = pc.message(0, 2);
        wrong.events[1].phase = 77;
        let error = verifier(&mesh).check(pc.seal(&wrong)).unwrap_err().to_string();
        assert!(error.contains("events[1].phase"), "{error}");
        let noise = pc.seal_bytes(vec![0xff; 40], false);
        assert!(matches!(verifier(&mesh).check(noise), Err(Error::Content(_))));
    }
}
