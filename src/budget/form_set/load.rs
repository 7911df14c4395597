//! From files to a [`FormSet`]: everything is resolved and checked here, with file, line and column of each fault.
//!
//! The format is described in `forms/README.md`. All faults are returned, not only the first.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use compact_str::CompactString;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::layout::layout as layout_of;
use super::rows::{RowFault, parse_rows};
use super::{
    Axis, Catalogue, Column, ColumnKind, Control, FORMS_FILE, FormFiles, FormSet, Level, Office, Relation, RollUp,
    Rows, Table,
};
use crate::budget::cell::{CellAddress, RECORD_ROW};
use crate::budget::digest::Digest;
use crate::budget::money::{Decimals, Denomination};
use crate::budget::reason::{Reason, Remark};
use crate::budget::rule::{self, RuleSet};
use crate::budget::submission::Kind;
use crate::budget::transfer::{EliminatedCell, EliminatedRows, TransferKind, TransferRules};

/// The most tables of a form set, columns of a table, or fixed rows of a table.
pub const PARTS_MAX: usize = 2_000;

/// One fault of a form set, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormFault {
    /// File name.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong, what was found and what expected.
    pub remark: Remark,
}

impl FormSet {
    /// Loads a form set from its files.
    ///
    /// # Errors
    /// All faults found, each with file, line and column.
    pub fn load(files: FormFiles) -> Result<FormSet, Vec<FormFault>> {
        let mut loader = Loader { files: &files, file: FORMS_FILE, text: "", faults: Vec::new() };
        let parts = loader.form_set();
        let faults = loader.faults;
        match parts {
            Some(parts) if faults.is_empty() => {
                let digest = FormSet::digest_of(&files);
                let Parts { id, title, year, kinds, axes, tables, relations, transfers, offices, adjust_totals } =
                    parts;
                let (files, layout) = (Arc::new(files), Digest::default());
                let rules = RuleSet::default();
                let form = FormSet {
                    id,
                    title,
                    year,
                    kinds,
                    digest,
                    layout,
                    axes,
                    tables,
                    relations,
                    transfers,
                    offices,
                    adjust_totals,
                    rules,
                    files,
                };
                // Rules speak of everything else, so they come last.
                adjust_totals_are_there(&form)?;
                let rules = rule::load(&form)?;
                Ok(FormSet { layout: layout_of(&form), rules, ..form })
            }
            _ => Err(faults),
        }
    }
}

/// The totals that a reallocation keeps must be cells of money.
fn adjust_totals_are_there(form: &FormSet) -> Result<(), Vec<FormFault>> {
    let text = form.files.get(FORMS_FILE).map(|bytes| String::from_utf8_lossy(bytes)).unwrap_or_default();
    let is_money = |cell: &CellAddress| {
        let column = form.cell(cell).and_then(|(table, at)| table.columns.get(at));
        column.is_some_and(|column| matches!(column.kind, ColumnKind::Amount { .. }))
    };
    let fault = |cell: &CellAddress| {
        let before = text.find(&format!("\"{cell}\"")).map_or("", |at| &text[..at]);
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        let remark = wrong(Reason::FormUnknownName, &cell.to_string(), "TABLE/ROW/COLUMN");
        FormFault { file: FORMS_FILE.to_owned(), line: before.matches('\n').count() + 1, column, remark }
    };
    let faults: Vec<FormFault> = form.adjust_totals.iter().filter(|cell| !is_money(cell)).map(fault).collect();
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

struct Parts {
    id: CompactString,
    title: String,
    year: u16,
    kinds: Vec<Kind>,
    axes: Vec<Axis>,
    tables: Vec<Table>,
    relations: Vec<Relation>,
    transfers: Option<TransferRules>,
    offices: Vec<Office>,
    adjust_totals: Vec<CellAddress>,
}

/// Reads one file after the other; `file` and `text` are the one being read.
struct Loader<'f> {
    files: &'f FormFiles,
    file: &'f str,
    text: &'f str,
    faults: Vec<FormFault>,
}

type Entry<'t, 's> = (&'t Spanned<std::borrow::Cow<'s, str>>, &'t Spanned<DeValue<'s>>);

