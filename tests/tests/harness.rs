//! The scenarios' own tools: a vendor that real apt accepts, faults that happen,
//! a relay that relays.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use patchmesh_tests::apt::{Apt, Lines};
use patchmesh_tests::proxy::Proxy;
use patchmesh_tests::vendor::packages::{LARGE_BYTES, distribution};
use patchmesh_tests::vendor::repository::{COMPONENT, SUITE};
use patchmesh_tests::vendor::{Fault, Sample, Vendor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// apt that takes the vendor directly.
async fn machine(vendor: &Vendor, not_installed: &[String]) -> Result<Apt> {
    let apt = Apt::new(not_installed).await?;
    let keyring = "/etc/apt/keyrings/vendor.asc";
    apt.configure(&Lines {
        sources: format!("deb [signed-by={keyring}] {} {SUITE} {COMPONENT}\n", vendor.url()),
        settings: String::new(),
        files: vec![(keyring.to_owned(), std::fs::read_to_string(vendor.keyring())?)],
    })?;
    Ok(apt)
}

#[tokio::test(flavor = "multi_thread")]
async fn real_apt_takes_real_packages_from_a_vendor() -> Result<()> {
    let packages = distribution().await?;
    ensure!(packages.len() >= 12, "only {} packages", packages.len());
    let vendor = Vendor::start().await?;
    vendor.publish(&packages).await?;
    let names: Vec<String> = packages.iter().map(|package| package.name.clone()).collect();
    let apt = machine(&vendor, &names).await?;
    apt.update().await?.success()?;
    for package in &packages {
        let candidate = apt.candidate(&package.name).await?;
        ensure!(candidate.as_ref() == Some(&package.version), "{}: {candidate:?}", package.name);
    }
    let wanted: Vec<&str> = names.iter().map(String::as_str).collect();
    apt.install_download_only(&wanted).await?.success()?;
    let downloaded = apt.downloaded()?;
    ensure!(downloaded.len() == packages.len(), "{downloaded:?}");
    let sizes = downloaded.iter().map(|file| Ok(std::fs::metadata(file)?.len()));
    let largest = sizes.collect::<Result<Vec<_>>>()?.into_iter().max();
    ensure!(largest.is_some_and(|bytes| bytes > LARGE_BYTES), "{largest:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn real_apt_notices_the_vendors_faults() -> Result<()> {
    let vendor = Vendor::with_samples(&[
        Sample::new("sample-app", "1:1.0~rc1-1").with_depends("sample-lib"),
        Sample::new("sample-lib", "2"),
    ])
    .await?;
    let apt = machine(&vendor, &[]).await?;
    vendor.server.break_path("/InRelease", Fault::Truncate(200));
    ensure!(apt.update().await?.code != 0, "half an InRelease was taken");
    vendor.server.repair();
    apt.update().await?.success()?;
    ensure!(apt.candidate("sample-app").await?.as_deref() == Some("1:1.0~rc1-1"), "not known");
    ensure!(apt.candidate("sample-none").await?.is_none(), "known");

    vendor.server.break_path(".deb", Fault::Tamper);
    ensure!(apt.download("sample-app").await?.code != 0, "a changed package was taken");
    vendor.server.repair();
    apt.install_download_only(&["sample-app"]).await?.success()?;
    ensure!(apt.downloaded()?.len() == 2, "{:?}", apt.downloaded()?);

    vendor.release(&[Sample::new("sample-lib", "3")]).await?;
    let _earlier = vendor.server.take_seen();
    apt.update().await?.success()?;
    let seen = vendor.server.take_seen();
    ensure!(seen.iter().any(|request| request.path.ends_with("InRelease")), "{seen:?}");
    ensure!(apt.candidate("sample-lib").await?.as_deref() == Some("3"), "not updated");
    Ok(())
}

/// Sends so many bytes to whoever connects.
async fn source(bytes: usize) -> Result<std::net::SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(&vec![0; bytes]).await;
        }
    });
    Ok(address)
}

