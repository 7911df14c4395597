//! From text to a [`SubmissionFile`], strictly, with the place of the first fault.
//!
//! Each value is first taken as the slice of the file that spells it, so its place is always known and a number
//! is never anything but its digits. It doesn't know form sets: which tables there are is not asked here.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{FILE_BYTES_MAX, FileFault, FileTable, SubmissionFile, VALUES_MAX, without_mark};
use crate::budget::intake::TableHeader;
use crate::budget::reason::{Reason, Remark};
use crate::budget::submission::{Kind, Round, Slot};
use crate::budget::unit_tree::is_code;

const FILE_KEYS: [&str; 7] = ["form_set", "unit", "year", "round", "kind", "note", "tables"];
const TABLE_KEYS: [&str; 4] = ["amount_unit", "decimals", "empty", "rows"];
/// How much of a wrong value is shown.
const SHOWN_CHARS_MAX: usize = 40;

pub(super) fn read_bytes(bytes: &[u8]) -> Result<SubmissionFile, FileFault> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(too_large(bytes.len(), FILE_BYTES_MAX, "bytes"));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => read(text),
        Err(error) => {
            let before = String::from_utf8_lossy(bytes.get(..error.valid_up_to()).unwrap_or_default());
            let byte = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
            let remark = Remark::new(Reason::FileSyntax)
                .with("found", format_args!("0x{byte:02X} (byte {})", error.valid_up_to() + 1))
                .with("expected", "UTF-8");
            Err(fault(&before, before.len(), remark))
        }
    }
}

pub(super) fn read(text: &str) -> Result<SubmissionFile, FileFault> {
    if text.len() > FILE_BYTES_MAX {
        return Err(too_large(text.len(), FILE_BYTES_MAX, "bytes"));
    }
    Reader { text, values: 0 }.file()
}

/// A JSON value as the slice of the file that spells it.
type Raw<'t> = &'t RawValue;

/// The entries of an object, in the order of the file; a key may come twice.
struct Entries<'t>(Vec<(Raw<'t>, Raw<'t>)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Entries<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("{ … }")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

struct Reader<'t> {
    text: &'t str,
    values: usize,
}

impl<'t> Reader<'t> {
    fn file(&mut self) -> Result<SubmissionFile, FileFault> {
        let json = unmarked(self.text);
        // This first look goes over the whole file: whatever is not JSON is found here.
        let whole: Raw<'t> = self.parse(json)?;
        let mut found: HashMap<String, Raw<'t>> = HashMap::new();
        for (at, key, value) in self.object(whole, "{ \"form_set\": … }")? {
            if !FILE_KEYS.contains(&key.as_str()) {
                return Err(self.unknown_key(at, &key, &FILE_KEYS));
            }
            found.insert(key, value);
        }
        let need = |key: &str| found.get(key).copied().ok_or_else(|| self.missing_key(whole, key));
        let (form_set, unit, year) = (need("form_set")?, need("unit")?, need("year")?);
        let (round, tables) = (need("round")?, need("tables")?);
        let form_set = self.name(form_set, "form_set")?;
        let code = self.name(unit, "unit")?;
        if !is_code(&code) {
            return Err(self.wrong_value(unit, "unit", "407002"));
        }
        let year = self.number(year, "year", "2024", 1949..=2999)?;
        let round_text = self.text(round, "round")?;
        let round_parsed =
            Round::parse(&round_text).ok_or_else(|| self.wrong_value(round, "round", "\"first\" / \"second\""))?;
        let kind = match found.get("kind") {
            None => Kind::Unit,
            Some(kind) => Kind::parse(&self.text(kind, "kind")?)
                .ok_or_else(|| self.wrong_value(kind, "kind", "\"unit\" / \"department\" / \"difference\""))?,
        };
        let note = match found.get("note") {
            None => String::new(),
            Some(note) => self.text_or_null(note, "note")?,
        };
        let tables = self.tables(tables)?;
        let slot = Slot { unit: code.into(), year, round: round_parsed, kind };
        Ok(SubmissionFile { form_set, slot, note, tables })
    }

