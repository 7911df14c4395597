//! Who may come in over TLS: the server's certificate and key, the authorities whose clients are let in, and what they
//! have revoked, from a folder of files with fixed names. Only TLS 1.3, and only with a client certificate.
//!
//! The files are looked at again and again, so that a renewed certificate, another authority or a revocation counts
//! without a restart; files that don't fit together are complained about in the log, and what held goes on holding.
//! A `Peer` is asked with each request whether its certificate still stands. Knows nothing of sockets.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::time_provider::TimeProvider;
use tokio_rustls::rustls::{CertificateError, Error, RootCertStore, ServerConfig, version};

use crate::budget::reason::{Reason, Remark};
use crate::certificate::authority::{CA_FILE, REVOKED_FILE, SERVER_FILE, SERVER_KEY_FILE};
use crate::certificate::{self, Certificate, WARN_DAYS, wrong};
use crate::consolidator::Clock;
use crate::ledger::actor::Actor;

/// The files of a folder and what follows from them.
pub struct Tls {
    folder: PathBuf,
    clock: Clock,
    live: ArcSwap<Live>,
    /// What was the matter at the last look, so that it is said once.
    complaint: Mutex<Option<Remark>>,
}

/// What holds at the moment.
struct Live {
    /// Goes up with each change of the files.
    generation: u64,
    files: Files,
    config: Arc<ServerConfig>,
    verifier: Arc<dyn ClientCertVerifier>,
    /// Until when the server's certificate and the authority's hold.
    expiry: [(&'static str, i64); 2],
}

/// The files as they were read.
#[derive(PartialEq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    ca: Vec<u8>,
    revoked: Option<Vec<u8>>,
}

impl Files {
    fn read(folder: &Path) -> Result<Files, Remark> {
        let revoked = folder.join(REVOKED_FILE);
        Ok(Files {
            certificate: certificate::read(&folder.join(SERVER_FILE))?,
            key: certificate::read_key(&folder.join(SERVER_KEY_FILE))?,
            ca: certificate::read(&folder.join(CA_FILE))?,
            // A link to nothing is a mistake, and not the absence of a list.
            revoked: match revoked.symlink_metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                _ => Some(certificate::read(&revoked)?),
            },
        })
    }

    fn take(self, folder: &Path, clock: &Clock, generation: u64) -> Result<Live, Remark> {
        let (file, key_file) = (folder.join(SERVER_FILE), folder.join(SERVER_KEY_FILE));
        let (ca_file, revoked_file) = (folder.join(CA_FILE), folder.join(REVOKED_FILE));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let authorities = certificate::certificates(&ca_file, &self.ca)?;
        let mut roots = RootCertStore::empty();
        for authority in &authorities {
            roots.add(authority.clone()).map_err(|error| wrong(&ca_file, "no-certificate", error))?;
        }
        let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        if let Some(revoked) = &self.revoked {
            let lists = certificate::revocation_lists(&revoked_file, revoked)?;
            verifier = verifier.with_crls(lists).only_check_end_entity_revocation();
        }
        let verifier = verifier.build().map_err(|error| wrong(&revoked_file, "no-list", error))?;
        let chain = certificate::certificates(&file, &self.certificate)?;
        let ends =
            |ders: &[CertificateDer<'_>]| ders.iter().filter_map(|der| Certificate::read(der)).map(|c| c.until).min();
        let expiry = [("server", ends(&chain).unwrap_or(0)), ("ca", ends(&authorities).unwrap_or(0))];
        let config = config(provider, clock)
            .map_err(|error| wrong(&file, "signing", error))?
            .with_client_cert_verifier(verifier.clone())
            .with_single_cert(chain, certificate::key(&key_file, &self.key)?);
        let mut config = config.map_err(|error| wrong(&key_file, "other-key", error))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // Every connection shows its certificate anew: no session outlives a revocation.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Live { generation, files: self, config: Arc::new(config), verifier, expiry })
    }
}

type Config = tokio_rustls::rustls::ConfigBuilder<ServerConfig, tokio_rustls::rustls::WantsVerifier>;

fn config(provider: Arc<CryptoProvider>, clock: &Clock) -> Result<Config, Error> {
    let time = Arc::new(Time(clock.clone()));
    ServerConfig::builder_with_details(provider, time).with_protocol_versions(&[&version::TLS13])
}

/// The server's clock for rustls.
struct Time(Clock);

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Time")
    }
}

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix(seconds(&self.0)))
    }
}

fn seconds(clock: &Clock) -> i64 {
    clock().0.div_euclid(1_000)
}

