//! The door: connections come in here, each with who it belongs to (`Came`), and go on to tonic.
//!
//! With TLS whoever has a certificate gets in; without, it opens on loopback only, and only when asked for by name.
//! What nobody gets: to stand in the doorway for ever. A handshake and the greeting of HTTP/2 behind it have a deadline, with
//! TLS or without; a full doorway makes room by
//! closing what has stood there longest, and there is a most of connections, in all and of one identity.
//! Who gets in over TLS: `tls.rs`. Knows nothing of requests.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::server::Connected;

use super::identity::{Caller, Came};
use super::limits::{self, Bounds};
use super::tls::{Peer, Tls};
use crate::budget::reason::{Reason, Remark};
use crate::ledger::actor::Actor;

/// What every connection of HTTP/2 begins with (RFC 9113, 3.4).
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Where connections come in.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
}

impl Door {
    /// A door for whoever has a certificate.
    pub fn secure(listener: TcpListener, tls: Arc<Tls>) -> Door {
        Door { listener, tls: Some(tls) }
    }

    /// A door without TLS: whoever reaches it is believed to be whom they say.
    ///
    /// # Errors
    /// `NOT_ON_LOOPBACK` if others than this machine can reach it.
    pub fn insecure(listener: TcpListener) -> Result<Door, Remark> {
        let address = listener.local_addr().map_err(|error| Remark::new(Reason::CannotStart).with("what", error))?;
        if !address.ip().is_loopback() {
            return Err(Remark::new(Reason::NotOnLoopback).with("found", address));
        }
        Ok(Door { listener, tls: None })
    }

    /// Where it is.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// `https` or `http`.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// The connections, as they come in. The door closes when the stream is dropped.
    pub(super) fn open(self, bounds: Bounds) -> impl Stream<Item = io::Result<Connection>> {
        let (to, from) = mpsc::channel(1);
        tokio::spawn(let_in(self, bounds, to));
        ReceiverStream::new(from).map(Ok)
    }
}

