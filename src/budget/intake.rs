//! Intake: the texts of a filing become a [`Submission`], with a finding for everything that is wrong with their shape.
//!
//! Row by row, so that a stream can be read while it arrives. Nothing is thrown away silently: what can't be placed
//! is a finding, what can't be read is kept word for word in its cell.
//! It knows the form set, not the other filings, the ceilings or the rules.

use std::sync::Arc;

use compact_str::CompactString;

use super::cell::{Cell, RECORD_ROW};
use super::cell_text::CellTexts;
use super::digest::{self, Digest};
use super::finding::{Finding, Place};
use super::form_set::{Column, ColumnKind, FormSet, Rows, Table};
use super::money::{Amount, AmountError, Decimals, Denomination, Money};
use super::number::Number;
use super::reason::{Reason, Remark};
use super::submission::{Content, FiledRows, FiledTable, FormSetVersion, Kind, Slot, Submission};
use crate::budget::form_set::Catalogue;

/// The longest text of a cell, in bytes.
pub const TEXT_BYTES_MAX: usize = 8_192;
/// The most findings about shape that are listed, of those that refuse and of the others each.
pub const FINDINGS_MAX: usize = 1_000;

/// What a filing states of one table before its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableHeader {
    /// Table id.
    pub id: CompactString,
    /// 本表无数据.
    pub empty: bool,
    /// `元`, `万元`, or empty for the form set's default.
    pub amount_unit: CompactString,
    /// Decimals, if stated.
    pub decimals: Option<u32>,
    /// The columns whose values each row gives, in that order.
    pub columns: Vec<CompactString>,
}

/// A whole filing with its rows in their places. Nobody has looked at their keys yet, and it is not hashed and added up: that
/// takes as long again as reading them, and needs nothing but the rows.
#[derive(Debug)]
pub struct Placed {
    /// What could be read.
    pub submission: Arc<Submission>,
    /// As they were stated.
    tables: Vec<PlacedTable>,
    notes: Notes,
    row_count: u64,
}

/// A table whose rows are sorted by key, each key once.
#[derive(Debug)]
struct PlacedTable {
    /// Which of those stated, from 0.
    at: usize,
    /// Which of the form set.
    table: usize,
    /// The line of each row.
    lines: Vec<u32>,
    /// What was found while they were sorted.
    notes: Notes,
}

impl Placed {
    /// Checks keys, codes and names, and adds digest and control total; `form` is the form set that it was read on.
    pub fn sum_up(self, form: &FormSet) -> Reading {
        let Placed { submission, tables, mut notes, row_count } = self;
        for PlacedTable { at, table, lines, notes: before } in tables {
            before.findings.into_iter().for_each(|(at, line, finding)| notes.add(at, line, finding));
            let Some(rows) = submission.table(table).map(FiledTable::rows) else { continue };
            check_keys(form, table, rows, &lines, &mut |line, finding| notes.add(at, line, finding));
        }
        Reading {
            digest: digest::digest(&submission, form),
            control_total: digest::control_total(&submission),
            submission,
            findings: notes.in_order(),
            row_count,
        }
    }
}

/// A whole filing as read.
#[derive(Debug)]
pub struct Reading {
    /// What could be read; shared, so that nobody on its way copies the rows.
    pub submission: Arc<Submission>,
    /// What is wrong with its shape, in the order of tables and rows.
    pub findings: Vec<Finding>,
    /// Its digest; means something only if no finding refuses.
    pub digest: Digest,
    /// Its control total.
    pub control_total: Money,
    /// Rows received, also those that found no place.
    pub row_count: u64,
}

impl Reading {
    /// Whether its shape alone refuses it.
    pub fn is_refused(&self) -> bool {
        self.findings.iter().any(Finding::refuses)
    }
}

/// Reads one filing.
#[derive(Debug)]
pub struct Intake<'f> {
    form: &'f FormSet,
    header: Slot,
    tables: Vec<Open>,
    notes: Notes,
    row_count: u64,
    texts: CellTexts,
}

