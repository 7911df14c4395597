//! Steps of review: what has to be looked up before the writer decides, and what readers ask about them.
//!
//! A version never changes, so what it says about lines and findings is looked up here, outside of the one writer.

use std::sync::Arc;

use super::{Consolidator, Done, JudgedFiling, Snapshot};
use crate::budget::cell::CellAddress;
use crate::budget::digest::Digest;
use crate::budget::finding::{Finding, Place};
use crate::budget::form_set::FormSet;
use crate::budget::reason::{Reason, Remark};
use crate::budget::rule::{Books, Needs, RuleFinding, evaluate};
use crate::budget::submission::{Slot, Submission};
use crate::ledger::actor::{Actor, Operation, may};
use crate::ledger::answers::{LineAnswer, answer};
use crate::ledger::decide::{Action, VersionStep, find_line};
use crate::ledger::event::{Event, IdempotencyKey};
use crate::ledger::review::{Move, ReturnedLine};
use crate::ledger::state::Version;
use crate::ledger::view::{Scope, as_reviewed};
use crate::ledger::{Contents, Position};

impl Consolidator {
    /// Withdraws, returns, accepts, approves or reopens a version.
    ///
    /// # Errors
    /// The refusal, or a fault.
    pub async fn step(
        &self,
        actor: Actor,
        key: IdempotencyKey,
        fingerprint: Digest,
        mut order: VersionStep,
    ) -> Result<Done, Remark> {
        let snapshot = self.snapshot();
        let slot = &order.target.slot;
        // Before anything is looked up: no answer tells a stranger what there is.
        let tree = snapshot.state.tree(slot.year).map(Arc::as_ref);
        if !may(&actor, Operation::of_move(order.step), &slot.unit, tree) {
            return Err(Remark::new(Reason::NotPermitted).with("actor", &actor).with("node", &slot.unit));
        }
        let version = snapshot.state.filings(slot).and_then(|filings| filings.version(order.target.version));
        if let Some(version) = version {
            match order.step {
                Move::Return => snapshot.look_up_lines(version, &mut order.lines)?,
                Move::Accept | Move::Approve => {
                    let judged = snapshot.version(version)?;
                    let item = |finding: &RuleFinding| {
                        (finding.rule.clone(), finding.place.clone(), judged.form.rules.fingerprint(finding))
                    };
                    order.to_justify = to_justify(&judged).map(item).collect();
                }
                Move::Withdraw | Move::Reopen => {}
            }
        }
        self.carry_out(actor, key, fingerprint, Action::Step(order)).await
    }
}

/// The failed rules that must be justified before a version is accepted.
fn to_justify(judged: &JudgedFiling) -> impl Iterator<Item = &RuleFinding> {
    judged.checked.findings.iter().filter(|finding| finding.must_be_justified())
}

/// Whether a returned line means this place: a line that names no row or no column means any of them.
fn is_at(line: &ReturnedLine, [table, row, column]: [&str; 3]) -> bool {
    line.table == table && (line.row.is_empty() || line.row == row) && (line.column.is_empty() || line.column == column)
}

impl Snapshot {
    /// The same moment with everything below a node as it was reviewed, and in how many submissions that is something else.
    ///
    /// # Errors
    /// As [`as_reviewed`].
    pub fn as_reviewed(self, scope: &Scope) -> Result<(Snapshot, u32), Remark> {
        let (state, count) = as_reviewed(&self.state, scope, &self)?;
        Ok((Snapshot { state: Arc::new(state), ..self }, count))
    }

    /// The balance rules that a version fails if its reviewed figures stand in place of those that were filed; of those that
    /// need no other filing.
    ///
    /// # Errors
    /// A fault.
    pub fn unbalanced(&self, version: &Version) -> Result<Vec<RuleFinding>, Remark> {
        let form = self.state.form_set_version(&version.form_set).filter(|_| version.remarks.has_figures());
        let Some(form) = form else { return Ok(Vec::new()) };
        let filed = Arc::unwrap_or_clone(self.submission(version.position)?);
        let checked = evaluate(form, &Books::of(&version.as_reviewed(filed, form)), Needs::filing_only);
        Ok(checked.findings.into_iter().filter(RuleFinding::refuses).collect())
    }

