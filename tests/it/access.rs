//! Who may call what: each method is listed, the printed table is the code's, and each of its cells holds over a socket.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use budget_consolidator::budget::submission::Kind;
use budget_consolidator::grpc::access::{AGGREGATE_NODE, Guard, ITS_EVENTS, METHODS, Method, OF_AGGREGATES, table};
use budget_consolidator::ledger::actor::{Reach, Relation, Role};
use budget_consolidator::proto::{DESCRIPTORS, api};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorSet};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::support::*;
use crate::tls::{Certificates, Person, year};

/// Everything that is compiled into the program, by name.
pub struct Api {
    messages: BTreeMap<String, DescriptorProto>,
    /// Path of the method, and the name of its request.
    pub methods: BTreeMap<String, String>,
}

impl Api {
    pub fn new() -> Api {
        let mut api = Api { messages: BTreeMap::new(), methods: BTreeMap::new() };
        for file in FileDescriptorSet::decode(DESCRIPTORS).unwrap().file {
            let package = file.package().to_owned();
            for message in file.message_type {
                api.messages.insert(format!(".{package}.{}", message.name()), message);
            }
            for service in file.service {
                for method in &service.method {
                    let path = format!("/{package}.{}/{}", service.name(), method.name());
                    api.methods.insert(path, method.input_type().to_owned());
                }
            }
        }
        api
    }

    /// A request of that type about a node: the field that names it, and what else a request can't do without.
    pub fn request(&self, name: &str, path: &[&str], node: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut text = |number: u32, text: &[u8]| {
            encode_key(number, WireType::LengthDelimited, &mut bytes);
            encode_varint(text.len() as u64, &mut bytes);
            bytes.extend(text);
        };
        let mut numbers = Vec::new();
        for field in &self.messages[name].field {
            let number = u32::try_from(field.number()).unwrap();
            match (field.r#type(), field.name()) {
                (Type::String, name) if path == [name] => text(number, node.as_bytes()),
                (Type::Message, name) if path.len() > 1 && path[0] == name => {
                    text(number, &self.request(field.type_name(), &path[1..], node));
                }
                (Type::String, "idempotency_key") => text(number, new_key().as_bytes()),
                (Type::String, "form_set") => text(number, b"linjiang-2024"),
                (Type::Uint32, "year") => numbers.push((number, 2024)),
                (Type::Enum, "round") => numbers.push((number, 2)),
                (Type::Enum, "kind") => numbers.push((number, 1)),
                _ => {}
            }
        }
        for (number, value) in numbers {
            encode_key(number, WireType::Varint, &mut bytes);
            encode_varint(value, &mut bytes);
        }
        bytes
    }

    /// Calls a method about a node. What streams without an end is cut off: then it was let in.
    async fn call(&self, client: &Client, method: &Method, node: &str) -> Result<(), Status> {
        let path: Vec<&str> = method.node.split('.').filter(|name| !name.is_empty()).collect();
        let request = match self.methods.get(&method.path()) {
            Some(request) if method.node == ITS_EVENTS => {
                self.request(request, &[], "").into_iter().chain(position(events_of(node))).collect()
            }
            // Tried as an adjustment, which everybody may who may file; as a filing it is Submit's. A message that comes in
            // two parts is one.
            Some(request) if method.name == "SubmissionService/DryRun" => {
                let adjustment = Some(api::Adjustment::default());
                let header = api::SubmissionHeader { adjustment, ..Default::default() };
                let more = api::DryRunRequest { part: Some(api::dry_run_request::Part::Header(header)) };
                [self.request(request, &path, node), more.encode_to_vec()].concat()
            }
            Some(request) => self.request(request, &path, node),
            // Not ours: the whole server's health, and the list of services.
            None if method.name.contains("reflection") => vec![0x3a, 0],
            None => Vec::new(),
        };
        let mut grpc = tonic::client::Grpc::new(client.connection());
        grpc.ready().await.unwrap();
        let stream = Request::new(tokio_stream::once(request));
        let answer = grpc.streaming(stream, PathAndQuery::try_from(method.path()).unwrap(), Raw).await?;
        match tokio::time::timeout(Duration::from_millis(100), answer.into_inner().message()).await {
            Ok(first) => first.map(drop),
            Err(_still_open) => Ok(()),
        }
    }
}

/// The field of that name in a request for a receipt.
fn position(position: u64) -> Vec<u8> {
    api::GetReceiptRequest { position }.encode_to_vec()
}

