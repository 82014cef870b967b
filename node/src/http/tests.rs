//! The routes over in-memory fakes.

mod fake;
mod fuzz;
mod real_apt;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderName, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use patchmesh_topology::digest::Digest;
use tower::ServiceExt;

use super::Stored;
use fake::{Fake, Fault};

const DEB: &str = "/apt/production/servers/pool/v/main/a/0123456789abcdef/g++_1%253a2%7erc_all.deb";
const IN_RELEASE: &str = "/apt/production/servers/dists/bookworm/InRelease";

/// A node that serves one small repository in two generations.
fn node() -> Fake {
    let mut fake = Fake::default();
    let mut old = fake.view("2026-11-23T10:00:00Z");
    fake.index(&mut old, "dists/bookworm/InRelease", "old release");
    fake.index(&mut old, "dists/bookworm/settled/binary-amd64/Packages", "old packages");
    fake.index(&mut old, "dists/bookworm/settled/binary-amd64/by-hash/SHA256/0a", "old packages");
    fake.pool(&mut old, "pool/v/main/o/0123456789abcdef/old_1_all.deb", "old deb");
    let mut new = fake.view("2026-11-23T10:00:01Z");
    fake.index(&mut new, "dists/bookworm/InRelease", "new release");
    fake.index(&mut new, "dists/bookworm/settled/binary-amd64/Packages.xz", "new packages");
    fake.pool(&mut new, "pool/v/main/a/0123456789abcdef/g++_1%3a2~rc_all.deb", "0123456789");
    fake.switch("servers", old);
    fake.switch("servers", new);
    fake
}

async fn ask(
    fake: &Fake,
    method: Method,
    path: &str,
    fields: &[(HeaderName, &str)],
) -> Response<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in fields {
        request = request.header(name, *value);
    }
    fake.router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn get(fake: &Fake, path: &str, fields: &[(HeaderName, &str)]) -> (StatusCode, String) {
    let response = ask(fake, Method::GET, path, fields).await;
    (response.status(), text(response).await)
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

fn field<'r>(response: &'r Response<Body>, name: &HeaderName) -> &'r str {
    response.headers().get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
}

#[tokio::test]
async fn a_pool_file_by_the_name_that_apt_sends() {
    let response = ask(&node(), Method::GET, DEB, &[]).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(field(&response, &header::CONTENT_LENGTH), "10");
    assert_eq!(field(&response, &header::CONTENT_TYPE), "application/vnd.debian.binary-package");
    assert_eq!(field(&response, &header::CACHE_CONTROL), "public, max-age=31536000, immutable");
    assert_eq!(field(&response, &header::ACCEPT_RANGES), "bytes");
    assert_eq!(field(&response, &header::LAST_MODIFIED), "Thu, 01 Jan 2004 00:00:00 GMT");
    assert_eq!(field(&response, &header::ETAG).len(), 66);
    assert_eq!(text(response).await, "0123456789");
}

#[tokio::test]
async fn head_says_what_get_would() {
    let fake = node();
    for path in [DEB, IN_RELEASE, "/", "/apt"] {
        let (get, head) =
            (ask(&fake, Method::GET, path, &[]).await, ask(&fake, Method::HEAD, path, &[]).await);
        assert_eq!(get.headers(), head.headers(), "{path}");
        assert_eq!(text(head).await, "");
    }
}

#[tokio::test]
async fn parts_resume_and_end_where_they_should() {
    let fake = node();
    let response = ask(&fake, Method::GET, DEB, &[(header::RANGE, "bytes=4-")]).await;
    assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(field(&response, &header::CONTENT_RANGE), "bytes 4-9/10");
    assert_eq!(field(&response, &header::CONTENT_LENGTH), "6");
    assert_eq!(text(response).await, "456789");
    let resumed =
        [(header::RANGE, "bytes=8-"), (header::IF_RANGE, "Thu, 01 Jan 2004 00:00:00 GMT")];
    assert_eq!(get(&fake, DEB, &resumed).await, (StatusCode::PARTIAL_CONTENT, "89".into()));
    let suffix = get(&fake, DEB, &[(header::RANGE, "bytes=-3")]).await;
    assert_eq!(suffix, (StatusCode::PARTIAL_CONTENT, "789".into()));
    let several = get(&fake, DEB, &[(header::RANGE, "bytes=0-1,4-5")]).await;
    assert_eq!(several, (StatusCode::OK, "0123456789".into()));
    let text_part = get(&fake, "/", &[(header::RANGE, "bytes=0-6")]).await;
    assert_eq!(text_part, (StatusCode::PARTIAL_CONTENT, "This is".into()));
    let beyond = ask(&fake, Method::GET, DEB, &[(header::RANGE, "bytes=10-")]).await;
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(field(&beyond, &header::CONTENT_RANGE), "bytes */10");
}

