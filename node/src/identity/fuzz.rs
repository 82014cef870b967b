//! What strangers send to join, what a parent answers, and what a certificate
//! may say.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use patchmesh_proto::identity::{JoinRequest, JoinResponse, JoinToken};
use prost::Message;

use super::authority;
use super::certificate::Certificate;
use super::join;
use super::key::Key;
use super::testing::TestMesh;
use super::token::{Statement, Token, seal};
use crate::fuzz::{Form, Target, same, word};

const WORDS: &[&str] = &["lyon", "https://", "patchmesh://m1/node/lyon", "pm1.", "m1", "/user/"];

fn token(mesh: &TestMesh) -> Token {
    let name: patchmesh_topology::name::NodeName = "lyon".parse().expect("a name");
    let expires = Timestamp::from_second(1_900_000_000).expect("a time");
    let ca = mesh.ca.sha256();
    Token::new("m1".to_owned(), name, ca, "https://hq.example:8443", expires).expect("a token")
}

/// The message inside a token.
fn inside(token: &Token) -> Vec<u8> {
    let text = token.encode();
    let bytes = URL_SAFE_NO_PAD.decode(&text[4..]).expect("base64");
    bytes[..bytes.len() - 4].to_vec()
}

/// As text, and as what somebody put into a token whose checksum holds.
#[test]
fn tokens() {
    let token = token(&TestMesh::new());
    let user = JoinToken { node: String::new(), user: "ada".to_owned(), ..decoded(&token) };
    let seeds = [inside(&token), user.encode_to_vec()];
    let read = |input: &[u8]| {
        let _ = Token::decode(&String::from_utf8_lossy(input));
        let outcome = Token::decode(&seal(input.to_vec()));
        if let Ok(token) = &outcome {
            same(token, Token::decode(&token.encode()));
            let _ = token.check_expiry(Timestamp::UNIX_EPOCH);
        }
        word(&outcome)
    };
    Target::new("tokens", Form::Fields).with_words(WORDS).run(seeds, read);
}

fn decoded(token: &Token) -> JoinToken {
    JoinToken::decode(&inside(token)[..]).expect("a token")
}

#[test]
fn joins() {
    let key = Key::generate().expect("a key");
    let node = JoinRequest {
        node: "lyon".to_owned(),
        proof: vec![7; 32].into(),
        certificate_request: key.certificate_request("lyon").expect("a request").into(),
        url: "https://lyon.example:8443".to_owned(),
        user: String::new(),
        signing_key: Vec::new().into(),
        ..JoinRequest::default()
    };
    let machine = JoinRequest {
        node: String::new(),
        url: String::new(),
        machine: "pc-1".to_owned(),
        group: "workstations".to_owned(),
        token_id: "0011223344556677".to_owned(),
        ..node.clone()
    };
    let user = JoinRequest {
        node: String::new(),
        url: String::new(),
        user: "ada".to_owned(),
        signing_key: vec![9; 32].into(),
        ..node.clone()
    };
    let read = |input: &[u8]| match JoinRequest::decode(input) {
        Err(error) => word::<(), _>(&Err(error)),
        Ok(request) => {
            let outcome = authority::read(&request);
            if let Ok((applicant, _)) = &outcome {
                let name = applicant.subject();
                assert!(
                    [&request.node, &request.user, &request.machine]
                        .contains(&&name.name().to_owned())
                );
            }
            word(&outcome)
        }
    };
    let seeds = [node, user, machine].map(|seed| seed.encode_to_vec());
    Target::new("joins", Form::Fields).with_words(WORDS).run(seeds, read);
}

/// Answers of a primary that lies: the proof of each holds.
#[test]
fn answers() {
    let mesh = TestMesh::new();
    let token = token(&mesh);
    let key = Key::generate().expect("a key");
    let identity = mesh.reissue(&key, "lyon", Duration::from_secs(3600), Timestamp::now());
    let seed = JoinResponse {
        certificate: identity.certificate().der.to_vec().into(),
        ca_certificate: mesh.ca.certificate().to_vec().into(),
        tuf_root: b"{}".to_vec().into(),
        mesh_id: "m1".to_owned(),
        parent: "hq".to_owned(),
        parent_url: "https://hq.example:8443".to_owned(),
        proof: Vec::new().into(),
    };
    let (pem, secret) = (key.to_pem(), token.secret_sha256());
    let read = |input: &[u8]| match JoinResponse::decode(input) {
        Err(error) => word::<(), _>(&Err(error)),
        Ok(mut response) => {
            let proof = Statement::Joined.prove(&secret, &authority::stated(&response));
            response.proof = proof.into();
            let key = Key::from_pem(&pem).expect("a key");
            let outcome = join::check(&token, key, response);
            if let Ok(joined) = &outcome {
                assert_eq!(joined.mesh_id, token.mesh_id);
                assert_eq!(joined.identity.certificate().subject, token.subject);
            }
            word(&outcome)
        }
    };
    Target::new("answers", Form::Fields).with_words(WORDS).run([seed.encode_to_vec()], read);
}

#[test]
fn certificates() {
    let mesh = TestMesh::new();
    let seeds = [mesh.node("lyon"), mesh.user("ada"), mesh.machine("pc-1", "lab")]
        .map(|identity| identity.certificate().der.to_vec());
    let seeds = [&seeds[..], &[mesh.ca.certificate().to_vec()]].concat();
    let read = |input: &[u8]| {
        let outcome = Certificate::parse(input);
        if let Ok(certificate) = &outcome {
            assert_eq!(certificate.der.as_ref(), input);
            let _ = certificate.validity(Timestamp::UNIX_EPOCH);
            let _ = super::tls::check_issuer(certificate, mesh.ca.certificate());
        }
        word(&outcome)
    };
    Target::new("certificates", Form::Bytes).with_words(WORDS).run(seeds, read);
}
