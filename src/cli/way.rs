//! The way to the server: its address, who asks, and with which certificate. From options, else the environment, else a
//! profile file, so that a clerk says it once: `~/.config/consolidator/profile.toml`, as `ca issue` writes it.
//!
//! A folder may hold the certificates of several roles of one person; then `--as NODE/ROLE` picks one by its file name.
//! Knows files; the connection itself is `client.rs`.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::output::Failure;
use super::settings::DEFAULT_SERVER;
use super::words::{say, time};
use super::{Globals, actor};
use crate::budget::reason::Remark;
use crate::certificate::authority::{CA_FILE, PROFILE_FILE, file_name};
use crate::certificate::{self, WARN_DAYS};
use crate::ledger::actor::Actor;
use crate::wording::Language;

/// The files of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) ca: PathBuf,
}

/// The same, read: each as PEM.
pub(super) struct Pem {
    pub(super) certificate: Vec<u8>,
    pub(super) key: Vec<u8>,
    pub(super) ca: Vec<u8>,
    /// Until when the certificate holds, in seconds of Unix time.
    pub(super) until: i64,
}

impl Credentials {
    /// Reads the three files.
    ///
    /// # Errors
    /// `CERTIFICATE_FILE`.
    pub(super) fn read(&self) -> Result<Pem, Remark> {
        let pem = certificate::read(&self.certificate)?;
        let until = certificate::own(&self.certificate, &pem)?.until;
        let key = certificate::read_key(&self.key)?;
        certificate::key(&self.key, &key)?;
        let ca = certificate::read(&self.ca)?;
        certificate::certificates(&self.ca, &ca)?;
        Ok(Pem { certificate: pem, key, ca, until })
    }
}

/// What a warning about an end says, if it is near.
pub(super) fn ends_soon(until: i64, now_ms: i64, language: Language) -> Option<String> {
    let days = (until - now_ms.div_euclid(1_000)).div_euclid(certificate::DAY);
    let facts = [("days", days.to_string()), ("until", time(until.saturating_mul(1_000)))];
    let facts = facts.each_ref().map(|(key, fact)| (*key, fact.as_str()));
    (0..WARN_DAYS).contains(&days).then(|| say(language, "certificate-ends", &facts))
}

/// Where the server is, who asks, and with which certificate.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) server: String,
    pub(super) actor: Option<Actor>,
    pub(super) credentials: Option<Credentials>,
}

/// A profile file. Its paths are relative to its own folder.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    server: Option<String>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    ca: Option<PathBuf>,
    #[serde(skip)]
    folder: PathBuf,
}

impl Profile {
    /// The one that is named, or else the one in its usual place, if there is one.
    fn read(named: Option<&Path>, language: Language) -> Result<Profile, Failure> {
        let Some(file) = named.map(Path::to_path_buf).or_else(usual_place) else { return Ok(Profile::default()) };
        let file = if file.is_dir() { file.join(PROFILE_FILE) } else { file };
        if named.is_none() && !file.exists() {
            return Ok(Profile::default());
        }
        let wrong = |error: &dyn std::fmt::Display| {
            let facts = [("file", file.display().to_string()), ("error", error.to_string())];
            Failure::Usage(say(language, "profile-wrong", &facts.each_ref().map(|(key, fact)| (*key, fact.as_str()))))
        };
        let text = std::fs::read_to_string(&file).map_err(|error| wrong(&error))?;
        let profile: Profile = toml::from_str(&text).map_err(|error| wrong(&error))?;
        Ok(Profile { folder: file.parent().map(Path::to_path_buf).unwrap_or_default(), ..profile })
    }

    fn path(&self, file: Option<&PathBuf>) -> Option<PathBuf> {
        file.map(|file| self.folder.join(file))
    }

    /// The certificate of that actor, if the folder has one.
    fn certificate_of(&self, actor: &Actor) -> Option<PathBuf> {
        let file = self.folder.join(format!("{}.pem", file_name(actor)));
        (!self.folder.as_os_str().is_empty() && file.exists()).then_some(file)
    }
}

/// `profile.toml` in the user's own folder.
fn usual_place() -> Option<PathBuf> {
    Some(own_folder()?.join(PROFILE_FILE))
}

/// The user's own folder for this program: profile, certificates, checkpoints. None if the environment means none.
pub(super) fn own_folder() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let settings = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
    settings.map(|settings| settings.join("consolidator"))
}

/// Finds the way.
///
/// # Errors
/// A profile or identity that can't be read, a certificate that is none, or somebody else's.
pub(super) fn find(globals: &Globals, language: Language) -> Result<Way, Failure> {
    let said = actor(globals.actor.as_deref(), language)?;
    let profile = Profile::read(globals.profile.as_deref(), language)?;
    let picked = said.as_ref().and_then(|actor| profile.certificate_of(actor));
    let named = globals.server.clone().filter(|server| !server.is_empty()).or_else(|| profile.server.clone());
    let server = named.unwrap_or_else(|| DEFAULT_SERVER.to_owned());
    let certificate = globals.cert.clone().or_else(|| picked.clone()).or_else(|| profile.path(profile.cert.as_ref()));
    let server = match &certificate {
        _ if server.contains("://") => server,
        Some(_) => format!("https://{server}"),
        None => format!("http://{server}"),
    };
    if !server.starts_with("https://") {
        return Ok(Way { server, actor: said, credentials: None });
    }
    let Some(certificate) = certificate else {
        return Err(Failure::Usage(say(language, "certificate-missing", &[("server", &server)])));
    };
    // The profile's key belongs to the profile's certificate; another one has its own beside it.
    let profiles_own = globals.cert.is_none() && picked.is_none();
    let key = globals.cert_key.clone().or_else(|| profile.path(profile.key.as_ref()).filter(|_| profiles_own));
    let stem = certificate.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let key = key.unwrap_or_else(|| certificate.with_file_name(format!("{stem}-key.pem")));
    let ca = globals.ca.clone().or_else(|| profile.path(profile.ca.as_ref()));
    let ca = ca.unwrap_or_else(|| certificate.with_file_name(CA_FILE));
    let credentials = Credentials { certificate, key, ca };
    let read =
        certificate::read(&credentials.certificate).and_then(|pem| certificate::own(&credentials.certificate, &pem));
    let named = read.and_then(|own| own.actor()).map_err(Failure::Refused)?;
    if let Some(said) = said.filter(|said| *said != named) {
        let facts = [
            ("said", said.to_string()),
            ("named", named.to_string()),
            ("file", credentials.certificate.display().to_string()),
        ];
        let facts = facts.each_ref().map(|(key, fact)| (*key, fact.as_str()));
        return Err(Failure::Usage(say(language, "certificate-of-another", &facts)));
    }
    Ok(Way { server, actor: Some(named), credentials: Some(credentials) })
}
