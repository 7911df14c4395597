//! `serve`: the service itself, on a data directory, until it is told to stop.
//!
//! The one verb that opens a store. Its log goes to standard error; standard output has one line, the address.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::metrics;
use super::simulated_clock;
use crate::budget::reason::{Reason, Remark};
use crate::consolidator::{
    Clock, Consolidator, SAVED_STATE_FILE, Signing, WriterThread, embedded_form_sets, operator_fault,
};
use crate::grpc;
use crate::grpc::door::Door;
use crate::grpc::tls::Tls;
use crate::ledger::Position;
use crate::ledger::event::Timestamp;
use crate::store::places::{refuse_misnamed, refuse_signing_within, refuse_within};
use crate::store::{
    Journal, JournalError, KEY_FILE, MirrorOptions, MirroredJournal, ReplacedFile, STORE_FORMAT_FILE, SledJournal,
    SledOptions,
};

/// How long open streams may take to end after the signal to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Exit code after a second signal to stop: what a shell says of a process that SIGTERM has ended.
pub const STOPPED_AT_ONCE: i32 = 143;

/// Where to keep the data, and where to listen.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The data directory; made if it isn't there
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Address to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7407")]
    pub listen: SocketAddr,
    /// Folder of the certificates: `server.pem`, `server-key.pem`, `ca.pem`, `revoked.pem`
    #[arg(long, value_name = "DIR")]
    pub tls: Option<PathBuf>,
    /// Without TLS, on loopback only; whoever asks is believed
    #[arg(long, conflicts_with = "tls")]
    pub insecure_loopback: bool,
    /// A second copy of everything, kept current in this directory; better on another disk
    #[arg(long, value_name = "DIR")]
    pub mirror: Option<PathBuf>,
    /// Answer before the mirror has it, and let it follow
    #[arg(long, requires = "mirror")]
    pub mirror_lagging: bool,
    /// Where the signing key and the last checkpoint are kept; beside the data directory unless said
    #[arg(long, value_name = "DIR")]
    pub signing: Option<PathBuf>,
    /// The name under which checkpoints are signed; only for a new key
    #[arg(long, value_name = "NAME")]
    pub origin: Option<String>,
    /// Go on without what was signed behind this position and is lost
    #[arg(long, value_name = "POSITION")]
    pub give_up_after: Option<u64>,
    /// Address of the page that a Prometheus reads
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<SocketAddr>,
    /// Record in the journal what auditors look at; shown by `history`
    #[arg(long)]
    pub record_looks: bool,
    /// How the log on standard error is written
    #[arg(long, value_name = "FORM", value_enum, default_value_t = Log::Text)]
    pub log: Log,
    /// For the demo: the time is what standard input says
    #[arg(long, hide = true)]
    pub simulated_clock: bool,
}

/// How a log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Log {
    /// Lines for people
    Text,
    /// One JSON object a line, for programs
    Json,
}

/// Sets up the log: what happened, to whom and where in the journal; no figures and no texts of any filing.
fn log(form: Log) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info,sled=warn".into());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // In a file colours are noise that a search trips over.
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let log = log.with_ansi(colour);
    // Fails only if a log was set up before, and then that one is used.
    let _ = match form {
        Log::Text => log.try_init(),
        Log::Json => log.json().with_span_list(false).try_init(),
    };
}

/// A server that is up.
pub struct Server {
    /// Where it is, as clients say it.
    pub address: String,
    door: Door,
    consolidator: Consolidator,
    writer: WriterThread,
}

/// The clock that the options ask for.
fn clock(options: &Options) -> Result<Clock, Remark> {
    if !options.simulated_clock {
        return Ok(wall_clock());
    }
    tracing::warn!("the clock is simulated: the time is what standard input says");
    simulated_clock::told().map_err(|error| Remark::new(Reason::CannotStart).with("what", error))
}

/// The clock on the wall.
pub fn wall_clock() -> Clock {
    Arc::new(|| Timestamp(jiff::Timestamp::now().as_millisecond()))
}

