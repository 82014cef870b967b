//! How a host becomes a node: it makes a key, asks the parent that its token
//! names, and checks every part of the answer before it keeps any.
//!
//! The key is saved before the question is asked. So a host whose answer got
//! lost asks again with the same key, and the primary answers again. The
//! certificate is left to the caller to save: it is what makes a host a node,
//! so it comes after everything else that a node needs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use patchmesh_proto::identity::identity_client::IdentityClient;
use patchmesh_proto::identity::{JoinRequest, JoinResponse};
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::name::{MachineName, NodeName};
use rustls_pki_types::CertificateDer;
use tonic::{Request, Status};

use super::authority::stated;
use super::certificate::{self, Certificate, Subject};
use super::files::{self, Identity};
use super::key::{self, Key};
use super::machine_token::MachineToken;
use super::token::{self, Statement, Token};
use super::{sha256, tls};
use crate::transport::address::NodeUrl;
use crate::transport::channel;

/// How long the answer may take; the request may climb many nodes.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The largest answer; the TUF root makes most of it.
const MAX_RESPONSE: usize = 1 << 20;

/// Why a host did not become a node.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is one already.
    #[error(
        "{} holds an identity already; join with another folder",
        .0.display()
    )]
    Joined(PathBuf),
    /// A person's token used for a host.
    #[error("this token is for a person: use it with `patchmesh user join`")]
    ForAPerson,
    /// A host's token used for a person.
    #[error("this token is for a node: use it with `patchmesh join`")]
    ForANode,
    /// The token is of no use.
    #[error("the token cannot be used")]
    Token(#[from] token::Error),
    /// No key.
    #[error("cannot make a certificate request")]
    Key(#[from] key::Error),
    /// The identity cannot be saved.
    #[error("cannot keep the identity")]
    Files(#[from] files::Error),
    /// No TLS.
    #[error("cannot use TLS")]
    Tls(#[from] tls::Error),
    /// The parent's URL does not work.
    #[error("cannot use the parent's URL")]
    Url(#[source] channel::Error),
    /// The parent could not be asked.
    #[error("cannot ask {parent}: {why}")]
    Unreachable {
        /// The parent's URL.
        parent: String,
        /// What happened.
        why: String,
        /// As it came.
        source: Box<Status>,
    },
    /// The mesh said no.
    #[error("the mesh refused: {why}")]
    Refused {
        /// Its words.
        why: String,
        /// As it came.
        source: Box<Status>,
    },
    /// The answer does not come from the primary that made the token.
    #[error(
        "the answer was altered on the way: a node between here and the primary is not to be trusted"
    )]
    Altered,
    /// A part of the answer makes no sense.
    #[error("the answer's {0} is wrong: the primary is faulty")]
    Answer(&'static str),
    /// The certificate cannot be read.
    #[error("the answer's certificate cannot be used")]
    Certificate(#[from] certificate::Error),
}

/// What a host has when it has joined.
#[derive(Debug)]
pub struct Joined {
    /// Its identity. Only its key is saved.
    pub identity: Identity,
    /// The mesh.
    pub mesh_id: String,
    /// Its parent.
    pub parent: NodeName,
    /// Where the parent is reached.
    pub parent_url: NodeUrl,
    /// The TUF root metadata to pin.
    pub tuf_root: Bytes,
}

/// Joins with a token. The new key is in `folder` afterwards; the rest of the
/// identity is for the caller to save there, last of all. `url` is where the
/// new node will be reached.
///
/// # Errors
/// Where the token is of no use, the parent cannot be asked or refuses, or the
/// answer is not what the token promises.
pub async fn join(token: &Token, folder: &Path, url: &NodeUrl) -> Result<Joined, Error> {
    token.check_expiry(Timestamp::now())?;
    let Subject::Node(node) = &token.subject else {
        return Err(Error::ForAPerson);
    };
    let key = new_key(folder)?;
    let request = key.certificate_request(node.as_str())?;
    let parts = [node.as_str().as_bytes(), url.as_str().as_bytes(), &request];
    let proof = Statement::Join.prove(&token.secret_sha256(), &parts);
    let request = JoinRequest {
        node: node.to_string(),
        proof: proof.into(),
        certificate_request: request.into(),
        url: url.to_string(),
        ..JoinRequest::default()
    };
    let response = ask(&token.parent_url, token.ca_sha256, request).await?;
    check(token, key, response)
}

/// Joins as the person that the token names. Both keys are in `folder`
/// afterwards: that of the certificate, and `signing`, whose public half
/// becomes known as the person's. The rest of the identity is for the caller
/// to save there, last of all.
///
/// # Errors
/// As for [`join`].
pub async fn join_user(
    token: &Token,
    folder: &Path,
    signing_key: &[u8; 32],
) -> Result<Joined, Error> {
    token.check_expiry(Timestamp::now())?;
    let Subject::User(user) = &token.subject else {
        return Err(Error::ForANode);
    };
    let key = new_key(folder)?;
    let request = key.certificate_request(user.as_str())?;
    let parts = [user.as_str().as_bytes(), signing_key, &request];
    let proof = Statement::JoinUser.prove(&token.secret_sha256(), &parts);
    let request = JoinRequest {
        user: user.to_string(),
        signing_key: signing_key.to_vec().into(),
        proof: proof.into(),
        certificate_request: request.into(),
        ..JoinRequest::default()
    };
    let response = ask(&token.parent_url, token.ca_sha256, request).await?;
    check(token, key, response)
}

/// Joins as a machine of the token's group, under a name of its own choice, for
/// the key in `folder` or else a new one, which is there afterwards; the rest of
/// the identity is for the caller to save there, last of all.
///
/// # Errors
/// As for [`join`].
pub async fn join_machine(
    token: &MachineToken,
    name: &MachineName,
    folder: &Path,
) -> Result<Joined, Error> {
    let subject = Subject::Machine { name: name.clone(), group: token.group.clone() };
    token.check_expiry(&subject, Timestamp::now())?;
    let key = files::load_or_make_key(folder)?;
    let request = key.certificate_request(name.as_str())?;
    let secret = token.secret.sha256();
    let parts =
        [name.as_str().as_bytes(), token.group.as_str().as_bytes(), token.id.as_bytes(), &request];
    let proof = Statement::JoinMachine.prove(&secret, &parts);
    let request = JoinRequest {
        machine: name.to_string(),
        group: token.group.to_string(),
        token_id: token.id.clone(),
        proof: proof.into(),
        certificate_request: request.into(),
        ..JoinRequest::default()
    };
    let response = ask(&token.node_url, token.ca_sha256, request).await?;
    let promised = Promised {
        mesh_id: &token.mesh_id,
        subject: &subject,
        ca_sha256: token.ca_sha256,
        secret_sha256: secret,
    };
    promised.check(key, response)
}

/// The key of a folder that holds no identity yet.
fn new_key(folder: &Path) -> Result<Key, Error> {
    if files::exists(folder) {
        return Err(Error::Joined(folder.to_owned()));
    }
    Ok(files::load_or_make_key(folder)?)
}

async fn ask(
    parent: &NodeUrl,
    ca_sha256: Sha256,
    request: JoinRequest,
) -> Result<JoinResponse, Error> {
    let mut message = Request::new(request);
    message.set_timeout(TIMEOUT);
    let channel = channel::to_node(parent, tls::joining_client(ca_sha256)?).map_err(Error::Url)?;
    let answer =
        IdentityClient::new(channel).max_decoding_message_size(MAX_RESPONSE).join(message).await;
    answer.map(tonic::Response::into_inner).map_err(|status| {
        let (why, source) = (channel::explain(&status), Box::new(status));
        match source.code() {
            tonic::Code::PermissionDenied
            | tonic::Code::FailedPrecondition
            | tonic::Code::InvalidArgument => Error::Refused { why, source },
            _ => Error::Unreachable { parent: parent.to_string(), why, source },
        }
    })
}

/// Keeps of an answer only what the token promised.
pub(super) fn check(token: &Token, key: Key, response: JoinResponse) -> Result<Joined, Error> {
    let promised = Promised {
        mesh_id: &token.mesh_id,
        subject: &token.subject,
        ca_sha256: token.ca_sha256,
        secret_sha256: token.secret_sha256(),
    };
    promised.check(key, response)
}

/// What a token promises of the answer.
struct Promised<'a> {
    mesh_id: &'a str,
    subject: &'a Subject,
    ca_sha256: Sha256,
    secret_sha256: Sha256,
}

impl Promised<'_> {
    fn check(&self, key: Key, response: JoinResponse) -> Result<Joined, Error> {
        let stated = stated(&response);
        if !Statement::Joined.is_proven(&response.proof, &self.secret_sha256, &stated) {
            return Err(Error::Altered);
        }
        if sha256(&response.ca_certificate) != self.ca_sha256 {
            return Err(Error::Answer("CA"));
        }
        if response.mesh_id != self.mesh_id {
            return Err(Error::Answer("mesh"));
        }
        if response.tuf_root.is_empty() {
            return Err(Error::Answer("TUF root"));
        }
        let certificate = Certificate::parse(&response.certificate)?;
        if certificate.mesh_id != self.mesh_id || certificate.subject != *self.subject {
            return Err(Error::Answer("certificate"));
        }
        let ca = CertificateDer::from(response.ca_certificate.to_vec());
        Ok(Joined {
            identity: Identity::new(key, certificate, ca)?,
            mesh_id: response.mesh_id,
            parent: response.parent.parse().map_err(|_| Error::Answer("parent"))?,
            parent_url: response.parent_url.parse().map_err(|_| Error::Answer("parent's URL"))?,
            tuf_root: response.tuf_root,
        })
    }
}