async fn let_in(door: Door, bounds: Bounds, to: mpsc::Sender<Connection>) {
    let Door { listener, tls } = door;
    let room = Arc::new(Room::new(bounds.connections));
    let within = bounds.handshake;
    let mut doorway = Doorway::default();
    let mut looks = tokio::time::interval(limits::LOOK_EVERY);
    let mut looked: u64 = 0;
    loop {
        tokio::select! {
            () = to.closed() => return,
            _ = looks.tick() => if let Some(tls) = &tls {
                looked += 1;
                let (tls, room, daily) = (tls.clone(), room.clone(), looked.is_multiple_of(86_400));
                tokio::task::spawn_blocking(move || {
                    tls.look_again();
                    if daily {
                        tls.warn_of_expiry();
                    }
                    room.show_out();
                });
            },
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    let guest = Coming { stream, from, room: room.clone(), to: to.clone() };
                    doorway.enter(come_in(guest, tls.clone(), within));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    // Out of files, most likely: others have to close some first.
                    tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Those who are not in yet.
#[derive(Default)]
struct Doorway {
    tasks: JoinSet<()>,
    waiting: VecDeque<AbortHandle>,
}

impl Doorway {
    fn enter(&mut self, coming: impl Future<Output = ()> + Send + 'static) {
        while self.tasks.try_join_next().is_some() {}
        if self.waiting.len() >= limits::HALF_OPEN_MAX {
            self.waiting.retain(|task| !task.is_finished());
        }
        // Whoever means well is through in a moment; what has stood here longest is the least likely to.
        if self.waiting.len() >= limits::HALF_OPEN_MAX
            && let Some(oldest) = self.waiting.pop_front()
        {
            oldest.abort();
        }
        self.waiting.push_back(self.tasks.spawn(coming));
    }
}

/// Somebody who is on the way in.
struct Coming {
    stream: TcpStream,
    from: SocketAddr,
    room: Arc<Room>,
    to: mpsc::Sender<Connection>,
}

async fn come_in(guest: Coming, tls: Option<Arc<Tls>>, within: Duration) {
    let Coming { mut stream, from, room, to } = guest;
    // Without it, every answer waits until the client has acknowledged the headers before it: some 40 ms.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let Some(tls) = tls else {
        let Ok(Some(said)) = tokio::time::timeout(within, greeting(&mut stream)).await else { return };
        if let Some(place) = room.place(None) {
            let (show_out, shown_out) = mpsc::channel(1);
            let came = Came { caller: Caller::Named, show_out };
            let _ = to.send(Connection { said, stream: Plain(stream), came, shown_out, _place: place }).await;
        }
        return;
    };
    let knocked = async {
        let (mut stream, peer) = knock(stream, from, tls).await?;
        let said = greeting(&mut stream).await?;
        Some((stream, peer, said))
    };
    let Ok(Some((stream, peer, said))) = tokio::time::timeout(within, knocked).await else { return };
    let peer = Arc::new(peer);
    let Some(place) = room.place(Some(&peer)) else {
        tracing::warn!(%from, actor = ?peer.named(), "too many connections");
        return;
    };
    let (show_out, shown_out) = mpsc::channel(1);
    room.know(&peer, show_out.clone());
    let (stream, came) = (Secure(Box::new(stream)), Came { caller: Caller::Certified(peer), show_out });
    let _ = to.send(Connection { said, stream, came, shown_out, _place: place }).await;
}

/// The first bytes of a connection: as many as tell whether it greets as HTTP/2 does. What doesn't is for tonic to answer.
/// None if it ends before.
async fn greeting(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut said = Vec::with_capacity(GREETING.len());
    while said.len() < GREETING.len() && GREETING.starts_with(&said) {
        let mut rest = (&mut *stream).take((GREETING.len() - said.len()) as u64);
        if rest.read_buf(&mut said).await.ok()? == 0 {
            return None;
        }
    }
    Some(said)
}

/// The handshake.
async fn knock(stream: TcpStream, from: SocketAddr, tls: Arc<Tls>) -> Option<(TlsStream<TcpStream>, Peer)> {
    let (config, generation) = tls.config();
    match TlsAcceptor::from(config).accept(stream).into_fallible().await {
        Ok(stream) => {
            let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
            let peer = Peer::new(tls, generation, chain)?;
            Some((stream, peer))
        }
        Err((error, mut stream)) => {
            tracing::info!(%from, %error, "not let in");
            // What it has sent since is read and let go: a close with bytes unread would take from it the alert that
            // says why.
            let _ = stream.shutdown().await;
            let mut rest = stream.take(limits::LINGER_BYTES_MAX);
            let _ = tokio::time::timeout(limits::LINGER_MAX, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
            None
        }
    }
}

/// Those who are in.
#[derive(Debug)]
struct Room {
    places: Arc<Semaphore>,
    of: Mutex<HashMap<Option<Actor>, usize>>,
    known: Mutex<Vec<Guest>>,
}

#[derive(Debug)]
struct Guest {
    peer: Weak<Peer>,
    /// Looks since its certificate fell: it is told with its next request before its connection is closed.
    fallen: u32,
    show_out: mpsc::Sender<()>,
}

impl Room {
    fn new(places: usize) -> Room {
        let places = Arc::new(Semaphore::new(places));
        Room { places, of: Mutex::default(), known: Mutex::default() }
    }

    /// A place for a connection, if there is one left.
    fn place(self: &Arc<Room>, peer: Option<&Arc<Peer>>) -> Option<Place> {
        let permit = self.places.clone().try_acquire_owned().ok()?;
        let of = peer.map(|peer| peer.named().cloned());
        if let Some(who) = &of {
            let mut counts = self.of.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(who.clone()).or_default();
            if *count >= limits::CONNECTIONS_PER_IDENTITY_MAX {
                return None;
            }
            *count += 1;
        }
        Some(Place { room: self.clone(), of, _permit: permit })
    }

    /// Remembers a guest, and how to say that they have to go.
    fn know(&self, peer: &Arc<Peer>, show_out: mpsc::Sender<()>) {
        let guest = Guest { peer: Arc::downgrade(peer), fallen: 0, show_out };
        self.known.lock().unwrap_or_else(PoisonError::into_inner).push(guest);
    }

    /// Closes the connections of those whose certificates have not stood for a while.
    fn show_out(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).retain_mut(|guest| {
            let Some(peer) = guest.peer.upgrade() else { return false };
            guest.fallen = if peer.standing().is_ok() { 0 } else { guest.fallen + 1 };
            if guest.fallen <= limits::LOOKS_BEFORE_SHOWN_OUT {
                return true;
            }
            tracing::info!(actor = ?peer.named(), "a connection is closed: its certificate does not stand any more");
            let _ = guest.show_out.try_send(());
            false
        });
    }
}

/// A place that is taken; free again when it is dropped.
#[derive(Debug)]
struct Place {
    room: Arc<Room>,
    of: Option<Option<Actor>>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(who) = &self.of else { return };
        let mut counts = self.room.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(who) {
            *count -= 1;
            if *count == 0 {
                counts.remove(who);
            }
        }
    }
}

/// Bytes with or without TLS.
#[derive(Debug)]
enum Bytes {
    Plain(TcpStream),
    Secure(Box<TlsStream<TcpStream>>),
}
use Bytes::{Plain, Secure};

/// A connection that is through the door.
#[derive(Debug)]
pub(super) struct Connection {
    /// What it has said already, to be read first.
    said: Vec<u8>,
    stream: Bytes,
    came: Came,
    /// Hears that its owner has to go.
    shown_out: mpsc::Receiver<()>,
    _place: Place,
}

impl Connected for Connection {
    type ConnectInfo = Came;

    fn connect_info(&self) -> Came {
        self.came.clone()
    }
}

macro_rules! to_stream {
    ($self:ident.$method:ident($($argument:expr),*)) => {
        match &mut $self.get_mut().stream {
            Plain(stream) => Pin::new(stream).$method($($argument),*),
            Secure(stream) => Pin::new(stream.as_mut()).$method($($argument),*),
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // The connection has a sender of its own, so nothing else ends this.
        if self.shown_out.poll_recv(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if !self.said.is_empty() && into.remaining() > 0 {
            let bytes = self.said.len().min(into.remaining());
            into.put_slice(&self.said[..bytes]);
            self.said.drain(..bytes);
            return Poll::Ready(Ok(()));
        }
        to_stream!(self.poll_read(context, into))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        to_stream!(self.poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        to_stream!(self.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        to_stream!(self.poll_shutdown(context))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        to_stream!(self.poll_write_vectored(context, parts))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Plain(stream) => stream.is_write_vectored(),
            Secure(stream) => stream.is_write_vectored(),
        }
    }
}
