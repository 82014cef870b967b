//! Listeners and channels against each other, and against clients that are
//! not ours.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use jiff::{SignedDuration, Timestamp};
use patchmesh_topology::node::Membership;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::address::NodeUrl;
use super::channel;
use super::server::{self, Options};
use crate::identity::files::Identity;
use crate::identity::key::Key;
use crate::identity::testing::{Running, TestMesh};
use crate::identity::tls::{self, Credentials, Expected};

const HOUR: Duration = Duration::from_secs(3600);

async fn check(channel: Channel) -> Result<(), Status> {
    HealthClient::new(channel).check(HealthCheckRequest::default()).await.map(|_| ())
}

/// A node `hq` that knows `lyon`.
async fn hq(test: &TestMesh, lyon: &Identity) -> Running {
    let hq = test.node("hq");
    let mesh = test.mesh(&[
        ("hq", None, Membership::Joined(hq.key().spki_sha256())),
        ("lyon", Some("hq"), Membership::Joined(lyon.key().spki_sha256())),
    ]);
    Running::start(test, hq, mesh, |_, _| tonic_health::server::health_reporter().1).await
}

fn credentials(identity: &Identity) -> Option<Arc<Credentials>> {
    Some(Credentials::new(identity).expect("credentials"))
}

#[tokio::test]
async fn a_joined_node_gets_through_and_a_stranger_does_not() {
    let test = TestMesh::new();
    let lyon = test.node("lyon");
    let hq = hq(&test, &lyon).await;
    check(hq.channel(&test, credentials(&lyon), "hq")).await.expect("let in");
    check(hq.channel(&test, None, "hq")).await.expect("health is open");

    // Another CA: TLS refuses, on either side.
    let theirs = TestMesh::new();
    let stranger = credentials(&theirs.node("lyon"));
    let status = check(hq.channel(&test, stranger.clone(), "hq")).await.expect_err("refused");
    let text = channel::explain(&status);
    assert!(text.contains("another mesh"), "{text} {status:?}");
    let status = check(hq.channel(&theirs, stranger, "hq")).await.expect_err("not trusted");
    assert_eq!(status.code(), Code::Unavailable);
    let text = channel::explain(&status);
    assert!(text.contains("another mesh"), "{text}");
    hq.stop().await;
}

#[tokio::test]
async fn a_peer_that_may_not_is_told_why() {
    let test = TestMesh::new();
    let lyon = test.node("lyon");
    let hq = hq(&test, &lyon).await;
    let day = SignedDuration::from_hours(24);
    let refused = async |identity: &Identity| {
        let status = check(hq.channel(&test, credentials(identity), "hq")).await;
        let status = status.expect_err("refused");
        assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
        status.message().to_owned()
    };
    let now = Timestamp::now();
    let expired = test.reissue(lyon.key(), "lyon", HOUR, now - day);
    let text = refused(&expired).await;
    assert!(text.contains("ended at") && text.contains("check the clocks"), "{text}");
    let early = test.reissue(lyon.key(), "lyon", HOUR, now + day);
    let text = refused(&early).await;
    assert!(text.contains("begins at") && text.contains("check the clocks"), "{text}");
    let text = refused(&test.node("paris")).await;
    assert!(text.contains("knows no node paris"), "{text}");
    let text = refused(&test.node("lyon")).await;
    assert!(text.contains("not for the key"), "{text}");
    let text = refused(&test.user("admin")).await;
    assert!(text.contains("no user admin"), "{text}");
    hq.stop().await;
}

#[tokio::test]
async fn revocation_bites_on_open_connections_and_streams() {
    let test = TestMesh::new();
    let lyon = test.node("lyon");
    let hq = hq(&test, &lyon).await;
    let channel = hq.channel(&test, credentials(&lyon), "hq");
    let mut client = HealthClient::new(channel.clone());
    let mut stream =
        client.watch(HealthCheckRequest::default()).await.expect("a stream").into_inner();
    stream.message().await.expect("a message");

    hq.set_membership("lyon", Membership::Revoked);
    let end = tokio::time::timeout(Duration::from_secs(5), stream.message()).await;
    assert!(end.expect("cut in time").is_err());
    let status = check(channel).await.expect_err("refused");
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("revoked"), "{status:?}");
    hq.stop().await;
}