    fn version(&self, version: &Version) -> Result<JudgedFiling, Remark> {
        let damaged =
            || Remark::new(Reason::JournalDamaged).with("position", version.position).with("what", "submission");
        self.judged(version.position)?.ok_or_else(damaged)
    }

    /// Whether the lines of a return are there, and which findings they mean.
    fn look_up_lines(&self, version: &Version, lines: &mut [ReturnedLine]) -> Result<(), Remark> {
        if lines.is_empty() {
            return Ok(());
        }
        let judged = self.version(version)?;
        let submission = self.submission(version.position)?;
        for line in lines {
            find_line(&judged.form, &submission, line)?;
            if line.rule.is_empty() {
                continue;
            }
            let is_meant = |finding: &&RuleFinding| {
                let CellAddress { table, row, column } = &finding.place;
                finding.failed() && finding.rule.eq_ignore_ascii_case(&line.rule) && is_at(line, [table, row, column])
            };
            // The unit should read where, not only which rule.
            let put = |line: &mut ReturnedLine, row: &str, column: &str| {
                if line.row.is_empty() {
                    (line.row, line.column) = (row.into(), column.into());
                }
            };
            if let Some(found) = judged.checked.findings.iter().find(is_meant) {
                line.rule = found.rule.clone();
                line.fingerprint = Some(judged.form.rules.fingerprint(found));
                put(line, &found.place.row, &found.place.column);
                continue;
            }
            // Or what was found beside rules, by its code: over an advisory ceiling, a capped cell left blank.
            let is_meant = |finding: &&Finding| {
                let Place { table, row, column, .. } = &finding.place;
                finding.reason().code().eq_ignore_ascii_case(&line.rule) && is_at(line, [table, row, column])
            };
            let findings = judged.envelope.event.attempt().map_or(&[][..], |attempt| &attempt.findings);
            let found = findings.iter().find(is_meant).ok_or_else(|| {
                let remark = Remark::new(Reason::UnknownLine).with("line", format!("{} {}", line.rule, line.table));
                remark.with("problem", "rule")
            })?;
            line.rule = found.reason().code().into();
            put(line, &found.place.row, &found.place.column);
        }
        Ok(())
    }

    /// Failed logic rules of a version that nobody has justified: rule and place.
    ///
    /// # Errors
    /// A fault.
    pub fn unjustified(&self, slot: &Slot, version: &Version) -> Result<Vec<String>, Remark> {
        let judged = self.version(version)?;
        let said = |finding: &&RuleFinding| {
            let filings = self.state.filings(slot);
            let fingerprint = judged.form.rules.fingerprint(finding);
            filings.is_some_and(|filings| filings.justified.contains_key(&fingerprint))
        };
        let open = to_justify(&judged).filter(|finding| !said(finding));
        Ok(open.map(|finding| format!("{} {}", finding.rule, finding.place)).collect())
    }

    /// What became of the lines that the version before this one (withdrawn ones left out) was returned for, with what
    /// was said about them up to a position; nothing if it wasn't returned.
    ///
    /// # Errors
    /// A fault.
    pub fn answers(&self, slot: &Slot, version: u32, as_of: Position) -> Result<Vec<LineAnswer>, Remark> {
        let Some(filings) = self.state.filings(slot) else { return Ok(Vec::new()) };
        let Some(after) = filings.version(version) else { return Ok(Vec::new()) };
        let Some(before) = filings.returned_before(after) else { return Ok(Vec::new()) };
        let Some(returned) = before.returned() else { return Ok(Vec::new()) };
        let Event::VersionMoved(moved) = self.event(returned)?.event else { return Ok(Vec::new()) };
        let (from, to) = (self.filed(before)?, self.filed(after)?);
        let (from, to) = ((from.0.as_ref(), from.1.as_ref()), (to.0.as_ref(), to.1.as_ref()));
        let justified = |fingerprint: &Digest| filings.justified_at(fingerprint, as_of);
        Ok(moved.lines.iter().map(|line| answer(line, from, to, justified)).collect())
    }

    fn filed(&self, version: &Version) -> Result<(Arc<Submission>, Arc<FormSet>), Remark> {
        let damaged =
            || Remark::new(Reason::JournalDamaged).with("position", version.position).with("what", "form set");
        let form = self.state.form_set_version(&version.form_set).ok_or_else(damaged)?;
        Ok((self.submission(version.position)?, form.clone()))
    }
}
