//! Repository keys: Ed25519 keys that sign our views.
//!
//! Version 4 keys in the older framing of Ed25519, since GnuPG before 2.5 and
//! with it most `apt` in the field know no other.

use jiff::Timestamp;
use pgp::composed::{
    ArmorOptions, Deserializable, DetachedSignature, SignedKeyDetails, SignedPublicKey,
    SignedSecretKey,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::crypto::{ed25519, eddsa_legacy};
use pgp::packet::{
    KeyFlags, PacketTrait, PubKeyInner, PublicKey, SecretKey, Signature, SignatureConfig,
    SignatureType, Subpacket, SubpacketData, UserId,
};
use pgp::ser::Serialize;
use pgp::types::{
    KeyDetails, KeyVersion, PacketHeaderVersion, Password, PlainSecretParams, PublicParams,
    SecretParams,
};

use super::{Error, cleartext, stamp, time};

/// The hash under everything we sign.
const HASH: HashAlgorithm = HashAlgorithm::Sha512;

/// A secret key that signs repositories.
#[derive(Clone)]
pub struct SigningKey {
    key: SignedSecretKey,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey")
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Makes a new key that never expires. `user_id` is what people see, such
    /// as `Patchmesh production repository (acme)`.
    pub fn generate(user_id: &str, now: Timestamp) -> Result<Self, Error> {
        let mut seed = [0u8; ed25519::KEY_LEN];
        aws_lc_rs::rand::fill(&mut seed).map_err(|_| Error::Random)?;
        Self::from_seed(seed, user_id, now, &[])
    }

    /// Reads a key that [`SigningKey::to_armored`] wrote.
    pub fn from_armored(text: &str) -> Result<Self, Error> {
        let form = |source| Error::SecretForm { source };
        let (key, _) = SignedSecretKey::from_string(text).map_err(form)?;
        key.verify_bindings().map_err(form)?;
        let signing = Self { key };
        // A protected or foreign key fails here and not at the next publication.
        match signing.sign(SignatureType::Binary, b"", time(signing.key.created_at())) {
            Ok(_) => Ok(signing),
            Err(Error::Make { source, .. }) => Err(Error::SecretForm { source }),
            Err(other) => Err(other),
        }
    }

    /// The secret key, armored and without protection: keep it in a file of mode 0600.
    pub fn to_armored(&self) -> Result<String, Error> {
        self.key
            .to_armored_string(ArmorOptions::default())
            .map_err(making("the armored secret key"))
    }

    /// The certificate, armored, as `signed-by=` takes it (`.asc`).
    pub fn public_armored(&self) -> Result<String, Error> {
        self.public()
            .to_armored_string(ArmorOptions::default())
            .map_err(making("the armored certificate"))
    }

    /// The certificate, binary (`.gpg`).
    pub fn public_binary(&self) -> Result<Vec<u8>, Error> {
        self.public().to_bytes().map_err(making("the certificate"))
    }

    /// The key's fingerprint, upper-case hexadecimal.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!("{:X}", self.key.fingerprint())
    }

    /// Signs bytes; the result is an armored detached signature (`Release.gpg`).
    ///
    /// A time before the key's own creation is taken as that, since no verifier
    /// would have such a signature.
    pub fn sign_detached(&self, data: &[u8], at: Timestamp) -> Result<String, Error> {
        let signature = self.sign(SignatureType::Binary, data, at)?;
        armor(signature)
    }

    /// Signs text; the result is a clear-signed message (`InRelease`). White
    /// space at the ends of lines is dropped, as the format demands.
    pub fn sign_cleartext(&self, text: &str, at: Timestamp) -> Result<String, Error> {
        let (canonical, mut message) = cleartext::escape(text);
        let signature = self.sign(SignatureType::Text, &canonical, at)?;
        message.push_str(&armor(signature)?);
        Ok(message)
    }

    fn public(&self) -> SignedPublicKey {
        SignedPublicKey::from(self.key.clone())
    }

    fn sign(&self, kind: SignatureType, data: &[u8], at: Timestamp) -> Result<Signature, Error> {
        let at = at.max(time(self.key.created_at()));
        let config = config(&self.key.primary_key, kind, at, Vec::new())?;
        config.sign(&self.key.primary_key, &Password::empty(), data).map_err(making("a signature"))
    }

    /// A key from its secret bytes; `extra` goes into the self-signature.
    pub(super) fn from_seed(
        seed: [u8; ed25519::KEY_LEN],
        user_id: &str,
        now: Timestamp,
        extra: &[SubpacketData],
    ) -> Result<Self, Error> {
        let made = making("a signing key");
        let key = secret(seed, now)?;
        let mut flags = KeyFlags::default();
        flags.set_certify(true);
        flags.set_sign(true);
        let mut hashed = vec![
            SubpacketData::KeyFlags(flags),
            SubpacketData::IsPrimary(true),
            SubpacketData::PreferredHashAlgorithms(
                [HashAlgorithm::Sha512, HashAlgorithm::Sha256].into_iter().collect(),
            ),
        ];
        hashed.extend_from_slice(extra);
        let user = UserId::from_str(PacketHeaderVersion::New, user_id).map_err(&made)?;
        let binding = config(&key, SignatureType::CertPositive, now, hashed)?
            .sign_certification(&key, key.public_key(), &Password::empty(), user.tag(), &user)
            .map_err(&made)?;
        let details = SignedKeyDetails::new(
            Vec::new(),
            Vec::new(),
            vec![user.into_signed(binding)],
            Vec::new(),
        );
        Ok(Self { key: SignedSecretKey::new(key, details, Vec::new(), Vec::new()) })
    }

    /// The certificate with a revocation by its own key.
    #[cfg(test)]
    pub(super) fn revoked(&self, at: Timestamp) -> Result<Vec<u8>, Error> {
        let key = &self.key.primary_key;
        let revocation = config(key, SignatureType::KeyRevocation, at, Vec::new())?
            .sign_key(key, &Password::empty(), key.public_key())
            .map_err(making("a revocation"))?;
        let mut public = self.public();
        public.details.revocation_signatures.push(revocation);
        public.to_bytes().map_err(making("the certificate"))
    }

    /// A signature with another hash or more subpackets than ours have.
    #[cfg(test)]
    pub(super) fn sign_oddly(
        &self,
        data: &[u8],
        at: Timestamp,
        hash: HashAlgorithm,
        extra: Vec<SubpacketData>,
    ) -> Result<String, Error> {
        let mut config = config(&self.key.primary_key, SignatureType::Binary, at, extra)?;
        config.hash_alg = hash;
        armor(
            config
                .sign(&self.key.primary_key, &Password::empty(), data)
                .map_err(making("a signature"))?,
        )
    }
}

