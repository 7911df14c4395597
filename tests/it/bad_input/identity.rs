//! Who asks: nobody, somebody unreadable, or somebody who may not.

use std::future::Future;
use std::pin::Pin;

use budget_consolidator::grpc::ACTOR_HEADER;
use budget_consolidator::proto::api;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::stream::call;
use super::{Scene, assert_refused};
use crate::support::*;

const METHODS: [&str; 19] = [
    "SubmissionService/Submit",
    "SubmissionService/DryRun",
    "SubmissionService/GetSubmission",
    "SubmissionService/ListSubmissions",
    "ControlFigureService/IssueControlFigures",
    "ControlFigureService/ListControlFigures",
    "ConsolidationService/View",
    "ConsolidationService/ListRows",
    "ConsolidationService/Trace",
    "ConsolidationService/GetStatusBoard",
    "ConsolidationService/Watch",
    "RegistryService/ImportUnits",
    "RegistryService/ListUnits",
    "RegistryService/PublishFormSet",
    "RegistryService/CheckFormSet",
    "RegistryService/ListFormSets",
    "RegistryService/GetFormSet",
    "AuditService/GetHistory",
    "AuditService/ListEvents",
];

#[tokio::test]
async fn no_method_answers_a_request_without_identity() {
    let scene = Scene::fenyang().await;
    let nobody = Client::connect(&scene.server.address, "").await;
    let before = scene.fingerprint().await;
    for method in METHODS {
        let path = format!("/budget.consolidation.v1.{method}");
        let answer = call(&nobody, &path, vec![Vec::new()]).await;
        assert_refused(method, answer, Code::Unauthenticated, "UNKNOWN_ACTOR", &[ACTOR_HEADER]);
    }
    assert_eq!(before.differences(&scene.fingerprint().await), [""; 0]);
    scene.stop().await;
}

async fn channel(scene: &Scene) -> Channel {
    Endpoint::from_shared(scene.server.address.clone()).unwrap().connect().await.unwrap()
}

/// Files and reads with these values of the identity header.
async fn with_headers(scene: &Scene, values: &[&[u8]]) -> [Result<(), Status>; 2] {
    let identified = |metadata: &mut MetadataMap| {
        for value in values {
            metadata.append(ACTOR_HEADER, AsciiMetadataValue::try_from(*value).unwrap());
        }
    };
    let parts = scene.parts().into_iter().map(|part| api::SubmitRequest { part: Some(part) }).collect::<Vec<_>>();
    let mut filing = Request::new(tokio_stream::iter(parts));
    let mut reading = Request::new(api::ViewRequest { scope: Some(scope("407")), ..Default::default() });
    identified(filing.metadata_mut());
    identified(reading.metadata_mut());
    let mut submissions = api::submission_service_client::SubmissionServiceClient::new(channel(scene).await);
    let mut consolidation = api::consolidation_service_client::ConsolidationServiceClient::new(channel(scene).await);
    [submissions.submit(filing).await.map(drop), consolidation.view(reading).await.map(drop)]
}

#[tokio::test]
async fn an_identity_that_is_garbled_or_given_twice_is_refused() {
    let scene = Scene::fenyang().await;
    let garbled: [&[u8]; 11] = [
        b"",
        b"407004",
        b"407004/unit",
        b"budget://407004",
        b"budget://407004/king",
        b"budget://407004/Unit",
        b"budget:///unit",
        b"budget://407004/unit ",
        b"budget://4070040000000000000000000/unit",
        b"http://407004/unit",
        b"budget://40700\xe4/unit",
    ];
    for value in garbled {
        let what = String::from_utf8_lossy(value).into_owned();
        for answer in scene.nothing_changes(&what, with_headers(&scene, &[value])).await {
            // What is no text can't be said again.
            let said = if value.is_ascii() { &what } else { "?" };
            assert_refused(&what, answer, Code::Unauthenticated, "UNKNOWN_ACTOR", &[said, ACTOR_HEADER]);
        }
    }
    let twice: [&[&[u8]]; 2] =
        [&[b"budget://407004/unit", b"budget://407004/unit"], &[b"budget://407004/unit", b"budget://0/bureau"]];
    for values in twice {
        for answer in scene.nothing_changes("twice", with_headers(&scene, values)).await {
            assert_refused("twice", answer, Code::Unauthenticated, "UNKNOWN_ACTOR", &["budget://407004/unit"]);
        }
    }
    scene.stop().await;
}

type Attempt = Pin<Box<dyn Future<Output = Result<(), Status>>>>;