async fn read_all(proxy: &Proxy) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(proxy.address()).await?;
    let mut received = Vec::new();
    // A line that was cut may end with a reset.
    let _ = stream.read_to_end(&mut received).await;
    Ok(received)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_relays_cuts_flips_limits_and_goes_down() -> Result<()> {
    const BYTES: usize = 1 << 20;
    let proxy = Proxy::start(source(BYTES).await?).await?;
    ensure!(read_all(&proxy).await? == vec![0; BYTES], "not relayed as it was");
    ensure!(proxy.bytes_down() == BYTES as u64, "{} counted", proxy.bytes_down());

    proxy.flip_after(1000);
    let flipped = read_all(&proxy).await?;
    let changed: Vec<usize> = (0..flipped.len()).filter(|&at| flipped[at] != 0).collect();
    ensure!(changed == [1000], "changed at {changed:?}");

    proxy.cut_after(100_000);
    let cut = read_all(&proxy).await?.len();
    ensure!((100_000..BYTES).contains(&cut), "{cut} bytes came");

    proxy.limit(Some(4 << 20));
    let start = Instant::now();
    ensure!(read_all(&proxy).await?.len() == BYTES, "limited, not cut");
    ensure!(start.elapsed() > Duration::from_millis(200), "took only {:?}", start.elapsed());
    proxy.limit(None);

    proxy.down();
    ensure!(read_all(&proxy).await?.is_empty(), "the line is down");
    proxy.up();
    let again = read_all(&proxy).await.context("after the line came up")?;
    ensure!(again.len() == BYTES, "{} bytes after the line came up", again.len());
    Ok(())
}

/// The time until a source's bytes have come, and those.
async fn timed(proxy: &Proxy) -> Result<(Duration, Vec<u8>)> {
    let start = Instant::now();
    let bytes = read_all(proxy).await?;
    Ok((start.elapsed(), bytes))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delay_costs_no_bandwidth() -> Result<()> {
    const BYTES: usize = 25_000_000;
    let proxy = Proxy::start(source(BYTES).await?).await?;
    proxy.delay(Duration::from_millis(50));
    proxy.limit(Some(125_000_000));
    let (spent, bytes) = timed(&proxy).await?;
    // 200 ms on the line and 50 ms under way; another second for a busy machine.
    // Held back part by part it would be 19 s.
    ensure!(bytes.len() == BYTES, "{} bytes came", bytes.len());
    ensure!(spent >= Duration::from_millis(240), "too early, after {spent:?}");
    ensure!(spent < Duration::from_millis(1_250), "too late, after {spent:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_share_one_line() -> Result<()> {
    const BYTES: usize = 1_000_000;
    let proxy = Proxy::start(source(BYTES).await?).await?;
    proxy.limit(Some(4_000_000));
    let start = Instant::now();
    let (one, other) = tokio::try_join!(timed(&proxy), timed(&proxy))?;
    ensure!(one.1.len() == BYTES && other.1.len() == BYTES, "not all came");
    ensure!(start.elapsed() >= Duration::from_millis(470), "too early: {:?}", start.elapsed());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn later_connections_overtake_and_parts_are_repeated() -> Result<()> {
    const BYTES: usize = 1 << 20;
    let proxy = Proxy::start(source(BYTES).await?).await?;
    proxy.hold_every_other(Duration::from_millis(400));
    let (first, second) = (timed(&proxy).await?.0, timed(&proxy).await?.0);
    let late = Duration::from_millis(400);
    ensure!((first >= late) != (second >= late), "{first:?} and {second:?}");
    proxy.hold_every_other(Duration::ZERO);

    proxy.repeat_after(1000);
    let repeated = read_all(&proxy).await?.len();
    ensure!(repeated > BYTES, "{repeated} bytes came");
    proxy.swap_after(1000);
    ensure!(read_all(&proxy).await?.len() == BYTES, "swapped, not lost");
    Ok(())
}
