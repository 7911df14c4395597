//! The way to the server: connecting, saying who asks, and turning a status into a sentence.
//!
//! Knows the wire; what is asked is up to the verbs.

use std::sync::Arc;
use std::time::Duration;

use tonic::codec::CompressionEncoding;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use super::handshake::{objection, wants_tls};
use super::output::Failure;
use super::serve::wall_clock;
use super::settings::Settings;
use super::way::{Credentials, ends_soon};
use super::words::say;
use crate::budget::form_set::{FormFiles, FormSet};
use crate::budget::reason::{Reason, Remark};
use crate::proto::api;
use crate::proto::api::audit_service_client::AuditServiceClient;
use crate::proto::api::consolidation_service_client::ConsolidationServiceClient;
use crate::proto::api::control_figure_service_client::ControlFigureServiceClient;
use crate::proto::api::registry_service_client::RegistryServiceClient;
use crate::proto::api::review_service_client::ReviewServiceClient;
use crate::proto::api::submission_service_client::SubmissionServiceClient;
use crate::wording::{Language, label, sentence};

/// The header that says who asks.
const ACTOR_HEADER: &str = "x-budget-actor";

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
const CONNECT_SECONDS_MAX: u64 = 10;

type Wire = InterceptedService<Channel, Named>;

/// Says with each request who asks, where no certificate does.
#[derive(Clone, Debug)]
pub(super) struct Named(Option<MetadataValue<Ascii>>);

impl Interceptor for Named {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(actor) = &self.0 {
            request.metadata_mut().insert(ACTOR_HEADER, actor.clone());
        }
        Ok(request)
    }
}

/// A connection to a server.
#[derive(Clone, Debug)]
pub(super) struct Client {
    wire: Wire,
    server: String,
    /// With which certificate; none without TLS.
    credentials: Option<Credentials>,
    language: Language,
}