/// What is wrong with the shape of a filing.
#[derive(Debug, Default)]
struct Notes {
    /// With the table it is in, as they were stated, and the line.
    findings: Vec<(usize, u32, Finding)>,
    /// How many there are: those that don't refuse, and those that do.
    noted: [usize; 2],
}

impl Notes {
    fn add(&mut self, table: usize, line: u32, finding: Finding) {
        // Counted apart, so that many questions can't crowd out the one finding that refuses.
        let alike = &mut self.noted[usize::from(finding.refuses())];
        if *alike < FINDINGS_MAX {
            *alike += 1;
            self.findings.push((table, line, finding));
        }
    }

    fn in_order(mut self) -> Vec<Finding> {
        self.findings.sort_by_key(|(table, line, _)| (*table, *line));
        self.findings.into_iter().map(|(_, _, finding)| finding).collect()
    }
}

/// A table being read. `table` is `None` if the form set has none of that id: its rows are counted and passed over.
#[derive(Debug)]
struct Open {
    id: CompactString,
    table: Option<usize>,
    empty: bool,
    scale: StatedScale,
    /// For each value of a row, the column that it belongs to.
    columns: Vec<Option<usize>>,
    rows: FiledRows,
    /// The line of each row.
    lines: Vec<u32>,
    line: u32,
}

/// What a table states over the scale of its amount columns.
#[derive(Clone, Copy, Debug, Default)]
struct StatedScale {
    denomination: Option<Denomination>,
    decimals: Option<u8>,
    /// What it states can't be: its amounts are read at any scale, so that one mistake is one finding.
    unknown: bool,
}

/// Reads a submission once more that was read before: findings about its shape, digest and totals follow from its cells.
/// What found no place then is not among them; [`Unkept`] says of which findings that is so.
pub fn read_again(submission: Arc<Submission>, form: &FormSet) -> Reading {
    let Submission { header, tables, .. } = Arc::unwrap_or_clone(submission);
    let mut intake = Intake::new(form, header, &[]);
    for (at, filed) in tables.into_iter().enumerate() {
        let Some(table) = form.tables.get(filed.table) else { continue };
        intake.open(&TableHeader {
            id: table.id.clone(),
            empty: filed.content == Content::Empty,
            amount_unit: filed.denomination.map_or("", Denomination::as_str).into(),
            decimals: filed.decimals.map(u32::from),
            columns: Vec::new(),
        });
        let rows = match filed.content {
            Content::Rows(rows) => rows,
            Content::Empty => FiledRows::default(),
        };
        intake.row_count += rows.len() as u64;
        let Some(open) = intake.tables.get_mut(at) else { continue };
        let scale = (open.scale, intake.header.kind);
        for (row, line) in rows.iter().zip(1..) {
            for (column, cell) in table.columns.iter().zip(row.cells) {
                let wrong = match cell {
                    Cell::Unreadable(text) => read_cell(column, text, scale, &mut intake.texts).err(),
                    Cell::Blank if column.required => Some(required_blank(column)),
                    _ => None,
                };
                if let Some(remark) = wrong {
                    let place = Place::cell(&table.id, line, row.key, &column.id);
                    intake.notes.add(at, line, Finding::refusing(place, remark));
                }
            }
        }
        open.lines = (1..).take(rows.len()).collect();
        open.rows = rows;
    }
    intake.finish()
}

/// What a filing said that found no place, going by the findings about it: it is not among the cells, and what was found in
/// it can't be found again.
pub struct Unkept<'f> {
    /// There were more findings than are listed: nobody knows about what.
    unlisted: bool,
    /// Whether tables of it were passed over.
    tables: bool,
    /// Table, row and column within which something was lost: no row or column means any of them.
    places: Vec<(&'f str, Option<&'f str>, Option<&'f str>)>,
    /// How many rows found no place, beside those of tables that were passed over.
    rows: u64,
}

