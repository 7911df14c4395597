//! The way to the server: connecting, saying who asks, and turning a status into a sentence.
//!
//! Knows the wire; what is asked is up to the verbs.

use std::time::Duration;

use tonic::codec::CompressionEncoding;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use super::output::Failure;
use super::settings::Settings;
use super::words::say;
use crate::budget::form_set::{FormFiles, FormSet};
use crate::budget::reason::{Reason, Remark};
use crate::proto::api;
use crate::proto::api::audit_service_client::AuditServiceClient;
use crate::proto::api::consolidation_service_client::ConsolidationServiceClient;
use crate::proto::api::control_figure_service_client::ControlFigureServiceClient;
use crate::proto::api::registry_service_client::RegistryServiceClient;
use crate::proto::api::submission_service_client::SubmissionServiceClient;
use crate::wording::{Language, sentence};

/// The header that says who asks.
const ACTOR_HEADER: &str = "x-budget-actor";

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
const CONNECT_SECONDS_MAX: u64 = 10;

type Wire = InterceptedService<Channel, Identity>;

/// Says with each request who asks.
#[derive(Clone, Debug)]
pub(super) struct Identity(Option<MetadataValue<Ascii>>);

impl Interceptor for Identity {
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
    /// An address that is none, or a server that doesn't answer.
    pub(super) async fn connect_unseen(settings: &Settings) -> Result<Client, Failure> {
        let language = settings.language;
        let address = if settings.server.contains("://") {
            settings.server.clone()
        } else {
            format!("http://{}", settings.server)
        };
        let wrong = |key: &str, error: &(dyn std::error::Error + 'static)| {
            say(language, key, &[("server", &address), ("error", &root_cause(error))])
        };
        let endpoint =
            Endpoint::from_shared(address.clone()).map_err(|error| Failure::Usage(wrong("server-wrong", &error)))?;
        let channel = endpoint
            .connect_timeout(Duration::from_secs(CONNECT_SECONDS_MAX))
            .connect()
            .await
            .map_err(|error| Failure::Unreachable(wrong("server-unreachable", &error)))?;
        let actor = settings.actor.as_ref().and_then(|actor| actor.to_string().parse().ok());
        let wire = InterceptedService::new(channel, Identity(actor));
        Ok(Client { wire, server: address, language })
    }

    /// What a status says: the service's reason, or that there is no server any more.
    pub(super) fn failure(&self, status: &Status) -> Failure {
        if let Some(remark) = remark(status) {
            return Failure::Refused(remark);
        }
        let lost = matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded)
            || std::error::Error::source(status).is_some();
        if lost {
            let cause = std::error::Error::source(status).map_or_else(|| status.message().to_owned(), root_cause);
            let facts = [("server", self.server.as_str()), ("error", cause.as_str())];
            return Failure::Unreachable(say(self.language, "server-lost", &facts));
        }
        let code = format!("{:?}", status.code());
        Failure::Failed(say(self.language, "server-other", &[("code", &code), ("error", status.message())]))
    }

    /// The form set of that id that is in force.
    pub(super) async fn form_set(&self, id: &str) -> Result<FormSet, Failure> {
        self.form_set_version(id, &[]).await
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

/// The innermost cause, which is the one that says something: "Connection refused".
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

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
