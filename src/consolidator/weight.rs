//! How much memory a command takes while it waits for the writer: about, and never much less.

use std::mem::{size_of, size_of_val};

use super::record::Packed;
use crate::budget::cell::RowKey;
use crate::budget::submission::{FiledTable, Submission};
use crate::ledger::decide::{Action, Filing};

/// What any command brings along: its key, a few short texts, its place in the queue and the way back to who waits.
const ANY: usize = 4 * 1024;
/// One of a list: a node, a figure, a finding.
const ONE: usize = 256;

pub(super) fn weight(action: &Action, packed: Option<&Packed>) -> usize {
    let listed = match action {
        Action::Submit(filing) => filed(filing, packed),
        // Its files, and what was made of them.
        Action::PublishFormSet { form } => 8 * form.files.values().map(Vec::len).sum::<usize>(),
        Action::ImportUnits { nodes, .. } => ONE * nodes.len(),
        Action::Control(orders) => ONE * orders.figures.len() + orders.reason.len(),
        Action::Justify { items, .. } => items.iter().map(|item| ONE + item.text.len()).sum(),
        Action::Step(step) => {
            let lines: usize = step.lines.iter().map(|line| ONE + line.text.len()).sum();
            lines + ONE * step.to_justify.len()
        }
        Action::ReviewFigures { figures, .. } => figures.iter().map(|figure| ONE + figure.reason.len()).sum(),
        Action::GiveOpinion { text, .. } | Action::Forward { text, .. } => text.len(),
        Action::OpenRound { .. } | Action::CloseRound { .. } | Action::StepAggregate(_) | Action::Look(_) => 0,
    };
    ANY + listed
}

fn filed(filing: &Filing, packed: Option<&Packed>) -> usize {
    let found = filing.ahead.iter().flat_map(|ahead| &ahead.checked.findings);
    let found: usize = found.map(|finding| ONE + size_of::<RowKey>() * 4 * finding.cells.len()).sum();
    let (bytes, texts) = packed.map(Packed::weight).unwrap_or_default();
    bytes + texts + cells(&filing.reading.submission) + ONE * filing.reading.findings.len() + found
}

/// Rows and cells without their texts.
fn cells(submission: &Submission) -> usize {
    let tables = submission.tables.iter().map(FiledTable::rows);
    tables.map(|rows| size_of::<RowKey>() * rows.len() + size_of_val(rows.cells().0)).sum()
}
