//! Certificates: whom one names, until when it holds, and reading it, its key and lists of revoked ones from files.
//!
//! Server and command line both read files here, so that a wrong one is complained about in the same words. Knows
//! nothing of connections; `grpc/tls.rs` and `cli/client.rs` do. Making certificates: `authority.rs`; signing with
//! one's key: `signature.rs`.

pub mod authority;
pub(crate) mod signature;

use std::fs::File;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::budget::reason::{Reason, Remark};
use crate::ledger::actor::Actor;

/// How many days before its end a certificate is warned about.
pub const WARN_DAYS: i64 = 30;
/// Seconds of a day.
pub const DAY: i64 = 86_400;

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its number with its issuer, in hex.
    pub serial: String,
    /// The URIs that it names: for an identity of ours exactly one, `budget://407002/unit`.
    pub uris: Vec<String>,
    /// The hosts and addresses that it names.
    pub hosts: Vec<String>,
    /// Holds from then on, in seconds of Unix time.
    pub from: i64,
    /// Holds until then, in seconds of Unix time.
    pub until: i64,
}

impl Certificate {
    /// Reads one; none if it is no certificate.
    pub fn read(der: &[u8]) -> Option<Certificate> {
        let (_, read) = X509Certificate::from_der(der).ok()?;
        let (mut uris, mut hosts) = (Vec::new(), Vec::new());
        // An error here is two extensions of one kind, which only somebody who means harm would issue.
        for name in read.subject_alternative_name().ok()?.map_or(&[][..], |names| &names.value.general_names) {
            match name {
                GeneralName::URI(uri) => uris.push((*uri).to_owned()),
                GeneralName::DNSName(host) => hosts.push((*host).to_owned()),
                GeneralName::IPAddress(bytes) => hosts.extend(address(bytes)),
                _ => {}
            }
        }
        let validity = read.validity();
        let (from, until) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        Some(Certificate { serial: hex(read.raw_serial()), uris, hosts, from, until })
    }

    /// Whom it names.
    ///
    /// # Errors
    /// `CERTIFICATE_IDENTITY` if it names nobody, more than one, or nobody that there can be.
    pub fn actor(&self) -> Result<Actor, Remark> {
        let nobody = |problem: &str| {
            let remark = Remark::new(Reason::CertificateIdentity).with("problem", problem);
            remark.with("found", self.uris.join(" ")).with("serial", &self.serial)
        };
        match &self.uris[..] {
            [] => Err(nobody("none")),
            [one] => Actor::parse(one).ok_or_else(|| nobody("unreadable")),
            [..] => Err(nobody("several")),
        }
    }

    /// Whole days that are left at that time; negative once it has ended.
    pub fn days_left(&self, now: i64) -> i64 {
        (self.until - now).div_euclid(DAY)
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
    let address = four.or_else(|| <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok());
    address.map(|address| address.to_string())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is wrong with a file.
pub(crate) fn wrong(file: &Path, problem: &str, what: impl std::fmt::Display) -> Remark {
    let remark = Remark::new(Reason::CertificateFile).with("file", file.display());
    remark.with("problem", problem).with("what", what)
}

/// The bytes of a file.
///
/// # Errors
/// `CERTIFICATE_FILE`, as of everything here.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, Remark> {
    std::fs::read(file).map_err(|error| {
        let absent = error.kind() == io::ErrorKind::NotFound;
        wrong(file, if absent { "absent" } else { "unreadable" }, error)
    })
}

/// The bytes of a private key; refused if anybody but its owner can read it.
pub(crate) fn read_key(file: &Path) -> Result<Vec<u8>, Remark> {
    let bytes = read(file)?;
    let mode = std::fs::metadata(file).map_err(|error| wrong(file, "unreadable", error))?.mode();
    if mode & 0o077 != 0 {
        return Err(wrong(file, "open-key", format!("{:o}", mode & 0o777)));
    }
    Ok(bytes)
}

/// The certificates in a file, the first being its owner's own.
pub(crate) fn certificates(file: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Remark> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| wrong(file, "no-certificate", error))?;
    if found.is_empty() || found.iter().any(|der| Certificate::read(der).is_none()) {
        return Err(wrong(file, "no-certificate", ""));
    }
    Ok(found)
}

/// The first certificate in a file: its owner's own.
pub(crate) fn own(file: &Path, pem: &[u8]) -> Result<Certificate, Remark> {
    let ders = certificates(file, pem)?;
    ders.first().and_then(|der| Certificate::read(der)).ok_or_else(|| wrong(file, "no-certificate", ""))
}

/// The private key in a file.
pub(crate) fn key(file: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, Remark> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| wrong(file, "no-key", error))
}

/// The lists of revoked certificates in a file.
pub(crate) fn revocation_lists(file: &Path, pem: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, Remark> {
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| wrong(file, "no-list", error))?;
    if found.is_empty() {
        return Err(wrong(file, "no-list", ""));
    }
    Ok(found)
}

