//! The status board as messages. Which line says what is decided in [`crate::ledger::board`].

use super::consolidation::node_name;
use super::{convert, review_out};
use crate::budget::reason::Remark;
use crate::consolidator::Snapshot;
use crate::ledger::board::{self, Board, Counts, DepartmentLine, Standing, StatusLine, Turn};
use crate::ledger::event::Timestamp;
use crate::ledger::view::{self, Scope};
use crate::proto::api;

/// The board of a node, at a time.
pub(super) fn get(snapshot: &Snapshot, scope: &Scope, time: Timestamp) -> Result<api::GetStatusBoardResponse, Remark> {
    out(snapshot, scope, &board::board(&snapshot.state, scope, time)?)
}

/// A board as a message.
pub(super) fn out(snapshot: &Snapshot, scope: &Scope, board: &Board) -> Result<api::GetStatusBoardResponse, Remark> {
    let state = &snapshot.state;
    let tree = view::tree(state, scope)?;
    let counts = counts(&board.counts);
    Ok(api::GetStatusBoardResponse {
        node: scope.node.to_string(),
        name: node_name(tree, &scope.node),
        year: scope.year.into(),
        round: convert::round_out(scope.round),
        // All with a version that counts, however far review has come with it.
        submitted: [counts.accepted, counts.forwarded, counts.approved]
            .into_iter()
            .fold(counts.submitted, u32::saturating_add),
        refused: counts.refused,
        missing: counts.missing,
        lines: lines(snapshot, &board.lines)?,
        position: state.position,
        counts: Some(counts),
        departments: departments(snapshot, &board.departments)?,
        time_ms: state.time.0,
    })
}

/// How many stand where.
pub(super) fn counts(counts: &Counts) -> api::StandingCounts {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    api::StandingCounts {
        expected: number(counts.expected()),
        missing: number(counts.of(Standing::Missing)),
        refused: number(counts.of(Standing::Refused)),
        withdrawn: number(counts.of(Standing::Withdrawn)),
        returned: number(counts.of(Standing::Returned)),
        submitted: number(counts.of(Standing::Submitted)),
        accepted: number(counts.of(Standing::Accepted)),
        forwarded: number(counts.of(Standing::Forwarded)),
        approved: number(counts.of(Standing::Approved)),
        wait_for_unit: number(counts.waiting_for(Turn::Unit)),
        wait_for_department: number(counts.waiting_for(Turn::Department)),
        wait_for_bureau: number(counts.waiting_for(Turn::Bureau)),
        wait_for_nobody: number(counts.waiting_for(Turn::Nobody)),
        late: number(counts.late()),
        over_ceiling: number(counts.over_ceiling()),
    }
}

/// Departments.
pub(super) fn departments(snapshot: &Snapshot, lines: &[DepartmentLine]) -> Result<Vec<api::DepartmentLine>, Remark> {
    let department = |line: &DepartmentLine| {
        Ok(api::DepartmentLine {
            node: line.node.code.to_string(),
            name: line.node.name.clone(),
            counts: Some(counts(&line.counts)),
            given_back: review_out::given_back(snapshot, line.given_back)?,
        })
    };
    lines.iter().map(department).collect()
}

/// Lines, of those that were returned with what is to be done.
pub(super) fn lines(snapshot: &Snapshot, lines: &[StatusLine]) -> Result<Vec<api::StatusLine>, Remark> {
    let with_texts = |found: &StatusLine| {
        Ok(api::StatusLine { given_back: review_out::given_back(snapshot, found.given_back())?, ..line(found) })
    };
    lines.iter().map(with_texts).collect()
}

fn line(line: &StatusLine) -> api::StatusLine {
    let standing = match line.standing {
        Standing::Missing => api::Standing::Missing,
        Standing::Refused => api::Standing::Refused,
        Standing::Withdrawn => api::Standing::Withdrawn,
        Standing::Returned => api::Standing::Returned,
        Standing::Submitted => api::Standing::Submitted,
        Standing::Accepted => api::Standing::Accepted,
        Standing::Forwarded => api::Standing::Forwarded,
        Standing::Approved => api::Standing::Approved,
    };
    let turn = match line.turn {
        Turn::Unit => api::Turn::Unit,
        Turn::Department => api::Turn::Department,
        Turn::Bureau => api::Turn::Bureau,
        Turn::Nobody => api::Turn::Nobody,
    };
    let (refused_position, refused_time) = line.refused_since.unwrap_or_default();
    api::StatusLine {
        unit: line.unit.code.to_string(),
        name: line.unit.name.clone(),
        standing: standing.into(),
        turn: turn.into(),
        waits_for: line.waits_for.as_ref().map(ToString::to_string).unwrap_or_default(),
        version: line.version.as_ref().map(convert::version_out),
        refused: u32::try_from(line.refused).unwrap_or(u32::MAX),
        refused_position,
        refused_time_ms: refused_time.0,
        late: line.late,
        over_ceiling: line.over_ceiling,
        given_back: None,
    }
}