#[tokio::test]
async fn a_client_knows_whom_it_means() {
    let test = TestMesh::new();
    let lyon = test.node("lyon");
    let hq = hq(&test, &lyon).await;
    let status = check(hq.channel(&test, credentials(&lyon), "paris")).await;
    let text = channel::explain(&status.expect_err("not paris"));
    assert!(text.contains("it is node hq, not node paris"), "{text}");

    let by_host = |url: &NodeUrl| {
        let tls = tls::client(test.ca.certificate(), None, Expected::Host).expect("TLS");
        channel::to_node(url, tls).expect("a channel")
    };
    check(by_host(&hq.url)).await.expect("its address is in the certificate");
    let other: NodeUrl = format!("https://localhost:{}", hq.url.port()).parse().expect("a URL");
    let text = channel::explain(&check(by_host(&other)).await.expect_err("not localhost"));
    assert!(text.contains("not for host localhost"), "{text}");
    hq.stop().await;
}

#[tokio::test]
async fn a_server_with_a_clock_a_day_off_is_named() {
    let test = TestMesh::new();
    let lyon = test.node("lyon");
    for (shift, word) in [(-24, "ended"), (24, "begins")] {
        let at = Timestamp::now() + SignedDuration::from_hours(shift);
        let off = test.node_at("hq", HOUR, at);
        let mesh = test.mesh(&[("lyon", None, Membership::Joined(lyon.key().spki_sha256()))]);
        let service = |_, _| tonic_health::server::health_reporter().1;
        let hq = Running::start(&test, off, mesh, service).await;
        let status = check(hq.channel(&test, credentials(&lyon), "hq")).await;
        let text = channel::explain(&status.expect_err("not trusted"));
        assert!(text.contains(word) && text.contains("check the clocks"), "{text}");
        hq.stop().await;
    }
}

#[tokio::test]
async fn unreachable_hosts_are_told_apart() {
    let test = TestMesh::new();
    let to = async |url: &str| {
        let tls = tls::client(test.ca.certificate(), None, Expected::Host).expect("TLS");
        let url = url.parse().expect("a URL");
        let status = check(channel::to_node(&url, tls).expect("a channel")).await;
        let status = status.expect_err("nobody there");
        assert_eq!(status.code(), Code::Unavailable);
        channel::explain(&status)
    };
    let closed = server::bind("127.0.0.1:0".parse().expect("an address")).await.expect("bound");
    let port = closed.local_addr().expect("an address").port();
    drop(closed);
    let text = to(&format!("https://127.0.0.1:{port}")).await;
    assert!(text.contains("refuses connections"), "{text}");
    let text = to("https://nowhere.invalid:1").await;
    assert!(text.contains("cannot find host nowhere.invalid"), "{text}");

    // A port that speaks plain HTTP.
    let plain = server::bind("127.0.0.1:0".parse().expect("an address")).await.expect("bound");
    let port = plain.local_addr().expect("an address").port();
    let shutdown = CancellationToken::new();
    let app = Router::new().route("/", get(async || "hello"));
    let options = Options::default();
    let task = tokio::spawn(server::serve_plain(plain, app, options, shutdown.clone()));
    let text = to(&format!("https://127.0.0.1:{port}")).await;
    assert!(text.contains("TLS"), "{text}");
    shutdown.cancel();
    task.await.expect("ended");
}

/// A ClientHello that offers TLS 1.2 and nothing newer.
const HELLO_TLS12: &[u8] = &[
    0x16, 0x03, 0x01, 0x00, 0x39, // handshake record
    0x01, 0x00, 0x00, 0x35, 0x03, 0x03, // ClientHello, TLS 1.2
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    0x00, // no session
    0x00, 0x02, 0xc0, 0x2b, // ECDHE-ECDSA-AES128-GCM-SHA256
    0x01, 0x00, // no compression
    0x00, 0x0a, // extensions
    0x00, 0x0d, 0x00, 0x06, 0x00, 0x04, 0x04, 0x03, 0x08, 0x04, // signature algorithms
];

#[tokio::test]
async fn tls_1_2_is_refused() {
    let test = TestMesh::new();
    let hq = hq(&test, &test.node("lyon")).await;
    let mut tcp = TcpStream::connect(("127.0.0.1", hq.url.port())).await.expect("connected");
    tcp.write_all(HELLO_TLS12).await.expect("sent");
    let mut answer = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(5), tcp.read_to_end(&mut answer)).await;
    // A reset instead of an end will do too.
    let _ = end.expect("closed in time");
    // An alert record: fatal, protocol_version.
    assert_eq!(answer.get(5..7), Some(&[2, 70][..]), "{answer:?}");
    hq.stop().await;
}

#[tokio::test]
async fn https_clients_get_http_1_and_open_routes() {
    let test = TestMesh::new();
    let hq = hq(&test, &test.node("lyon")).await;
    let answer = hello(&test, &hq, "127.0.0.1").await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with("a caller without a certificate"), "{answer}");
    hq.stop().await;
}

