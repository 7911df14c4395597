//! What others build on stays: no field of proto or JSON is removed, renumbered or given another type.
//!
//! The snapshots in `tests/it/pins/` may only grow. `UPDATE_PINS=1 cargo test --test it pins` adds what is new.

use std::collections::BTreeSet;

use budget_consolidator::ledger::event::KINDS;
use budget_consolidator::proto::DESCRIPTORS;
use budget_consolidator::submission_file;
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet};
use serde_json::Value;

use crate::support::{form, project};

const API: &str = "budget.consolidation.v1";

/// Our own files, without what comes with protobuf.
fn files() -> Vec<FileDescriptorProto> {
    let all = FileDescriptorSet::decode(DESCRIPTORS).unwrap().file;
    let own: Vec<_> = all.into_iter().filter(|file| file.package().starts_with("budget.")).collect();
    assert!(own.len() >= 7, "{} files", own.len());
    own
}

/// Compares lines with a snapshot: none may go, and new ones have to be added by hand.
fn pinned(name: &str, lines: &BTreeSet<String>) {
    let path = project("tests/it/pins").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let before: BTreeSet<String> = text.lines().map(str::to_owned).collect();
    let gone: Vec<_> = before.difference(lines).cloned().collect();
    assert!(
        gone.is_empty(),
        "\nThese are gone from {name}, or have another number or type. Somebody out there sends or has stored them, so \
         bring them back: deprecate a field in its comment and add a new one beside it.\n{}\n",
        gone.join("\n")
    );
    let new: Vec<_> = lines.difference(&before).cloned().collect();
    if new.is_empty() {
        return;
    }
    assert!(
        std::env::var_os("UPDATE_PINS").is_some(),
        "\nThese are new. If they are meant to stay for good, pin them in {name} with\n\
         UPDATE_PINS=1 cargo test --test it pins\n{}\n",
        new.join("\n")
    );
    std::fs::write(path, lines.iter().fold(String::new(), |text, line| text + line + "\n")).unwrap();
}

// ── proto ────────────────────────────────────────────────────────────────────────────────

#[test]
fn proto_only_grows() {
    let mut lines = BTreeSet::new();
    for file in files() {
        let package = file.package();
        file.message_type.iter().for_each(|message| message_lines(package, message, &mut lines));
        file.enum_type.iter().for_each(|kind| enum_lines(package, kind, &mut lines));
        for service in &file.service {
            for rpc in &service.method {
                let side =
                    |streams: bool, name: &str| format!("{}{}", if streams { "stream " } else { "" }, &name[1..]);
                lines.insert(format!(
                    "rpc {package}.{}.{} ({}) ({})",
                    service.name(),
                    rpc.name(),
                    side(rpc.client_streaming(), rpc.input_type()),
                    side(rpc.server_streaming(), rpc.output_type())
                ));
            }
        }
    }
    pinned("proto.txt", &lines);
}

/// What is stored has a name by which it can be asked for, and nothing else has.
#[test]
fn every_kind_of_event_can_be_asked_for() {
    let messages: Vec<_> = files().into_iter().flat_map(|file| file.message_type).collect();
    let envelope = messages.iter().find(|message| message.name() == "Envelope").unwrap();
    let kinds = envelope.field.iter().filter(|field| field.oneof_index.is_some() && !field.proto3_optional());
    let kinds: BTreeSet<&str> = kinds.map(FieldDescriptorProto::name).collect();
    assert_eq!(kinds, KINDS.into_iter().collect());
}

fn message_lines(above: &str, message: &DescriptorProto, lines: &mut BTreeSet<String>) {
    let path = format!("{above}.{}", message.name());
    for field in &message.field {
        let oneof = field.oneof_index.filter(|_| !field.proto3_optional());
        let oneof = oneof.map(|at| format!(" in {}", message.oneof_decl[usize::try_from(at).unwrap()].name()));
        let (label, kind) = (label(field), type_name(field));
        lines.insert(format!("{path} {} {} {label}{kind}{}", field.number(), field.name(), oneof.unwrap_or_default()));
    }
    message.nested_type.iter().for_each(|nested| message_lines(&path, nested, lines));
    message.enum_type.iter().for_each(|kind| enum_lines(&path, kind, lines));
}