impl<'f> Unkept<'f> {
    /// Going by these findings about a filing on `form`.
    pub fn of(findings: &'f [Finding], form: &FormSet) -> Unkept<'f> {
        let mut unkept = Unkept {
            unlisted: findings.iter().filter(|finding| finding.refuses()).count() >= FINDINGS_MAX,
            tables: false,
            places: Vec::new(),
            rows: 0,
        };
        let is_time = |place: &Place| {
            let table = form.table(&place.table).map(|(_, table)| table);
            let column = table.and_then(|table| table.columns.get(table.column(&place.column)?));
            column.is_some_and(|column| column.kind == ColumnKind::Time)
        };
        for Finding { place, remark, .. } in findings {
            let Place { table, row, column, .. } = place;
            match remark.reason {
                Reason::UnknownTable | Reason::DuplicateTable => unkept.tables = true,
                // The scale that its amounts were read at.
                Reason::BadAmountUnit => unkept.places.push((table, None, None)),
                Reason::EmptyTableHasRows => {
                    unkept.places.push((table, None, None));
                    // What a record says may be anything.
                    let rows = remark.fact("rows").and_then(|rows| rows.parse::<u64>().ok()).unwrap_or(0);
                    unkept.rows = unkept.rows.saturating_add(rows);
                }
                Reason::DuplicateRow => {
                    unkept.places.push((table, Some(row), None));
                    unkept.rows = unkept.rows.saturating_add(1);
                }
                // For this, earlier programs refused what a rule asks about now.
                Reason::BadTime if is_time(place) => unkept.places.push((table, Some(row), Some(column))),
                _ => {}
            }
        }
        unkept
    }

    /// Whether a finding is about what was not kept, or may be.
    pub fn has(&self, Finding { place: Place { table, row, column, .. }, remark, .. }: &Finding) -> bool {
        match remark.reason {
            _ if self.unlisted => true,
            Reason::UnknownTable | Reason::DuplicateTable | Reason::EmptyTableHasRows | Reason::BadAmountUnit => true,
            Reason::UnknownColumn | Reason::DuplicateColumn | Reason::TooManyValues | Reason::DuplicateRow => true,
            // Of several tables none may have found a place.
            Reason::NothingFiled => self.tables,
            _ => self.places.iter().any(|(of, at, within)| {
                *of == table && at.is_none_or(|at| at == row) && within.is_none_or(|within| within == column)
            }),
        }
    }

    /// How many rows found no place; nothing if nobody knows.
    pub fn rows(&self) -> Option<u64> {
        (!self.unlisted && !self.tables).then_some(self.rows)
    }
}

impl<'f> Intake<'f> {
    /// Starts reading a filing on `form`.
    pub fn new(form: &'f FormSet, header: Slot, tables: &[TableHeader]) -> Intake<'f> {
        let mut intake = Intake {
            form,
            header,
            tables: Vec::with_capacity(tables.len()),
            notes: Notes::default(),
            row_count: 0,
            texts: CellTexts::default(),
        };
        for table in tables {
            intake.open(table);
        }
        intake
    }

    fn open(&mut self, header: &TableHeader) {
        let at = self.tables.len();
        let place = Place::table(&header.id);
        let known = self.form.table(&header.id);
        let refuse = |remark| Finding::refusing(place.clone(), remark);
        let mut findings = Vec::new();
        let mut open = Open {
            id: header.id.clone(),
            table: known.map(|(index, _)| index),
            empty: header.empty,
            scale: StatedScale::default(),
            columns: Vec::new(),
            rows: FiledRows::default(),
            lines: Vec::new(),
            line: 0,
        };
        if let Some((index, table)) = known {
            if self.tables.iter().any(|other| other.table == Some(index)) {
                findings.push(refuse(Remark::new(Reason::DuplicateTable)));
                open.table = None;
            } else if !table.is_filed_by(self.header.kind) {
                findings.push(refuse(Remark::new(Reason::TableNotOfKind).with("kind", self.header.kind)));
            }
            open.scale.denomination = Denomination::parse(&header.amount_unit);
            // Without a unit stated, the decimals are those of every amount column's own: 元 has the fewest.
            let own = || table.columns.iter().filter_map(|column| column.kind.denomination()).min();
            let finest = open.scale.denomination.or_else(own).unwrap_or(Denomination::Wan).decimals_max();
            open.scale.decimals = header.decimals.and_then(|d| u8::try_from(d).ok()).filter(|d| *d <= finest);
            let bad_unit = open.scale.denomination.is_none() && !header.amount_unit.is_empty();
            open.scale.unknown = bad_unit || open.scale.decimals.is_none() && header.decimals.is_some();
            if open.scale.unknown {
                let remark = Remark::new(Reason::BadAmountUnit).with(
                    "found",
                    format!("{} {}", header.amount_unit, header.decimals.map_or(String::new(), |d| d.to_string()))
                        .trim(),
                );
                findings.push(refuse(remark));
            }
            open.columns.reserve_exact(header.columns.len());
            let mut next = 0;
            for id in &header.columns {
                // Mostly they are stated in the form's order.
                let follows = table.columns.get(next).is_some_and(|column| column.id == *id);
                let column = if follows { Some(next) } else { table.column(id) };
                next = column.map_or(next, |column| column + 1);
                let reason = match column {
                    None => Some(Reason::UnknownColumn),
                    Some(_) if open.columns.contains(&column) => Some(Reason::DuplicateColumn),
                    Some(_) => None,
                };
                if let Some(reason) = reason {
                    let known: Vec<&str> = table.columns.iter().map(|c| c.id.as_str()).collect();
                    let remark = Remark::new(reason).with("found", id).with("expected", known.join(", "));
                    findings.push(Finding::refusing(Place::cell(&header.id, 0, "", id), remark));
                }
                open.columns.push(column.filter(|_| reason.is_none()));
            }
        } else {
            let known: Vec<&str> = self.form.tables.iter().map(|t| t.id.as_str()).collect();
            findings.push(refuse(
                Remark::new(Reason::UnknownTable).with("found", &header.id).with("expected", known.join(", ")),
            ));
        }
        self.tables.push(open);
        findings.into_iter().for_each(|finding| self.notes.add(at, 0, finding));
    }

    /// Takes one row of the table that was stated as the `table`-th; `values` in the order of its stated columns.
    ///
    /// A table index that was never stated is the sender's mistake, not the filing's, and answered by `false`.
    pub fn row<'v>(&mut self, table: usize, key: &str, values: impl IntoIterator<Item = &'v str>) -> bool {
        let Some(open) = self.tables.get_mut(table) else { return false };
        self.row_count += 1;
        open.line += 1;
        let line = open.line;
        let Some(index) = open.table else { return true };
        let form = self.form;
        let definition = &form.tables[index];
        let mut findings = Vec::new();
        let kind = self.header.kind;
        let Open { id, columns, rows, scale, lines, .. } = open;
        if rows.is_empty() {
            let usual = definition.rows.usual_count();
            *rows = FiledRows::with_capacity(usual, definition.columns.len());
            lines.reserve_exact(usual);
        }
        let cells = rows.push(key.into(), definition.columns.len());
        lines.push(line);
        for (at, value) in values.into_iter().enumerate() {
            match columns.get(at) {
                Some(Some(column)) if !value.is_empty() => {
                    let definition = &definition.columns[*column];
                    cells[*column] =
                        read_cell(definition, value, (*scale, kind), &mut self.texts).unwrap_or_else(|remark| {
                            findings.push(Finding::refusing(Place::cell(id, line, key, &definition.id), remark));
                            Cell::Unreadable(value.into())
                        });
                }
                Some(_) => {}
                None => {
                    let remark = Remark::new(Reason::TooManyValues).with("expected", columns.len());
                    findings.push(Finding::refusing(Place::row(id, line, key), remark));
                    break;
                }
            }
        }
        for column in definition.required_columns.iter().filter(|column| cells[**column].is_blank()) {
            let column = &definition.columns[*column];
            findings.push(Finding::refusing(Place::cell(id, line, key, &column.id), required_blank(column)));
        }
        findings.into_iter().for_each(|finding| self.notes.add(table, line, finding));
        true
    }