    fn tables(&mut self, raw: Raw<'t>) -> Result<Vec<FileTable>, FileFault> {
        let mut tables = Vec::new();
        for (_, id, value) in self.object(raw, "{ \"T01\": … }")? {
            tables.push(self.table(id, value)?);
        }
        Ok(tables)
    }

    fn table(&mut self, id: String, raw: Raw<'t>) -> Result<FileTable, FileFault> {
        let mut header = TableHeader { id: id.into(), ..TableHeader::default() };
        let mut rows = None;
        for (at, key, value) in self.object(raw, "{ \"rows\": [ … ] }")? {
            match key.as_str() {
                "amount_unit" => header.amount_unit = self.text(value, "amount_unit")?.into(),
                "decimals" => header.decimals = Some(self.number(value, "decimals", "2", 0..=u32::MAX)?),
                "empty" => header.empty = self.truth(value, "empty")?,
                "rows" => rows = Some(value),
                _ => return Err(self.unknown_key(at, &key, &TABLE_KEYS)),
            }
        }
        // A table without rows that doesn't say so may be empty or forgotten: only who files it knows.
        let rows = match rows {
            Some(rows) => self.rows(rows, &mut header)?,
            None if header.empty => Vec::new(),
            None => return Err(self.missing_key(raw, "rows")),
        };
        Ok(FileTable { header, rows })
    }

    fn rows(&mut self, raw: Raw<'t>, header: &mut TableHeader) -> Result<Vec<(String, Vec<String>)>, FileFault> {
        if !raw.get().starts_with('[') {
            return Err(self.wrong_value(raw, "rows", "[ { \"row\": … }, … ]"));
        }
        let items: Vec<Raw<'t>> = self.parse(raw.get())?;
        let mut columns: HashMap<String, usize> = HashMap::new();
        let mut rows = Vec::with_capacity(items.len());
        for item in items {
            let mut row_key = None;
            let mut values: Vec<String> = Vec::new();
            for (_, key, value) in self.object(item, "{ \"row\": … }")? {
                if key == "row" {
                    row_key = Some(self.text(value, "row")?);
                    continue;
                }
                let text = self.text_or_null(value, &key)?;
                let next = columns.len();
                let column = *columns.entry(key).or_insert_with_key(|key| {
                    header.columns.push(key.as_str().into());
                    next
                });
                if column >= values.len() {
                    self.values += column + 1 - values.len();
                    if self.values > VALUES_MAX {
                        return Err(too_large(self.values, VALUES_MAX, "values"));
                    }
                    values.resize(column + 1, String::new());
                }
                if let Some(cell) = values.get_mut(column) {
                    *cell = text;
                }
            }
            rows.push((row_key.ok_or_else(|| self.missing_key(item, "row"))?, values));
        }
        Ok(rows)
    }

    // ── small readers, each of which says where it failed ────────────────────────────────

