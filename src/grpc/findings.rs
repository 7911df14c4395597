//! ListFindings: what was found in submissions, worked out again from the journal, with what units said about it.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message;

use super::convert::{self, bad, moment, page_token};
use super::limits;
use super::rule_finding::{self, Wording};
use crate::budget::finding::Strength;
use crate::budget::form_set::FormSet;
use crate::budget::reason::{Reason, Remark};
use crate::budget::rule::{Fingerprint, RuleFinding, Verdict};
use crate::budget::submission::Slot;
use crate::consolidator::{JudgedFiling, Snapshot};
use crate::ledger::Position;
use crate::ledger::event::{Attempt, Envelope, Event};
use crate::ledger::state::{Filings, State};
use crate::ledger::view::Scope;
use crate::proto::api;

/// Answers a request for what a reader may see.
pub(super) fn list(
    snapshot: &Snapshot,
    scope: &Scope,
    request: &api::ListFindingsRequest,
    page_bytes: usize,
) -> Result<api::ListFindingsResponse, Remark> {
    let state = &snapshot.state;
    let tree = crate::ledger::view::tree(state, scope)?;
    let as_of = state.position;
    let after = page_token(&request.page_token)?.map_or(0, |(_, after)| after);
    let wanted = Wanted::new(request)?;
    if !is_known(state, &wanted) {
        return Err(Remark::new(Reason::UnknownRule).with("found", &request.rule));
    }
    let slots = state.slots().filter(|(slot, _)| {
        (slot.year, slot.round) == (scope.year, scope.round) && tree.is_within(&slot.unit, &scope.node)
    });
    let filed = |(slot, filings): (&'_ Slot, &'_ Filings)| -> Vec<(Slot, Position)> {
        let counts = filings.latest_at(as_of).map(|version| version.position);
        let refused = filings.refused_since(as_of).map(|(position, _)| position);
        counts.into_iter().chain(refused).map(|position| (slot.clone(), position)).collect()
    };
    let mut filed = slots.flat_map(filed).peekable();
    if after > 0 {
        while filed.next().is_some_and(|(_, position)| position != after) {}
    }
    let mut answer = api::ListFindingsResponse {
        position: as_of,
        year: scope.year.into(),
        round: convert::round_out(scope.round),
        ..api::ListFindingsResponse::default()
    };
    let (mut bytes, mut last) = (0, after);
    let mut texts = Justifications { snapshot, events: BTreeMap::new() };
    while answer.submissions.len() < limits::page_size(request.page_size)
        && bytes < page_bytes
        && let Some((slot, position)) = filed.next()
    {
        last = position;
        let Some(filing) = snapshot.judged(position)? else { continue };
        let Some(filings) = state.filings(&slot) else { continue };
        let judged = texts.judged(&filing, filings, as_of, &wanted, request.sentences)?;
        if let Some(mut judged) = judged.filter(|judged| wanted.everything || !is_bare(judged)) {
            judged.name = tree.node(&slot.unit).map(|node| node.name.clone()).unwrap_or_default();
            bytes += judged.encoded_len();
            answer.submissions.push(judged);
        }
    }
    if filed.peek().is_some() {
        answer.next_page_token = format!("{as_of}.{last}");
    }
    Ok(answer)
}

/// As of which moment findings are asked for: that of the first page, if it is not the first.
pub(super) fn as_of(request: &api::ListFindingsRequest) -> Result<Option<api::AsOf>, Remark> {
    if let Some((as_of, _)) = page_token(&request.page_token)? {
        return Ok(Some(moment(as_of)));
    }
    match (request.position, request.as_of) {
        (0, as_of) => Ok(as_of),
        (at, None) => Ok(Some(moment(at))),
        (at, Some(_)) => Err(bad("position", at)),
    }
}

/// Whether there is what is asked for by its name: a mistyped one would find nothing.
fn is_known(state: &State, wanted: &Wanted<'_>) -> bool {
    let is_rule = |form: &Arc<FormSet>| {
        let elsewhere = form.rules.elsewhere.iter().map(|check| &check.id);
        form.rules.rules.iter().map(|rule| &rule.id).chain(elsewhere).any(|id| wanted.named(id))
    };
    Reason::ALL.iter().any(|reason| wanted.named(reason.code()))
        || state.form_set_versions().iter().any(|(_, form)| is_rule(form))
}

fn is_bare(judged: &api::JudgedSubmission) -> bool {
    judged.findings.is_empty() && judged.rule_findings.is_empty()
}

