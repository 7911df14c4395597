//! RegistryService: the year's unit tree and the form sets.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::convert::{self, bad};
use super::limits;
use super::status::status;
use super::{identity, look, quota};
use crate::budget::form_set::{FormFault, FormFiles, FormSet};
use crate::budget::reason::{Reason, Remark};
use crate::budget::unit_tree::{Node, NodeRole};
use crate::consolidator::Consolidator;
use crate::ledger::decide::Action;
use crate::ledger::event::Event;
use crate::proto::api;
use crate::wording::{self, Language};

pub(super) struct Registry(pub(super) Consolidator);

fn files(files: Vec<api::FormFile>) -> Result<FormFiles, Remark> {
    let bytes: usize = files.iter().map(|file| file.content.len()).sum();
    if bytes > limits::FORM_SET_BYTES_MAX {
        return Err(bad("files", format!("{bytes} bytes")).with("expected", limits::FORM_SET_BYTES_MAX));
    }
    let mut named = FormFiles::new();
    for file in files {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if file.name.is_empty() || !file.name.chars().all(plain) || file.name.len() > 64 {
            return Err(bad("file name", &file.name));
        }
        if named.insert(file.name.clone(), file.content).is_some() {
            return Err(bad("file name", &file.name));
        }
    }
    Ok(named)
}

fn invalid(faults: Vec<FormFault>) -> Remark {
    let count = faults.len();
    let first = faults.into_iter().next();
    let place = first.as_ref().map(|fault| format!("{}:{}:{}", fault.file, fault.line, fault.column));
    let what = first.map(|fault| wording::sentence(&fault.remark, Language::Chinese));
    Remark::new(Reason::FormSetInvalid)
        .with("place", place.unwrap_or_default())
        .with("what", what.unwrap_or_default().trim_end_matches('。'))
        .with("faults", count)
}

fn fault_out(fault: &FormFault) -> api::FormFault {
    api::FormFault {
        file: fault.file.clone(),
        line: u32::try_from(fault.line).unwrap_or(u32::MAX),
        column: u32::try_from(fault.column).unwrap_or(u32::MAX),
        reason: fault.remark.reason.code().to_owned(),
        sentence_zh: wording::sentence(&fault.remark, Language::Chinese),
        sentence_en: wording::sentence(&fault.remark, Language::English),
    }
}

fn summary(form: &FormSet) -> api::FormSetSummary {
    api::FormSetSummary {
        id: form.id.to_string(),
        title: form.title.clone(),
        year: form.year.into(),
        digest: form.digest.0.to_vec(),
        tables: u32::try_from(form.tables.len()).unwrap_or(u32::MAX),
    }
}

fn node(node: api::UnitNode) -> Result<Node, Remark> {
    let role = NodeRole::parse(&node.role).ok_or_else(|| {
        let remark = Remark::new(Reason::UnitTreeInvalid).with("code", &node.code).with("problem", "role");
        remark.with("found", &node.role)
    })?;
    Ok(Node {
        code: node.code.into(),
        parent: node.parent.into(),
        name: node.name,
        role,
        unit_type: node.unit_type,
        funding: node.funding,
        division: node.division,
        budgeted: node.budgeted,
    })
}

fn node_out(node: &Node) -> api::UnitNode {
    api::UnitNode {
        code: node.code.to_string(),
        parent: node.parent.to_string(),
        name: node.name.clone(),
        role: node.role.as_str().to_owned(),
        unit_type: node.unit_type.clone(),
        funding: node.funding.clone(),
        division: node.division.clone(),
        budgeted: node.budgeted,
    }
}

#[tonic::async_trait]
impl api::registry_service_server::RegistryService for Registry {
    async fn import_units(
        &self,
        request: Request<api::ImportUnitsRequest>,
    ) -> Result<Response<api::ImportUnitsResponse>, Status> {
        let actor = identity::actor(&request).map_err(status)?;
        let request = request.into_inner();
        let fingerprint = convert::fingerprint(&request);
        if request.nodes.len() > limits::NODES_MAX {
            return Err(status(bad("nodes", request.nodes.len())));
        }
        let year = convert::year(request.year).map_err(status)?;
        let nodes = request.nodes.into_iter().map(node).collect::<Result<Vec<_>, _>>().map_err(status)?;
        let action = Action::ImportUnits { year, nodes };
        let key = request.idempotency_key.into();
        let done = self.0.carry_out(actor, key, fingerprint, action).await.map_err(status)?;
        let Event::UnitsImported(imported) = &done.envelope.event else {
            return Err(status(Remark::new(Reason::JournalDamaged).with("position", done.envelope.position)));
        };
        tracing::info!(year, version = imported.version, position = done.envelope.position, "unit tree in force");
        Ok(Response::new(api::ImportUnitsResponse {
            position: done.envelope.position,
            version: imported.version,
            nodes: u32::try_from(imported.nodes.len()).unwrap_or(u32::MAX),
            repeated: done.repeated,
        }))
    }

