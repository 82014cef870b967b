//! Join tokens: what an administrator carries from the primary to a new host.
//!
//! A token is `pm1.` and, in base64url, a `JoinToken` message with four bytes
//! of checksum behind it: so one mistyped is told from one that is wrong, on
//! the spot and without asking anyone. It pins the mesh's CA and holds a
//! secret that is never sent: request and answer each carry a proof of it (see
//! [`Statement`]), so nodes that pass them on can neither use nor alter them.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use patchmesh_proto::identity::JoinToken;
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::name;
use prost::Message;

use super::certificate::Subject;
use super::{CLOCK_SKEW, sha256};
use crate::transport::address::{self, NodeUrl};

/// What a token of this form begins with.
const PREFIX: &str = "pm1.";

/// The longest token that is read; ours have about 200 characters.
const MAX_TOKEN: usize = 4096;

/// Bytes of checksum: one mistyped token in four thousand million passes.
const CHECKSUM: usize = 4;

/// Why a text is no token, or one that is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Something else altogether.
    #[error(
        "this is not a join token; a token begins with {PREFIX} (`patchmesh invite` prints one for a node, `patchmesh machine token` for machines, `patchmesh user invite` for a person)"
    )]
    Foreign,
    /// Letters missing, doubled or changed.
    #[error("the token was mistyped or cut off: copy it again, whole and on one line")]
    Mistyped,
    /// The checksum holds, the inside does not.
    #[error("the token's {0} cannot be read: ask for another token")]
    Field(&'static str),
    /// A token for the machines of a group.
    #[error("this token is for machines of group {0}: use it on a machine")]
    ForMachines(String),
    /// A node's or person's token where a machine's is wanted.
    #[error("this token is for a node or a person, not for a machine")]
    NotForMachines,
    /// The token's name is none.
    #[error("the token names nobody: ask for another token")]
    Node(#[source] name::Error),
    /// The token's parent URL is none.
    #[error("the token's parent has no URL that can be asked")]
    Parent(#[source] address::Error),
    /// Too old.
    #[error(
        "the token for {subject} expired at {at} (here it is {now}): ask for another one, or check this host's clock"
    )]
    Expired {
        /// Whom it was for.
        subject: Subject,
        /// When it expired.
        at: Timestamp,
        /// This host's clock.
        now: Timestamp,
    },
    /// The system gave no randomness.
    #[error("the system gave no random bytes")]
    Random,
}

/// The 32 random bytes in a token. `Debug` does not show them.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl Secret {
    /// Makes a secret from the system's randomness.
    ///
    /// # Errors
    /// Where the system has none to give.
    pub fn generate() -> Result<Self, Error> {
        let mut bytes = [0; 32];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::Random)?;
        Ok(Self(bytes))
    }

    /// SHA-256 of the secret: what the primary keeps.
    #[must_use]
    pub fn sha256(&self) -> Sha256 {
        sha256(&self.0)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.0.to_vec()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        bytes.try_into().map(Self).map_err(|_| Error::Field("secret"))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The mesh.
    pub mesh_id: String,
    /// The node that the holder's host may become, or the person that the
    /// holder is.
    pub subject: Subject,
    /// SHA-256 of the DER of the mesh's CA certificate.
    pub ca_sha256: Sha256,
    /// Whom to ask.
    pub parent_url: NodeUrl,
    /// Proves that the holder has the token.
    pub secret: Secret,
    /// When it ends, to the second.
    pub expires_at: Timestamp,
}

impl Token {
    /// A token with a new secret.
    ///
    /// # Errors
    /// Where the parent's URL is none, or the system gives no randomness.
    pub fn new(
        mesh_id: String,
        subject: impl Into<Subject>,
        ca_sha256: Sha256,
        parent_url: impl AsRef<str>,
        expires_at: Timestamp,
    ) -> Result<Self, Error> {
        let parent_url = parent_url.as_ref().parse().map_err(Error::Parent)?;
        let secret = Secret::generate()?;
        let subject = subject.into();
        Ok(Self { mesh_id, subject, ca_sha256, parent_url, secret, expires_at })
    }

    /// SHA-256 of the secret: all that the primary keeps of the token.
    #[must_use]
    pub fn secret_sha256(&self) -> Sha256 {
        self.secret.sha256()
    }

