//! The door: connections come in here, each with who it belongs to ([`Caller`]), and go on to tonic.
//!
//! Without TLS it opens on loopback only, and only when asked for by name. Knows nothing of requests.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::Stream;
use tonic::transport::server::Connected;

use super::identity::Caller;
use crate::budget::reason::{Reason, Remark};
use crate::ledger::actor::Actor;

/// Where connections come in.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
}

impl Door {
    /// A door without TLS: whoever reaches it is believed to be whom they say.
    ///
    /// # Errors
    /// `BAD_REQUEST` if the listener is not on loopback.
    pub fn insecure(listener: TcpListener) -> Result<Door, Remark> {
        let address = listener.local_addr().map_err(|error| Remark::new(Reason::CannotStart).with("what", error))?;
        if !address.ip().is_loopback() {
            return Err(Remark::new(Reason::BadRequest)
                .with("field", "--listen")
                .with("found", address)
                .with("expected", "127.0.0.1"));
        }
        Ok(Door { listener })
    }

    /// The connections, as they come in.
    pub(super) fn open(self) -> impl Stream<Item = io::Result<Connection>> {
        tokio_stream::StreamExt::map(tokio_stream::wrappers::TcpListenerStream::new(self.listener), |stream| {
            let stream = stream?;
            // Without it, every answer waits until the client has acknowledged the headers before it: some 40 ms.
            stream.set_nodelay(true)?;
            Ok(Connection { stream, caller: Caller::Named })
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// The certificate of a client.
#[derive(Debug)]
pub(super) struct Peer {
    identity: Result<Actor, Remark>,
}

impl Peer {
    /// Whom it names.
    ///
    /// # Errors
    /// Why it names nobody.
    pub(super) fn actor(&self) -> Result<Actor, Remark> {
        self.identity.clone()
    }
}

/// A connection that is through the door.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    caller: Caller,
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
