//! What became of the lines that a version was returned for, in the version after it.

use std::collections::BTreeSet;

use super::Position;
use super::review::ReturnedLine;
use crate::budget::cell::{CellAddress, RowKey};
use crate::budget::form_set::FormSet;
use crate::budget::rule::Fingerprint;
use crate::budget::submission::Submission;

/// A returned line with what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineAnswer {
    /// The line.
    pub line: ReturnedLine,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a returned line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// These cells changed.
    Changed(Vec<ChangedCell>),
    /// Nothing changed, and its finding is justified, there.
    Justified(Position),
    /// Nothing changed, and nothing was said.
    Unchanged,
}

/// A cell that changed; where nothing stands, the text is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedCell {
    /// The cell.
    pub cell: CellAddress,
    /// What stood there.
    pub from: String,
    /// What stands there.
    pub to: String,
}

/// A submission with the form set that it was filed on.
pub type Read<'r> = (&'r Submission, &'r FormSet);

/// What became of a line between two versions. `justified` says where a finding was justified.
pub fn answer(
    line: &ReturnedLine,
    before: Read<'_>,
    after: Read<'_>,
    justified: impl Fn(&Fingerprint) -> Option<Position>,
) -> LineAnswer {
    let changed = changed(line, before, after);
    let fate = match line.fingerprint.and_then(|fingerprint| justified(&fingerprint)) {
        _ if !changed.is_empty() => Fate::Changed(changed),
        Some(position) => Fate::Justified(position),
        None => Fate::Unchanged,
    };
    LineAnswer { line: line.clone(), fate }
}

/// The cells of a line that differ, in the order of rows and columns.
fn changed(line: &ReturnedLine, before: Read<'_>, after: Read<'_>) -> Vec<ChangedCell> {
    let mut rows: BTreeSet<RowKey> = BTreeSet::new();
    let mut columns: Vec<String> = Vec::new();
    for (submission, form) in [before, after] {
        let Some((index, table)) = form.table(&line.table) else { continue };
        if line.row.is_empty() {
            rows.extend(
                submission.table(index).into_iter().flat_map(|filed| filed.rows().iter()).map(|r| r.key.clone()),
            );
        } else {
            rows.insert(line.row.clone());
        }
        for column in table.columns.iter().filter(|column| line.column.is_empty() || column.id == line.column) {
            if !columns.iter().any(|known| *known == column.id) {
                columns.push(column.id.to_string());
            }
        }
    }
    let text = |(submission, form): Read<'_>, cell: &CellAddress| {
        submission.cell(form, cell).filter(|cell| !cell.is_blank()).map(ToString::to_string).unwrap_or_default()
    };
    let cells = rows.iter().flat_map(|row| columns.iter().map(|column| CellAddress::new(&line.table, row, column)));
    cells
        .map(|cell| ChangedCell { from: text(before, &cell), to: text(after, &cell), cell })
        .filter(|changed| changed.from != changed.to)
        .collect()
}