#[tokio::test]
async fn who_says_nothing_is_dropped() {
    let test = TestMesh::new();
    let options = Options {
        handshake_timeout: Duration::from_millis(100),
        header_timeout: Duration::from_millis(100),
        ..Options::default()
    };
    let hq = hq(&test, &test.node("lyon")).await.restarted_with(&test, options).await;
    let mut tcp = TcpStream::connect(("127.0.0.1", hq.url.port())).await.expect("connected");
    let mut byte = [0];
    let end = tokio::time::timeout(Duration::from_secs(5), tcp.read(&mut byte)).await;
    assert!(matches!(end, Ok(Ok(0) | Err(_))), "{end:?}");

    // After the handshake too, in HTTP/2.
    let config = tls::client(test.ca.certificate(), None, Expected::Host).expect("TLS");
    let tcp = TcpStream::connect(("127.0.0.1", hq.url.port())).await.expect("connected");
    let name = ServerName::try_from("127.0.0.1").expect("a name");
    let mut tls = tokio_rustls::TlsConnector::from(config).connect(name, tcp).await.expect("TLS");
    let mut rest = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(5), tls.read_to_end(&mut rest)).await;
    end.expect("closed in time").ok();
    hq.stop().await;
}

/// What a client without a certificate gets to hear of `/hello`, which connects from `from`.
async fn hello(test: &TestMesh, hq: &Running, from: &str) -> io::Result<String> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(format!("{from}:0").parse().expect("an address"))?;
    let tcp = socket.connect(format!("127.0.0.1:{}", hq.url.port()).parse().expect("one")).await?;
    let mut tls = handshake(test, tcp).await?;
    tls.write_all(b"GET /hello HTTP/1.1\r\nhost: hq\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    tls.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// A client of HTTP/1.1 without a certificate.
async fn handshake(test: &TestMesh, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let mut config = Arc::unwrap_or_clone(
        tls::client(test.ca.certificate(), None, Expected::Host).expect("TLS"),
    );
    config.alpn_protocols.clear();
    let name = ServerName::try_from("127.0.0.1").expect("a name");
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

#[tokio::test]
async fn who_says_nothing_keeps_nobody_else_waiting() {
    let test = TestMesh::new();
    let options = Options { max_handshakes: 8, handshake_timeout: HOUR, ..Options::default() };
    let hq = hq(&test, &test.node("lyon")).await.restarted_with(&test, options).await;
    let mut idle = Vec::new();
    for _ in 0..40 {
        idle.push(TcpStream::connect(("127.0.0.1", hq.url.port())).await.expect("connected"));
    }
    let within = Duration::from_secs(20);
    let answer = tokio::time::timeout(within, hello(&test, &hq, "127.0.0.2")).await;
    let answer = answer.expect("it does not wait for them").expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(idle);
    hq.stop().await;
}

#[tokio::test]
async fn a_network_cannot_have_all_places_of_strangers() {
    let test = TestMesh::new();
    let options = Options { max_strangers: 4, ..Options::default() };
    let hq = hq(&test, &test.node("lyon")).await.restarted_with(&test, options).await;
    let tcp = TcpStream::connect(("127.0.0.1", hq.url.port())).await.expect("connected");
    let mut first = handshake(&test, tcp).await.expect("the one that it may have");
    first.write_all(b"GET /hello HTTP/1.1\r\nhost: hq\r\n\r\n").await.expect("sent");
    first.read_u8().await.expect("an answer");
    let second = hello(&test, &hq, "127.0.0.1").await;
    assert!(second.as_ref().map_or(true, String::is_empty), "one too many: {second:?}");
    let answer = hello(&test, &hq, "127.0.0.2").await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(first);
    hq.stop().await;
}

#[tokio::test]
async fn a_request_that_never_gets_whole_ends() {
    let test = TestMesh::new();
    let whole = async |body: bytes::Bytes| body;
    let app = Router::new().route("/whole", post(whole));
    let options = Options { request_timeout: Duration::from_millis(200), ..Options::default() };
    let hq = Running::serving(&test, test.node("hq"), app).await;
    let hq = hq.restarted_with(&test, options).await;
    let tcp = TcpStream::connect(("127.0.0.1", hq.url.port())).await.expect("connected");
    let mut tls = handshake(&test, tcp).await.expect("TLS");
    let request = b"POST /whole HTTP/1.1\r\nhost: hq\r\ncontent-length: 9\r\n\r\nbut";
    tls.write_all(request).await.expect("sent");
    let mut answer = String::new();
    let read = tokio::time::timeout(Duration::from_secs(20), tls.read_to_string(&mut answer)).await;
    read.expect("it is answered").ok();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("not whole, or not answered, within 200ms"), "{answer}");
    hq.stop().await;
}

#[tokio::test]
async fn strangers_leave_room_for_the_mesh() {
    let test = TestMesh::new();
    let lyon = test.node("lyon");
    let options = Options { max_connections: 3, reserved_for_peers: 2, ..Options::default() };
    let hq = hq(&test, &lyon).await.restarted_with(&test, options).await;
    let first = hq.channel(&test, None, "hq");
    check(first.clone()).await.expect("the one stranger that fits");
    let status = check(hq.channel(&test, None, "hq")).await.expect_err("one too many");
    assert_ne!(status.code(), Code::Ok);
    check(hq.channel(&test, credentials(&lyon), "hq")).await.expect("room for a node");
    check(first).await.expect("still served");
    hq.stop().await;
}

#[tokio::test]
async fn machines_leave_room_for_the_mesh_and_for_each_other() {
    let test = TestMesh::new();
    let lyon = test.node("lyon");
    let options = Options { max_connections: 9, reserved_for_peers: 3, ..Options::default() };
    let hq = hq(&test, &lyon).await.restarted_with(&test, options).await;
    let (loud, quiet) = (test.machine("loud", "lab"), test.machine("quiet", "lab"));
    let mut open = Vec::new();
    for _ in 0..4 {
        let channel = hq.channel(&test, credentials(&loud), "hq");
        check(channel.clone()).await.expect("a place for the machine");
        open.push(channel);
    }
    let status = check(hq.channel(&test, credentials(&loud), "hq")).await;
    assert_ne!(status.expect_err("one too many").code(), Code::Ok);
    let channel = hq.channel(&test, credentials(&quiet), "hq");
    check(channel.clone()).await.expect("a place for another machine");
    check(hq.channel(&test, credentials(&lyon), "hq")).await.expect("room for a node");
    check(open[0].clone()).await.expect("still served");
    hq.stop().await;
}

#[tokio::test]
async fn who_is_not_let_in_holds_no_places_of_who_is() {
    let test = TestMesh::new();
    let hq = hq(&test, &test.node("lyon")).await;
    let day = SignedDuration::from_hours(24);
    let machine = test.machine("pc", "lab");
    let key = Key::generate().expect("a key");
    let ended = test.machine_with(key, "pc", "lab", Timestamp::now() - day);
    let mut open = Vec::new();
    for _ in 0..4 {
        let channel = hq.channel(&test, credentials(&ended), "hq");
        let status = check(channel.clone()).await.expect_err("refused");
        assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
        open.push(channel);
    }
    check(hq.channel(&test, credentials(&machine), "hq")).await.expect("its places are free");
    drop(open);
    hq.stop().await;
}

#[tokio::test]
async fn the_local_socket_knows_its_own_user() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.sock");
    let status = check(channel::to_socket(&path)).await.expect_err("nobody there");
    assert!(channel::explain(&status).contains("no node runs here"), "{status:?}");

    let health = tonic_health::server::health_reporter().1;
    let app = tonic::service::Routes::new(health).into_axum_router();
    let shutdown = CancellationToken::new();
    let listener = server::bind_unix(&path).expect("bound");
    assert!(matches!(server::bind_unix(&path), Err(server::Error::InUse(_))));
    let serve = server::serve_unix(listener, app, Options::default(), shutdown.clone());
    let task = tokio::spawn(serve);
    check(channel::to_socket(&path)).await.expect("let in");
    shutdown.cancel();
    task.await.expect("ended");
    assert!(!path.exists());

    // One left behind is replaced; anything else is not touched.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
    drop(server::bind_unix(&path).expect("replaced"));
    std::fs::remove_file(&path).expect("removed");
    std::fs::write(&path, "hello").expect("written");
    assert!(matches!(server::bind_unix(&path), Err(server::Error::NoSocket(_))));
    let long = folder.path().join("x".repeat(120));
    assert!(matches!(server::bind_unix(&long), Err(server::Error::LongPath { .. })));
}

#[tokio::test]
async fn shutdown_cuts_what_does_not_end() -> io::Result<()> {
    let test = TestMesh::new();
    let lyon = test.node("lyon");
    let options = Options { drain: Duration::from_millis(200), ..Options::default() };
    let hq = hq(&test, &lyon).await.restarted_with(&test, options).await;
    let mut client = HealthClient::new(hq.channel(&test, credentials(&lyon), "hq"));
    let mut stream =
        client.watch(HealthCheckRequest::default()).await.expect("a stream").into_inner();
    stream.message().await.expect("a message");
    tokio::time::timeout(Duration::from_secs(5), hq.stop()).await?;
    assert!(stream.message().await.is_err());
    Ok(())
}