    /// How many rows and cells there are so far.
    pub fn size(&self) -> (u64, usize) {
        (self.row_count, self.tables.iter().map(|open| open.rows.cells().0.len()).sum())
    }

    /// Ends the reading: places the rows, checks them, and computes digest and control total.
    pub fn finish(self) -> Reading {
        let form = self.form;
        self.place().sum_up(form)
    }

    /// Sorts the rows of each table by key; of rows with one key the first stays.
    pub fn place(mut self) -> Placed {
        // From here on they are read.
        drop(std::mem::take(&mut self.texts));
        let (mut stated, mut tables) = (Vec::new(), Vec::new());
        if self.tables.is_empty() {
            self.notes.add(0, 0, Finding::refusing(Place::default(), Remark::new(Reason::NothingFiled)));
        }
        for (at, open) in self.tables.into_iter().enumerate() {
            let Open { id, table: Some(table), empty, scale, mut rows, mut lines, .. } = open else { continue };
            let mut notes = Notes::default();
            sort_rows(&mut rows, &mut lines, &mut |line, row, remark| {
                notes.add(at, line, Finding::refusing(Place::row(&id, line, row), remark));
            });
            if empty && !lines.is_empty() {
                let remark = Remark::new(Reason::EmptyTableHasRows).with("rows", lines.len());
                notes.add(at, 0, Finding::refusing(Place::table(&id), remark));
                // They go no further than here.
                check_keys(self.form, table, &rows, &lines, &mut |line, finding| notes.add(at, line, finding));
                lines.clear();
            }
            let StatedScale { denomination, decimals, .. } = scale;
            let content = if empty { Content::Empty } else { Content::Rows(rows) };
            tables.push(FiledTable { table, denomination, decimals, content });
            stated.push(PlacedTable { at, table, lines, notes });
        }
        tables.sort_by_key(|filed| filed.table);
        let form_set = FormSetVersion { id: self.form.id.clone(), digest: self.form.digest };
        let submission = Arc::new(Submission { header: self.header, form_set, tables });
        Placed { submission, tables: stated, notes: self.notes, row_count: self.row_count }
    }
}

/// Sorts rows by key, and their lines with them. Of rows with one key the first stays; `twice` is told line and key of the
/// others.
fn sort_rows(rows: &mut FiledRows, lines: &mut Vec<u32>, twice: &mut dyn FnMut(u32, &str, Remark)) {
    // As programs write them they mostly stand in order.
    if rows.is_sorted() {
        return;
    }
    let key = |place: usize| rows.at(place).map_or("", |row| row.key.as_str());
    let mut places: Vec<(u128, usize)> = (0..lines.len()).map(|place| (front(key(place)), place)).collect();
    places.sort_by(|(a, left), (b, right)| a.cmp(b).then_with(|| key(*left).cmp(key(*right))));
    let mut left_out = Vec::new();
    places.dedup_by(|(_, place), (_, first)| {
        let again = key(*place) == key(*first);
        if again {
            left_out.push(*place);
            let (row, line) = (key(*place), lines[*place]);
            twice(line, row, Remark::new(Reason::DuplicateRow).with("row", row).with("first_line", lines[*first]));
        }
        again
    });
    *lines = places.iter().map(|(_, place)| lines[*place]).collect();
    rows.arrange(places.into_iter().map(|(_, place)| place).chain(left_out).collect());
    rows.truncate(lines.len());
}

/// Checks the keys of a table's rows, which are sorted, against its axes and catalogues; `found` is told line and finding.
fn check_keys(form: &FormSet, table: usize, rows: &FiledRows, lines: &[u32], found: &mut dyn FnMut(u32, Finding)) {
    let Some(table) = form.tables.get(table) else { return };
    let id = &table.id;
    // Those whose codes begin a code stand before it, with nothing between but what they begin, too.
    let mut above: Vec<&str> = Vec::new();
    let axis = form.code_axis(table);
    let name_column = table.columns.iter().position(|column| column.kind == ColumnKind::Name);
    for (row, line) in rows.iter().zip(lines.iter().copied()) {
        if let Some(remark) = wrong_key(form, table, row.key) {
            found(line, Finding::refusing(Place::row(id, line, row.key), remark));
        } else if let Some(axis) = axis.filter(|_| table.total_row() != Some(row.key)) {
            while above.pop_if(|up| !row.key.starts_with(*up)).is_some() {}
            if let Some(parent) = form.parent_code(table, row.key).filter(|parent| !above.contains(parent)) {
                let remark = Remark::new(Reason::ParentRowAbsent).with("row", row.key).with("parent", parent);
                found(line, Finding::refusing(Place::row(id, line, row.key), remark));
            }
            above.push(row.key);
            if let Some(catalogue) = &form.axes[axis].catalogue {
                let name = name_column.map(|column| (&table.columns[column].id, &row.cells[column]));
                if let Some(finding) = check_code(catalogue, id, line, row.key, name) {
                    found(line, finding);
                }
            }
        }
    }
}

/// The first bytes of a key as a number that sorts as they do: two keys are mostly told apart by it.
fn front(key: &str) -> u128 {
    let mut front = [0; 16];
    front.iter_mut().zip(key.bytes()).for_each(|(place, byte)| *place = byte);
    u128::from_be_bytes(front)
}

fn wrong_key(form: &FormSet, table: &Table, key: &str) -> Option<Remark> {
    match &table.rows {
        Rows::Record if key == RECORD_ROW => None,
        Rows::Record => Some(Remark::new(Reason::UnknownRow).with("found", key).with("expected", RECORD_ROW)),
        Rows::Fixed { rows, .. } if rows.place(key).is_some() => None,
        Rows::Fixed { rows, .. } => {
            let known: Vec<&str> = rows.iter().map(|row| row.key.as_str()).collect();
            Some(Remark::new(Reason::UnknownRow).with("found", key).with("expected", known.join(", ")))
        }
        Rows::Keyed { total, .. } if total.as_ref().is_some_and(|total| total == key) => None,
        Rows::Keyed { .. } => {
            let expected = form.key_fault(table, key)?;
            Some(Remark::new(Reason::BadRowKey).with("found", key).with("expected", expected))
        }
    }
}

/// Code and name must both agree with the catalogue; an incomplete one can only ask about a code it hasn't.
fn check_code(
    catalogue: &Catalogue,
    table: &str,
    line: u32,
    code: &str,
    name: Option<(&CompactString, &Cell)>,
) -> Option<Finding> {
    let Some(official) = catalogue.name(code) else {
        let place = Place::row(table, line, code);
        let remark = |reason| Remark::new(reason).with("code", code).with("catalogue", &catalogue.file);
        return Some(if catalogue.complete {
            Finding::refusing(place, remark(Reason::UnknownCode))
        } else {
            Finding::verify(place, remark(Reason::CodeToVerify))
        });
    };
    let (column, Cell::Text(filed)) = name? else { return None };
    if same_name(filed, official) {
        return None;
    }
    let remark = Remark::new(Reason::NameDiffers).with("code", code).with("found", start_of(filed));
    let remark = remark.with("expected", official);
    Some(Finding::refusing(Place::cell(table, line, code, column), remark))
}

fn same_name(filed: &str, official: &str) -> bool {
    use super::form_set::folds_alike;
    folds_alike(filed, official)
}

fn read_cell(
    column: &Column,
    value: &str,
    (table, kind): (StatedScale, Kind),
    texts: &mut CellTexts,
) -> Result<Cell, Remark> {
    // Deltas may be negative in every column: that is what a difference form is for.
    let signed = column.signed || kind == Kind::Difference;
    match column.kind {
        ColumnKind::Amount { denomination: default, decimals: default_decimals } => {
            let denomination = table.denomination.unwrap_or(default);
            let decimals = match (table.decimals, default_decimals) {
                _ if table.unknown => Decimals::AsWritten,
                (Some(stated), _) => Decimals::Fixed(stated.min(denomination.decimals_max())),
                (None, Decimals::Fixed(fixed)) => Decimals::Fixed(fixed.min(denomination.decimals_max())),
                (None, Decimals::AsWritten) => Decimals::AsWritten,
            };
            let amount =
                Amount::parse(value, denomination, decimals).map_err(|error| unreadable(error, column, value))?;
            not_below_zero(amount.value.is_negative() && !signed, column, value)?;
            Ok(Cell::Amount(amount))
        }
        ColumnKind::Percent { decimals } => {
            let number = Number::parse(value, decimals).map_err(|error| unreadable(error, column, value))?;
            not_below_zero(number.mantissa < 0 && !signed, column, value)?;
            Ok(Cell::Number(number))
        }
        ColumnKind::Count => {
            let number = Number::parse(value, Decimals::Fixed(0)).map_err(|error| unreadable(error, column, value))?;
            not_below_zero(number.mantissa < 0 && !signed, column, value)?;
            // Counts add up beside money, so they share its cap.
            if number.mantissa.abs() > super::money::CELL_FEN_MAX / 100 {
                return Err(unreadable(AmountError::TooLarge, column, value));
            }
            Ok(Cell::Number(number))
        }
        ColumnKind::Year => match Number::parse(value, Decimals::Fixed(0)) {
            Ok(number) if (1_000..=9_999).contains(&number.mantissa) => Ok(Cell::Number(number)),
            Ok(_) => Err(unreadable(AmountError::Malformed, column, value)),
            Err(error) => Err(unreadable(error, column, value)),
        },
        // Whether a time is one is for a rule to ask.
        ColumnKind::Text | ColumnKind::Calculation | ColumnKind::Name | ColumnKind::Time => {
            if value.len() > TEXT_BYTES_MAX {
                let remark = Remark::new(Reason::TextTooLong).with("column", &column.label);
                return Err(remark.with("bytes", value.len()).with("allowed", TEXT_BYTES_MAX));
            }
            if !has_control(value) {
                return Ok(Cell::Text(texts.keep(value)));
            }
            // Two ways to end a line are one: text pasted from another system is the same text.
            let one_end = value.replace("\r\n", "\n");
            if one_end.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
                return Err(Remark::new(Reason::BadText).with("column", &column.label));
            }
            Ok(Cell::Text(texts.keep(&one_end)))
        }
    }
}

