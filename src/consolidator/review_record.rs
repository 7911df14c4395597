//! Events of rounds and review ⇄ bytes: the part of `record.rs` that grew with review.

use super::record::fen_of;
use crate::budget::cell::CellAddress;
use crate::budget::digest::Digest;
use crate::budget::money::{Amount, Denomination, Money, Scale};
use crate::budget::submission::{Kind, Round, Slot};
use crate::ledger::Position;
use crate::ledger::event::{
    AggregateMoved, Event, FiguresReviewed, Forwarded, OpinionGiven, ReviewedItem, RoundClosed, RoundOpened, Timestamp,
    VersionMoved,
};
use crate::ledger::review::{AggregateState, Member, Move, OpinionView, ReturnedLine, VersionState};
use crate::proto::storage;
use storage::envelope::Event as Stored;

pub(super) fn pack_opened(opened: &RoundOpened) -> Stored {
    Stored::RoundOpened(storage::RoundOpened {
        year: opened.year.into(),
        round: opened.round.to_string(),
        version: opened.version,
        deadline_ms: opened.deadline.map(|deadline| deadline.0),
        reason: opened.reason.clone(),
    })
}

pub(super) fn unpack_opened(stored: storage::RoundOpened) -> Option<Event> {
    Some(Event::RoundOpened(RoundOpened {
        year: stored.year.try_into().ok()?,
        round: Round::parse(&stored.round)?,
        version: stored.version,
        deadline: stored.deadline_ms.map(Timestamp),
        reason: stored.reason,
    }))
}

pub(super) fn pack_closed(closed: &RoundClosed) -> Stored {
    Stored::RoundClosed(storage::RoundClosed {
        year: closed.year.into(),
        round: closed.round.to_string(),
        version: closed.version,
        reason: closed.reason.clone(),
    })
}

pub(super) fn unpack_closed(stored: storage::RoundClosed) -> Option<Event> {
    let (year, round) = (stored.year.try_into().ok()?, Round::parse(&stored.round)?);
    Some(Event::RoundClosed(RoundClosed { year, round, version: stored.version, reason: stored.reason }))
}

fn pack_version(slot: &Slot, version: u32, position: Position) -> Option<storage::VersionRef> {
    Some(storage::VersionRef {
        unit: slot.unit.to_string(),
        year: slot.year.into(),
        round: slot.round.to_string(),
        kind: slot.kind.to_string(),
        version,
        position,
    })
}

fn unpack_version(stored: Option<storage::VersionRef>) -> Option<(Slot, u32, Position)> {
    let stored = stored?;
    let slot = Slot {
        unit: stored.unit.into(),
        year: stored.year.try_into().ok()?,
        round: Round::parse(&stored.round)?,
        kind: Kind::parse(&stored.kind)?,
    };
    Some((slot, stored.version, stored.position))
}

pub(super) fn pack_moved(moved: &VersionMoved) -> Stored {
    let line = |line: &ReturnedLine| storage::ReturnedLine {
        table: line.table.to_string(),
        row: line.row.to_string(),
        column: line.column.to_string(),
        rule: line.rule.to_string(),
        fingerprint: line.fingerprint.map(|fingerprint| fingerprint.0.to_vec()).unwrap_or_default(),
        text: line.text.clone(),
    };
    Stored::VersionMoved(storage::VersionMoved {
        version: pack_version(&moved.slot, moved.version, moved.position),
        step: moved.step.to_string(),
        from: moved.from.to_string(),
        to: moved.to.to_string(),
        reason: moved.reason.clone(),
        lines: moved.lines.iter().map(line).collect(),
        reviewed: moved.reviewed,
    })
}

pub(super) fn unpack_moved(stored: storage::VersionMoved) -> Option<Event> {
    let (slot, version, position) = unpack_version(stored.version)?;
    let line = |line: storage::ReturnedLine| {
        Some(ReturnedLine {
            table: line.table.into(),
            row: line.row.into(),
            column: line.column.into(),
            rule: line.rule.into(),
            fingerprint: if line.fingerprint.is_empty() { None } else { Some(Digest::from_bytes(&line.fingerprint)?) },
            text: line.text,
        })
    };
    Some(Event::VersionMoved(Box::new(VersionMoved {
        slot,
        version,
        position,
        step: Move::parse(&stored.step)?,
        from: VersionState::parse(&stored.from)?,
        to: VersionState::parse(&stored.to)?,
        reason: stored.reason,
        lines: stored.lines.into_iter().map(line).collect::<Option<_>>()?,
        reviewed: stored.reviewed,
    })))
}

pub(super) fn pack_opinion(given: &OpinionGiven) -> Stored {
    Stored::OpinionGiven(storage::OpinionGiven {
        version: pack_version(&given.slot, given.version, given.position),
        office: given.office.to_string(),
        view: given.view.to_string(),
        text: given.text.clone(),
    })
}

