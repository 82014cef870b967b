//! Which keys of a certificate may sign at a given time.
//!
//! The newest valid self-signature decides, as RFC 9580, section 5.2.3.10, and
//! GnuPG have it. SHA-1 is let pass in self-signatures, since many vendors'
//! certificates are old and the operator chose the file; it is never let pass
//! over data.

use jiff::{SignedDuration, Timestamp};
use pgp::composed::{SignedPublicKey, SignedPublicSubKey};
use pgp::packet::{Signature, SignatureType, SubpacketData};
use pgp::ser::Serialize;
use pgp::types::{KeyDetails, KeyVersion, PublicParams, Tag};

use super::{CLOCK_SKEW, time};

/// The fewest bits that an RSA key has to have, as NIST SP 800-131A says.
const MIN_RSA_BITS: u16 = 2048;

/// What a key is worth for a signature now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It may sign.
    Good,
    /// Its owner let it expire, then.
    Expired(Timestamp),
    /// Its owner revoked it.
    Revoked,
    /// It is meant for something else.
    NotForSigning,
    /// It is too short, or of a kind that no longer holds.
    Weak,
    /// No valid self-signature says that it belongs to the certificate.
    Unbound,
}

/// The standing of the certificate's primary key as a signer.
pub(super) fn primary(certificate: &SignedPublicKey, now: Timestamp) -> Standing {
    match certifying(certificate, now) {
        Ok(newest) if flags_allow_signing(newest, true) => Standing::Good,
        Ok(_) => Standing::NotForSigning,
        Err(standing) => standing,
    }
}

/// The standing of one of its subkeys as a signer.
pub(super) fn subkey(
    certificate: &SignedPublicKey,
    subkey: &SignedPublicSubKey,
    now: Timestamp,
) -> Standing {
    if let Err(standing) = certifying(certificate, now) {
        return standing;
    }
    let key = &certificate.primary_key;
    let valid = |signature: &&Signature| signature.verify_subkey_binding(key, &subkey.key).is_ok();
    let of_type =
        |wanted| subkey.signatures.iter().filter(move |signature| signature.typ() == Some(wanted));
    if of_type(SignatureType::SubkeyRevocation).any(|signature| valid(&signature)) {
        return Standing::Revoked;
    }
    let Some(binding) = newest(of_type(SignatureType::SubkeyBinding).filter(valid), now) else {
        return Standing::Unbound;
    };
    if !flags_allow_signing(binding, false) {
        return Standing::NotForSigning;
    }
    // A subkey that signs has to agree to belong here, or anyone could adopt it.
    let agrees = binding
        .embedded_signature()
        .is_some_and(|back| back.verify_primary_key_binding(&subkey.key, key).is_ok());
    if !agrees {
        return Standing::Unbound;
    }
    lasting(binding, &subkey.key, now)
}

/// The newest self-signature of a primary key that holds now.
fn certifying(certificate: &SignedPublicKey, now: Timestamp) -> Result<&Signature, Standing> {
    let key = &certificate.primary_key;
    if !matches!(key.version(), KeyVersion::V4 | KeyVersion::V6) {
        return Err(Standing::Weak);
    }
    let details = &certificate.details;
    if details.revocation_signatures.iter().any(|signature| signature.verify_key(key).is_ok()) {
        return Err(Standing::Revoked);
    }
    let direct = details.direct_signatures.iter().filter(|signature| {
        signature.typ() == Some(SignatureType::Key) && signature.verify_key(key).is_ok()
    });
    let named = details.users.iter().flat_map(|user| {
        let own = move |signature: &&Signature| {
            signature.verify_certification(key, Tag::UserId, &user.id).is_ok()
        };
        let withdrawn = user.signatures.iter().any(|signature| {
            signature.typ() == Some(SignatureType::CertRevocation) && own(&signature)
        });
        user.signatures
            .iter()
            .filter(move |signature| {
                !withdrawn && signature.typ() != Some(SignatureType::CertRevocation)
            })
            .filter(own)
    });
    let newest = newest(direct.chain(named), now).ok_or(Standing::Unbound)?;
    match lasting(newest, key, now) {
        Standing::Good => Ok(newest),
        other => Err(other),
    }
}

/// The signature made last, of those that are not from the future and hold.
fn newest<'a>(
    signatures: impl Iterator<Item = &'a Signature>,
    now: Timestamp,
) -> Option<&'a Signature> {
    signatures
        .filter(|signature| {
            let Some(created) = signature.created().map(time) else { return false };
            let expired =
                expiry(created, signature.signature_expiration_time()).is_some_and(|at| at <= now);
            created <= now + CLOCK_SKEW && !expired
        })
        .max_by_key(|signature| signature.created())
}

fn lasting(binding: &Signature, key: &impl KeyDetails, now: Timestamp) -> Standing {
    if weak(key.public_params()) {
        return Standing::Weak;
    }
    match expiry(time(key.created_at()), binding.key_expiration_time()) {
        Some(at) if at <= now => Standing::Expired(at),
        _ => Standing::Good,
    }
}

/// When something made at `created` ends; zero and nothing both mean never.
pub(super) fn expiry(
    created: Timestamp,
    lifetime: Option<pgp::types::Duration>,
) -> Option<Timestamp> {
    let seconds = lifetime.map(pgp::types::Duration::as_secs).filter(|&seconds| seconds > 0)?;
    Some(
        created
            .checked_add(SignedDuration::from_secs(i64::from(seconds)))
            .unwrap_or(Timestamp::MAX),
    )
}

fn flags_allow_signing(binding: &Signature, if_silent: bool) -> bool {
    let says = binding.config().is_some_and(|config| {
        config.hashed_subpackets().any(|packet| matches!(packet.data, SubpacketData::KeyFlags(_)))
    });
    if says { binding.key_flags().sign() } else { if_silent }
}

fn weak(params: &PublicParams) -> bool {
    match params {
        PublicParams::RSA(rsa) => {
            // The wire form begins with the modulus, and that with its count of bits.
            let mut wire = Vec::new();
            let written = rsa.to_writer(&mut wire).is_ok();
            !written
                || wire.first_chunk().is_none_or(|&bits| u16::from_be_bytes(bits) < MIN_RSA_BITS)
        }
        PublicParams::DSA(_) | PublicParams::Elgamal(_) | PublicParams::Unknown { .. } => true,
        _ => false,
    }
}