fn enum_lines(above: &str, kind: &EnumDescriptorProto, lines: &mut BTreeSet<String>) {
    for value in &kind.value {
        lines.insert(format!("{above}.{} {} {}", kind.name(), value.number(), value.name()));
    }
}

fn label(field: &FieldDescriptorProto) -> &'static str {
    match (field.label(), field.proto3_optional()) {
        (Label::Repeated, _) => "repeated ",
        (_, true) => "optional ",
        _ => "",
    }
}

fn type_name(field: &FieldDescriptorProto) -> String {
    match field.r#type() {
        Type::Message | Type::Enum => field.type_name()[1..].to_owned(),
        scalar => scalar.as_str_name()["TYPE_".len()..].to_lowercase(),
    }
}

/// Paths of a descriptor's parts, as its source info numbers them.
mod part {
    pub const MESSAGE: i32 = 4;
    pub const ENUM: i32 = 5;
    pub const SERVICE: i32 = 6;
    pub const FIELD: i32 = 2;
    pub const NESTED: i32 = 3;
    pub const NESTED_ENUM: i32 = 4;
    pub const ONEOF: i32 = 8;
    pub const VALUE: i32 = 2;
    pub const METHOD: i32 = 2;
}

/// Every element with its path.
fn elements(file: &FileDescriptorProto) -> Vec<(Vec<i32>, String)> {
    let mut found = Vec::new();
    for (at, message) in (0..).zip(&file.message_type) {
        message_elements(&[part::MESSAGE, at], message, file.package(), &mut found);
    }
    for (at, kind) in (0..).zip(&file.enum_type) {
        enum_elements(&[part::ENUM, at], kind, file.package(), &mut found);
    }
    for (at, service) in (0..).zip(&file.service) {
        let path = vec![part::SERVICE, at];
        for (at, rpc) in (0..).zip(&service.method) {
            found.push(([&path[..], &[part::METHOD, at]].concat(), format!("{}.{}", service.name(), rpc.name())));
        }
        found.push((path, service.name().to_owned()));
    }
    found
}

fn message_elements(path: &[i32], message: &DescriptorProto, above: &str, found: &mut Vec<(Vec<i32>, String)>) {
    let name = format!("{above}.{}", message.name());
    let below = |kind: i32, at: i32| [path, &[kind, at]].concat();
    found.push((path.to_vec(), name.clone()));
    for (at, field) in (0..).zip(&message.field) {
        found.push((below(part::FIELD, at), format!("{name}.{}", field.name())));
    }
    let optional = |at: i32| message.field.iter().any(|field| field.proto3_optional() && field.oneof_index == Some(at));
    for (at, oneof) in (0..).zip(&message.oneof_decl).filter(|(at, _)| !optional(*at)) {
        found.push((below(part::ONEOF, at), format!("{name}.{}", oneof.name())));
    }
    for (at, nested) in (0..).zip(&message.nested_type) {
        message_elements(&below(part::NESTED, at), nested, &name, found);
    }
    for (at, kind) in (0..).zip(&message.enum_type) {
        enum_elements(&below(part::NESTED_ENUM, at), kind, &name, found);
    }
}

fn enum_elements(path: &[i32], kind: &EnumDescriptorProto, above: &str, found: &mut Vec<(Vec<i32>, String)>) {
    let name = format!("{above}.{}", kind.name());
    for (at, value) in (0..).zip(&kind.value) {
        found.push(([path, &[part::VALUE, at]].concat(), format!("{name}.{}", value.name())));
    }
    found.push((path.to_vec(), name));
}