/// Writes a file that must not be there yet; a private key for its owner only.
pub(crate) fn write_new(file: &Path, text: &str, private: bool) -> Result<(), Remark> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(if private { 0o600 } else { 0o644 });
    let written =
        options.open(file).and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.and_then(|()| sync_name(file, &File::sync_all)).map_err(|error| {
        let there = error.kind() == io::ErrorKind::AlreadyExists;
        // That it is there says it all; the system's words would only repeat it.
        if there { wrong(file, "there-already", "") } else { wrong(file, "unwritable", error) }
    })
}

/// Writes a file anew as a whole: whoever reads it sees the old one or the new one, and after a power cut it is the new one.
pub(crate) fn replace(file: &Path, text: &str) -> Result<(), Remark> {
    replace_syncing(file, text, &File::sync_all)
}

fn replace_syncing(file: &Path, text: &str, sync: &dyn Fn(&File) -> io::Result<()>) -> Result<(), Remark> {
    let unwritable = |error: io::Error| wrong(file, "unwritable", error);
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = file.with_file_name(name);
    std::fs::write(&new, text).map_err(unwritable)?;
    File::open(&new).and_then(|file| sync(&file)).map_err(unwritable)?;
    std::fs::rename(&new, file).map_err(unwritable)?;
    sync_name(file, sync).map_err(unwritable)
}

/// Makes a file's name survive a power cut: that stands in its directory.
fn sync_name(file: &Path, sync: &dyn Fn(&File) -> io::Result<()>) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| sync(&folder))
}

#[cfg(test)]
mod tests {
    use super::authority::{Authority, Validity};
    use super::*;

    const VALID: Validity = Validity { from: 1_700_000_000, until: 1_800_000_000 };

    #[test]
    fn what_is_issued_says_whom_it_names_and_its_key_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::init(&folder.path().join("ca"), "Test", VALID).unwrap();
        let actor = Actor::parse("budget://407002/unit").unwrap();
        let out = folder.path().join("out");
        authority.issue_identity(&actor, VALID, &out, "https://localhost:7407").unwrap();
        let (file, key) = (out.join("407002-unit.pem"), out.join("407002-unit-key.pem"));
        let der = certificates(&file, &read(&file).unwrap()).unwrap();
        let read = Certificate::read(&der[0]).unwrap();
        assert_eq!((read.actor().unwrap(), read.from, read.until), (actor.clone(), VALID.from, VALID.until));
        assert_eq!(read.days_left(VALID.until - 2 * DAY), 2);
        assert_eq!(read.days_left(VALID.until + 1), -1);
        super::key(&key, &read_key(&key).unwrap()).unwrap();
        let problem = |remark: Remark| remark.fact("problem").unwrap_or_default().to_owned();
        assert_eq!(problem(certificates(&key, &read_key(&key).unwrap()).unwrap_err()), "no-certificate");
        assert_eq!(problem(super::read(&out.join("none")).unwrap_err()), "absent");
        // Nothing is written over.
        let again = authority.issue_identity(&actor, VALID, &out, "").unwrap_err();
        assert_eq!(problem(again), "there-already");
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(problem(read_key(&key).unwrap_err()), "open-key");
    }

    /// A list of revoked certificates whose name is not on the disk is the old list after a power cut.
    #[test]
    fn what_is_replaced_is_on_the_disk_with_its_name() {
        use std::os::fd::AsRawFd;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        let file = path.join("revoked.pem");
        let seen = std::cell::RefCell::new(Vec::new());
        let sync = |synced: &File| {
            let name = std::fs::read_link(format!("/proc/self/fd/{}", synced.as_raw_fd()))?;
            seen.borrow_mut().push((name, std::fs::read_to_string(&file).unwrap_or_default()));
            synced.sync_all()
        };
        replace_syncing(&file, "old", &sync).unwrap();
        seen.borrow_mut().clear();
        replace_syncing(&file, "new", &sync).unwrap();
        // The content before it has the name, the name after.
        let expected = [(path.join("revoked.pem.new"), "old".to_owned()), (path, "new".to_owned())];
        assert_eq!(seen.into_inner(), expected);
    }

    #[test]
    fn what_is_revoked_stays_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca");
        let first = Authority::init(&ca, "Test", VALID).unwrap();
        for node in ["407001", "407002"] {
            let actor = Actor::parse(&format!("budget://{node}/unit")).unwrap();
            first.issue_identity(&actor, VALID, &folder.path().join(node), "").unwrap();
        }
        assert!(first.revoke("407009/unit", VALID.from).unwrap().is_empty());
        for node in ["407001", "407002"] {
            let again = Authority::open(&ca).unwrap();
            assert_eq!(again.revoke(&format!("{node}/unit"), VALID.from).unwrap().len(), 1, "{node}");
            assert!(again.revoke(&format!("{node}/unit"), VALID.from).unwrap().is_empty(), "{node} once only");
        }
        let listed = Authority::open(&ca).unwrap().list().unwrap();
        assert_eq!(listed.iter().filter(|issued| issued.revoked).count(), 2);
    }
}
