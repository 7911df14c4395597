//! Events ⇄ bytes: what is on disk. With `review_record.rs`, for what review adds, the only place that knows both the
//! ledger's events and the storage protos.
//!
//! The bytes of an event never change once written; a later program reads every older format.
//! Format 1: a `budget.storage.v1.Envelope`, the cells of a submission inside it as zstd (RFC 8878) of a `Content`.

use std::collections::BTreeMap;
use std::sync::Arc;

use compact_str::CompactString;
use prost::{Message, encoding};

use super::content;
use super::review_record as review;
use crate::budget::cell::CellAddress;
use crate::budget::control_figure::{CeilingStrength, ControlFigure, Judgement};
use crate::budget::digest::Digest;
use crate::budget::finding::{Finding, Place, Strength};
use crate::budget::form_set::{FormFiles, FormSet};
use crate::budget::money::{Denomination, Money, Scale};
use crate::budget::reason::{Reason, Remark};
use crate::budget::rule::{Counts, Verdict};
use crate::budget::submission::{FormSetVersion, Kind, Round, Slot, Submission};
use crate::budget::unit_tree::{BUREAU, Node, NodeRole};
use crate::ledger::Position;
use crate::ledger::actor::Actor;
use crate::ledger::checks::{Grounds, RuleVerdict, Verdicts};
use crate::ledger::control::{Ceiling, ControlChange, OverCeiling};
use crate::ledger::event::{
    Adjustment, Affected, Attempt, ControlIssued, Envelope, Event, FormSetPublished, Justification, Justified, Looked,
    Refused, Submitted, TailGivenUp, Timestamp, UnitsImported,
};
use crate::proto::{storage, write};

/// The format that this program writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

/// The cells of a submission as they are stored.
#[derive(Clone, Debug)]
pub struct Packed {
    bytes: Vec<u8>,
    /// How many they were before they were compressed.
    unpacked: usize,
}

impl Packed {
    /// Packs the cells of a submission.
    ///
    /// # Errors
    /// A fault if zstd fails, which it has no reason to.
    pub fn new(submission: &Submission, form: &FormSet) -> Result<Packed, Remark> {
        let (bytes, unpacked) = content::pack(submission, form)?;
        Ok(Packed { bytes, unpacked })
    }

    /// How many bytes it has, and how many before they were compressed: no fewer than keys and texts have in memory.
    pub(super) fn weight(&self) -> (usize, usize) {
        (self.bytes.len(), self.unpacked)
    }
}