/// Positions of what each of the cast's nodes filed, in [`both_trees`]; of the bureau, what the first start published.
fn events_of(node: &str) -> u64 {
    match FILERS.iter().position(|(filer, _)| *filer == node) {
        Some(at) => FIRST_FILING + at as u64,
        None => 1,
    }
}

#[test]
fn each_method_is_listed_and_each_listed_one_is_there() {
    let api = Api::new();
    let known: BTreeSet<String> = api.methods.keys().cloned().collect();
    let listed: BTreeSet<String> = METHODS.iter().map(Method::path).collect();
    assert_eq!(listed.len(), METHODS.len(), "a method is listed twice");
    let ours = |path: &&String| path.starts_with("/budget.");
    assert_eq!(
        known.iter().collect::<Vec<_>>(),
        listed.iter().filter(ours).collect::<Vec<_>>(),
        "left: the methods of proto/, right: those of src/grpc/access.rs"
    );
    for method in METHODS.iter().filter(|method| ours(&&method.path())) {
        let Guard::May(_) = method.guard else { continue };
        let mut message = api.methods[&method.path()].clone();
        for name in method.node.split('.').filter(|name| !name.is_empty()) {
            let field = api.messages[&message].field.iter().find(|field| field.name() == name);
            let field = field.unwrap_or_else(|| panic!("{}: {message} has no {name}", method.name));
            message = field.type_name().to_owned();
        }
    }
}

/// Around the table in `ARCHITECTURE.md`.
const MARKS: [&str; 2] = ["<!-- who may call what: printed by the test `access`, do not edit -->\n", "<!-- end -->\n"];

/// The table as it is printed: which nodes each role reaches by each method. What is tried over a socket is held against
/// this and not against the code, which may be wrong.
fn printed() -> BTreeMap<(String, Role), Vec<Relation>> {
    let text = std::fs::read_to_string(project("ARCHITECTURE.md")).unwrap();
    let table = text.split_once(MARKS[0]).unwrap().1.split_once(MARKS[1]).unwrap().0;
    let mut printed = BTreeMap::new();
    for line in table.lines().skip(2) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        for (role, reaches) in Role::ALL.into_iter().zip(&cells[2..]) {
            let relations = match *reaches {
                "–" => vec![],
                "own" => vec![Relation::Own],
                "child" => vec![Relation::Child],
                "own, child" => vec![Relation::Own, Relation::Child],
                "all" | "open" => Relation::ALL.to_vec(),
                other => panic!("{other} in {line}"),
            };
            printed.insert((cells[0].trim_matches('`').to_owned(), role), relations);
        }
    }
    printed
}