/// Everything that can be read about a node.
fn reads(client: Client, node: &str) -> Vec<(&'static str, Attempt)> {
    let (slot_unit, node) = (node.to_owned(), node.to_owned());
    let within = Some(scope(&node));
    macro_rules! read {
        ($name:literal, $service:ident, $method:ident, $request:expr) => {{
            let (mut service, request) = (client.$service(), $request);
            let attempt: Attempt = Box::pin(async move { service.$method(request).await.map(drop) });
            ($name, attempt)
        }};
    }
    let slot = api::Slot { unit: slot_unit, year: 2024, ..Default::default() };
    vec![
        read!("view", consolidation, view, api::ViewRequest { scope: within.clone(), ..Default::default() }),
        read!(
            "list_rows",
            consolidation,
            list_rows,
            api::ListRowsRequest { scope: within.clone(), table: "T12".into(), ..Default::default() }
        ),
        read!(
            "trace",
            consolidation,
            trace,
            api::TraceRequest { scope: within.clone(), cell: "T03/合计/total".into(), ..Default::default() }
        ),
        read!("status", consolidation, get_status_board, api::GetStatusBoardRequest { scope: within }),
        read!(
            "submission",
            submissions,
            get_submission,
            api::GetSubmissionRequest { slot: Some(slot), ..Default::default() }
        ),
        read!(
            "submissions",
            submissions,
            list_submissions,
            api::ListSubmissionsRequest { node: node.clone(), ..Default::default() }
        ),
        read!(
            "ceilings",
            control,
            list_control_figures,
            api::ListControlFiguresRequest { node: node.clone(), ..Default::default() }
        ),
        read!("units", registry, list_units, api::ListUnitsRequest { node: node.clone(), ..Default::default() }),
        read!("history", audit, get_history, api::GetHistoryRequest { unit: node, ..Default::default() }),
    ]
}

#[tokio::test]
async fn nobody_reads_beside_or_above_itself() {
    let scene = Scene::fenyang().await;
    let before = scene.fingerprint().await;
    for (actor, node) in [
        ("budget://407004/unit", "407001"),
        ("budget://407004/unit", "407"),
        ("budget://407004/unit", "0"),
        ("budget://407004/department", "407001"),
        ("budget://407/unit", "407001"),
        (DEPARTMENT, "0"),
        ("budget://508/department", "407"),
        ("budget://40/department", "407"),
    ] {
        for (what, attempt) in reads(scene.server.client(actor).await, node) {
            let what = format!("{actor} reads {what} of {node}");
            assert_refused(&what, attempt.await, Code::PermissionDenied, "NOT_PERMITTED", &[actor, node]);
        }
    }
    assert_eq!(before.differences(&scene.fingerprint().await), [""; 0]);
    let client = scene.client().await;
    let events = client.audit().list_events(api::ListEventsRequest::default()).await;
    assert_refused("events", events, Code::PermissionDenied, "NOT_PERMITTED", &["407004"]);
    scene.stop().await;
}

#[tokio::test]
async fn nobody_files_for_another_or_does_the_bureaus_work() {
    let scene = Scene::fenyang().await;
    let form_set = api::PublishFormSetRequest {
        idempotency_key: new_key(),
        files: form_files("linjiang-2024").into_iter().map(|(name, content)| api::FormFile { name, content }).collect(),
    };
    for actor in ["budget://407004/unit", "budget://407001/unit", DEPARTMENT, BUREAU, AUDITOR, ADMINISTRATOR] {
        let client = scene.server.client(actor).await;
        let denied = |what: &str, answer: Result<(), Status>| {
            assert_refused(&format!("{actor}: {what}"), answer, Code::PermissionDenied, "NOT_PERMITTED", &[actor]);
        };
        if actor != "budget://407004/unit" {
            denied("files", scene.nothing_changes(actor, client.submit_parts(scene.parts())).await.map(drop));
            let file = scene.file();
            let dry_run = client.dry_run(&file, &scene.form);
            denied("dry-runs", scene.nothing_changes(actor, dry_run).await.map(drop));
        }
        if actor != BUREAU {
            let issue = client.issue_control("fenyang-2024/control.csv", "shanxi-2024", 2024);
            denied("issues", scene.nothing_changes(actor, issue).await.map(drop));
        }
        if actor != BUREAU && actor != ADMINISTRATOR {
            let import = client.import_units("fenyang-2024/units.csv", 2024);
            denied("imports", scene.nothing_changes(actor, import).await.map(drop));
            let publish = async { client.registry().publish_form_set(form_set.clone()).await };
            denied("publishes", scene.nothing_changes(actor, publish).await.map(drop));
        }
    }
    scene.stop().await;
}