/// Encodes an event. `packed` are the cells of a filing.
///
/// # Errors
/// A fault if zstd fails.
pub fn encode(envelope: &Envelope, packed: Option<&Packed>) -> Result<Vec<u8>, Remark> {
    use storage::envelope::Event as Stored;
    let event = match &envelope.event {
        Event::FormSetPublished(published) => {
            let file = |(name, bytes): (&String, &Vec<u8>)| {
                Ok(storage::File { name: name.clone(), content_zstd: content::compress(bytes)? })
            };
            Stored::FormSetPublished(storage::FormSetPublished {
                id: published.form_set.id.to_string(),
                digest: published.form_set.digest.0.to_vec(),
                files: published.files.iter().map(file).collect::<Result<_, Remark>>()?,
            })
        }
        Event::UnitsImported(imported) => Stored::UnitsImported(storage::UnitsImported {
            year: imported.year.into(),
            version: imported.version,
            nodes: imported.nodes.iter().map(pack_node).collect(),
        }),
        Event::ControlIssued(issued) => Stored::ControlIssued(pack_control(issued)),
        Event::Submitted(submitted) => Stored::Submitted(storage::Submitted {
            attempt: Some(pack_attempt(&submitted.attempt)?),
            version: submitted.version,
            content_zstd: packed.map(|packed| packed.bytes.clone()).unwrap_or_default(),
            adjustment: submitted.adjustment.as_ref().map(pack_adjustment),
        }),
        Event::Refused(refused) => Stored::Refused(storage::Refused {
            attempt: Some(pack_attempt(&refused.attempt)?),
            content_zstd: packed.map(|packed| packed.bytes.clone()).unwrap_or_default(),
            adjustment: refused.adjustment.as_ref().map(pack_adjustment),
        }),
        Event::Justified(justified) => Stored::Justified(pack_justified(justified)),
        Event::TailGivenUp(given_up) => {
            Stored::TailGivenUp(storage::TailGivenUp { checkpoint: given_up.checkpoint.clone() })
        }
        Event::Looked(looked) => {
            Stored::Looked(storage::Looked { node: looked.node.to_string(), method: looked.method.to_string() })
        }
        Event::RoundOpened(opened) => review::pack_opened(opened),
        Event::RoundClosed(closed) => review::pack_closed(closed),
        Event::VersionMoved(moved) => review::pack_moved(moved),
        Event::OpinionGiven(given) => review::pack_opinion(given),
        Event::FiguresReviewed(reviewed) => review::pack_reviewed(reviewed),
        Event::Forwarded(forwarded) => review::pack_forwarded(forwarded),
        Event::AggregateMoved(moved) => review::pack_aggregate(moved),
    };
    let stored = storage::Envelope {
        format: FORMAT,
        position: envelope.position,
        time_ms: envelope.time.0,
        actor: envelope.actor.to_string(),
        key: envelope.key.to_string(),
        fingerprint: envelope.fingerprint.0.to_vec(),
        event: Some(event),
    };
    Ok(stored.encode_to_vec())
}

/// A record as read: the event, and the packed cells if it is a filing.
#[derive(Debug)]
pub struct Record {
    /// The event.
    pub envelope: Envelope,
    content_zstd: Vec<u8>,
}

impl Record {
    /// Decodes the bytes at a position of the journal.
    ///
    /// # Errors
    /// `JOURNAL_NEWER` for a format that this program doesn't know, `JOURNAL_DAMAGED` for anything it can't read.
    pub fn decode(position: Position, bytes: &[u8]) -> Result<Record, Remark> {
        let damaged = |what: &str| Remark::new(Reason::JournalDamaged).with("position", position).with("what", what);
        let stored = storage::Envelope::decode(bytes).map_err(|_| damaged("record"))?;
        if stored.format > FORMAT {
            let remark = Remark::new(Reason::JournalNewer).with("position", position);
            return Err(remark.with("found", stored.format).with("known", FORMAT));
        }
        if stored.format == 0 || stored.position != position {
            return Err(damaged("record header"));
        }
        let mut content_zstd = Vec::new();
        let event = match stored.event {
            Some(storage::envelope::Event::Submitted(mut submitted)) => {
                content_zstd = std::mem::take(&mut submitted.content_zstd);
                let attempt = submitted.attempt.and_then(unpack_attempt);
                let adjustment = match submitted.adjustment.take() {
                    None => Some(None),
                    Some(stored) => unpack_adjustment(stored).map(Some),
                };
                let version = submitted.version;
                let submitted = |(attempt, adjustment)| Submitted { attempt, version, adjustment };
                attempt.zip(adjustment).map(submitted).map(|submitted| Event::Submitted(Box::new(submitted)))
            }
            Some(storage::envelope::Event::Refused(mut refused)) => {
                content_zstd = std::mem::take(&mut refused.content_zstd);
                let adjustment = match refused.adjustment.take() {
                    None => Some(None),
                    Some(stored) => unpack_adjustment(stored).map(Some),
                };
                let attempt = refused.attempt.and_then(unpack_attempt);
                let refused = |(attempt, adjustment)| Event::Refused(Box::new(Refused { attempt, adjustment }));
                attempt.zip(adjustment).map(refused)
            }
            Some(storage::envelope::Event::Justified(justified)) => unpack_justified(justified).map(Event::Justified),
            Some(storage::envelope::Event::TailGivenUp(given_up)) => {
                Some(Event::TailGivenUp(TailGivenUp { checkpoint: given_up.checkpoint }))
            }
            Some(storage::envelope::Event::Looked(looked)) => {
                Some(Event::Looked(Looked { node: looked.node.into(), method: looked.method.into() }))
            }
            Some(storage::envelope::Event::ControlIssued(issued)) => unpack_control(issued).map(Event::ControlIssued),
            Some(storage::envelope::Event::UnitsImported(imported)) => unpack_units(imported),
            Some(storage::envelope::Event::FormSetPublished(published)) => unpack_form_set(published),
            Some(storage::envelope::Event::RoundOpened(opened)) => review::unpack_opened(opened),
            Some(storage::envelope::Event::RoundClosed(closed)) => review::unpack_closed(closed),
            Some(storage::envelope::Event::VersionMoved(moved)) => review::unpack_moved(moved),
            Some(storage::envelope::Event::OpinionGiven(given)) => review::unpack_opinion(given),
            Some(storage::envelope::Event::FiguresReviewed(reviewed)) => review::unpack_reviewed(reviewed),
            Some(storage::envelope::Event::Forwarded(forwarded)) => review::unpack_forwarded(forwarded),
            Some(storage::envelope::Event::AggregateMoved(moved)) => review::unpack_aggregate(moved),
            None => None,
        };
        let envelope = Envelope {
            position,
            time: Timestamp(stored.time_ms),
            actor: Actor::parse(&stored.actor).ok_or_else(|| damaged("actor"))?,
            key: stored.key.into(),
            fingerprint: Digest::from_bytes(&stored.fingerprint).ok_or_else(|| damaged("fingerprint"))?,
            event: event.ok_or_else(|| damaged("event"))?,
        };
        Ok(Record { envelope, content_zstd })
    }