    /// The entries of an object with the place of each key; a key that comes twice is a fault.
    fn object(&self, raw: Raw<'t>, expected: &str) -> Result<Vec<(usize, String, Raw<'t>)>, FileFault> {
        if !raw.get().starts_with('{') {
            return Err(self.wrong_value(raw, "", expected));
        }
        let Entries(entries) = self.parse(raw.get())?;
        let mut seen = HashSet::with_capacity(entries.len());
        let mut named = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let at = self.offset(key.get());
            let key: String = self.parse(key.get())?;
            if !seen.insert(key.clone()) {
                return Err(fault(self.text, at, Remark::new(Reason::FileDuplicateKey).with("key", key)));
            }
            named.push((at, key, value));
        }
        Ok(named)
    }

    fn text(&self, raw: Raw<'t>, key: &str) -> Result<String, FileFault> {
        match raw.get().bytes().next() {
            Some(b'"') => self.parse(raw.get()),
            Some(b'-' | b'0'..=b'9') => {
                let remark = Remark::new(Reason::FileUnquoted).with("key", key).with("found", shown(raw.get()));
                Err(fault(self.text, self.offset(raw.get()), remark))
            }
            _ => Err(self.wrong_value(raw, key, "\"…\"")),
        }
    }

    fn text_or_null(&self, raw: Raw<'t>, key: &str) -> Result<String, FileFault> {
        if raw.get() == "null" { Ok(String::new()) } else { self.text(raw, key) }
    }

    /// A text that may not be empty.
    fn name(&self, raw: Raw<'t>, key: &str) -> Result<String, FileFault> {
        let text = self.text(raw, key)?;
        if text.trim().is_empty() { Err(self.wrong_value(raw, key, "\"…\"")) } else { Ok(text) }
    }

    fn number<N>(
        &self,
        raw: Raw<'t>,
        key: &str,
        expected: &str,
        range: std::ops::RangeInclusive<N>,
    ) -> Result<N, FileFault>
    where
        N: std::str::FromStr + PartialOrd,
    {
        let number = raw.get().parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| self.wrong_value(raw, key, expected))
    }

    fn truth(&self, raw: Raw<'t>, key: &str) -> Result<bool, FileFault> {
        raw.get().parse().map_err(|_| self.wrong_value(raw, key, "true / false"))
    }

    fn parse<T: Deserialize<'t>>(&self, json: &'t str) -> Result<T, FileFault> {
        serde_json::from_str(json).map_err(|error| {
            // serde_json counts columns in bytes and points at the last byte that it took.
            let line: usize = json.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
            let mut at = (self.offset(json) + line + error.column().saturating_sub(1)).min(self.text.len());
            while !self.text.is_char_boundary(at) {
                at -= 1;
            }
            // Its message ends in a line and column of its own, counted from the wrong start.
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or_default();
            fault(self.text, at, Remark::new(Reason::FileSyntax).with("found", message).with("expected", "JSON"))
        })
    }

    /// Where in the file a slice of it stands.
    fn offset(&self, slice: &str) -> usize {
        (slice.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize)
    }

    fn unknown_key(&self, at: usize, key: &str, known: &[&str]) -> FileFault {
        let remark = Remark::new(Reason::FileUnknownKey).with("found", shown(key)).with_list("expected", known);
        fault(self.text, at, remark)
    }

    fn missing_key(&self, object: Raw<'t>, key: &str) -> FileFault {
        fault(self.text, self.offset(object.get()), Remark::new(Reason::FileMissingKey).with("expected", key))
    }

    fn wrong_value(&self, raw: Raw<'t>, key: &str, expected: &str) -> FileFault {
        let mut remark = Remark::new(Reason::FileWrongValue);
        if !key.is_empty() {
            remark = remark.with("key", key);
        }
        remark = remark.with("found", shown(raw.get())).with("expected", expected);
        fault(self.text, self.offset(raw.get()), remark)
    }
}

fn unmarked(text: &str) -> &str {
    text.get(text.len() - without_mark(text.as_bytes()).len()..).unwrap_or(text)
}

fn fault(text: &str, at: usize, remark: Remark) -> FileFault {
    let before = text.get(..at).unwrap_or(text);
    let line = 1 + before.matches('\n').count();
    let start = before.rsplit('\n').next().unwrap_or_default();
    let column = 1 + unmarked(start).chars().count();
    FileFault { line, column, remark }
}

fn too_large(found: usize, allowed: usize, what: &str) -> FileFault {
    let remark = Remark::new(Reason::FileTooLarge).with("found", found).with("allowed", allowed).with("what", what);
    FileFault { line: 1, column: 1, remark }
}

/// The beginning of a value, on one line.
fn shown(value: &str) -> String {
    let mut shown: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN_CHARS_MAX).collect();
    if value.chars().nth(SHOWN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}