fn required_blank(column: &Column) -> Remark {
    Remark::new(Reason::RequiredBlank).with("column", &column.label)
}

fn not_below_zero(below: bool, column: &Column, value: &str) -> Result<(), Remark> {
    if below {
        return Err(Remark::new(Reason::AmountNegative).with("column", &column.label).with("found", value));
    }
    Ok(())
}

fn unreadable(error: AmountError, column: &Column, value: &str) -> Remark {
    let reason = match error {
        AmountError::Separator => Reason::AmountSeparator,
        AmountError::Exponent => Reason::AmountExponent,
        AmountError::TooManyDecimals { .. } => Reason::AmountTooPrecise,
        AmountError::TooLarge => Reason::AmountTooLarge,
        AmountError::PlusSign
        | AmountError::LeadingZero
        | AmountError::NegativeZero
        | AmountError::NotADigit(_)
        | AmountError::Malformed => Reason::AmountMalformed,
    };
    let remark = Remark::new(reason).with("column", &column.label).with("found", start_of(value));
    match error {
        AmountError::TooManyDecimals { allowed, .. } => remark.with("decimals", allowed),
        AmountError::Separator
        | AmountError::Exponent
        | AmountError::PlusSign
        | AmountError::LeadingZero
        | AmountError::NegativeZero
        | AmountError::NotADigit(_)
        | AmountError::Malformed
        | AmountError::TooLarge => remark,
    }
}

