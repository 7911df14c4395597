//! A small certificate authority, for places that have none: a folder with its certificate, its key, what it has
//! issued, and the list of what it has revoked. Everything in it is a standard file (PEM, X.509), so that another
//! program can go on with it.
//!
//! Times come in with the call. Whoever has the key of the folder can be anybody: it belongs on no server.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber,
};
use tokio_rustls::rustls::pki_types::CertificateRevocationListDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{ASN1Time, FromDer};
use x509_parser::revocation_list::CertificateRevocationList;

use super::{Certificate, DAY, certificates, hex, read, read_key, replace, write_new, wrong};
use crate::budget::digest::Digest;
use crate::budget::reason::Remark;
use crate::ledger::actor::Actor;

/// Certificate of the authority, in its own folder and in all that it hands out.
pub const CA_FILE: &str = "ca.pem";
/// List of revoked certificates, in the authority's folder and in the server's.
pub const REVOKED_FILE: &str = "revoked.pem";
/// The server's certificate.
pub const SERVER_FILE: &str = "server.pem";
/// The server's key.
pub const SERVER_KEY_FILE: &str = "server-key.pem";
/// What tells the command line where the server is and which files to use.
pub const PROFILE_FILE: &str = "profile.toml";
const CA_KEY_FILE: &str = "ca-key.pem";
const ISSUED: &str = "issued";

/// From when until when, in seconds of Unix time.
#[derive(Clone, Copy, Debug)]
pub struct Validity {
    /// The first second.
    pub from: i64,
    /// The last second.
    pub until: i64,
}

impl Validity {
    /// So many days from now; it began an hour ago, for clocks that are behind.
    pub fn days(now: i64, days: u32) -> Validity {
        Validity { from: now - 3_600, until: now.saturating_add(i64::from(days) * DAY) }
    }
}

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// What it says.
    pub certificate: Certificate,
    /// Whether it was revoked.
    pub revoked: bool,
}