/// Which findings are asked for.
struct Wanted<'r> {
    rule: &'r str,
    strength: Option<Strength>,
    verdicts: Vec<Verdict>,
    /// Nothing is left out, so that a submission without findings is an answer too.
    everything: bool,
}

impl Wanted<'_> {
    fn new(request: &api::ListFindingsRequest) -> Result<Wanted<'_>, Remark> {
        let strength = match api::Strength::try_from(request.strength) {
            Ok(api::Strength::Unspecified) => None,
            Ok(api::Strength::Balance) => Some(Strength::Balance),
            Ok(api::Strength::Logic) => Some(Strength::Logic),
            Ok(api::Strength::Verify) => Some(Strength::Verify),
            Err(_) => return Err(bad("strength", request.strength)),
        };
        let verdict = |number: &i32| {
            let known = Verdict::ALL.into_iter().find(|verdict| rule_finding::verdict(*verdict) == *number);
            known.ok_or_else(|| bad("verdicts", number))
        };
        let verdicts: Vec<Verdict> = request.verdicts.iter().map(verdict).collect::<Result<_, _>>()?;
        let everything = request.rule.is_empty() && strength.is_none() && verdicts.is_empty();
        Ok(Wanted { rule: &request.rule, strength, verdicts, everything })
    }

    fn named(&self, id: &str) -> bool {
        self.rule.is_empty() || self.rule.eq_ignore_ascii_case(id)
    }

    fn rule(&self, finding: &RuleFinding) -> bool {
        self.named(&finding.rule)
            && self.strength.is_none_or(|strength| strength == finding.strength)
            && (self.verdicts.is_empty() || self.verdicts.contains(&finding.verdict))
    }

    fn other(&self, finding: &crate::budget::finding::Finding) -> bool {
        self.named(finding.reason().code())
            && self.strength.is_none_or(|strength| strength == finding.strength)
            && (self.verdicts.is_empty() || self.verdicts.contains(&Verdict::Fail))
    }
}

/// What units said, read from the journal where it is asked for.
struct Justifications<'s> {
    snapshot: &'s Snapshot,
    events: BTreeMap<Position, Envelope>,
}

impl Justifications<'_> {
    fn judged(
        &mut self,
        filing: &JudgedFiling,
        filings: &Filings,
        as_of: Position,
        wanted: &Wanted<'_>,
        sentences: i32,
    ) -> Result<Option<api::JudgedSubmission>, Remark> {
        let version = match &filing.envelope.event {
            Event::Submitted(submitted) => submitted.version,
            _ => 0,
        };
        let Some(attempt): Option<&Attempt> = filing.envelope.event.attempt() else { return Ok(None) };
        let wording = Wording::new(&filing.form, sentences);
        let mut judged = api::JudgedSubmission {
            slot: Some(convert::slot_out(&attempt.slot)),
            name: String::new(),
            position: filing.envelope.position,
            time_ms: filing.envelope.time.0,
            version,
            form_set: attempt.form_set.id.to_string(),
            form_set_digest: attempt.form_set.digest.0.to_vec(),
            rule_counts: Some(rule_finding::counts(attempt.verdicts.counts)),
            findings: attempt.findings.iter().filter(|f| wanted.other(f)).map(convert::finding_out).collect(),
            rule_findings: Vec::new(),
            unjustified: 0,
        };
        for finding in &filing.checked.findings {
            let fingerprint = finding.failed().then(|| filing.form.rules.fingerprint(finding));
            let said =
                fingerprint.and_then(|fingerprint| Some((filings.justified_at(&fingerprint, as_of)?, fingerprint)));
            if finding.must_be_justified() && said.is_none() {
                judged.unjustified += 1;
            }
            if wanted.rule(finding) {
                let justification = match said {
                    Some((position, fingerprint)) => self.text(position, &fingerprint)?,
                    None => None,
                };
                judged.rule_findings.push(wording.finding(finding, fingerprint.as_ref(), justification.as_ref()));
            }
        }
        Ok(Some(judged))
    }

    fn text(&mut self, position: Position, finding: &Fingerprint) -> Result<Option<api::Justification>, Remark> {
        if !self.events.contains_key(&position) {
            self.events.insert(position, self.snapshot.event(position)?);
        }
        let said = self.events.get(&position).and_then(|envelope| {
            let Event::Justified(justified) = &envelope.event else { return None };
            let item = justified.items.iter().find(|item| item.fingerprint == *finding)?;
            Some(api::Justification {
                text: item.text.clone(),
                actor: envelope.actor.to_string(),
                time_ms: envelope.time.0,
                position,
            })
        });
        Ok(said)
    }
}
