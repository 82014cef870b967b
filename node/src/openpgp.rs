//! OpenPGP as apt repositories use it: checking a vendor's signatures and
//! making our own.
//!
//! Owns the keyring (certificates that an operator trusts for one source), the
//! strict reading of clear-signed text, and the repository keys that sign
//! views. What always holds: text that [`Keyring::verify_cleartext`] returns is
//! exactly the text that a good signature covers, never what stands around it;
//! time is an argument; a key that is expired, revoked, weak or not meant for
//! signing makes no signature good.
//!
//! Formats: RFC 9580 and, for clear-signed text, its section 7.

mod certificate;
mod cleartext;
mod keyring;
mod signing;

use jiff::{SignedDuration, Timestamp};

pub use keyring::{Keyring, Rejection, Signed, Signer};
pub use signing::SigningKey;

/// How far another clock may be ahead of ours.
pub const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// The largest keyring read, in bytes; Debian's whole archive keyring has 60 KiB.
pub const MAX_KEYRING: usize = 4 << 20;

/// The most signatures looked at under one text. Debian has four; each costs a
/// hash of the whole text, so a hostile file must not have thousands.
pub const MAX_SIGNATURES: usize = 32;

/// Why something OpenPGP was refused or could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The keyring's file could not be read.
    #[error("cannot read keyring {path:?}")]
    KeyringRead {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The keyring is larger than any real one.
    #[error("the keyring has {0} bytes, more than {MAX_KEYRING}; export only the vendor's keys")]
    KeyringLarge(usize),
    /// GnuPG's own database format.
    #[error("the keyring is a GnuPG keybox; write it anew with `gpg --export KEY > vendor.gpg`")]
    Keybox,
    /// A secret key where certificates belong.
    #[error("the keyring holds a secret key; give the public part only (`gpg --export KEY`)")]
    Secret,
    /// Nothing usable in the keyring.
    #[error("the keyring holds no OpenPGP certificate; give the vendor's key, armored or binary")]
    KeyringEmpty,
    /// The keyring is something else.
    #[error("the keyring is not OpenPGP data; give the vendor's key, armored or binary")]
    KeyringForm {
        /// What the parser said.
        source: pgp::errors::Error,
    },
    /// A clear-signed text that is not framed as the format says.
    #[error("clear-signed text, line {line}: {what}")]
    Framing {
        /// Counted from 1.
        line: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// The signed text is not UTF-8.
    #[error("the signed text is not UTF-8")]
    Encoding {
        /// Where it stops being UTF-8.
        source: std::str::Utf8Error,
    },
    /// The signature is something else.
    #[error("the signature is not OpenPGP data")]
    SignatureForm {
        /// What the parser said.
        source: pgp::errors::Error,
    },
    /// No signature at all.
    #[error("there is no signature")]
    Unsigned,
    /// More signatures than anyone makes.
    #[error("there are more than {MAX_SIGNATURES} signatures")]
    ManySignatures,
    /// Signatures, but none that counts.
    #[error("no good signature: {}", list(.0))]
    Untrusted(Vec<Rejection>),
    /// A time that OpenPGP cannot write (before 1970 or after 2106).
    #[error("{0} cannot be written in OpenPGP, which knows 1970 to 2106")]
    Time(Timestamp),
    /// The secret key is something else.
    #[error("the text is no unprotected OpenPGP secret key for signing")]
    SecretForm {
        /// What the parser said.
        source: pgp::errors::Error,
    },
    /// No random bytes from the system.
    #[error("the system gives no random bytes")]
    Random,
    /// A key or signature could not be made.
    #[error("cannot make {what}")]
    Make {
        /// What was to be made.
        what: &'static str,
        /// What the library said.
        source: pgp::errors::Error,
    },
}

fn list(rejections: &[Rejection]) -> String {
    rejections.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A time as jiff has it; OpenPGP's 32 bits always fit.
fn time(stamp: pgp::types::Timestamp) -> Timestamp {
    Timestamp::from_second(i64::from(stamp.as_secs())).unwrap_or(Timestamp::MAX)
}

/// A time as OpenPGP writes it, whole seconds.
fn stamp(time: Timestamp) -> Result<pgp::types::Timestamp, Error> {
    let seconds = u32::try_from(time.as_second()).map_err(|_| Error::Time(time))?;
    Ok(pgp::types::Timestamp::from_secs(seconds))
}