impl<'f> Loader<'f> {
    fn form_set(&mut self) -> Option<Parts> {
        self.text = self.utf8(FORMS_FILE)?;
        let document = match DeTable::parse(self.text) {
            Ok(document) => document,
            Err(error) => {
                let remark = Remark::new(Reason::FormSyntax).with("found", error.message().trim());
                self.fault_at(error.span().unwrap_or(0..0), remark);
                return None;
            }
        };
        let whole = document.span();
        let document = document.get_ref();
        let id = self.required(document, "id", &whole).and_then(|value| self.text_of(value)).unwrap_or_default();
        let title = self.optional(document, "title").and_then(|value| self.text_of(value)).unwrap_or_default();
        let year = self.required(document, "year", &whole).and_then(|value| self.year_of(value)).unwrap_or_default();
        let amount = match self.optional(document, "amount") {
            Some(value) => self.column_kind(value),
            None => Some(ColumnKind::Amount { denomination: Denomination::Yuan, decimals: Decimals::Fixed(2) }),
        }?;
        let kinds = match self.optional(document, "kinds") {
            Some(value) => self.kinds(value),
            None => vec![Kind::Unit],
        };
        let axes = self.axes(document);
        let mut tables: Vec<Table> = Vec::new();
        let mut relations: Vec<Relation> = Vec::new();
        for (key, value) in document {
            let name = key.get_ref().as_ref();
            match value.get_ref() {
                DeValue::Table(_) if matches!(name, "axis" | "catalogue" | "office" | "adjust") => {}
                DeValue::Table(entries) => {
                    if !is_id(name) {
                        self.fault(key, Reason::FormWrongValue, name, "A–Z, a–z, 0–9, _");
                    } else if entries.contains_key("data") {
                        relations.extend(self.relation(name, entries));
                    } else {
                        let known = (axes.as_slice(), amount, kinds.as_slice());
                        tables.extend(self.table(key, name, entries, known));
                    }
                }
                _ if matches!(name, "id" | "title" | "year" | "amount" | "kinds") => {}
                _ => self.fault(key, Reason::FormUnknownKey, name, "id, title, year, amount, kinds"),
            }
        }
        if !is_file_id(&id) && !id.is_empty() {
            self.fault_at(whole.clone(), wrong(Reason::FormWrongValue, &id, "a–z, 0–9, -"));
        }
        if tables.is_empty() && self.faults.is_empty() {
            self.fault_at(whole.clone(), wrong(Reason::FormMissingKey, "", "[T01] …"));
        }
        self.unique_names(&tables, &relations, &whole);
        let transfers = self.transfers(document, &tables);
        let (offices, adjust_totals) = (self.offices(document), self.adjust_totals(document));
        Some(Parts { id: id.into(), title, year, kinds, axes, tables, relations, transfers, offices, adjust_totals })
    }

    fn unique_names(&mut self, tables: &[Table], relations: &[Relation], whole: &Range<usize>) {
        let mut seen = BTreeSet::new();
        let names = tables.iter().map(|t| &t.name).chain(relations.iter().map(|r| &r.name));
        for name in names {
            if !seen.insert(name) {
                let place = self.text.find(&format!("\"{name}\"")).map_or(whole.clone(), |at| at..at);
                self.fault_at(place, wrong(Reason::FormDuplicate, name, "name"));
            }
        }
    }

    // ── review ───────────────────────────────────────────────────────────────────────────

    /// `[office]`: id = "name: role", in the order in which their opinions are read.
    fn offices(&mut self, document: &DeTable<'_>) -> Vec<Office> {
        let mut offices = Vec::new();
        for (key, value) in self.sub_table(document, "office") {
            let (id, expected) = (key.get_ref().as_ref(), "业务科室: bureau, 主管部门: department");
            let Some(text) = self.text_of(value) else { continue };
            let parts = text.rsplit_once(':').map(|(title, role)| (title.trim(), role.trim()));
            match parts.filter(|(title, role)| !title.is_empty() && matches!(*role, "bureau" | "department")) {
                Some((title, role)) if is_id(id) => {
                    offices.push(Office { id: id.into(), title: title.to_owned(), role: role.into() });
                }
                Some(_) => self.fault(key, Reason::FormWrongValue, id, "A–Z, a–z, 0–9, _"),
                None => self.fault(value, Reason::FormWrongValue, &text, expected),
            }
        }
        offices
    }

    /// `[adjust]`: total = ["T01/total/amount"].
    fn adjust_totals(&mut self, document: &DeTable<'_>) -> Vec<CellAddress> {
        let mut cells = Vec::new();
        for (key, value) in self.sub_table(document, "adjust") {
            if key.get_ref() != "total" {
                self.fault(key, Reason::FormUnknownKey, key.get_ref(), "total");
                continue;
            }
            let DeValue::Array(listed) = value.get_ref() else {
                self.fault(value, Reason::FormWrongValue, "", "[\"T01/total/amount\"]");
                continue;
            };
            for item in listed.iter() {
                let Some(text) = self.text_of(item) else { continue };
                match CellAddress::parse(&text) {
                    Some(cell) => cells.push(cell),
                    None => self.fault(item, Reason::FormWrongValue, &text, "TABLE/ROW/COLUMN"),
                }
            }
        }
        cells
    }