/// Binds the address and opens the store, without TLS.
///
/// # Errors
/// What the store or the network says, as a remark for a person.
pub async fn open(data: &Path, listen: SocketAddr) -> Result<Server, Remark> {
    open_mirrored(data, None, listen).await
}

/// The same with a mirror in a directory.
///
/// # Errors
/// As [`open`]; also if the mirror does not belong to the store.
pub async fn open_mirrored(
    data: &Path,
    mirror: Option<(&Path, MirrorOptions)>,
    listen: SocketAddr,
) -> Result<Server, Remark> {
    open_signing(data, mirror, |_| Signing::open(&signing_beside(data), None), listen).await
}

/// Where key and last checkpoint are kept unless said otherwise: beside the data, so that they don't share its fate.
pub fn signing_beside(data: &Path) -> PathBuf {
    // `.` and `..` have no name of their own.
    let named = if data.file_name().is_some() { data.to_path_buf() } else { data.canonicalize().unwrap_or_default() };
    let mut name = named.file_name().unwrap_or_default().to_owned();
    name.push(".signing");
    named.with_file_name(name)
}

/// The same with what signs the checkpoints: opened behind the store, whose head it is told, so that a start that is refused
/// makes no key.
///
/// # Errors
/// As [`open_mirrored`]; also if the store is not what was signed.
pub async fn open_signing(
    data: &Path,
    mirror: Option<(&Path, MirrorOptions)>,
    signing: impl FnOnce(Position) -> Result<Signing, Remark>,
    listen: SocketAddr,
) -> Result<Server, Remark> {
    open_behind(Door::insecure(bind(listen).await?)?, data, mirror, wall_clock(), signing)
}

/// The same behind a door. Whoever knocks while the journal is folded waits.
fn open_behind(
    door: Door,
    data: &Path,
    mirror: Option<(&Path, MirrorOptions)>,
    clock: Clock,
    signing: impl FnOnce(Position) -> Result<Signing, Remark>,
) -> Result<Server, Remark> {
    let address = door.address().map_err(|error| Remark::new(Reason::CannotStart).with("what", error))?;
    let address = format!("{}://{address}", door.scheme());
    let journal = open_journal(data, mirror).map_err(|error| at_start(operator_fault(error)))?;
    let head = journal.head().map_err(operator_fault)?;
    let opened = Consolidator::open_signing(
        journal,
        clock,
        embedded_form_sets(),
        Some(ReplacedFile::new(data, SAVED_STATE_FILE)),
        Some(signing(head)?),
    );
    let (consolidator, writer) = opened?;
    Ok(Server { address, door, consolidator, writer })
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Remark> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| Remark::new(Reason::CannotStart).with("what", format!("{address}: {error}")))
}

fn open_journal(data: &Path, mirror: Option<(&Path, MirrorOptions)>) -> Result<Arc<dyn Journal>, JournalError> {
    // First, so that nothing is made in a directory that was meant as something else.
    let directory = mirror.as_ref().map(|(directory, _)| *directory);
    refuse_misnamed(data, directory)?;
    directory.map_or(Ok(()), |mirror| refuse_within(data, mirror))?;
    let Some((directory, options)) = mirror else {
        return Ok(Arc::new(SledJournal::open(data, SledOptions::default())?));
    };
    // Before a store is made: with a mirror that has something, an empty data directory is as likely the wrong one as
    // a lost one, and then `restore` must still find it empty.
    if !data.join(STORE_FORMAT_FILE).exists() {
        let events = MirroredJournal::events_in(directory)?;
        if events > 0 {
            return Err(JournalError::StoreEmpty { mirror: directory.to_path_buf(), events });
        }
    }
    let store = SledJournal::open(data, SledOptions { tail_elsewhere: true, ..SledOptions::default() })?;
    Ok(Arc::new(MirroredJournal::open(Arc::new(store), directory, options)?))
}

/// Before the start nobody has sent anything: what stops the writer later is here a reason not to start.
fn at_start(fault: Remark) -> Remark {
    match fault.reason {
        Reason::StoreStopped | Reason::OutcomeUnknown => Remark { reason: Reason::CannotStart, ..fault },
        _ => fault,
    }
}