    async fn list_units(
        &self,
        request: Request<api::ListUnitsRequest>,
    ) -> Result<Response<api::ListUnitsResponse>, Status> {
        let actor = identity::actor(&request).map_err(status)?;
        let api::ListUnitsRequest { node, year, as_of } = request.into_inner();
        let asked = api::Scope { node, year, as_of, ..api::Scope::default() };
        let (snapshot, within) = look(&self.0, &actor, &asked).await.map_err(status)?;
        let tree = crate::ledger::view::tree(&snapshot.state, &within).map_err(status)?;
        let nodes = tree.nodes().filter(|node| tree.is_within(&node.code, &within.node)).map(node_out).collect();
        Ok(Response::new(api::ListUnitsResponse {
            year: within.year.into(),
            version: tree.version,
            nodes,
            position: snapshot.state.position,
            time_ms: snapshot.state.time.0,
        }))
    }

    async fn publish_form_set(
        &self,
        request: Request<api::PublishFormSetRequest>,
    ) -> Result<Response<api::PublishFormSetResponse>, Status> {
        let actor = identity::actor(&request).map_err(status)?;
        let request = request.into_inner();
        let files = files(request.files).map_err(status)?;
        let fingerprint = FormSet::digest_of(&files);
        let form = FormSet::load(files).map_err(|faults| status(invalid(faults)))?;
        let action = Action::PublishFormSet { form: Arc::new(form) };
        let key = request.idempotency_key.into();
        let done = self.0.carry_out(actor, key, fingerprint, action).await.map_err(status)?;
        let Event::FormSetPublished(published) = &done.envelope.event else {
            return Err(status(Remark::new(Reason::JournalDamaged).with("position", done.envelope.position)));
        };
        let id = published.form_set.id.to_string();
        tracing::info!(form_set = id, position = done.envelope.position, "form set in force");
        Ok(Response::new(api::PublishFormSetResponse {
            position: done.envelope.position,
            id,
            digest: published.form_set.digest.0.to_vec(),
            repeated: done.repeated,
        }))
    }

    async fn check_form_set(
        &self,
        request: Request<api::CheckFormSetRequest>,
    ) -> Result<Response<api::CheckFormSetResponse>, Status> {
        identity::actor(&request).map_err(status)?;
        let _turn = quota::turn(request.extensions()).await;
        let files = files(request.into_inner().files).map_err(status)?;
        let answer = match FormSet::load(files) {
            Ok(form) => api::CheckFormSetResponse {
                faults: Vec::new(),
                id: form.id.to_string(),
                digest: form.digest.0.to_vec(),
            },
            Err(faults) => api::CheckFormSetResponse {
                faults: faults.iter().map(fault_out).collect(),
                ..api::CheckFormSetResponse::default()
            },
        };
        Ok(Response::new(answer))
    }

    async fn list_form_sets(
        &self,
        request: Request<api::ListFormSetsRequest>,
    ) -> Result<Response<api::ListFormSetsResponse>, Status> {
        identity::actor(&request).map_err(status)?;
        let form_sets = self.0.snapshot().state.form_sets().map(|form| summary(form)).collect();
        Ok(Response::new(api::ListFormSetsResponse { form_sets }))
    }

    async fn get_form_set(
        &self,
        request: Request<api::GetFormSetRequest>,
    ) -> Result<Response<api::GetFormSetResponse>, Status> {
        identity::actor(&request).map_err(status)?;
        let request = request.into_inner();
        let snapshot = self.0.snapshot();
        let state = &snapshot.state;
        let digest = convert::digest("digest", &request.digest).map_err(status)?;
        let form = match digest {
            Some(digest) => state.form_set_version(&digest).filter(|form| form.id == request.id),
            None => state.form_set(&request.id),
        };
        let form = form.ok_or_else(|| {
            let known: Vec<&str> = state.form_sets().map(|form| form.id.as_str()).collect();
            status(Remark::new(Reason::UnknownFormSet).with("found", &request.id).with_list("expected", known))
        })?;
        let file =
            |(name, content): (&String, &Vec<u8>)| api::FormFile { name: name.clone(), content: content.clone() };
        Ok(Response::new(api::GetFormSetResponse {
            summary: Some(summary(form)),
            files: form.files.iter().map(file).collect(),
        }))
    }
}