macro_rules! services {
    ($( $(#[doc = $doc:expr])+ $name:ident: $client:ident; )+) => {
        impl Client {
            $(
                $(#[doc = $doc])+
                pub(super) fn $name(&self) -> $client<Wire> {
                    $client::new(self.wire.clone())
                        .max_decoding_message_size(ANSWER_BYTES_MAX)
                        .accept_compressed(CompressionEncoding::Gzip)
                }
            )+
        }
    };
}

services! {
    /// Filing.
    submissions: SubmissionServiceClient;
    /// Sums, traces, the status board.
    consolidation: ConsolidationServiceClient;
    /// Units and form sets.
    registry: RegistryServiceClient;
    /// Ceilings.
    control_figures: ControlFigureServiceClient;
    /// Rounds and review.
    review: ReviewServiceClient;
    /// History.
    audit: AuditServiceClient;
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// An address that is none, a server that doesn't answer, or one that shows another history than was seen before.
    pub(super) async fn connect(settings: &Settings) -> Result<Client, Failure> {
        let client = Client::connect_unseen(settings).await?;
        super::seen::compare(&client, settings).await?;
        Ok(client)
    }

    /// The same, without a look at what was seen of the server before.
    ///
    /// # Errors
    /// An address that is none, a certificate that can't be used, or a server that doesn't answer.
    pub(super) async fn connect_unseen(settings: &Settings) -> Result<Client, Failure> {
        let (language, server) = (settings.language, settings.server.clone());
        let endpoint = Endpoint::from_shared(server.clone()).map_err(|error| {
            let facts = [("server", server.as_str()), ("error", &causes(&error))];
            Failure::Usage(say(language, "server-wrong", &facts))
        })?;
        let mut endpoint = endpoint.connect_timeout(Duration::from_secs(CONNECT_SECONDS_MAX));
        if let Some(credentials) = &settings.credentials {
            let pem = credentials.read().map_err(Failure::Refused)?;
            if let Some(warning) = ends_soon(pem.until, wall_clock()().0, language) {
                eprintln!("{warning}");
            }
            let tls = ClientTlsConfig::new()
                .ca_certificate(Certificate::from_pem(pem.ca))
                .identity(Identity::from_pem(pem.certificate, pem.key));
            endpoint = endpoint.tls_config(tls).map_err(|error| {
                let facts = [("server", server.as_str()), ("error", &causes(&error))];
                Failure::Usage(say(language, "certificate-unusable", &facts))
            })?;
        }
        let connected = endpoint.connect().await;
        let certified = settings.credentials.is_some();
        let actor = settings.actor.as_ref().filter(|_| !certified).and_then(|actor| actor.to_string().parse().ok());
        let credentials = settings.credentials.clone();
        let client =
            |channel| Client { wire: InterceptedService::new(channel, Named(actor)), server, credentials, language };
        match connected {
            Ok(channel) => Ok(client(channel)),
            Err(error) => Err(unreachable(language, "server-unreachable", &settings.server, &causes(&error))),
        }
    }

    /// What a status says: the service's reason, or that there is no server any more.
    pub(super) fn failure(&self, status: &Status) -> Failure {
        if let Some(remark) = remark(status) {
            return Failure::Refused(remark);
        }
        let lost = matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded)
            || std::error::Error::source(status).is_some();
        if lost {
            let cause = std::error::Error::source(status).map_or_else(|| status.message().to_owned(), causes);
            let said = TLS_TROUBLE.iter().any(|(said, _)| cause.contains(said));
            let asked = self.credentials.as_ref().filter(|_| !said);
            let cause = asked.and_then(|own| objection(&self.server, own)).unwrap_or(cause);
            if self.credentials.is_none() && !said && wants_tls(&self.server) {
                return Failure::Unreachable(say(self.language, "server-wants-tls", &[("server", &self.server)]));
            }
            return unreachable(self.language, "server-lost", &self.server, &cause);
        }
        let code = format!("{:?}", status.code());
        Failure::Failed(say(self.language, "server-other", &[("code", &code), ("error", status.message())]))
    }

    /// The form set of that id that is in force.
    pub(super) async fn form_set(&self, id: &str) -> Result<FormSet, Failure> {
        self.form_set_version(id, &[]).await
    }

    /// The form set with that digest, for the names on its sheets; none if it is no longer in force.
    pub(super) async fn form_set_in_force(&self, digest: &[u8]) -> Result<Option<Arc<FormSet>>, Failure> {
        let listed = self.registry().list_form_sets(api::ListFormSetsRequest::default()).await;
        let listed = listed.map_err(|status| self.failure(&status))?.into_inner().form_sets;
        match listed.iter().find(|summary| summary.digest == digest) {
            Some(summary) => self.form_set_version(&summary.id, digest).await.map(|form| Some(Arc::new(form))),
            None => Ok(None),
        }
    }

    /// That version of a form set; without a digest the one in force.
    pub(super) async fn form_set_version(&self, id: &str, digest: &[u8]) -> Result<FormSet, Failure> {
        let request = api::GetFormSetRequest { id: id.to_owned(), digest: digest.to_vec() };
        let answer = self.registry().get_form_set(request).await.map_err(|status| self.failure(&status))?.into_inner();
        let files: FormFiles = answer.files.into_iter().map(|file| (file.name, file.content)).collect();
        FormSet::load(files).map_err(|faults| {
            let first = faults.first().map(|fault| sentence(&fault.remark, self.language)).unwrap_or_default();
            Failure::Failed(say(self.language, "form-set-not-understood", &[("id", id), ("error", &first)]))
        })
    }
}

/// The service's reason and facts, if the status carries one that this program knows.
pub(super) fn remark(status: &Status) -> Option<Remark> {
    let info = status.get_details_error_info()?;
    let reason = Reason::from_code(&info.reason)?;
    // Metadata has no order; by name is as good as any, sentences pick their facts by name.
    let mut facts: Vec<(String, String)> = info.metadata.into_iter().collect();
    facts.sort();
    Some(Remark { reason, facts })
}

/// What a handshake says when it fails, and the label that says it to a person. Alerts are what the server thinks of
/// our certificate; the rest is what we think of its.
const TLS_TROUBLE: [(&str, &str); 12] = [
    ("alert: CertificateExpired", "tls-expired"),
    ("alert: CertificateRevoked", "tls-revoked"),
    ("alert: UnknownCA", "tls-not-known"),
    ("alert: CertificateRequired", "tls-none"),
    ("alert: BadCertificate", "tls-refused"),
    ("alert: DecryptError", "tls-not-known"),
    ("alert: CertificateUnknown", "tls-refused"),
    ("certificate: UnknownIssuer", "tls-server-not-known"),
    ("certificate: BadSignature", "tls-server-not-known"),
    ("certificate: certificate not valid for name", "tls-server-name"),
    ("certificate: certificate expired", "tls-server-expired"),
    ("InvalidContentType", "tls-server-plain"),
];

/// What the libraries below say of a lost connection, and the label that says it to a person.
const LOST: [(&str, &str); 6] = [
    ("#unexpected-eof", "lost-broken-off"),
    ("broken pipe", "lost-broken-off"),
    ("unexpected EOF", "lost-broken-off"),
    ("connection closed", "lost-broken-off"),
    ("deadline has elapsed", "lost-no-answer"),
    ("failed to lookup address", "lost-no-such-host"),
];

fn unreachable(language: Language, otherwise: &'static str, server: &str, cause: &str) -> Failure {
    let known = TLS_TROUBLE.iter().find(|(said, _)| cause.contains(said));
    let key = known.map_or(otherwise, |(_, key)| *key);
    let last = cause.rsplit(": ").next().unwrap_or(cause);
    let said = LOST.iter().find(|(said, _)| cause.contains(said)).map_or(last, |(_, key)| label(key, language));
    Failure::Unreachable(say(language, key, &[("server", server), ("error", said)]))
}

/// All causes, from the outermost to the one that says something: "Connection refused".
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut all = error.to_string();
    let mut cause = error;
    while let Some(inner) = cause.source() {
        all.push_str(": ");
        all.push_str(&inner.to_string());
        cause = inner;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    #[test]
    fn a_lost_connection_is_told_in_plain_words() {
        let library = "transport error: peer closed connection without sending TLS close_notify: \
                       https://docs.rs/rustls/latest/rustls/manual/_03_howto/index.html#unexpected-eof";
        for (language, plain) in [(Language::Chinese, "服务器中断了连接"), (Language::English, "broke off")] {
            let Failure::Unreachable(said) = unreachable(language, "server-lost", "https://here", library) else {
                panic!("another failure")
            };
            assert!(said.contains(plain) && !said.contains("docs.rs"), "{said}");
        }
        let refused = "tcp connect error: Connection refused (os error 111)";
        let said = unreachable(Language::Chinese, "server-unreachable", "http://here", refused);
        assert!(said.sentence(Language::Chinese).contains("（服务器没有在那个地址上接受连接）"), "{said:?}");
        let unknown = unreachable(Language::Chinese, "server-lost", "http://here", "outer: something new");
        assert!(unknown.sentence(Language::Chinese).contains("（something new）"), "{unknown:?}");
    }

    #[test]
    fn a_status_carries_its_reason_and_facts() {
        let facts = [("unit".to_owned(), "409".to_owned()), ("year".to_owned(), "2024".to_owned())];
        let details = ErrorDetails::with_error_info("UNKNOWN_UNIT", "budget", facts);
        let status = Status::with_error_details(Code::NotFound, "no such unit", details);
        let remark = remark(&status).unwrap();
        assert_eq!((remark.reason, remark.fact("unit")), (Reason::UnknownUnit, Some("409")));
        assert_eq!(super::remark(&Status::not_found("plain")), None);
    }
}