    /// The version of the form set that is needed to unpack the cells; `None` if the event has none.
    pub fn form_set(&self) -> Option<Digest> {
        self.envelope.event.attempt().map(|attempt| attempt.form_set.digest)
    }

    /// Unpacks the cells of a filing; of one that was refused for its shape, those that could be read.
    ///
    /// # Errors
    /// `JOURNAL_DAMAGED` if they can't be read, or the event has none.
    pub fn submission(&self, form: &FormSet) -> Result<Submission, Remark> {
        let position = self.envelope.position;
        let damaged = || Remark::new(Reason::JournalDamaged).with("position", position).with("what", "cells");
        let attempt = self.envelope.event.attempt().ok_or_else(damaged)?;
        let tables = content::unpack(&self.content_zstd, form);
        Ok(Submission {
            header: attempt.slot.clone(),
            form_set: attempt.form_set.clone(),
            tables: tables.ok_or_else(damaged)?,
        })
    }
}

// ── the rest ─────────────────────────────────────────────────────────────────────────────

fn pack_attempt(attempt: &Attempt) -> Result<storage::Attempt, Remark> {
    Ok(storage::Attempt {
        unit: attempt.slot.unit.to_string(),
        year: attempt.slot.year.into(),
        round: attempt.slot.round.as_str().to_owned(),
        kind: attempt.slot.kind.as_str().to_owned(),
        form_set: attempt.form_set.id.to_string(),
        form_set_digest: attempt.form_set.digest.0.to_vec(),
        digest: attempt.digest.0.to_vec(),
        control_total_fen: attempt.control_total.fen().to_string(),
        row_count: attempt.row_count,
        findings: attempt.findings.iter().map(pack_finding).collect(),
        judgements: attempt.judgements.iter().map(pack_judgement).collect(),
        control_version: attempt.control_version,
        verdicts: Some(pack_verdicts(&attempt.verdicts)?),
    })
}

