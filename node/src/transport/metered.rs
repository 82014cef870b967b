//! A connection whose bytes are counted, as they are on the line but for what
//! TCP and IP add.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Told of every byte that passes. Called often: it must be quick.
pub trait Meter: std::fmt::Debug + Send + Sync {
    /// So many bytes came.
    fn read(&self, bytes: u64);

    /// So many bytes went.
    fn written(&self, bytes: u64);
}

/// A connection and its meter, which may come later: who is at the other end is
/// known only after a handshake.
#[derive(Debug)]
pub struct Metered<I> {
    io: I,
    meter: Option<Arc<dyn Meter>>,
}

impl<I> Metered<I> {
    /// Counts `io`, where there is a meter.
    pub const fn new(io: I, meter: Option<Arc<dyn Meter>>) -> Self {
        Self { io, meter }
    }

    /// Counts from now on.
    pub fn set_meter(&mut self, meter: Arc<dyn Meter>) {
        self.meter = Some(meter);
    }

    fn written(&self, bytes: usize) {
        if let Some(meter) = &self.meter {
            meter.written(bytes as u64);
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Metered<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, buffer));
        if let Some(meter) = &self.meter {
            meter.read(buffer.filled().len().saturating_sub(before) as u64);
        }
        Poll::Ready(read)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Metered<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
        self.written(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, parts))?;
        self.written(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