#[test]
fn the_printed_table_is_the_codes() {
    let path = project("ARCHITECTURE.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let begin = text.find(MARKS[0]).expect("the mark before the table") + MARKS[0].len();
    let end = begin + text[begin..].find(MARKS[1]).expect("the mark behind it");
    if text[begin..end] == table() {
        return;
    }
    assert!(
        std::env::var_os("UPDATE_PINS").is_some(),
        "\nARCHITECTURE.md shows another table. Read the difference, then:\n\
         UPDATE_PINS=1 cargo test --test it access\n{}",
        table()
    );
    std::fs::write(path, [&text[..begin], &table(), &text[end..]].concat()).unwrap();
}

/// Somebody, and nodes with how they lie to them. 999 and 508999 don't exist.
type Cast = (&'static str, Role, &'static [(&'static str, Relation)]);

const CAST: [Cast; 7] = [
    (
        "508002",
        Role::Unit,
        &[
            ("508002", Relation::Own),
            ("508002001", Relation::Child),
            ("508", Relation::Parent),
            ("0", Relation::Parent),
            ("508001", Relation::Sibling),
            ("407002", Relation::Stranger),
            ("508999", Relation::Stranger),
        ],
    ),
    (
        "508",
        Role::Department,
        &[
            ("508", Relation::Own),
            ("508001", Relation::Child),
            ("508002001", Relation::Child),
            ("0", Relation::Parent),
            ("407", Relation::Sibling),
            ("407002", Relation::Stranger),
            ("508999", Relation::Stranger),
        ],
    ),
    ("0", Role::Bureau, FROM_ABOVE),
    ("0", Role::Auditor, FROM_ABOVE),
    ("0", Role::Administrator, FROM_ABOVE),
    // Nobody else can give itself the bureau's powers.
    ("508", Role::Auditor, &[("508", Relation::Own), ("508001", Relation::Child), ("407", Relation::Sibling)]),
    // And nobody files for the bureau.
    ("0", Role::Unit, &[("0", Relation::Own), ("508", Relation::Child)]),
];

const FROM_ABOVE: &[(&str, Relation)] =
    &[("0", Relation::Own), ("508", Relation::Child), ("508002001", Relation::Child), ("508999", Relation::Stranger)];

/// Who files, and as what. Whether it is taken or refused, it is an event of theirs.
const FILERS: [(&str, &str); 6] = [
    ("508", "department"),
    ("508001", "unit"),
    ("508002", "department"),
    ("508002001", "unit"),
    ("407", "department"),
    ("407002", "unit"),
];
/// The forms that come with the program, then the tree.
const FIRST_FILING: u64 = 4;

/// Units of both examples in one tree, and something that each of the cast's nodes has filed.
async fn both_trees(connect: &impl AsyncFn(&str) -> Client) {
    let administrator = connect(ADMINISTRATOR).await;
    let nodes =
        ["fenyang-2024", "linjiang-2024"].into_iter().flat_map(|example| unit_nodes(&format!("{example}/units.csv")));
    let request = api::ImportUnitsRequest { idempotency_key: new_key(), year: 2024, nodes: nodes.collect() };
    administrator.registry().import_units(request).await.unwrap();
    let form = form("linjiang-2024");
    for (at, (node, role)) in (FIRST_FILING..).zip(FILERS) {
        let mut file = example("linjiang-2024/submissions/508001.json");
        file.slot.unit = node.into();
        file.slot.kind = if role == "department" { Kind::Department } else { Kind::Unit };
        let filed = connect(&format!("budget://{node}/{role}")).await.submit(&file, &form).await.unwrap();
        assert_eq!(filed.position, at, "{node}");
    }
}

/// What a refusal says, without the node that was asked about.
fn without(status: &Status, actor: &str, node: &str) -> (i32, String, Vec<(String, String)>) {
    let hidden = |text: &str| text.replace(actor, "actor").replace(node, "…");
    let info = status.get_error_details().error_info().cloned().expect("a reason");
    let mut facts: Vec<_> = info.metadata.iter().map(|(name, fact)| (name.clone(), hidden(fact))).collect();
    facts.sort();
    (status.code().into(), format!("{} {}", info.reason, hidden(status.message())), facts)
}

/// Tries each method from each role to nodes that lie in each way.
async fn each_cell(connect: impl AsyncFn(&str) -> Client) -> usize {
    let (api, printed) = (Api::new(), printed());
    let mut tried = 0;
    let mut wrong = Vec::new();
    for (own, role, nodes) in CAST {
        let actor = format!("budget://{own}/{}", role.as_str());
        let client = connect(&actor).await;
        let genuine = matches!(role, Role::Unit | Role::Department) != (own == "0");
        let wholes = METHODS.iter().filter(|method| OF_AGGREGATES.iter().any(|(of, _)| *of == method.name));
        let wholes = wholes.map(|method| (Method { node: AGGREGATE_NODE, ..*method }, "/aggregate"));
        for (method, part) in METHODS.iter().map(|method| (*method, "")).chain(wholes) {
            let mut refusals = BTreeSet::new();
            // Without a field for it, it is about the bureau's node whatever is asked.
            let at_bureau = [("0", if own == "0" { Relation::Own } else { Relation::Parent })];
            let nodes = if method.node.is_empty() { &at_bureau } else { nodes };
            for (node, relation) in nodes {
                // A receipt is of an event: of a node that isn't there, there is none.
                if method.node == ITS_EVENTS && *node == "508999" {
                    continue;
                }
                let name = method.name.trim_start_matches('/').to_owned() + part;
                let open = method.guard == Guard::Open;
                let may = (genuine || open) && printed[&(name, role)].contains(relation);
                let answer = api.call(&client, &method, node).await;
                tried += 1;
                let denied = match &answer {
                    Err(status) => match status.code() {
                        Code::PermissionDenied => {
                            refusals.insert(without(status, &actor, node));
                            true
                        }
                        Code::Unauthenticated | Code::Unimplemented | Code::Unknown | Code::Internal => {
                            panic!("{own}/{role:?} {} {node}: {status:?}", method.name)
                        }
                        _ => false,
                    },
                    Ok(()) => false,
                };
                if denied == may {
                    wrong.push(format!(
                        "{own}/{} {} {node} ({}): {answer:?}",
                        role.as_str(),
                        method.name,
                        relation.as_str()
                    ));
                }
            }
            // Whoever may not learns nothing: not whether the node is there, nor how it lies.
            assert!(refusals.len() <= 1, "{own}/{role:?} {}: {refusals:#?}", method.name);
        }
    }
    assert!(wrong.is_empty(), "{} cells are not as the table has them:\n{}", wrong.len(), wrong.join("\n"));
    tried
}

#[tokio::test]
async fn each_cell_of_the_table_holds_over_a_socket() {
    let server = TestServer::start().await;
    let connect = async |actor: &str| server.client(actor).await;
    both_trees(&connect).await;
    let tried = each_cell(connect).await;
    println!("{tried} cells");
    // As many as the table has, and some twice: roles × methods × relations that there are.
    assert!(tried > METHODS.len() * 12, "{tried}");
    server.stop().await;
}

/// The same where nobody says who they are: each has a certificate.
#[tokio::test]
async fn each_cell_of_the_table_holds_over_mutual_tls() {
    let certificates = Certificates::new();
    let server = certificates.serve(Arc::default()).await;
    let connect = async |actor: &str| {
        let (folder, named) = (certificates.path("people"), actor.trim_start_matches("budget://"));
        let file = named.replace('/', "-");
        let person = match folder.join(format!("{file}.pem")).exists() {
            true => Person::read(&folder, &file),
            false => certificates.issue(named, year()),
        };
        person.connect(&server.address).await
    };
    both_trees(&connect).await;
    let tried = each_cell(connect).await;
    assert!(tried > METHODS.len() * 12, "{tried}");
    server.stop().await;
}

/// A step of review looks lines up before it is decided: not for who may not.
#[tokio::test]
async fn a_step_of_review_tells_a_stranger_nothing() {
    let server = TestServer::fenyang().await;
    let file = example("fenyang-2024/submissions/407004.json");
    server.client(&unit("407004")).await.submit(&file, &form("shanxi-2024")).await.unwrap();
    let stranger = server.client("budget://407001/department").await;
    let mut review = api::review_service_client::ReviewServiceClient::new(stranger.connection());
    let mut said = BTreeSet::new();
    for version in [1, 2] {
        let line =
            api::ReturnedLine { table: "NONE".into(), row: "-".into(), column: "none".into(), ..Default::default() };
        let target = api::VersionTarget { slot: Some(slot_out(&file.slot)), version };
        let request = api::ReturnRequest {
            idempotency_key: new_key(),
            target: Some(api::return_request::Target::Submission(target)),
            reason: "复核".into(),
            lines: vec![line],
        };
        let status = review.r#return(request).await.unwrap_err();
        assert_eq!(reason(&status), "NOT_PERMITTED", "{version}");
        said.insert(without(&status, "budget://407001/department", "407004"));
    }
    assert_eq!(said.len(), 1, "{said:#?}");
    server.stop().await;
}

/// Nor does a list that names nodes: whoever splits hears the same of a foreign node and of one that isn't there.
#[tokio::test]
async fn a_list_of_control_figures_tells_a_stranger_nothing() {
    let server = TestServer::start().await;
    both_trees(&async |actor: &str| server.client(actor).await).await;
    let asker = server.client("budget://508/department").await;
    let mut said = BTreeSet::new();
    // Units of another department, budgeted and not, that department, the asker's own node, and nobody.
    for node in ["407002", "407006", "407", "508", "0", "407999", "508999", "x"] {
        let figure = api::ControlFigure {
            unit: node.into(),
            cell: "T01/总计/total".into(),
            amount_unit: "元".into(),
            ceiling: "1".into(),
            strength: String::new(),
        };
        let request = api::CheckControlFiguresRequest {
            year: 2024,
            round: api::Round::Second.into(),
            form_set: "linjiang-2024".into(),
            figures: vec![figure.clone()],
            node: "508".into(),
            ..Default::default()
        };
        let answer = asker.control().check_control_figures(request).await.unwrap().into_inner();
        let hidden =
            |text: &str| text.replace(&format!("（单位 {node}）"), "（…）").replace(&format!("(unit {node})"), "(…)");
        let fault = &answer.faults[0];
        said.insert((fault.reason.clone(), hidden(&fault.sentence_zh), hidden(&fault.sentence_en)));
        let request = api::SplitControlFiguresRequest {
            idempotency_key: new_key(),
            year: 2024,
            round: api::Round::Second.into(),
            form_set: "linjiang-2024".into(),
            figures: vec![figure],
            node: "508".into(),
            ..Default::default()
        };
        let status = asker.control().split_control_figures(request).await.unwrap_err();
        assert_eq!(reason(&status), "CONTROL_INVALID", "{node}: {status:?}");
    }
    assert_eq!(said.len(), 1, "{said:#?}");
    server.stop().await;
}

/// Of a receipt the service looks at whose event it is, and says nothing of it to whom it doesn't concern.
#[tokio::test]
async fn a_receipt_tells_a_stranger_nothing() {
    let server = TestServer::fenyang().await;
    let (owner, stranger) = (server.client(&unit("407004")).await, server.client(&unit("407001")).await);
    let filed = owner.submit(&example("fenyang-2024/submissions/407004.json"), &form("shanxi-2024")).await.unwrap();
    let receipt = async |client: &Client, position: u64| {
        client.audit().get_receipt(api::GetReceiptRequest { position }).await.map(drop)
    };
    // The first is the form set's, which is the bureau's.
    let (of_the_bureau, of_a_unit) = (receipt(&stranger, 1).await, receipt(&stranger, filed.position).await);
    let (of_the_bureau, of_a_unit) = (of_the_bureau.unwrap_err(), of_a_unit.unwrap_err());
    assert_eq!(reason(&of_a_unit), "NOT_PERMITTED");
    let said = |status: &Status| without(status, &unit("407001"), "407004");
    assert_eq!(said(&of_a_unit), said(&of_the_bureau));
    assert!(!format!("{of_a_unit:?}").contains("407004"), "{of_a_unit:?}");
    // Whom it concerns gets it, or hears that this service signs nothing.
    for actor in [unit("407004"), DEPARTMENT.to_owned(), AUDITOR.to_owned()] {
        let answer = receipt(&server.client(&actor).await, filed.position).await;
        assert!(answer.as_ref().is_ok_and(|()| true) || reason(&answer.unwrap_err()) == "NOT_SIGNED", "{actor}");
    }
    server.stop().await;
}

/// Every relation is tried with every role that can have it.
#[test]
fn the_cast_has_every_relation() {
    for role in Role::ALL {
        let tried: BTreeSet<Relation> = CAST
            .iter()
            .filter(|(own, of, _)| *of == role && ((*own == "0") != matches!(role, Role::Unit | Role::Department)))
            .flat_map(|(_, _, nodes)| nodes.iter().map(|(_, relation)| *relation))
            .collect();
        let possible = match role {
            Role::Unit | Role::Department => Relation::ALL.to_vec(),
            // Nothing stands above or beside the bureau; a stranger is a node that isn't there.
            Role::Bureau | Role::Auditor | Role::Administrator => {
                vec![Relation::Own, Relation::Child, Relation::Stranger]
            }
        };
        assert_eq!(tried.into_iter().collect::<Vec<_>>(), possible, "{role:?}");
    }
    assert!(Reach::Everywhere.covers(Relation::Stranger));
}

#[tokio::test]
async fn a_method_that_is_not_listed_is_refused_whoever_asks() {
    let server = TestServer::start().await;
    for actor in [BUREAU, ""] {
        for path in [
            "/budget.consolidation.v1.SubmissionService/Erase",
            "/budget.consolidation.v9.SubmissionService/Submit",
            "/grpc.x.Y/Z",
        ] {
            let client = server.client(actor).await;
            let mut grpc = tonic::client::Grpc::new(client.connection());
            grpc.ready().await.unwrap();
            let request = Request::new(tokio_stream::once(Vec::new()));
            let Err(status) = grpc.streaming(request, PathAndQuery::from_static(path), Raw).await else {
                panic!("{path}")
            };
            assert_eq!((status.code(), reason(&status).as_str()), (Code::Unimplemented, "UNKNOWN_METHOD"), "{path}");
        }
    }
    server.stop().await;
}

/// Before anything of the request is read, so that what can't be read is no way to learn anything.
#[tokio::test]
async fn a_role_that_never_may_is_refused_before_its_request_is_read() {
    let server = TestServer::fenyang().await;
    for (actor, name) in [
        (AUDITOR, "SubmissionService/Submit"),
        (BUREAU, "SubmissionService/Justify"),
        (ADMINISTRATOR, "ControlFigureService/IssueControlFigures"),
        (AUDITOR, "RegistryService/PublishFormSet"),
        (DEPARTMENT, "AuditService/ExportJournal"),
        ("budget://407/auditor", "RegistryService/ListFormSets"),
        // A department's node has no unit's role, which only a tree can tell.
        ("budget://407/unit", "RegistryService/ListFormSets"),
    ] {
        let client = server.client(actor).await;
        let mut grpc = tonic::client::Grpc::new(client.connection());
        grpc.ready().await.unwrap();
        let path = PathAndQuery::try_from(format!("/budget.consolidation.v1.{name}")).unwrap();
        let answer = grpc.streaming(Request::new(tokio_stream::once(vec![0xff; 8])), path, Raw).await;
        assert_eq!(answer.err().map(|status| reason(&status)).as_deref(), Some("NOT_PERMITTED"), "{actor} {name}");
    }
    server.stop().await;
}