fn unpack_attempt(stored: storage::Attempt) -> Option<Attempt> {
    Some(Attempt {
        slot: Slot {
            unit: stored.unit.into(),
            year: u16::try_from(stored.year).ok()?,
            round: Round::parse(&stored.round)?,
            kind: Kind::parse(&stored.kind)?,
        },
        form_set: FormSetVersion { id: stored.form_set.into(), digest: Digest::from_bytes(&stored.form_set_digest)? },
        digest: Digest::from_bytes(&stored.digest)?,
        control_total: Money::from_total_fen(stored.control_total_fen.parse().ok()?)?,
        row_count: stored.row_count,
        findings: stored.findings.into_iter().map(unpack_finding).collect::<Option<_>>()?,
        judgements: stored.judgements.into_iter().map(unpack_judgement).collect::<Option<_>>()?,
        control_version: stored.control_version,
        verdicts: stored.verdicts.map_or_else(|| Some(Verdicts::default()), unpack_verdicts)?,
    })
}

fn pack_verdicts(verdicts: &Verdicts) -> Result<storage::Verdicts, Remark> {
    let Verdicts { counts, listed, grounds } = verdicts;
    let list = put_verdicts(listed);
    Ok(storage::Verdicts {
        pass: counts.pass,
        pass_by_rounding: counts.pass_by_rounding,
        fail: counts.fail,
        not_evaluable: counts.not_evaluable,
        list_zstd: if listed.is_empty() { Vec::new() } else { content::compress(&list)? },
        last: grounds.last.unwrap_or(0),
        units: grounds.units.clone(),
        expected_plus_one: grounds.expected.map_or(0, |expected| expected + 1),
        deadline_ms: grounds.deadline.map(|deadline| deadline.0),
    })
}

/// The fields of a `storage::VerdictList`: a filing has dozens of them, with four texts each.
fn put_verdicts(listed: &[RuleVerdict]) -> Vec<u8> {
    let mut list = Vec::with_capacity(64 * listed.len());
    let texts = |field, of: fn(&RuleVerdict) -> &CompactString, list: &mut Vec<u8>| {
        listed.iter().for_each(|one| write::item(field, of(one).as_bytes(), list));
    };
    let numbers = |field, of: fn(&RuleVerdict) -> usize, list: &mut Vec<u8>| {
        let numbers: Vec<u32> = listed.iter().map(|one| u32::try_from(of(one)).unwrap_or(u32::MAX)).collect();
        encoding::uint32::encode_packed(field, &numbers, list);
    };
    texts(1, |one| &one.rule, &mut list);
    numbers(2, |one| one.check, &mut list);
    numbers(3, |one| one.link, &mut list);
    texts(4, |one| &one.place.table, &mut list);
    texts(5, |one| &one.place.row, &mut list);
    texts(6, |one| &one.place.column, &mut list);
    write::bytes(7, &listed.iter().map(|one| one.verdict as u8).collect::<Vec<u8>>(), &mut list);
    list
}

fn unpack_verdicts(stored: storage::Verdicts) -> Option<Verdicts> {
    let list = if stored.list_zstd.is_empty() { Vec::new() } else { content::decompress(&stored.list_zstd)? };
    let list = storage::VerdictList::decode(list.as_slice()).ok()?;
    let count = list.verdicts.len();
    let texts = [&list.rules, &list.tables, &list.rows, &list.columns];
    if texts.iter().any(|texts| texts.len() != count) || list.checks.len() != count || list.links.len() != count {
        return None;
    }
    let one = |at: usize| {
        Some(RuleVerdict {
            rule: list.rules[at].as_str().into(),
            check: usize::try_from(list.checks[at]).ok()?,
            link: usize::try_from(list.links[at]).ok()?,
            place: CellAddress::new(&list.tables[at], &list.rows[at], &list.columns[at]),
            verdict: Verdict::ALL.into_iter().find(|verdict| *verdict as u8 == list.verdicts[at])?,
        })
    };
    Some(Verdicts {
        counts: Counts {
            pass: stored.pass,
            pass_by_rounding: stored.pass_by_rounding,
            fail: stored.fail,
            not_evaluable: stored.not_evaluable,
        },
        listed: (0..count).map(one).collect::<Option<_>>()?,
        grounds: Grounds {
            last: (stored.last > 0).then_some(stored.last),
            units: stored.units,
            expected: stored.expected_plus_one.checked_sub(1),
            deadline: stored.deadline_ms.map(Timestamp),
        },
    })
}