impl Server {
    /// Serves until `shutdown`, then drains and waits for the writer.
    ///
    /// # Errors
    /// What the network says.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), Remark> {
        let Server { door, consolidator, writer, .. } = self;
        let served = grpc::serve(consolidator.clone(), door, shutdown, DRAIN).await;
        // A stream that outlived the drain may still hold a handle, so the writer is told and not left to guess.
        consolidator.close().await;
        let joined = tokio::task::spawn_blocking(move || writer.join()).await;
        if joined.is_err() {
            tracing::error!("the writer could not be waited for");
        }
        served.map_err(|error| Remark::new(Reason::StoreStopped).with("what", error))
    }
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// What the store or the network says.
pub async fn run(options: &Options) -> Result<(), Remark> {
    log(options.log);
    let tls = match (&options.tls, options.insecure_loopback) {
        (Some(folder), _) => Some(Tls::open(folder, wall_clock())?),
        (None, true) => None,
        (None, false) => return Err(Remark::new(Reason::NoTls)),
    };
    let listener = bind(options.listen).await?;
    let door = match &tls {
        Some(tls) => Door::secure(listener, tls.clone()),
        None => Door::insecure(listener)?,
    };
    let (up, stops) = (Arc::new(OnceLock::new()), Arc::new(AtomicBool::new(false)));
    if let Some(address) = options.metrics {
        let listener = bind(address).await?;
        tracing::info!(%address, "metrics");
        let (data, mirror) = (options.data.clone(), options.mirror.clone());
        let watched = metrics::Watched { up: up.clone(), stops: stops.clone(), data, mirror, tls };
        tokio::spawn(metrics::serve(listener, watched));
    }
    let lagging = options.mirror_lagging;
    let mirror =
        options.mirror.as_deref().map(|mirror| (mirror, MirrorOptions { lagging, ..MirrorOptions::default() }));
    let beside = signing_beside(&options.data);
    let there = options.signing.as_deref().unwrap_or(&beside);
    refuse_signing_within(&options.data, there).map_err(operator_fault)?;
    let signing = |head| {
        // A key of its own for a store that others know by another one is made only where somebody has made room for it: a
        // name that is only mistyped leads to no directory.
        let meant = options.signing.as_ref().is_some_and(|signing| signing.is_dir());
        if head > 0 && !meant && !there.join(KEY_FILE).exists() {
            return Err(Remark::new(Reason::SigningKeyMissing).with("path", there.display()).with("head", head));
        }
        let opened = Signing::open(there, options.origin.as_deref());
        opened.map(|signing| signing.giving_up_after(options.give_up_after))
    };
    let server = open_behind(door, &options.data, mirror, clock(options)?, signing)?;
    let _ = up.set(server.consolidator.clone());
    if options.record_looks {
        server.consolidator.record_looks();
    }
    // The one line on standard output: with port 0, a program that starts the service learns where it is.
    println!("{}", server.address);
    let (scheme, address) = server.address.split_once("://").unwrap_or_default();
    tracing::info!(scheme, address, data = %options.data.display(), "serving");
    let stopped = async move {
        stop_signal().await;
        stops.store(true, Ordering::Relaxed);
    };
    let served = server.run(stopped).await;
    tracing::info!("stopped");
    served
}

/// Done at the first SIGTERM or SIGINT. At the second the process ends at once, with [`STOPPED_AT_ONCE`]: what was
/// acknowledged is on disk, as after a `kill -9`.
async fn stop_signal() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals can't be listened to");
        return std::future::pending().await;
    };
    let mut told = async move || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    told().await;
    tracing::info!("stopping: open streams may end within {DRAIN:?}; another signal ends it at once");
    tokio::spawn(async move {
        told().await;
        tracing::warn!("ended at once by a second signal; what was not acknowledged is not filed");
        std::process::exit(STOPPED_AT_ONCE);
    });
}
