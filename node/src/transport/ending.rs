//! A connection that ends when it is told to.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A connection that fails from the moment its token is cancelled.
pub struct Ending<I> {
    io: I,
    end: Pin<Box<WaitForCancellationFutureOwned>>,
    token: CancellationToken,
}

impl<I> Ending<I> {
    /// `io` until `token` is cancelled.
    pub fn new(io: I, token: CancellationToken) -> Self {
        Self { io, end: Box::pin(token.clone().cancelled_owned()), token }
    }

    fn check(&self) -> io::Result<()> {
        if self.token.is_cancelled() {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "another way is used now",
            ));
        }
        Ok(())
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Ending<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check()?;
        // Whoever waits for bytes is woken by the end too. Once it has come it
        // is not asked again.
        let _ = self.end.as_mut().poll(cx);
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Ending<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.io).poll_write(cx, bytes)
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
        self.check()?;
        Pin::new(&mut self.io).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn ends_also_while_it_waits() {
        let (near, mut far) = tokio::io::duplex(64);
        let token = CancellationToken::new();
        let mut ending = Ending::new(near, token.clone());
        far.write_all(b"a").await.unwrap();
        assert_eq!(ending.read_u8().await.unwrap(), b'a');
        ending.write_all(b"b").await.unwrap();
        let waiting = tokio::spawn(async move { ending.read_u8().await });
        // It waits before it is told.
        tokio::task::yield_now().await;
        token.cancel();
        let ended = waiting.await.unwrap().unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::ConnectionAborted);
    }
}