fn pack_justified(justified: &Justified) -> storage::Justified {
    let item = |item: &Justification| storage::Justification {
        rule: item.rule.to_string(),
        table: item.place.table.to_string(),
        row: item.place.row.to_string(),
        column: item.place.column.to_string(),
        fingerprint: item.fingerprint.0.to_vec(),
        text: item.text.clone(),
    };
    storage::Justified {
        unit: justified.slot.unit.to_string(),
        year: justified.slot.year.into(),
        round: justified.slot.round.as_str().to_owned(),
        kind: justified.slot.kind.as_str().to_owned(),
        position: justified.position,
        items: justified.items.iter().map(item).collect(),
    }
}

fn unpack_justified(stored: storage::Justified) -> Option<Justified> {
    let item = |item: storage::Justification| {
        Some(Justification {
            rule: item.rule.into(),
            place: CellAddress::new(&item.table, &item.row, &item.column),
            fingerprint: Digest::from_bytes(&item.fingerprint)?,
            text: item.text,
        })
    };
    Some(Justified {
        slot: Slot {
            unit: stored.unit.into(),
            year: u16::try_from(stored.year).ok()?,
            round: Round::parse(&stored.round)?,
            kind: Kind::parse(&stored.kind)?,
        },
        position: stored.position,
        items: stored.items.into_iter().map(item).collect::<Option<_>>()?,
    })
}

fn pack_finding(finding: &Finding) -> storage::Finding {
    storage::Finding {
        strength: finding.strength.as_str().to_owned(),
        reason: finding.remark.reason.code().to_owned(),
        table: finding.place.table.to_string(),
        line: finding.place.line,
        row: finding.place.row.to_string(),
        column: finding.place.column.to_string(),
        facts: finding.remark.facts.iter().flat_map(|(name, fact)| [name.clone(), fact.clone()]).collect(),
    }
}

fn unpack_finding(stored: storage::Finding) -> Option<Finding> {
    let strengths = [Strength::Balance, Strength::Logic, Strength::Verify];
    let mut facts = stored.facts.into_iter();
    let mut pairs = Vec::new();
    while let Some(name) = facts.next() {
        pairs.push((name, facts.next()?));
    }
    Some(Finding {
        strength: strengths.into_iter().find(|strength| strength.as_str() == stored.strength)?,
        place: Place {
            table: stored.table.into(),
            line: stored.line,
            row: stored.row.into(),
            column: stored.column.into(),
        },
        remark: Remark { reason: Reason::from_code(&stored.reason)?, facts: pairs },
    })
}

fn pack_figure(figure: &ControlFigure) -> storage::Figure {
    storage::Figure {
        unit: figure.unit.to_string(),
        table: figure.cell.table.to_string(),
        row: figure.cell.row.to_string(),
        column: figure.cell.column.to_string(),
        ceiling_fen: fen_of(figure.ceiling),
        amount_unit: figure.scale.denomination.as_str().to_owned(),
        decimals: figure.scale.decimals.into(),
        strength: figure.strength.as_str().to_owned(),
        ..storage::Figure::default()
    }
}