#[test]
fn everything_in_proto_is_commented() {
    let mut bare = Vec::new();
    let mut count = 0;
    for file in files() {
        let places = file.source_code_info.as_ref().map_or(&[][..], |info| &info.location);
        let commented: BTreeSet<&[i32]> = places
            .iter()
            .filter(|place| !place.leading_comments().trim().is_empty())
            .map(|place| place.path.as_slice())
            .collect();
        let elements = elements(&file);
        count += elements.len();
        bare.extend(
            elements.into_iter().filter(|(path, _)| !commented.contains(path.as_slice())).map(|(_, name)| name),
        );
    }
    assert!(count > 300, "{count} elements");
    assert!(bare.is_empty(), "\nwithout a comment:\n{}\n", bare.join("\n"));
}

#[test]
fn the_api_keeps_its_habits() {
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    for file in files() {
        let folder = file.package().replace('.', "/");
        let mut check = |fits: bool, what: String| wrong.extend((!fits).then_some(what));
        check(
            file.name().rsplit_once('/').is_some_and(|(at, _)| at == folder),
            format!("{} not in {folder}", file.name()),
        );
        if file.package() != API {
            check(file.service.is_empty(), format!("{} has a service", file.name()));
            continue;
        }
        check(file.service.len() <= 1, format!("{} has more than one service", file.name()));
        for kind in &file.enum_type {
            let prefix = upper_snake(kind.name());
            let first = &kind.value[0];
            check(first.number() == 0, format!("{} does not start with 0", kind.name()));
            check(first.name() == format!("{prefix}_UNSPECIFIED"), format!("{} of {}", first.name(), kind.name()));
            for value in &kind.value {
                check(value.name().starts_with(&format!("{prefix}_")), format!("{} of {}", value.name(), kind.name()));
            }
        }
        for service in &file.service {
            check(service.name().ends_with("Service"), service.name().to_owned());
            for rpc in &service.method {
                for (side, suffix) in [(rpc.input_type(), "Request"), (rpc.output_type(), "Response")] {
                    let name = format!(".{API}.{}{suffix}", rpc.name());
                    check(side == name && used.insert(name), format!("{side} of {}", rpc.name()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

fn upper_snake(name: &str) -> String {
    name.chars().enumerate().fold(String::new(), |mut out, (at, c)| {
        if c.is_uppercase() && at > 0 {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
        out
    })
}

// ── JSON ─────────────────────────────────────────────────────────────────────────────────

#[test]
fn submission_files_only_grow() {
    for id in ["shanxi-2024", "linjiang-2024"] {
        let mut lines = BTreeSet::new();
        schema_lines("", &submission_file::schema(&form(id)), &mut lines);
        pinned(&format!("json-{id}.txt"), &lines);
    }
}

/// One line for each key that a file may have: where it stands, what it takes, whether it must be there.
fn schema_lines(path: &str, schema: &Value, lines: &mut BTreeSet<String>) {
    // Row keys and codes are for the form set to say.
    if !path.ends_with("[].row") {
        let values = schema["enum"].as_array().into_iter().flatten().chain(schema.get("const"));
        lines.extend(values.map(|value| format!("{path} = {value}")));
    }
    if let Some(item) = schema.get("items") {
        schema_lines(&format!("{path}[]"), item, lines);
    }
    for (key, below) in schema["properties"].as_object().into_iter().flatten() {
        let at = format!("{path}.{key}");
        let types = below["type"].as_array().map_or_else(|| vec![&below["type"]], |types| types.iter().collect());
        let types: String = types.into_iter().filter_map(Value::as_str).fold(String::new(), |all, one| all + " " + one);
        let required = schema["required"].as_array().is_some_and(|keys| keys.iter().any(|required| required == key));
        lines.insert(format!("{at}{types}{}", if required { " required" } else { "" }));
        schema_lines(&at, below, lines);
    }
}
