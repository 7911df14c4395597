//! A signature with the key of a certificate: what whoever files puts to the digest of a filing.
//!
//! The certificate goes with it and is part of what is signed, so that no byte of either can be changed. Whether the
//! certificate is one to be trusted is not known here: that is said by whoever has issued it.

use tokio_rustls::rustls::SignatureScheme;
use tokio_rustls::rustls::crypto::aws_lc_rs::{default_provider, sign::any_supported_type};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Certificate;
use crate::budget::digest::Digest;

/// What can sign, by the names of RFC 8446, 4.2.3: of a certificate's key the first that it can.
const SCHEMES: [(SignatureScheme, &str); 5] = [
    (SignatureScheme::ED25519, "ed25519"),
    (SignatureScheme::ECDSA_NISTP256_SHA256, "ecdsa_secp256r1_sha256"),
    (SignatureScheme::ECDSA_NISTP384_SHA384, "ecdsa_secp384r1_sha384"),
    (SignatureScheme::ECDSA_NISTP521_SHA512, "ecdsa_secp521r1_sha512"),
    (SignatureScheme::RSA_PSS_SHA256, "rsa_pss_rsae_sha256"),
];

/// A signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    /// The certificate, DER.
    pub(crate) certificate: Vec<u8>,
    /// How it is signed, by the names of RFC 8446, 4.2.3.
    pub(crate) scheme: String,
    /// The signature itself.
    pub(crate) bytes: Vec<u8>,
}

/// What is signed: the text, and the certificate's SHA-256 as a line of its own.
fn message(text: &str, certificate: &[u8]) -> String {
    format!("{text}\n{}\n", Digest::of(certificate))
}

/// Signs a text with a certificate's key; none if it is a kind of key that can't.
pub(crate) fn sign(text: &str, certificate: &CertificateDer<'_>, key: &PrivateKeyDer<'_>) -> Option<Signature> {
    let key = any_supported_type(key).ok()?;
    let signer = key.choose_scheme(&SCHEMES.map(|(scheme, _)| scheme))?;
    let (_, name) = SCHEMES.into_iter().find(|(scheme, _)| *scheme == signer.scheme())?;
    let bytes = signer.sign(message(text, certificate).as_bytes()).ok()?;
    Some(Signature { certificate: certificate.to_vec(), scheme: name.to_owned(), bytes })
}

impl Signature {
    /// The certificate whose key has signed the text; none if none has.
    pub(crate) fn verify(&self, text: &str) -> Option<Certificate> {
        let (_, read) = X509Certificate::from_der(&self.certificate).ok()?;
        let key = &read.tbs_certificate.subject_pki.subject_public_key.data;
        let (scheme, _) = SCHEMES.into_iter().find(|(_, name)| *name == self.scheme)?;
        let message = message(text, &self.certificate);
        let provider = default_provider().signature_verification_algorithms;
        let (_, algorithms) = provider.mapping.iter().find(|(known, _)| *known == scheme)?;
        // Of one scheme there is one algorithm for each kind of key; a key of another kind is none to it.
        let good = algorithms.iter().any(|one| one.verify_signature(key, message.as_bytes(), &self.bytes).is_ok());
        if good { Certificate::read(&self.certificate) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::authority::{Authority, Validity};
    use crate::certificate::{certificates, key, read, read_key};
    use crate::ledger::actor::Actor;

    #[test]
    fn a_signature_holds_for_its_text_and_certificate_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let validity = Validity { from: 1_700_000_000, until: 1_800_000_000 };
        let authority = Authority::init(&folder.path().join("ca"), "Test", validity).unwrap();
        let issued = |unit: &str| {
            let actor = Actor::parse(&format!("budget://{unit}/unit")).unwrap();
            authority.issue_identity(&actor, validity, folder.path(), "https://localhost:7407").unwrap();
            let path = |end: &str| folder.path().join(format!("{unit}-unit{end}"));
            let own = certificates(&path(".pem"), &read(&path(".pem")).unwrap()).unwrap().swap_remove(0);
            (own, key(&path("-key.pem"), &read_key(&path("-key.pem")).unwrap()).unwrap())
        };
        let ((own, key), (other, _)) = (issued("407002"), issued("407003"));
        let signature = sign("a text", &own, &key).unwrap();
        let signer = signature.verify("a text").unwrap();
        assert_eq!(signer.actor().unwrap().to_string(), "budget://407002/unit");
        assert_eq!(signature.verify("another"), None);
        assert_eq!(Signature { certificate: other.to_vec(), ..signature.clone() }.verify("a text"), None);
        for (_, scheme) in SCHEMES {
            let said = Signature { scheme: scheme.to_owned(), ..signature.clone() };
            assert_eq!(said.verify("a text").is_some(), scheme == signature.scheme, "{scheme}");
        }
        for at in 0..signature.bytes.len() {
            let mut changed = signature.clone();
            changed.bytes[at] ^= 1;
            assert_eq!(changed.verify("a text"), None, "byte {at}");
        }
        for at in 0..signature.certificate.len() {
            let mut changed = signature.clone();
            changed.certificate[at] ^= 1;
            assert_eq!(changed.verify("a text"), None, "byte {at} of the certificate");
        }
    }
}