    // ── axes and catalogues ──────────────────────────────────────────────────────────────

    fn axes(&mut self, document: &DeTable<'_>) -> Vec<Axis> {
        let mut axes = Vec::new();
        for (key, value) in self.sub_table(document, "axis") {
            let Some(levels) = self.text_of(value) else { continue };
            let levels = self.levels(key.get_ref(), &levels, value.span());
            axes.push(Axis { name: key.get_ref().to_string(), levels, catalogue: None });
        }
        for (key, value) in self.sub_table(document, "catalogue") {
            let name = key.get_ref().as_ref();
            let (file, complete) = match value.get_ref() {
                DeValue::String(file) => (Some(file.to_string()), true),
                DeValue::Table(entries) => {
                    self.only_keys(entries, &["file", "complete"]);
                    let file = self.required(entries, "file", &value.span()).and_then(|v| self.text_of(v));
                    let complete = match entries.get("complete").map(|value| (value, value.get_ref())) {
                        Some((_, DeValue::Boolean(complete))) => *complete,
                        Some((value, _)) => {
                            self.fault(value, Reason::FormWrongValue, "complete", "true, false");
                            continue;
                        }
                        None => true,
                    };
                    (file, complete)
                }
                _ => {
                    self.fault(value, Reason::FormWrongValue, "", "{ file = \"….csv\", complete = false }");
                    continue;
                }
            };
            let Some(file) = file else { continue };
            let catalogue = self.catalogue(&file, complete, value.span());
            match axes.iter_mut().find(|axis| axis.name == name) {
                Some(axis) => axis.catalogue = catalogue,
                None => self.fault(key, Reason::FormUnknownName, name, "[axis]"),
            }
        }
        axes
    }