    /// The token as text.
    #[must_use]
    pub fn encode(&self) -> String {
        let (node, user) = match &self.subject {
            Subject::Node(name) => (name.to_string(), String::new()),
            Subject::User(name) => (String::new(), name.to_string()),
            // A machine's token names its group ([`super::machine_token`]).
            Subject::Machine { .. } => (String::new(), String::new()),
        };
        let message = JoinToken {
            mesh_id: self.mesh_id.clone(),
            node,
            user,
            ca_sha256: self.ca_sha256.as_bytes().to_vec().into(),
            parent_url: self.parent_url.to_string(),
            secret: self.secret.to_bytes().into(),
            expires_at: Some(whole_seconds(self.expires_at)),
            group: String::new(),
            token_id: String::new(),
        };
        seal(message.encode_to_vec())
    }

    /// Reads a token; white space around it does not matter.
    ///
    /// # Errors
    /// [`Error::Mistyped`] where the checksum does not hold; others where the
    /// text is something else.
    pub fn decode(text: &str) -> Result<Self, Error> {
        let message = open(text)?;
        if !message.group.is_empty() {
            return Err(Error::ForMachines(message.group));
        }
        let expires_at = message.expires_at.ok_or(Error::Field("expiry"))?;
        if message.mesh_id.is_empty() {
            return Err(Error::Field("mesh"));
        }
        Ok(Self {
            mesh_id: message.mesh_id,
            subject: match (message.node.as_str(), message.user.as_str()) {
                (node, "") => Subject::Node(node.parse().map_err(Error::Node)?),
                ("", user) => Subject::User(user.parse().map_err(Error::Node)?),
                _ => return Err(Error::Field("name")),
            },
            ca_sha256: Sha256::try_from(&message.ca_sha256[..])
                .map_err(|_| Error::Field("CA digest"))?,
            parent_url: message.parent_url.parse().map_err(Error::Parent)?,
            secret: Secret::from_bytes(&message.secret)?,
            expires_at: Timestamp::from_second(expires_at.seconds)
                .map_err(|_| Error::Field("expiry"))?,
        })
    }

    /// Refuses a token whose time is over, clock skew allowed for.
    ///
    /// # Errors
    /// [`Error::Expired`].
    pub fn check_expiry(&self, now: Timestamp) -> Result<(), Error> {
        check_expiry(&self.subject, self.expires_at, now)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.encode())
    }
}

/// Whether something that ends at `expires_at` is over at `now` even if the
/// two clocks differ by the allowed skew.
#[must_use]
pub fn is_expired(expires_at: Timestamp, now: Timestamp) -> bool {
    expires_at.checked_add(CLOCK_SKEW).is_ok_and(|end| now > end)
}

/// Refuses `subject`'s token whose time is over at `now`.
pub(super) fn check_expiry(
    subject: &Subject,
    expires_at: Timestamp,
    now: Timestamp,
) -> Result<(), Error> {
    if is_expired(expires_at, now) {
        return Err(Error::Expired { subject: subject.clone(), at: expires_at, now });
    }
    Ok(())
}

/// What a proof is about; keeps proofs of one kind from passing for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statement {
    /// A join request: node, URL, certificate request.
    Join,
    /// A person's join request: name, signing key, certificate request.
    JoinUser,
    /// A machine's join request: name, group, token, certificate request.
    JoinMachine,
    /// The answer to any of them: the fields of the response in their order.
    Joined,
}

impl Statement {
    const fn context(self) -> &'static [u8] {
        match self {
            Statement::Join => b"patchmesh-join-v1\0",
            Statement::JoinUser => b"patchmesh-join-user-v1\0",
            Statement::JoinMachine => b"patchmesh-join-machine-v1\0",
            Statement::Joined => b"patchmesh-joined-v1\0",
        }
    }

    /// Proves that whoever states `parts` knows the token's secret.
    #[must_use]
    pub fn prove(self, secret_sha256: &Sha256, parts: &[&[u8]]) -> Vec<u8> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret_sha256.as_bytes());
        hmac::sign(&key, &self.message(parts)).as_ref().to_vec()
    }

    /// Whether a proof holds, in a time that does not depend on where it fails.
    #[must_use]
    pub fn is_proven(self, proof: &[u8], secret_sha256: &Sha256, parts: &[&[u8]]) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret_sha256.as_bytes());
        hmac::verify(&key, &self.message(parts), proof).is_ok()
    }

    fn message(self, parts: &[&[u8]]) -> Vec<u8> {
        let mut bytes = self.context().to_vec();
        for part in parts {
            // A part of 4 GiB is never read, so the bound is never reached.
            bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes
    }
}