/// Whether a text may have control characters: it has a byte below 0x20, 0x7f, or 0xc2, which begins the others. Looks at
/// eight bytes at once, as one number; hardly any text has one.
fn has_control(text: &str) -> bool {
    const fn eight(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }
    let below = |bytes: u64, bound: u8| bytes.wrapping_sub(eight(bound)) & !bytes & eight(0x80);
    let look = |bytes: &[u8; 8]| {
        let bytes = u64::from_ne_bytes(*bytes);
        below(bytes, 0x20) | below(bytes ^ eight(0x7f), 1) | below(bytes ^ eight(0xc2), 1)
    };
    let (blocks, rest) = text.as_bytes().as_chunks::<8>();
    let mut last = [b' '; 8];
    last[..rest.len()].copy_from_slice(rest);
    blocks.iter().fold(look(&last), |found, block| found | look(block)) != 0
}

/// As much of a value as a finding quotes: findings are kept, and a cell may hold thousands of characters.
fn start_of(value: &str) -> String {
    value.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_found_no_place_is_known_by_what_was_found_about_it() {
        let files = crate::consolidator::embedded_form_sets();
        let form = files.into_iter().map(|files| FormSet::load(files).unwrap()).find(|form| form.id == "shanxi-2024");
        let form = form.unwrap();
        let at = |table, row, column, reason| {
            let remark = Remark::new(reason).with("rows", 7);
            Finding::refusing(Place::cell(table, 1, row, column), remark)
        };
        let found = [
            at("T12", "1", "", Reason::DuplicateRow),
            at("T03", "", "", Reason::BadAmountUnit),
            at("T07", "", "", Reason::EmptyTableHasRows),
            at("PF", "1", "filed_at", Reason::BadTime),
            at("PF", "2", "name", Reason::BadTime),
        ];
        let unkept = Unkept::of(&found, &form);
        let has = |table, row, column, reason| unkept.has(&at(table, row, column, reason));
        assert!(has("T12", "1", "total", Reason::AmountMalformed) && has("T03", "9", "total", Reason::AmountMalformed));
        assert!(!has("T12", "2", "total", Reason::AmountMalformed) && !has("T05", "1", "", Reason::RequiredBlank));
        assert!(has("T05", "", "x", Reason::UnknownColumn) && !has("", "", "", Reason::NothingFiled));
        // No filing is refused for that any more, and only a time was.
        assert!(has("PF", "1", "filed_at", Reason::BadTime) && has("PF", "1", "filed_at", Reason::BadText));
        assert!(!has("PF", "2", "name", Reason::BadTime));
        assert_eq!(unkept.rows(), Some(8));
        let lost = [at("X", "", "", Reason::UnknownTable)];
        let unkept = Unkept::of(&lost, &form);
        assert!(unkept.has(&at("", "", "", Reason::NothingFiled)) && unkept.rows().is_none());
        // Beyond so many none is listed, whatever it is about.
        let many: Vec<Finding> = (0..FINDINGS_MAX).map(|_| at("T05", "1", "total", Reason::AmountMalformed)).collect();
        let is_lost = |listed: &[Finding]| Unkept::of(listed, &form).has(&many[0]);
        assert!(is_lost(&many) && !is_lost(&many[1..]));
        assert!(Unkept::of(&many, &form).rows().is_none());
        let said = Remark::new(Reason::EmptyTableHasRows).with("rows", u64::MAX);
        let most = vec![Finding::refusing(Place::table("T07"), said); 2];
        assert_eq!(Unkept::of(&most, &form).rows(), Some(u64::MAX));
    }

    #[test]
    fn control_characters_are_seen_wherever_they_stand() {
        let plain = "社会保障 100%~";
        for length in 0..=plain.chars().count() {
            let text: String = plain.chars().take(length).collect();
            assert!(!has_control(&text), "{text}");
            for (control, at) in
                ['\0', '\t', '\u{1f}', '\u{7f}', '\u{80}', '\u{9f}'].into_iter().zip((0..=length).cycle())
            {
                let at = text.char_indices().nth(at).map_or(text.len(), |(at, _)| at);
                let text = [&text[..at], &control.to_string(), &text[at..]].concat();
                assert!(has_control(&text), "{text:?}");
            }
        }
    }
}