    fn levels(&mut self, axis: &str, text: &str, span: Range<usize>) -> Vec<Level> {
        let mut levels: Vec<Level> = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            // A bare level names codes of any form, which is a flat list.
            let Some((name, digits)) = part.split_once(' ') else { continue };
            match digits.trim().parse() {
                Ok(digits) if (1..=32).contains(&digits) && levels.last().is_none_or(|above| above.digits < digits) => {
                    levels.push(Level { name: name.to_owned(), digits });
                }
                _ => self
                    .fault_at(span.clone(), wrong(Reason::FormWrongValue, part, &format!("{axis} = \"类 3, 款 5\""))),
            }
        }
        levels
    }

    fn catalogue(&mut self, file: &str, complete: bool, span: Range<usize>) -> Option<Catalogue> {
        let (header, lines) = self.csv(file, &span)?;
        let column = |name: &str| header.iter().position(|h| h == name);
        let (Some(code), Some(name)) = (column("code"), column("name")) else {
            self.fault_in(file, 1, wrong(Reason::FormMissingKey, &header.join(","), "code,name"));
            return None;
        };
        let mut names = BTreeMap::new();
        for (line, fields) in lines {
            let (Some(code), Some(name)) = (fields.get(code), fields.get(name)) else { continue };
            if names.insert(code.clone(), name.clone()).is_some() {
                self.fault_in(file, line, wrong(Reason::FormDuplicate, code, "code"));
            }
        }
        Some(Catalogue { file: file.to_owned(), complete, names })
    }

    fn relation(&mut self, id: &str, entries: &DeTable<'_>) -> Option<Relation> {
        self.only_keys(entries, &["name", "title", "data"]);
        let name = self.optional(entries, "name").and_then(|v| self.text_of(v)).unwrap_or_else(|| id.to_owned());
        let data = self.optional(entries, "data")?;
        let file = self.text_of(data)?;
        let (mut axes, lines) = self.csv(&file, &data.span())?;
        // A last column `basis` says where a tuple comes from, for people.
        let width = axes.iter().position(|axis| axis == "basis").unwrap_or(axes.len());
        axes.truncate(width);
        let tuples = lines.into_iter().map(|(_, fields)| fields.into_iter().take(width).collect()).collect();
        Some(Relation { id: id.into(), name, axes, tuples })
    }

    fn csv(&mut self, file: &str, span: &Range<usize>) -> Option<CsvFile> {
        let Some(bytes) = self.files.get(file) else {
            self.fault_at(span.clone(), wrong(Reason::FormFileAbsent, file, "*.csv"));
            return None;
        };
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
        let header = match reader.headers() {
            Ok(header) => header.iter().map(str::to_owned).collect(),
            Err(error) => {
                self.fault_in(file, 1, wrong(Reason::FormSyntax, &error.to_string(), "CSV, UTF-8"));
                return None;
            }
        };
        let mut lines = Vec::new();
        for record in reader.records() {
            match record {
                Ok(record) => {
                    let line = record.position().map_or(0, |p| usize::try_from(p.line()).unwrap_or(0));
                    lines.push((line, record.iter().map(CompactString::from).collect()));
                }
                Err(error) => {
                    let line = error.position().map_or(1, |p| usize::try_from(p.line()).unwrap_or(1));
                    self.fault_in(file, line, wrong(Reason::FormSyntax, &error.to_string(), "CSV, UTF-8"));
                    return None;
                }
            }
        }
        Some((header, lines))
    }

    // ── tables ───────────────────────────────────────────────────────────────────────────

    fn table(
        &mut self,
        at: &Spanned<std::borrow::Cow<'_, str>>,
        id: &str,
        entries: &DeTable<'_>,
        (axes, amount, all_kinds): (&[Axis], ColumnKind, &[Kind]),
    ) -> Option<Table> {
        let known =
            ["name", "title", "rows", "axis", "rollup", "control", "advisory", "filed_by", "transfer", "columns"];
        self.only_keys(entries, &known);
        let name = self.required(entries, "name", &at.span()).and_then(|v| self.text_of(v));
        let title = self.optional(entries, "title").and_then(|v| self.text_of(v)).unwrap_or_default();
        let rows = self.rows(entries, axes);
        let mut columns = self.columns(at, entries, amount);
        let roll_up = self.roll_up(entries);
        let filed_by = self.optional(entries, "filed_by").map_or_else(|| all_kinds.to_vec(), |v| self.kinds(v));
        if let Some(columns) = &mut columns {
            self.control(entries, "control", Control::Hard, columns);
            self.control(entries, "advisory", Control::Advisory, columns);
        }
        // Only here may it end early: by now every part has told its faults.
        let (name, rows, columns) = (name?, rows?, columns?);
        let mut columns_by_id: Vec<usize> = (0..columns.len()).collect();
        columns_by_id.sort_by(|a, b| columns[*a].id.cmp(&columns[*b].id));
        let required_columns = (0..columns.len()).filter(|at| columns[*at].required).collect();
        let adding_columns = (0..columns.len()).filter(|at| columns[*at].kind.adds_up()).collect();
        let id = id.into();
        Some(Table {
            id,
            name,
            title,
            rows,
            roll_up,
            filed_by,
            columns_by_id,
            adding_columns,
            required_columns,
            columns,
        })
    }

    fn rows(&mut self, entries: &DeTable<'_>, axes: &[Axis]) -> Option<Rows> {
        let Some(value) = self.optional(entries, "rows") else { return Some(Rows::Record) };
        match value.get_ref() {
            DeValue::Array(lines) => {
                let axis = match self.optional(entries, "axis") {
                    Some(value) => {
                        let name = self.text_of(value)?;
                        Some(self.axis(axes, &name, value.span())?)
                    }
                    None => None,
                };
                let rows = self.fixed_rows(lines)?;
                Some(Rows::Fixed { rows: rows.into(), axis })
            }
            DeValue::String(text) => {
                let (total, keys) = match text.split_once('>') {
                    Some((total, keys)) => (Some(total.trim()), keys),
                    None => (None, text.as_ref()),
                };
                if total.is_some_and(|total| total.is_empty() || total.contains(['/', ' '])) {
                    self.fault(value, Reason::FormWrongValue, text, "合计 > 功能");
                    return None;
                }
                let names = keys.split('×').map(str::trim);
                let axes = names.map(|name| self.axis(axes, name, value.span())).collect::<Option<Vec<_>>>()?;
                Some(Rows::Keyed { total: total.map(CompactString::from), axes })
            }
            _ => {
                self.fault(value, Reason::FormWrongValue, "rows", "[\"key label\", …] / \"合计 > 功能\"");
                None
            }
        }
    }

    fn fixed_rows(&mut self, lines: &DeArray<'_>) -> Option<Vec<super::FixedRow>> {
        let texts: Option<Vec<String>> = lines.iter().map(|line| self.text_of(line)).collect();
        let texts = texts?;
        let borrowed: Vec<&str> = texts.iter().map(String::as_str).collect();
        let (at, remark) = match parse_rows(&borrowed) {
            Ok(rows) if rows.len() <= PARTS_MAX => return Some(rows),
            Ok(rows) => (0, wrong(Reason::FormWrongValue, &rows.len().to_string(), &format!("≤ {PARTS_MAX}"))),
            Err(RowFault::Malformed(at)) => (at, wrong(Reason::FormWrongValue, borrowed[at], "key label = a + b")),
            Err(RowFault::Duplicate(at, key)) => (at, wrong(Reason::FormDuplicate, &key, "row")),
            Err(RowFault::UnknownPart(at, part)) => (at, wrong(Reason::FormUnknownName, &part, "row")),
            Err(RowFault::Cycle(at, key)) => (at, wrong(Reason::FormCycle, &key, "")),
        };
        let span = lines.get(at).map_or(0..0, Spanned::span);
        self.fault_at(span, remark);
        None
    }

    fn axis(&mut self, axes: &[Axis], name: &str, span: Range<usize>) -> Option<usize> {
        let found = axes.iter().position(|axis| axis.name == name);
        if found.is_none() {
            let known: Vec<&str> = axes.iter().map(|axis| axis.name.as_str()).collect();
            self.fault_at(span, wrong(Reason::FormUnknownName, name, &known.join(", ")));
        }
        found
    }

    fn columns(
        &mut self,
        at: &Spanned<std::borrow::Cow<'_, str>>,
        entries: &DeTable<'_>,
        amount: ColumnKind,
    ) -> Option<Vec<Column>> {
        let value = self.required(entries, "columns", &at.span())?;
        let DeValue::Table(specs) = value.get_ref() else {
            self.fault(value, Reason::FormWrongValue, "columns", "{ total = \"合计\", … }");
            return None;
        };
        let mut columns = Vec::new();
        for (key, spec) in specs {
            let id = key.get_ref().as_ref();
            let Some(text) = self.text_of(spec) else { continue };
            if !is_id(id) || id == "row" {
                self.fault(key, Reason::FormWrongValue, id, "A–Z, a–z, 0–9, _");
                continue;
            }
            columns.extend(self.column(id, &text, spec.span(), amount));
        }
        if specs.is_empty() || specs.len() > PARTS_MAX {
            self.fault(value, Reason::FormWrongValue, &specs.len().to_string(), &format!("1–{PARTS_MAX}"));
        }
        // A column that could not be read has said so already; the table is of no use without it.
        (columns.len() == specs.len()).then_some(columns)
    }

    fn column(&mut self, id: &str, text: &str, span: Range<usize>, amount: ColumnKind) -> Option<Column> {
        let (label, spec) = match text.rsplit_once(": ") {
            Some((label, spec)) => (label, spec),
            None => (text, ""),
        };
        let mut column = Column {
            id: id.into(),
            label: label.trim().to_owned(),
            kind: amount,
            assigned: false,
            grouped: false,
            signed: false,
            required: false,
            control: Control::None,
        };
        for word in spec.split_whitespace() {
            match word {
                "assigned" => column.assigned = true,
                "grouped" => column.grouped = true,
                "signed" => column.signed = true,
                "required" => column.required = true,
                kind => column.kind = self.kind_word(kind, &span)?,
            }
        }
        Some(column)
    }

    fn column_kind(&mut self, value: &Spanned<DeValue<'_>>) -> Option<ColumnKind> {
        let text = self.text_of(value)?;
        self.kind_word(&text, &value.span())
    }

    fn kind_word(&mut self, word: &str, span: &Range<usize>) -> Option<ColumnKind> {
        let plain = match word {
            "count" => Some(ColumnKind::Count),
            "year" => Some(ColumnKind::Year),
            "time" => Some(ColumnKind::Time),
            "text" => Some(ColumnKind::Text),
            "calculation" => Some(ColumnKind::Calculation),
            "name" => Some(ColumnKind::Name),
            _ => None,
        };
        let kind = plain.or_else(|| {
            let (head, tail) = word.split_once('.').unwrap_or((word, "2"));
            if head == "%" {
                return Some(ColumnKind::Percent { decimals: decimals(tail, 6)? });
            }
            let denomination = Denomination::parse(head)?;
            let decimals = decimals(tail, denomination.decimals_max())?;
            Some(ColumnKind::Amount { denomination, decimals })
        });
        if kind.is_none() {
            let expected = "万元.2, 元, 元.~, %.2, %.~, count, year, time, text, calculation, name, assigned, grouped, signed, required";
            self.fault_at(span.clone(), wrong(Reason::FormWrongValue, word, expected));
        }
        kind
    }

    fn roll_up(&mut self, entries: &DeTable<'_>) -> RollUp {
        let Some(value) = self.optional(entries, "rollup") else { return RollUp::Sum };
        match self.text_of(value).as_deref() {
            Some("sum") | None => RollUp::Sum,
            Some("list") => RollUp::List,
            Some("none") => RollUp::None,
            Some(other) => {
                self.fault(value, Reason::FormWrongValue, other, "sum, list, none");
                RollUp::None
            }
        }
    }

    fn control(&mut self, entries: &DeTable<'_>, key: &str, control: Control, columns: &mut [Column]) {
        let Some(value) = self.optional(entries, key) else { return };
        for (span, id) in self.texts_of(value) {
            match columns.iter_mut().find(|column| column.id == id) {
                Some(column) if matches!(column.kind, ColumnKind::Amount { .. }) => column.control = control,
                _ => self.fault_at(span, wrong(Reason::FormUnknownName, &id, "amount column")),
            }
        }
    }

    fn kinds(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<Kind> {
        let mut kinds = Vec::new();
        for (span, name) in self.texts_of(value) {
            match Kind::parse(&name) {
                Some(kind) => kinds.push(kind),
                None => self.fault_at(span, wrong(Reason::FormWrongValue, &name, "unit, department, difference")),
            }
        }
        kinds
    }

    // ── internal transfers ───────────────────────────────────────────────────────────────

    /// `transfer = { kinds = "….csv", cells = "….csv", amount = "column", code = "column" }` of the one table that has it.
    fn transfers(&mut self, document: &DeTable<'_>, tables: &[Table]) -> Option<TransferRules> {
        let (at, value) =
            tables.iter().enumerate().find_map(|(at, table)| match document.get(table.id.as_str())?.get_ref() {
                DeValue::Table(entries) => entries.get("transfer").map(|value| (at, value)),
                _ => None,
            })?;
        let DeValue::Table(entries) = value.get_ref() else {
            self.fault(value, Reason::FormWrongValue, "transfer", "{ kinds, cells, amount, code }");
            return None;
        };
        self.only_keys(entries, &["kinds", "cells", "amount", "code"]);
        let span = value.span();
        let mut text = |key: &str| self.required(entries, key, &span).and_then(|value| self.text_of(value));
        let (kinds, cells, amount) = (text("kinds")?, text("cells")?, text("amount")?);
        let code = entries.contains_key("code").then(|| text("code")).flatten();
        let table = &tables[at];
        let is_amount = |column: &usize| table.columns[*column].kind.denomination().is_some();
        let Some(amount) = table.column(&amount).filter(is_amount) else {
            self.fault(value, Reason::FormUnknownName, &amount, "amount column");
            return None;
        };
        let code = match code.map(|code| table.column(&code).ok_or(code)).transpose() {
            Ok(code) => code,
            Err(code) => {
                self.fault(value, Reason::FormUnknownName, &code, "column");
                return None;
            }
        };
        let mut rules = TransferRules { table: at, amount, code, kinds: BTreeMap::new() };
        let (_, lines) = self.csv_of(&kinds, &["kind", "opposite", "side", "title"], &span)?;
        for (_, [kind, opposite, _, title]) in &lines {
            let kind_rules = TransferKind { opposite: opposite.clone(), title: title.to_string(), cells: Vec::new() };
            rules.kinds.insert(kind.clone(), kind_rules);
        }
        for (line, [kind, ..]) in &lines {
            let opposite = rules.opposite(kind).and_then(|opposite| rules.opposite(opposite));
            if opposite != Some(kind.as_str()) {
                self.fault_in(&kinds, *line, wrong(Reason::FormUnknownName, kind, "opposite"));
            }
        }
        let (_, lines) = self.csv_of(&cells, &["kind", "table", "row", "column", "when"], &span)?;
        for (line, fields) in &lines {
            match eliminated_cell(fields, table, tables, &rules) {
                Ok((kind, cell)) => {
                    if let Some(rules) = rules.kinds.get_mut(&kind) {
                        rules.cells.push(cell);
                    }
                }
                Err(unknown) => {
                    self.fault_in(
                        &cells,
                        *line,
                        wrong(Reason::FormUnknownName, &unknown, "kind,table,row,column,when"),
                    );
                }
            }
        }
        Some(rules)
    }

    /// A CSV file with exactly these columns.
    fn csv_of<const N: usize>(
        &mut self,
        file: &str,
        columns: &[&str; N],
        span: &Range<usize>,
    ) -> Option<CsvColumns<N>> {
        let (header, lines) = self.csv(file, span)?;
        if header != columns {
            self.fault_in(file, 1, wrong(Reason::FormMissingKey, &header.join(","), &columns.join(",")));
            return None;
        }
        let fields =
            |(line, fields): (usize, Vec<CompactString>)| Some((line, <[CompactString; N]>::try_from(fields).ok()?));
        Some((header, lines.into_iter().filter_map(fields).collect()))
    }

    // ── small readers, each of which says where it failed ────────────────────────────────

    fn utf8(&mut self, file: &str) -> Option<&'f str> {
        let Some(bytes) = self.files.get(file) else {
            self.fault_in(file, 1, wrong(Reason::FormFileAbsent, file, FORMS_FILE));
            return None;
        };
        match std::str::from_utf8(bytes) {
            Ok(text) => Some(text),
            Err(error) => {
                let line = 1 + bytes[..error.valid_up_to()].iter().filter(|b| **b == b'\n').count();
                self.fault_in(file, line, wrong(Reason::FormSyntax, "", "UTF-8"));
                None
            }
        }
    }

    fn sub_table<'t, 's>(&mut self, document: &'t DeTable<'s>, key: &str) -> Vec<Entry<'t, 's>> {
        match document.get(key).map(|value| (value, value.get_ref())) {
            Some((_, DeValue::Table(entries))) => entries.iter().collect(),
            Some((value, _)) => {
                self.fault(value, Reason::FormWrongValue, key, "[…]");
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    fn optional<'t, 's>(&self, entries: &'t DeTable<'s>, key: &str) -> Option<&'t Spanned<DeValue<'s>>> {
        entries.get(key)
    }

    fn required<'t, 's>(
        &mut self,
        entries: &'t DeTable<'s>,
        key: &str,
        span: &Range<usize>,
    ) -> Option<&'t Spanned<DeValue<'s>>> {
        let found = entries.get(key);
        if found.is_none() {
            self.fault_at(span.clone(), wrong(Reason::FormMissingKey, "", key));
        }
        found
    }

    fn only_keys(&mut self, entries: &DeTable<'_>, known: &[&str]) {
        for (key, _) in entries {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) {
                self.fault(key, Reason::FormUnknownKey, name, &known.join(", "));
            }
        }
    }

    fn text_of(&mut self, value: &Spanned<DeValue<'_>>) -> Option<String> {
        match value.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            _ => {
                self.fault(value, Reason::FormWrongValue, "", "\"…\"");
                None
            }
        }
    }

    fn texts_of(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<(Range<usize>, String)> {
        match value.get_ref() {
            DeValue::Array(items) => items.iter().filter_map(|item| Some((item.span(), self.text_of(item)?))).collect(),
            _ => {
                self.fault(value, Reason::FormWrongValue, "", "[\"…\", …]");
                Vec::new()
            }
        }
    }

    fn year_of(&mut self, value: &Spanned<DeValue<'_>>) -> Option<u16> {
        let year = match value.get_ref() {
            DeValue::Integer(year) => year.as_str().parse().ok().filter(|year| (1949..=2999).contains(year)),
            _ => None,
        };
        if year.is_none() {
            self.fault(value, Reason::FormWrongValue, "", "2024");
        }
        year
    }

    fn fault<T>(&mut self, at: &Spanned<T>, reason: Reason, found: &str, expected: &str) {
        self.fault_at(at.span(), wrong(reason, found, expected));
    }

    fn fault_at(&mut self, span: Range<usize>, remark: Remark) {
        let before = self.text.get(..span.start).unwrap_or("");
        let line = 1 + before.matches('\n').count();
        let column = 1 + before.rsplit('\n').next().map_or(0, |start| start.chars().count());
        self.faults.push(FormFault { file: self.file.to_owned(), line, column, remark });
    }

    fn fault_in(&mut self, file: &str, line: usize, remark: Remark) {
        self.faults.push(FormFault { file: file.to_owned(), line, column: 1, remark });
    }
}

/// Resolves a line of the file of eliminated cells; the error is the name that is not known.
fn eliminated_cell(
    [kind, table_id, row, column, when]: &[CompactString; 5],
    transfers: &Table,
    tables: &[Table],
    rules: &TransferRules,
) -> Result<(CompactString, EliminatedCell), String> {
    let unknown = |name: &CompactString| Err(name.to_string());
    if !rules.kinds.contains_key(kind) {
        return unknown(kind);
    }
    let Some(table) = tables.iter().position(|table| table.id == *table_id) else { return unknown(table_id) };
    let is_amount = |at: &usize| tables[table].columns[*at].kind.denomination().is_some();
    let Some(column_at) = tables[table].column(column).filter(is_amount) else { return unknown(column) };
    let rows = match (row.as_str(), &tables[table].rows) {
        ("@code", Rows::Keyed { .. }) => EliminatedRows::Code,
        ("@class", Rows::Fixed { axis: Some(_), .. }) => EliminatedRows::Class,
        (RECORD_ROW, Rows::Record) => EliminatedRows::Row(RECORD_ROW.into()),
        (key, Rows::Fixed { rows, .. }) if rows.place(key).is_some() => EliminatedRows::Row(key.into()),
        (key, Rows::Keyed { total: Some(total), .. }) if total == key => EliminatedRows::Row(key.into()),
        _ => return unknown(row),
    };
    let when = match when.strip_prefix('!').map_or((when.as_str(), true), |column| (column, false)) {
        ("", _) => None,
        (column, filled) => match transfers.column(column) {
            Some(column) => Some((column, filled)),
            None => return unknown(when),
        },
    };
    Ok((kind.clone(), EliminatedCell { table, rows, column: column_at, when }))
}

/// `2` or `~`.
fn decimals(text: &str, most: u8) -> Option<Decimals> {
    if text == "~" {
        return Some(Decimals::AsWritten);
    }
    text.parse().ok().filter(|digits| *digits <= most).map(Decimals::Fixed)
}

/// Header and numbered lines of a file with `N` columns.
type CsvColumns<const N: usize> = (Vec<String>, Vec<(usize, [CompactString; N])>);

/// Header and numbered lines.
type CsvFile = (Vec<String>, Vec<(usize, Vec<CompactString>)>);

fn wrong(reason: Reason, found: &str, expected: &str) -> Remark {
    Remark::new(reason).with("found", found).with("expected", expected)
}

fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= 32 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_file_id(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(forms: &str) -> Result<FormSet, Vec<String>> {
        let files = BTreeMap::from([
            (FORMS_FILE.to_owned(), forms.as_bytes().to_vec()),
            ("codes.csv".to_owned(), "code,name,basis\n1,一,x\n12,一二,x\n".as_bytes().to_vec()),
        ]);
        FormSet::load(files).map_err(|faults| {
            faults.iter().map(|f| format!("{}:{}:{} {}", f.file, f.line, f.column, f.remark.reason)).collect()
        })
    }

    const HEAD: &str =
        "id = \"t\"\nyear = 2024\n[axis]\n\"码\" = \"类 1, 款 2\"\n[catalogue]\n\"码\" = \"codes.csv\"\n";

    #[test]
    fn a_small_form_set_loads() {
        let form = load(&format!(
            "{HEAD}[A]\nname = \"甲\"\nrows = \"合计 > 码\"\ncontrol = [\"sum\"]\ncolumns = {{ n = \"名: name\", sum = \"数: 万元.2\" }}\n"
        ))
        .unwrap();
        let (_, table) = form.table("A").unwrap();
        assert_eq!(table.columns[1].control, Control::Hard);
        assert_eq!(form.row_label(table, "12"), "一二");
        assert_eq!(form.parent_code(table, "12"), Some("1"));
        assert_eq!(form.key_fault(table, "123").as_deref(), Some("码 (类 1, 款 2)"));
    }

    #[test]
    fn faults_name_file_line_and_column() {
        for (tail, fault) in [
            ("[A]\nname = \"甲\"\ncolumns = { x = \"数: 斤\" }\n", "forms.toml:9:17 FORM_WRONG_VALUE"),
            (
                "[A]\nname = \"甲\"\nrows = \"合计 > 无\"\ncolumns = { x = \"数\" }\n",
                "forms.toml:9:8 FORM_UNKNOWN_NAME",
            ),
            (
                "[A]\nname = \"甲\"\nrows = [\"a 甲 = b\", \"b 乙 = a\"]\ncolumns = { x = \"数\" }\n",
                "forms.toml:9:9 FORM_CYCLE",
            ),
            ("[A]\nname = \"甲\"\ncontrol = [\"y\"]\ncolumns = { x = \"数\" }\n", "forms.toml:9:12 FORM_UNKNOWN_NAME"),
            ("[A]\nname = \"甲\"\ncolour = 1\ncolumns = { x = \"数\" }\n", "forms.toml:9:1 FORM_UNKNOWN_KEY"),
            ("[A]\ncolumns = { x = \"数\" }\n", "forms.toml:7:2 FORM_MISSING_KEY"),
            (
                "[A]\nname = \"甲\"\ncolumns = { x = \"数\" }\n[B]\nname = \"甲\"\ncolumns = { x = \"数\" }\n",
                "forms.toml:8:8 FORM_DUPLICATE",
            ),
            ("[A\n", "forms.toml:7:3 FORM_SYNTAX"),
        ] {
            assert_eq!(load(&format!("{HEAD}{tail}")).map(|_| ()), Err(vec![fault.to_owned()]), "{tail}");
        }
        let missing = load(
            "id = \"t\"\nyear = 2024\n[axis]\n\"码\" = \"\"\n[catalogue]\n\"码\" = \"no.csv\"\n[A]\nname=\"甲\"\ncolumns={x=\"数\"}\n",
        );
        assert_eq!(missing.map(|_| ()), Err(vec!["forms.toml:6:7 FORM_FILE_ABSENT".to_owned()]));
    }
}