fn secret(seed: [u8; ed25519::KEY_LEN], now: Timestamp) -> Result<SecretKey, Error> {
    let made = making("a signing key");
    let secret =
        ed25519::SecretKey::try_from_bytes(seed, ed25519::Mode::EdDSALegacy).map_err(&made)?;
    let params = PublicParams::EdDSALegacy((&secret).into());
    let inner = PubKeyInner::new(
        KeyVersion::V4,
        PublicKeyAlgorithm::EdDSALegacy,
        stamp(now)?,
        None,
        params,
    );
    let public = inner.and_then(PublicKey::from_inner).map_err(&made)?;
    let secret = PlainSecretParams::EdDSALegacy(eddsa_legacy::SecretKey::Ed25519(secret));
    SecretKey::new(public, SecretParams::Plain(secret)).map_err(&made)
}

/// What every signature of ours says: its kind, when, and by whom.
fn config(
    key: &SecretKey,
    kind: SignatureType,
    at: Timestamp,
    more: Vec<SubpacketData>,
) -> Result<SignatureConfig, Error> {
    let made = making("a signature");
    let packets = |data: Vec<SubpacketData>| {
        data.into_iter().map(Subpacket::regular).collect::<Result<Vec<_>, _>>()
    };
    let mut config = SignatureConfig::v4(kind, key.algorithm(), HASH);
    let mut hashed = vec![
        SubpacketData::SignatureCreationTime(stamp(at)?),
        SubpacketData::IssuerFingerprint(key.fingerprint()),
    ];
    hashed.extend(more);
    config.hashed_subpackets = packets(hashed).map_err(&made)?;
    config.unhashed_subpackets =
        packets(vec![SubpacketData::IssuerKeyId(key.legacy_key_id())]).map_err(&made)?;
    Ok(config)
}

fn armor(signature: Signature) -> Result<String, Error> {
    DetachedSignature::new(signature)
        .to_armored_string(ArmorOptions::default())
        .map_err(making("an armored signature"))
}

fn making(what: &'static str) -> impl Fn(pgp::errors::Error) -> Error {
    move |source| Error::Make { what, source }
}