/// The authority in a folder.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
    pem: String,
    /// Until when its own certificate holds, in seconds of Unix time.
    until: i64,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new one, in a folder that has none.
    ///
    /// # Errors
    /// `CERTIFICATE_FILE`, as of everything here.
    pub fn init(folder: &Path, name: &str, validity: Validity) -> Result<Authority, Remark> {
        let file = folder.join(CA_FILE);
        let failed = |error: rcgen::Error| wrong(&file, "signing", error);
        std::fs::create_dir_all(folder.join(ISSUED)).map_err(|error| wrong(folder, "unwritable", error))?;
        let key = KeyPair::generate().map_err(failed)?;
        // Lists are found by the name of who made them, so no two authorities may have one name.
        let name = format!("{name} {}", Digest::of(key.public_key_raw()).short());
        let mut params = params(&name, validity).map_err(|what| wrong(&file, "signing", what))?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(failed)?;
        // The key first: where one is already, nothing is changed.
        write_new(&folder.join(CA_KEY_FILE), &key.serialize_pem(), true)?;
        write_new(&file, &certificate.pem(), false)?;
        let authority = Authority::open(folder)?;
        authority.write_revoked(Vec::new(), validity.from)?;
        Ok(authority)
    }

    /// The one that is there.
    ///
    /// # Errors
    /// If a file of it is absent or none of ours.
    pub fn open(folder: &Path) -> Result<Authority, Remark> {
        let (file, key_file) = (folder.join(CA_FILE), folder.join(CA_KEY_FILE));
        let pem = String::from_utf8(read(&file)?).map_err(|error| wrong(&file, "no-certificate", error))?;
        let own = certificates(&file, pem.as_bytes())?;
        let until = own.first().and_then(|der| Certificate::read(der)).map_or(i64::MAX, |own| own.until);
        let key = String::from_utf8(read_key(&key_file)?).map_err(|error| wrong(&key_file, "no-key", error))?;
        let key = KeyPair::from_pem(&key).map_err(|error| wrong(&key_file, "no-key", error))?;
        let issuer = Issuer::from_ca_cert_pem(&pem, key).map_err(|error| wrong(&file, "no-certificate", error))?;
        Ok(Authority { folder: folder.to_path_buf(), pem, until, issuer })
    }

    /// Until when its own certificate holds, in seconds of Unix time: nothing that it issues holds longer.
    pub fn until(&self) -> i64 {
        self.until
    }

    /// Issues the certificate of a client, into a folder that holds all that the command line needs.
    ///
    /// # Errors
    /// If a file of that name is there already.
    pub fn issue_identity(
        &self,
        actor: &Actor,
        validity: Validity,
        into: &Path,
        server: &str,
    ) -> Result<Issued, Remark> {
        let name = file_name(actor);
        let uri = actor.to_string().try_into().map(SanType::URI);
        let uri = uri.map_err(|error: rcgen::Error| wrong(into, "signing", error))?;
        let files = (format!("{name}.pem"), format!("{name}-key.pem"));
        let usage = ExtendedKeyUsagePurpose::ClientAuth;
        let issued = self.issue(&short(actor), vec![uri], usage, validity, into, &files)?;
        let profile = into.join(PROFILE_FILE);
        if !profile.exists() {
            let text = format!(
                "# 服务器在哪里，用哪张证书 / Where the server is, and which certificate to use\n\
                 server = \"{server}\"\nca = \"{CA_FILE}\"\ncert = \"{}\"\nkey = \"{}\"\n",
                files.0, files.1
            );
            write_new(&profile, &text, false)?;
        }
        Ok(issued)
    }

    /// Issues the certificate of a server, into a folder for `serve --tls`.
    ///
    /// # Errors
    /// If a file of that name is there already, or a host is none.
    pub fn issue_server(&self, hosts: &[String], validity: Validity, into: &Path) -> Result<Issued, Remark> {
        let names = CertificateParams::new(hosts).map(|params| params.subject_alt_names);
        let names = names.map_err(|error| wrong(into, "signing", error))?;
        let files = (SERVER_FILE.to_owned(), SERVER_KEY_FILE.to_owned());
        let usage = ExtendedKeyUsagePurpose::ServerAuth;
        let name = hosts.first().map_or("", String::as_str);
        let issued = self.issue(name, names, usage, validity, into, &files)?;
        self.copy_revoked(into)?;
        Ok(issued)
    }

    fn issue(
        &self,
        name: &str,
        names: Vec<SanType>,
        usage: ExtendedKeyUsagePurpose,
        validity: Validity,
        into: &Path,
        (certificate_file, key_file): &(String, String),
    ) -> Result<Issued, Remark> {
        let file = into.join(certificate_file);
        let failed = |error: rcgen::Error| wrong(&file, "signing", error);
        std::fs::create_dir_all(into).map_err(|error| wrong(into, "unwritable", error))?;
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = params(name, validity).map_err(|what| wrong(&file, "signing", what))?;
        params.subject_alt_names = names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let signed = params.signed_by(&key, &self.issuer).map_err(failed)?;
        let certificate = Certificate::read(signed.der()).ok_or_else(|| wrong(&file, "signing", ""))?;
        write_new(&into.join(key_file), &key.serialize_pem(), true)?;
        write_new(&file, &signed.pem(), false)?;
        replace(&into.join(CA_FILE), &self.pem)?;
        write_new(&self.folder.join(ISSUED).join(format!("{}.pem", certificate.serial)), &signed.pem(), false)?;
        Ok(Issued { certificate, revoked: false })
    }

    /// Everything that was issued, what ends first coming first.
    ///
    /// # Errors
    /// If the folder can't be read.
    pub fn list(&self) -> Result<Vec<Issued>, Remark> {
        let folder = self.folder.join(ISSUED);
        let revoked = self.revoked()?;
        let mut all = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(|error| wrong(&folder, "unreadable", error))? {
            let file = entry.map_err(|error| wrong(&folder, "unreadable", error))?.path();
            let ders = certificates(&file, &read(&file)?)?;
            let Some(certificate) = ders.first().and_then(|der| Certificate::read(der)) else { continue };
            let revoked = revoked.iter().any(|(serial, _)| hex(serial) == certificate.serial);
            all.push(Issued { certificate, revoked });
        }
        all.sort_by(|a, b| {
            (a.certificate.until, &a.certificate.serial).cmp(&(b.certificate.until, &b.certificate.serial))
        });
        Ok(all)
    }

    /// Revokes what has this number, this identity (`407002/unit`) or this host. Answers what was revoked just now.
    ///
    /// # Errors
    /// If a file can't be read or written.
    pub fn revoke(&self, which: &str, now: i64) -> Result<Vec<Issued>, Remark> {
        let identity = if which.starts_with("budget://") { which.to_owned() } else { format!("budget://{which}") };
        let means = |issued: &Issued| {
            let Certificate { serial, uris, hosts, .. } = &issued.certificate;
            serial == which || uris.contains(&identity) || hosts.iter().any(|host| host == which)
        };
        let found: Vec<Issued> = self.list()?.into_iter().filter(|issued| !issued.revoked && means(issued)).collect();
        let mut revoked = self.revoked()?;
        for issued in &found {
            let serial = (0..issued.certificate.serial.len()).step_by(2);
            let byte = |at: usize| {
                issued.certificate.serial.get(at..at + 2).and_then(|text| u8::from_str_radix(text, 16).ok())
            };
            revoked.push((serial.filter_map(byte).collect(), now));
        }
        if !found.is_empty() {
            self.write_revoked(revoked, now)?;
        }
        Ok(found)
    }

    /// Copies the list of revoked certificates into the folder of a server.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn copy_revoked(&self, into: &Path) -> Result<(), Remark> {
        let file = self.folder.join(REVOKED_FILE);
        let text = String::from_utf8(read(&file)?).map_err(|error| wrong(&file, "no-list", error))?;
        replace(&into.join(REVOKED_FILE), &text)
    }

    /// Serial numbers with the time of their revocation.
    fn revoked(&self) -> Result<Vec<(Vec<u8>, i64)>, Remark> {
        let file = self.folder.join(REVOKED_FILE);
        let pem = read(&file)?;
        let der = CertificateRevocationListDer::from_pem_slice(&pem).map_err(|error| wrong(&file, "no-list", error))?;
        let (_, list) = CertificateRevocationList::from_der(&der).map_err(|error| wrong(&file, "no-list", error))?;
        let revoked = list.iter_revoked_certificates();
        Ok(revoked.map(|one| (one.raw_serial().to_vec(), one.revocation_date.timestamp())).collect())
    }

    fn write_revoked(&self, revoked: Vec<(Vec<u8>, i64)>, now: i64) -> Result<(), Remark> {
        let file = self.folder.join(REVOKED_FILE);
        let failed = |what: String| wrong(&file, "signing", what);
        let list = CertificateRevocationListParams {
            this_update: time(now).map_err(failed)?.to_datetime(),
            // Nobody refuses a list for its age: a place without a PKI forgets to renew it.
            next_update: time(now.saturating_add(3_650 * DAY)).map_err(failed)?.to_datetime(),
            crl_number: SerialNumber::from(revoked.len() as u64 + 1),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .into_iter()
                .map(|(serial, at)| {
                    Ok(RevokedCertParams {
                        serial_number: SerialNumber::from(serial),
                        revocation_time: time(at).map_err(failed)?.to_datetime(),
                        reason_code: None,
                        invalidity_date: None,
                    })
                })
                .collect::<Result<_, Remark>>()?,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let signed = list.signed_by(&self.issuer).and_then(|list| list.pem());
        replace(&file, &signed.map_err(|error| failed(error.to_string()))?)
    }
}

/// `407002-unit`: how the files of an identity are called.
pub fn file_name(actor: &Actor) -> String {
    format!("{}-{}", actor.node, actor.role.as_str())
}

/// `407002/unit`.
fn short(actor: &Actor) -> String {
    format!("{}/{}", actor.node, actor.role.as_str())
}

fn params(name: &str, validity: Validity) -> Result<CertificateParams, String> {
    let mut distinguished_name = DistinguishedName::new();
    distinguished_name.push(DnType::CommonName, name);
    let mut params = CertificateParams::default();
    params.not_before = time(validity.from)?.to_datetime();
    params.not_after = time(validity.until)?.to_datetime();
    params.distinguished_name = distinguished_name;
    Ok(params)
}

/// A time that can be written into a certificate.
fn time(seconds: i64) -> Result<ASN1Time, String> {
    ASN1Time::from_timestamp(seconds).map_err(|error| error.to_string())
}