pub(super) fn unpack_opinion(stored: storage::OpinionGiven) -> Option<Event> {
    let (slot, version, position) = unpack_version(stored.version)?;
    let view = OpinionView::parse(&stored.view)?;
    let office = stored.office.into();
    Some(Event::OpinionGiven(OpinionGiven { slot, version, position, office, view, text: stored.text }))
}

pub(super) fn pack_reviewed(reviewed: &FiguresReviewed) -> Stored {
    let item = |item: &ReviewedItem| storage::ReviewedItem {
        table: item.cell.table.to_string(),
        row: item.cell.row.to_string(),
        column: item.cell.column.to_string(),
        amount_fen: item.amount.map(|amount| fen_of(amount.value)),
        amount_unit: item.amount.map_or("", |amount| amount.scale.denomination.as_str()).to_owned(),
        decimals: item.amount.map_or(0, |amount| amount.scale.decimals.into()),
        reason: item.reason.clone(),
    };
    Stored::FiguresReviewed(storage::FiguresReviewed {
        version: pack_version(&reviewed.slot, reviewed.version, reviewed.position),
        items: reviewed.items.iter().map(item).collect(),
    })
}

pub(super) fn unpack_reviewed(stored: storage::FiguresReviewed) -> Option<Event> {
    let (slot, version, position) = unpack_version(stored.version)?;
    let item = |item: storage::ReviewedItem| {
        let amount = match item.amount_fen {
            None => None,
            Some(fen) => {
                let denomination = Denomination::parse(&item.amount_unit)?;
                let decimals =
                    u8::try_from(item.decimals).ok().filter(|digits| *digits <= denomination.decimals_max())?;
                Some(Amount { value: Money::from_fen(fen), scale: Scale { denomination, decimals } })
            }
        };
        Some(ReviewedItem { cell: CellAddress::new(&item.table, &item.row, &item.column), amount, reason: item.reason })
    };
    let items = stored.items.into_iter().map(item).collect::<Option<_>>()?;
    Some(Event::FiguresReviewed(FiguresReviewed { slot, version, position, items }))
}

pub(super) fn pack_forwarded(forwarded: &Forwarded) -> Stored {
    let member = |member: &Member| storage::Member {
        unit: member.unit.to_string(),
        kind: member.kind.to_string(),
        version: member.version,
        position: member.position,
        digest: member.digest.0.to_vec(),
        form_set_digest: member.form_set.0.to_vec(),
        reviewed: member.reviewed,
    };
    Stored::Forwarded(storage::Forwarded {
        department: forwarded.department.to_string(),
        year: forwarded.year.into(),
        round: forwarded.round.to_string(),
        version: forwarded.version,
        tree_version: forwarded.tree_version,
        round_version: forwarded.round_version,
        members: forwarded.members.iter().map(member).collect(),
        digest: forwarded.digest.0.to_vec(),
        text: forwarded.text.clone(),
    })
}

pub(super) fn unpack_forwarded(stored: storage::Forwarded) -> Option<Event> {
    let member = |member: storage::Member| {
        Some(Member {
            unit: member.unit.into(),
            kind: Kind::parse(&member.kind)?,
            version: member.version,
            position: member.position,
            digest: Digest::from_bytes(&member.digest)?,
            form_set: Digest::from_bytes(&member.form_set_digest)?,
            reviewed: member.reviewed,
        })
    };
    Some(Event::Forwarded(Box::new(Forwarded {
        department: stored.department.into(),
        year: stored.year.try_into().ok()?,
        round: Round::parse(&stored.round)?,
        version: stored.version,
        tree_version: stored.tree_version,
        round_version: stored.round_version,
        members: stored.members.into_iter().map(member).collect::<Option<_>>()?,
        digest: Digest::from_bytes(&stored.digest)?,
        text: stored.text,
    })))
}

pub(super) fn pack_aggregate(moved: &AggregateMoved) -> Stored {
    Stored::AggregateMoved(storage::AggregateMoved {
        department: moved.department.to_string(),
        year: moved.year.into(),
        round: moved.round.to_string(),
        version: moved.version,
        step: moved.step.to_string(),
        from: moved.from.to_string(),
        to: moved.to.to_string(),
        reason: moved.reason.clone(),
    })
}

pub(super) fn unpack_aggregate(stored: storage::AggregateMoved) -> Option<Event> {
    Some(Event::AggregateMoved(AggregateMoved {
        department: stored.department.into(),
        year: stored.year.try_into().ok()?,
        round: Round::parse(&stored.round)?,
        version: stored.version,
        step: Move::parse(&stored.step)?,
        from: AggregateState::parse(&stored.from)?,
        to: AggregateState::parse(&stored.to)?,
        reason: stored.reason,
    }))
}