#[tokio::test]
async fn conditions_spare_the_body() {
    let fake = node();
    let first = ask(&fake, Method::GET, IN_RELEASE, &[]).await;
    assert_eq!(field(&first, &header::CACHE_CONTROL), "no-cache");
    assert_eq!(field(&first, &header::LAST_MODIFIED), "Mon, 23 Nov 2026 10:00:01 GMT");
    let etag = field(&first, &header::ETAG).to_owned();
    for fields in [
        [(header::IF_NONE_MATCH, etag.as_str())],
        [(header::IF_MODIFIED_SINCE, "Mon, 23 Nov 2026 10:00:01 GMT")],
    ] {
        let again = ask(&fake, Method::GET, IN_RELEASE, &fields).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(field(&again, &header::ETAG), etag);
        assert_eq!(text(again).await, "");
    }
    let older = [(header::IF_MODIFIED_SINCE, "Mon, 23 Nov 2026 10:00:00 GMT")];
    assert_eq!(get(&fake, IN_RELEASE, &older).await, (StatusCode::OK, "new release".into()));
    let failed = get(&fake, IN_RELEASE, &[(header::IF_MATCH, "\"other\"")]).await;
    assert_eq!(failed.0, StatusCode::PRECONDITION_FAILED);
}

#[tokio::test]
async fn a_date_that_two_contents_share_is_not_trusted() {
    let mut fake = node();
    let mut newest = fake.view("2026-11-23T10:00:01Z");
    fake.index(&mut newest, "dists/bookworm/InRelease", "newest release");
    fake.switch("servers", newest);
    let condition = [(header::IF_MODIFIED_SINCE, "Mon, 23 Nov 2026 10:00:01 GMT")];
    let response = ask(&fake, Method::GET, IN_RELEASE, &condition).await;
    assert_eq!(field(&response, &header::LAST_MODIFIED), "");
    assert_eq!(text(response).await, "newest release");
}