fn pack_change(change: &ControlChange) -> storage::Figure {
    let ceiling = |ceiling: &Ceiling| storage::Ceiling {
        fen: fen_of(ceiling.amount),
        amount_unit: ceiling.scale.denomination.as_str().to_owned(),
        decimals: ceiling.scale.decimals.into(),
        strength: ceiling.strength.as_str().to_owned(),
        by: ceiling.by.to_string(),
    };
    let after = change.after.as_ref().map(ceiling).unwrap_or_default();
    storage::Figure {
        unit: change.unit.to_string(),
        table: change.cell.table.to_string(),
        row: change.cell.row.to_string(),
        column: change.cell.column.to_string(),
        ceiling_fen: after.fen,
        amount_unit: after.amount_unit,
        decimals: after.decimals,
        strength: after.strength,
        by: after.by,
        lifted: change.after.is_none(),
        before: change.before.as_ref().map(ceiling),
    }
}

fn unpack_change(stored: storage::Figure) -> Option<ControlChange> {
    let ceiling = |stored: storage::Ceiling| {
        let denomination = Denomination::parse(&stored.amount_unit)?;
        let decimals =
            u8::try_from(stored.decimals).ok().filter(|decimals| *decimals <= denomination.decimals_max())?;
        Some(Ceiling {
            amount: Money::from_fen(stored.fen),
            scale: Scale { denomination, decimals },
            strength: CeilingStrength::parse(&stored.strength)?,
            by: if stored.by.is_empty() { BUREAU.into() } else { stored.by.into() },
        })
    };
    let after = storage::Ceiling {
        fen: stored.ceiling_fen,
        amount_unit: stored.amount_unit,
        decimals: stored.decimals,
        strength: stored.strength,
        by: stored.by,
    };
    Some(ControlChange {
        unit: stored.unit.into(),
        cell: CellAddress::new(&stored.table, &stored.row, &stored.column),
        before: stored.before.map_or(Some(None), |before| ceiling(before).map(Some))?,
        after: if stored.lifted { None } else { Some(ceiling(after)?) },
    })
}

fn pack_affected(affected: &Affected) -> storage::Affected {
    storage::Affected {
        unit: affected.over.unit.to_string(),
        version: affected.version,
        position: affected.position,
        filed_fen: fen_of(affected.over.filed),
        figure: Some(pack_figure(&affected.over.figure)),
        over_fen: fen_of(affected.over.over),
    }
}

fn unpack_affected(stored: storage::Affected) -> Option<Affected> {
    Some(Affected {
        version: stored.version,
        position: stored.position,
        over: OverCeiling {
            unit: stored.unit.into(),
            filed: Money::from_fen(stored.filed_fen),
            figure: unpack_figure(stored.figure?)?,
            over: Money::from_fen(stored.over_fen),
        },
    })
}

fn unpack_figure(stored: storage::Figure) -> Option<ControlFigure> {
    let denomination = Denomination::parse(&stored.amount_unit)?;
    let decimals = u8::try_from(stored.decimals).ok().filter(|decimals| *decimals <= denomination.decimals_max())?;
    Some(ControlFigure {
        unit: stored.unit.into(),
        cell: CellAddress::new(&stored.table, &stored.row, &stored.column),
        ceiling: Money::from_fen(stored.ceiling_fen),
        scale: Scale { denomination, decimals },
        strength: CeilingStrength::parse(&stored.strength)?,
    })
}

fn pack_judgement(judgement: &Judgement) -> storage::Judgement {
    storage::Judgement {
        figure: Some(pack_figure(&judgement.figure)),
        filed_fen: fen_of(judgement.filed),
        headroom_fen: fen_of(judgement.headroom),
        taken_fen: fen_of(judgement.taken),
    }
}

fn unpack_judgement(stored: storage::Judgement) -> Option<Judgement> {
    Some(Judgement {
        figure: unpack_figure(stored.figure?)?,
        filed: Money::from_fen(stored.filed_fen),
        taken: Money::from_fen(stored.taken_fen),
        headroom: Money::from_fen(stored.headroom_fen),
    })
}