/// What is inside a token's text.
pub(super) fn open(text: &str) -> Result<JoinToken, Error> {
    let text = text.trim();
    let rest = text.strip_prefix(PREFIX).ok_or(Error::Foreign)?;
    if text.len() > MAX_TOKEN {
        return Err(Error::Mistyped);
    }
    let bytes = URL_SAFE_NO_PAD.decode(rest).map_err(|_| Error::Mistyped)?;
    let (body, sum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(Error::Mistyped)?;
    if checksum(body) != *sum {
        return Err(Error::Mistyped);
    }
    JoinToken::decode(body).map_err(|_| Error::Field("content"))
}

/// A moment as tokens state it.
pub(super) fn whole_seconds(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: 0 }
}

/// The text of a token with this inside.
pub(super) fn seal(mut body: Vec<u8>) -> String {
    let checksum = checksum(&body);
    body.extend_from_slice(&checksum);
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(body))
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM] {
    let mut input = PREFIX.as_bytes().to_vec();
    input.extend_from_slice(body);
    let digest = sha256(&input);
    let mut sum = [0; CHECKSUM];
    sum.copy_from_slice(&digest.as_bytes()[..CHECKSUM]);
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> Token {
        Token {
            mesh_id: "m1".to_owned(),
            subject: Subject::Node("lyon".parse().expect("a name")),
            ca_sha256: sha256(b"ca"),
            parent_url: "https://hq.example:8443".parse().expect("a URL"),
            secret: Secret([7; 32]),
            expires_at: Timestamp::from_second(1_800_000_000).expect("a time"),
        }
    }

    #[test]
    fn a_token_survives_the_paper() {
        let text = token().encode();
        assert_eq!(Token::decode(&format!(" {text}\n")), Ok(token()));
        assert!(format!("{:?}", token()).contains("Secret(…)"));
        let person = Token { subject: Subject::User("ada".parse().expect("a name")), ..token() };
        assert_eq!(Token::decode(&person.encode()), Ok(person));
    }

    #[test]
    fn what_is_wrong_with_a_text_is_said() {
        let text = token().encode();
        assert_eq!(Token::decode("hello"), Err(Error::Foreign));
        assert_eq!(Token::decode("pm1."), Err(Error::Mistyped));
        assert_eq!(Token::decode(&text[..text.len() - 3]), Err(Error::Mistyped));
        assert_eq!(Token::decode(&"pm1.".repeat(4000)), Err(Error::Mistyped));
    }

    #[test]
    fn a_token_ends_with_some_patience() {
        let at = |seconds: i64| Timestamp::from_second(1_800_000_000 + seconds).expect("a time");
        assert_eq!(token().check_expiry(at(299)), Ok(()));
        let error = token().check_expiry(at(301)).expect_err("expired");
        assert!(error.to_string().contains("clock"), "{error}");
    }

    #[test]
    fn a_proof_is_good_for_one_statement() {
        let key = token().secret.sha256();
        let parts: [&[u8]; 2] = [b"lyon", b"https://lyon"];
        let proof = Statement::Join.prove(&key, &parts);
        assert!(Statement::Join.is_proven(&proof, &key, &parts));
        assert!(!Statement::Joined.is_proven(&proof, &key, &parts));
        assert!(!Statement::JoinUser.is_proven(&proof, &key, &parts));
        assert!(!Statement::Join.is_proven(&proof, &key, &[b"lyonh", b"ttps://lyon"]));
        assert!(!Statement::Join.is_proven(&proof, &sha256(b"x"), &parts));
        assert!(!Statement::Join.is_proven(b"", &key, &parts));
    }

    proptest! {
        #[test]
        fn one_changed_letter_is_noticed(at in 4usize..100, letter in "[A-Za-z0-9_-]") {
            let text = token().encode();
            let mut altered = text.clone();
            altered.replace_range(at..=at, &letter);
            prop_assume!(altered != text);
            prop_assert_eq!(Token::decode(&altered), Err(Error::Mistyped));
        }

        #[test]
        fn no_text_panics(text in "(pm1\\.)?\\PC{0,200}") {
            let _ = Token::decode(&text);
        }
    }
}