#[tokio::test]
async fn a_client_in_mid_update_finds_what_it_read_of() {
    let fake = node();
    let base = "/apt/production/servers";
    let old_index = format!("{base}/dists/bookworm/settled/binary-amd64/by-hash/SHA256/0a");
    assert_eq!(get(&fake, &old_index, &[]).await, (StatusCode::OK, "old packages".into()));
    let old_pool = format!("{base}/pool/v/main/o/0123456789abcdef/old_1_all.deb");
    assert_eq!(get(&fake, &old_pool, &[]).await, (StatusCode::OK, "old deb".into()));
    // By its plain name an old index would pass for the current one.
    let plain = format!("{base}/dists/bookworm/settled/binary-amd64/Packages");
    assert_eq!(get(&fake, &plain, &[]).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_is_not_served_says_what_is() {
    let fake = node();
    for path in [
        "/apt/validation/servers/dists/bookworm/InRelease",
        "/apt/production/laptops/dists/bookworm/InRelease",
    ] {
        let (status, text) = get(&fake, path, &[]).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert!(text.contains("/apt/production/servers"), "{text}");
    }
    let (status, text) = get(&fake, "/apt/production/servers/dists/trixie/InRelease", &[]).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(text.contains("servers bookworm settled opening"), "{text}");
    let (status, text) = get(&fake, "/apt/staging/servers/x", &[]).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(text.contains("use validation or production"), "{text}");
}

#[tokio::test]
async fn odd_paths_and_methods_are_refused() {
    let fake = node();
    for path in
        ["/apt/%2e%2e/x", "/apt/production/servers/..%2f..%2fetc/passwd", "/content/sha256/%00"]
    {
        assert_eq!(get(&fake, path, &[]).await.0, StatusCode::BAD_REQUEST, "{path}");
    }
    let long = format!("/apt/{}", "x".repeat(3000));
    assert_eq!(get(&fake, &long, &[]).await.0, StatusCode::URI_TOO_LONG);
    let post = ask(&fake, Method::POST, DEB, &[]).await;
    assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(field(&post, &header::ALLOW), "GET, HEAD");
}

#[tokio::test]
async fn content_that_cannot_be_had_is_said_so_and_when_to_return() {
    let mut fake = node();
    fake.fault = Some(Fault::Unavailable);
    let response = ask(&fake, Method::GET, DEB, &[]).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(field(&response, &header::RETRY_AFTER), "30");
    assert!(text(response).await.contains("the parent does not answer"));
    fake.fault = Some(Fault::AtOnce);
    assert_eq!(get(&fake, DEB, &[]).await.0, StatusCode::SERVICE_UNAVAILABLE);
    // What needs no content goes on.
    assert_eq!(ask(&fake, Method::HEAD, DEB, &[]).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_transfer_that_breaks_off_or_lies_never_ends_well() {
    let mut fake = node();
    for fault in [Fault::Midway, Fault::Short, Fault::Long] {
        fake.fault = Some(fault);
        let response = ask(&fake, Method::GET, DEB, &[]).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.into_body().collect().await.is_err(), "{fault:?}");
    }
}

#[tokio::test]
async fn a_broken_transfer_breaks_the_connection() {
    let mut fake = node();
    fake.fault = Some(Fault::Midway);
    let server = fake.listen().await;
    let address = server.address;
    let fetch = tokio::task::spawn_blocking(move || {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        write!(stream, "GET {DEB} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        let closed = stream.read_to_end(&mut answer);
        let timed_out = closed.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!timed_out, "the connection stays open");
        String::from_utf8(answer).unwrap()
    });
    let answer = fetch.await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.to_lowercase().contains("content-length: 10")
    );
    assert!(!answer.contains("0123456789"), "{answer}");
}

#[tokio::test]
async fn tuf_content_and_keys() {
    let mut fake = node();
    fake.metadata.insert("timestamp.json".into(), Stored::Bytes("{}".into()));
    fake.metadata.insert("3.root.json".into(), Stored::Bytes("{\"root\":3}".into()));
    let (approvals, sha256) = fake.blob("approvals");
    fake.targets.insert(("approvals/production".into(), sha256), approvals);
    fake.targets.insert(("mesh/topology".into(), sha256), approvals);

    let timestamp = ask(&fake, Method::GET, "/tuf/metadata/timestamp.json", &[]).await;
    assert_eq!(field(&timestamp, &header::CACHE_CONTROL), "no-cache");
    let root = ask(&fake, Method::GET, "/tuf/metadata/3.root.json", &[]).await;
    assert!(field(&root, &header::CACHE_CONTROL).contains("immutable"));
    assert_eq!(text(root).await, "{\"root\":3}");
    assert_eq!(get(&fake, "/tuf/metadata/4.root.json", &[]).await.0, StatusCode::NOT_FOUND);

    let target = format!("/tuf/targets/approvals/{sha256}.production");
    assert_eq!(get(&fake, &target, &[]).await, (StatusCode::OK, "approvals".into()));
    let closed = format!("/tuf/targets/mesh/{sha256}.topology");
    assert_eq!(get(&fake, &closed, &[]).await.0, StatusCode::FORBIDDEN);

    let payload = fake.bindings.values().find(|binding| binding.length == 10).copied().unwrap();
    for path in
        [format!("/content/sha256/{}", payload.sha256), format!("/content/blake3/{}", payload.blob)]
    {
        assert_eq!(get(&fake, &path, &[]).await, (StatusCode::OK, "0123456789".into()));
    }
    // A blob that is there and not open to all stays closed.
    let hidden = format!("/content/blake3/{}", Digest::of(b"approvals"));
    assert_eq!(get(&fake, &hidden, &[]).await.0, StatusCode::NOT_FOUND);

    fake.ca = Some(Bytes::from_static(b"-----BEGIN CERTIFICATE-----\n"));
    assert_eq!(get(&fake, "/ca.pem", &[]).await.0, StatusCode::OK);
    assert_eq!(get(&fake, "/keys/production.asc", &[]).await.0, StatusCode::NOT_FOUND);
    let (status, text) = get(&fake, "/", &[]).await;
    assert_eq!(status, StatusCode::OK);
    assert!(text.contains("/apt/production/servers\n"), "{text}");
}