/// One cell, summed over all units of a tree, fits 64 bits: 10^15 分 times less than 9,000 units at the cap,
/// and no budget in the world comes near the cap. Saturates rather than wraps.
pub(super) fn fen_of(money: Money) -> i64 {
    i64::try_from(money.fen()).unwrap_or(if money.is_negative() { i64::MIN } else { i64::MAX })
}

fn pack_control(issued: &ControlIssued) -> storage::ControlIssued {
    storage::ControlIssued {
        year: issued.year.into(),
        round: issued.round.as_str().to_owned(),
        version: issued.version,
        figures: issued.changes.iter().map(pack_change).collect(),
        by: issued.by.to_string(),
        reason: issued.reason.clone(),
        affected: issued.affected.iter().map(pack_affected).collect(),
    }
}

fn unpack_control(stored: storage::ControlIssued) -> Option<ControlIssued> {
    Some(ControlIssued {
        year: u16::try_from(stored.year).ok()?,
        round: Round::parse(&stored.round)?,
        version: stored.version,
        by: if stored.by.is_empty() { BUREAU.into() } else { stored.by.into() },
        reason: stored.reason,
        changes: stored.figures.into_iter().map(unpack_change).collect::<Option<_>>()?,
        affected: stored.affected.into_iter().map(unpack_affected).collect::<Option<_>>()?,
    })
}

fn pack_adjustment(adjustment: &Adjustment) -> storage::Adjustment {
    let Adjustment { base, cause, raised } = adjustment;
    storage::Adjustment { base: *base, cause: cause.clone(), raised: raised.as_ref().map(pack_control) }
}

fn unpack_adjustment(stored: storage::Adjustment) -> Option<Adjustment> {
    let raised = match stored.raised {
        None => None,
        Some(raised) => Some(unpack_control(raised)?),
    };
    Some(Adjustment { base: stored.base, cause: stored.cause, raised })
}

fn pack_node(node: &Node) -> storage::Node {
    storage::Node {
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

fn unpack_units(stored: storage::UnitsImported) -> Option<Event> {
    let node = |node: storage::Node| {
        Some(Node {
            code: node.code.into(),
            parent: node.parent.into(),
            name: node.name,
            role: NodeRole::parse(&node.role)?,
            unit_type: node.unit_type,
            funding: node.funding,
            division: node.division,
            budgeted: node.budgeted,
        })
    };
    Some(Event::UnitsImported(UnitsImported {
        year: u16::try_from(stored.year).ok()?,
        version: stored.version,
        nodes: stored.nodes.into_iter().map(node).collect::<Option<_>>()?,
    }))
}

fn unpack_form_set(stored: storage::FormSetPublished) -> Option<Event> {
    let file = |file: storage::File| Some((file.name, content::decompress(&file.content_zstd)?));
    let files: FormFiles = stored.files.into_iter().map(file).collect::<Option<BTreeMap<_, _>>>()?;
    let form_set = FormSetVersion { id: CompactString::from(stored.id), digest: Digest::from_bytes(&stored.digest)? };
    Some(Event::FormSetPublished(FormSetPublished { form_set, files: Arc::new(files) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_written_as_generated_code_writes_them() {
        let verdict =
            |place: CellAddress, check, verdict| RuleVerdict { rule: "V-01".into(), check, link: 300, place, verdict };
        let listed = [
            verdict(CellAddress::new("T03", "2080109", "basic"), 0, Verdict::PassByRounding),
            // A line about nothing in particular has no place.
            verdict(CellAddress::new("", "", ""), 1, Verdict::NotEvaluable),
            verdict(CellAddress::new("PI", &"长".repeat(60), "value"), 2, Verdict::Fail),
        ];
        let written = put_verdicts(&listed);
        let read = storage::VerdictList::decode(written.as_slice()).unwrap();
        assert_eq!(read.encode_to_vec(), written);
        assert_eq!((read.rows[1].as_str(), read.verdicts.as_slice()), ("", &[1, 3, 2][..]));
    }
}
