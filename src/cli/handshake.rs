//! Why a connection over TLS came to nothing: the handshake once more, by itself.
//!
//! In TLS 1.3 a server says what it thinks of the client's certificate after the client believes itself connected, and
//! where a request was not under way yet, nobody is left to hear it. So it is asked again, and this time listened to.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};
use tonic::transport::Uri;

use super::way::Credentials;
use crate::certificate;

/// How long it is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the other side says against us, or we against it; none if nothing.
pub(super) fn objection(server: &str, credentials: &Credentials) -> Option<String> {
    let server: Uri = server.parse().ok()?;
    let host = server.host()?.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned()).ok()?;
    let address = (host, server.port_u16().unwrap_or(443)).to_socket_addrs().ok()?.next()?;
    let mut connection = ClientConnection::new(Arc::new(config(credentials)?), name).ok()?;
    let mut socket = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    socket.set_write_timeout(Some(PATIENCE)).ok()?;
    let heard = Stream::new(&mut connection, &mut socket).read(&mut [0]);
    heard.err().map(|error| error.to_string())
}

/// Whether a server that hung up on a connection without TLS wants TLS. It says so in an alert, which is lost if more was
/// under way to it: so a few bytes that are no TLS are sent, and the answer waited for.
pub(super) fn wants_tls(server: &str) -> bool {
    alert(server).unwrap_or(false)
}

fn alert(server: &str) -> Option<bool> {
    /// The first byte of a record that is an alert (RFC 8446, 5.1).
    const ALERT: u8 = 21;
    let server: Uri = server.parse().ok()?;
    let host = server.host()?.trim_start_matches('[').trim_end_matches(']');
    let address = (host, server.port_u16().unwrap_or(80)).to_socket_addrs().ok()?.next()?;
    let mut socket = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    socket.set_write_timeout(Some(PATIENCE)).ok()?;
    socket.write_all(b"no TLS").ok()?;
    let mut first = [0];
    socket.read_exact(&mut first).ok()?;
    Some(first[0] == ALERT)
}

fn config(credentials: &Credentials) -> Option<ClientConfig> {
    let pem = credentials.read().ok()?;
    let mut roots = RootCertStore::empty();
    for authority in certificate::certificates(&credentials.ca, &pem.ca).ok()? {
        roots.add(authority).ok()?;
    }
    let chain = certificate::certificates(&credentials.certificate, &pem.certificate).ok()?;
    let key = certificate::key(&credentials.key, &pem.key).ok()?;
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().ok()?;
    let mut config = config.with_root_certificates(roots).with_client_auth_cert(chain, key).ok()?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Some(config)
}