fn unix(seconds: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

impl Tls {
    /// Reads the files of a folder: `server.pem`, `server-key.pem`, `ca.pem` (one or more authorities) and, if it is
    /// there, `revoked.pem` (a list of each authority).
    ///
    /// # Errors
    /// `CERTIFICATE_FILE`: which file, and what is wrong with it.
    pub fn open(folder: &Path, clock: Clock) -> Result<Arc<Tls>, Remark> {
        let live = Files::read(folder)?.take(folder, &clock, 1)?;
        if live.files.revoked.is_none() {
            tracing::warn!(folder = %folder.display(), "no {REVOKED_FILE}: no certificate can be revoked");
        }
        let tls =
            Tls { folder: folder.to_path_buf(), clock, live: ArcSwap::from_pointee(live), complaint: Mutex::new(None) };
        tls.warn_of_expiry();
        Ok(Arc::new(tls))
    }

    /// Takes the files over if they have changed.
    pub(super) fn look_again(&self) {
        // One look after the other, each from what the one before has left.
        let mut complaint = self.complaint.lock().unwrap_or_else(PoisonError::into_inner);
        let live = self.live.load();
        let taken = Files::read(&self.folder).and_then(|files| {
            if files == live.files {
                Ok(None)
            } else if files.revoked.is_none() && live.files.revoked.is_some() {
                // While a file is exchanged it isn't there for a moment; nobody who was shut out comes in by that.
                Err(wrong(&self.folder.join(REVOKED_FILE), "list-gone", ""))
            } else {
                files.take(&self.folder, &self.clock, live.generation + 1).map(Some)
            }
        });
        match taken {
            Ok(None) => *complaint = None,
            Ok(Some(new)) => {
                *complaint = None;
                self.live.store(Arc::new(new));
                tracing::info!(folder = %self.folder.display(), "certificates were read again");
                self.warn_of_expiry();
            }
            Err(remark) if complaint.as_ref() == Some(&remark) => {}
            Err(remark) => {
                tracing::error!(%remark, "the changed certificates can't be used; those before go on holding");
                *complaint = Some(remark);
            }
        }
    }

    /// Says in the log what ends soon.
    pub(super) fn warn_of_expiry(&self) {
        for (what, until) in self.expiry() {
            let days = (until - seconds(&self.clock)).div_euclid(certificate::DAY);
            if days < WARN_DAYS {
                tracing::warn!(what, days, "a certificate ends soon; at 0 nobody gets in any more");
            }
        }
    }

    /// Until when the server's certificate and its authority's hold, in seconds of Unix time.
    pub fn expiry(&self) -> [(&'static str, i64); 2] {
        self.live.load().expiry
    }

    /// What a new connection is met with, and of which generation it is.
    pub(super) fn config(&self) -> (Arc<ServerConfig>, u64) {
        let live = self.live.load();
        (live.config.clone(), live.generation)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// The certificate of a client whose connection is open.
#[derive(Debug)]
pub(super) struct Peer {
    tls: Arc<Tls>,
    chain: Vec<CertificateDer<'static>>,
    certificate: Certificate,
    identity: Result<Actor, Remark>,
    /// The generation of files that it was last found good by.
    checked: AtomicU64,
}

impl Peer {
    /// The peer of a handshake that was done with files of that generation; none without a certificate.
    pub(super) fn new(tls: Arc<Tls>, generation: u64, chain: &[CertificateDer<'_>]) -> Option<Peer> {
        let certificate = Certificate::read(chain.first()?)?;
        let identity = certificate.actor();
        let days = certificate.days_left(seconds(&tls.clock));
        if days < WARN_DAYS {
            tracing::warn!(uris = ?certificate.uris, days, "the certificate of a client ends soon");
        }
        let chain = chain.iter().map(|der| der.clone().into_owned()).collect();
        Some(Peer { tls, chain, certificate, identity, checked: AtomicU64::new(generation) })
    }

    /// Whom it names, if it still stands.
    ///
    /// # Errors
    /// Why it doesn't, or why it names nobody.
    pub(super) fn actor(&self) -> Result<Actor, Remark> {
        self.standing()?;
        self.identity.clone()
    }

    /// Whom it names, standing or not.
    pub(super) fn named(&self) -> Option<&Actor> {
        self.identity.as_ref().ok()
    }

    /// Whether it still stands: not ended, not revoked, of an authority that is still let in.
    ///
    /// # Errors
    /// Why it doesn't.
    pub(super) fn standing(&self) -> Result<(), Remark> {
        let now = seconds(&self.tls.clock);
        if now > self.certificate.until {
            return Err(self.fallen(&CertificateError::Expired));
        }
        let live = self.tls.live.load();
        if self.checked.load(Ordering::Acquire) == live.generation {
            return Ok(());
        }
        let (own, rest) = self.chain.split_first().ok_or_else(|| self.fallen(&CertificateError::BadEncoding))?;
        match live.verifier.verify_client_cert(own, rest, unix(now)) {
            Ok(_) => {
                self.checked.store(live.generation, Ordering::Release);
                Ok(())
            }
            Err(Error::InvalidCertificate(error)) => Err(self.fallen(&error)),
            Err(_) => Err(self.fallen(&CertificateError::BadEncoding)),
        }
    }

    fn fallen(&self, error: &CertificateError) -> Remark {
        let reason = match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Reason::CertificateExpired,
            CertificateError::Revoked => Reason::CertificateRevoked,
            _ => Reason::CertificateUnknown,
        };
        Remark::new(reason).with("found", self.certificate.uris.join(" ")).with("serial", &self.certificate.serial)
    }
}
