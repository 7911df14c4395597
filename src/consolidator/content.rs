//! The cells of a submission ⇄ bytes: `budget.storage.v1.Content`, zstd (RFC 8878).
//!
//! Written field by field straight from the cells, and read the same way: the generated messages would need a copy of
//! every key and text first. A test holds the two against each other. Knows nothing of events; those are in `record.rs`.

use std::cell::RefCell;

use compact_str::CompactString;
use prost::encoding;

use crate::budget::cell::Cell;
use crate::budget::cell_text::CellTexts;
use crate::budget::form_set::{FormSet, Table};
use crate::budget::money::{Amount, Denomination, Scale};
use crate::budget::number::Number;
use crate::budget::reason::{Reason, Remark};
use crate::budget::submission::{Content, FiledRows, FiledTable, Submission};
use crate::proto::read::{self, Field, Texts, fields, fields_before};
use crate::proto::write;

/// zstd's level: higher ones cost a filing more time than they save disk, and faster ones (-1 takes a sixth less time) more
/// disk than there is to spare: a byte a line, and with what sled writes twice two and a half.
const ZSTD_LEVEL: i32 = 1;
/// What one submission's cells may unpack to: far above the limits of a filing, so that damage can't fill the memory.
const UNPACKED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// States of a cell, as stored.
const BLANK: u8 = 0;
const AMOUNT: u8 = 1;
const NUMBER: u8 = 2;
const TEXT: u8 = 3;
const UNREADABLE: u8 = 4;
/// Added to the decimals of an amount in 万元.
const WAN: u8 = 16;

/// Packs the cells of a submission; also how many bytes they were before they were compressed.
///
/// # Errors
/// A fault if zstd fails or an amount is finer than its scale, which they have no reason to.
pub(super) fn pack(submission: &Submission, form: &FormSet) -> Result<(Vec<u8>, usize), Remark> {
    // Mostly enough for everything, and for one column's texts.
    let room = 128 * submission.row_count();
    let mut content = Vec::with_capacity(room);
    let mut columns = Columns { texts: Vec::with_capacity(room / 4), ..Columns::default() };
    for filed in &submission.tables {
        let mut put = None;
        write::long_message(1, &mut content, |out| put = put_table(out, filed, form, &mut columns));
        put.ok_or_else(|| Remark::new(Reason::StoreStopped).with("what", "an amount finer than its scale"))?;
    }
    Ok((compress(&content)?, content.len()))
}

/// Unpacks the cells of a submission. `None` if they can't be read, or don't stand as they were packed: the digest of a
/// submission knows no order, but whoever looks for a row or sums up goes by it.
pub(super) fn unpack(packed: &[u8], form: &FormSet) -> Option<Vec<FiledTable>> {
    let bytes = decompress(packed)?;
    let mut tables = Vec::with_capacity(form.tables.len());
    let mut texts = CellTexts::default();
    fields(&bytes, |number, field| match (number, field) {
        (1, Field::Bytes(table)) => {
            tables.push(unpack_table(table, form, &mut texts)?);
            Some(())
        }
        _ => None,
    })?;
    tables.is_sorted_by(|a: &FiledTable, b| a.table < b.table).then_some(tables)
}

thread_local! {
    /// Making zstd's tables anew costs as much as packing a small filing.
    static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Compresses by zstd.
///
/// # Errors
/// A fault if zstd fails, which it has no reason to.
pub(super) fn compress(bytes: &[u8]) -> Result<Vec<u8>, Remark> {
    let packed = COMPRESSOR.with_borrow_mut(|kept| match kept {
        Some(compressor) => compressor.compress(bytes),
        None => kept.insert(zstd::bulk::Compressor::new(ZSTD_LEVEL)?).compress(bytes),
    });
    packed.map_err(|error| Remark::new(Reason::StoreStopped).with("what", format!("zstd: {error}")))
}

/// Undoes [`compress`]. `None` if it can't be.
pub(super) fn decompress(bytes: &[u8]) -> Option<Vec<u8>> {
    let size = zstd::zstd_safe::get_frame_content_size(bytes).ok().flatten()?;
    let size = usize::try_from(size).ok().filter(|size| *size <= UNPACKED_BYTES_MAX)?;
    let unpacked = DECOMPRESSOR.with_borrow_mut(|kept| match kept {
        Some(decompressor) => decompressor.decompress(bytes, size),
        None => kept.insert(zstd::bulk::Decompressor::new()?).decompress(bytes, size),
    });
    unpacked.ok()
}

/// The fields of a `storage::Table`. `None` if an amount is finer than its scale.
fn put_table(out: &mut Vec<u8>, filed: &FiledTable, form: &FormSet, columns: &mut Columns) -> Option<()> {
    let definition = &form.tables[filed.table];
    let rows = filed.rows();
    write::text(1, &definition.id, out);
    if filed.content == Content::Empty {
        encoding::bool::encode(2, &true, out);
    }
    write::text(3, filed.denomination.map_or("", Denomination::as_str), out);
    if let Some(decimals) = filed.decimals {
        encoding::uint32::encode(4, &(u32::from(decimals) + 1), out);
    }
    rows.iter().for_each(|row| write::item(5, row.key.as_bytes(), out));
    for (at, column) in definition.columns.iter().enumerate() {
        columns.clear();
        rows.iter().try_for_each(|row| columns.push(&row.cells[at]))?;
        columns.put(&column.id, out);
    }
    Some(())
}

/// The fields of a `storage::Column` while they grow.
#[derive(Default)]
struct Columns {
    states: Vec<u8>,
    values: Vec<u8>,
    scales: Vec<u8>,
    texts: Vec<u8>,
}

impl Columns {
    fn clear(&mut self) {
        let Columns { states, values, scales, texts } = self;
        [states, values, scales, texts].into_iter().for_each(Vec::clear);
    }

    fn push(&mut self, cell: &Cell) -> Option<()> {
        let state = match cell {
            Cell::Blank => BLANK,
            Cell::Amount(amount) => {
                // As written, since in 分 most amounts would end in zeros that don't compress.
                let wan = if amount.scale.denomination == Denomination::Wan { WAN } else { 0 };
                self.value(amount.digits()?, amount.scale.decimals + wan);
                AMOUNT
            }
            Cell::Number(number) => {
                self.value(number.mantissa, number.decimals);
                NUMBER
            }
            Cell::Text(text) => {
                write::item(5, text.as_bytes(), &mut self.texts);
                TEXT
            }
            Cell::Unreadable(text) => {
                write::item(5, text.as_bytes(), &mut self.texts);
                UNREADABLE
            }
        };
        self.states.push(state);
        Some(())
    }

    /// A packed `sint64` (zigzag), and its scale.
    fn value(&mut self, value: i64, scale: u8) {
        encoding::encode_varint(((value << 1) ^ (value >> 63)).cast_unsigned(), &mut self.values);
        self.scales.push(scale);
    }

    /// The column as a field; left out if all of it is blank.
    fn put(&mut self, id: &CompactString, out: &mut Vec<u8>) {
        if self.scales.is_empty() && self.texts.is_empty() {
            return;
        }
        if self.scales.iter().all(|scale| Some(scale) == self.scales.first()) {
            self.scales.truncate(1);
        }
        let fields = [(1, id.as_bytes()), (2, &self.states), (3, &self.values), (4, &self.scales)];
        let length =
            fields.iter().map(|(field, bytes)| write::bytes_len(*field, bytes)).sum::<usize>() + self.texts.len();
        write::length(6, length, out);
        fields.into_iter().for_each(|(field, bytes)| write::bytes(field, bytes, out));
        out.extend_from_slice(&self.texts);
    }
}

fn unpack_table(packed: &[u8], form: &FormSet, kept: &mut CellTexts) -> Option<FiledTable> {
    let (mut id, mut empty, mut unit, mut decimals_plus_one) = ("", false, "", 0);
    let (mut keys, mut columns) = (Vec::with_capacity(32), Vec::with_capacity(16));
    fields(packed, |number, field| {
        match (number, field) {
            (1, Field::Bytes(bytes)) => id = read::text(bytes)?,
            (2, Field::Number(number)) => empty = number != 0,
            (3, Field::Bytes(bytes)) => unit = read::text(bytes)?,
            (4, Field::Number(number)) => decimals_plus_one = number,
            (5, Field::Bytes(bytes)) => keys.push(read::text(bytes)?),
            (6, Field::Bytes(bytes)) => columns.push(bytes),
            _ => return None,
        }
        Some(())
    })?;
    let (table, definition) = form.table(id)?;
    let denomination = match unit {
        "" => None,
        unit => Some(Denomination::parse(unit)?),
    };
    let decimals = match decimals_plus_one {
        0 => None,
        more => Some(u8::try_from(more - 1).ok()?),
    };
    let width = definition.columns.len();
    let mut rows = FiledRows::with_capacity(keys.len(), width);
    for key in keys {
        rows.push(key.into(), width);
    }
    if !rows.is_sorted() || empty && !(rows.is_empty() && columns.is_empty()) {
        return None;
    }
    let mut next = 0;
    for packed in columns {
        let column = unpack_column(packed, definition, &mut rows, kept)?;
        if column < std::mem::replace(&mut next, column + 1) {
            return None;
        }
    }
    let content = if empty { Content::Empty } else { Content::Rows(rows) };
    Some(FiledTable { table, denomination, decimals, content })
}

/// Fills one column, and says which.
fn unpack_column(packed: &[u8], table: &Table, rows: &mut FiledRows, kept: &mut CellTexts) -> Option<usize> {
    let (mut id, mut states, mut values, mut scales) = ("", &[][..], &[][..], &[][..]);
    // Texts come last.
    let texts = fields_before(5, packed, |number, field| {
        match (number, field) {
            (1, Field::Bytes(bytes)) => id = read::text(bytes)?,
            (2, Field::Bytes(bytes)) => states = bytes,
            (3, Field::Bytes(bytes)) => values = bytes,
            (4, Field::Bytes(bytes)) => scales = bytes,
            _ => return None,
        }
        Some(())
    })?;
    let mut texts = Texts::new(5, texts);
    if states.len() != rows.len() {
        return None;
    }
    let alike = scales.len() == 1;
    let (first, mut scales) = (scales.first().copied(), scales.iter().copied());
    let column = table.column(id)?;
    for (filled, state) in rows.column_mut(column).zip(states) {
        let mut scale = || if alike { scales.next().or(first) } else { scales.next() };
        let cell = match *state {
            BLANK => continue,
            AMOUNT => {
                let (digits, scale) = (read::signed(&mut values)?, scale()?);
                let denomination = if scale >= WAN { Denomination::Wan } else { Denomination::Yuan };
                let decimals = scale % WAN;
                if decimals > denomination.decimals_max() {
                    return None;
                }
                Cell::Amount(Amount::from_digits(digits, Scale { denomination, decimals })?)
            }
            NUMBER => {
                let decimals = scale().filter(|decimals| *decimals <= 18)?;
                Cell::Number(Number { mantissa: read::signed(&mut values)?, decimals })
            }
            TEXT => Cell::Text(kept.keep(texts.next()?)),
            UNREADABLE => Cell::Unreadable(texts.next()?.into()),
            _ => return None,
        };
        *filled = cell;
    }
    (texts.is_empty() && values.is_empty() && scales.next().is_none()).then_some(column)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::proto::{Message, storage};

    #[test]
    fn packed_cells_are_the_generated_message_and_read_back() {
        for files in crate::consolidator::embedded_form_sets() {
            let form = FormSet::load(files).unwrap();
            let place = form.id.strip_prefix("shanxi").map_or(form.id.to_string(), |year| format!("fenyang{year}"));
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(place).join("submissions");
            let (mut filings, mut reordered) = (0, 0);
            for file in std::fs::read_dir(folder).unwrap() {
                let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
                let reading = crate::submission_file::SubmissionFile::read(&text).unwrap().read_on(&form);
                let (packed, unpacked) = pack(&reading.submission, &form).unwrap();
                let bytes = decompress(&packed).unwrap();
                assert_eq!(bytes.len(), unpacked);
                let generated = storage::Content::decode(bytes.as_slice()).unwrap();
                assert_eq!(generated.encode_to_vec(), bytes);
                assert_eq!(unpack(&packed, &form).unwrap(), reading.submission.tables);
                // A text, a value, a scale, a state or a field too many is damage, and so is one too few.
                let spoils: [fn(&mut storage::Column); 6] = [
                    |column| column.values.push(0),
                    |column| column.scales.extend([2, 2]),
                    |column| column.texts.push("x".into()),
                    |column| drop(column.texts.pop()),
                    |column| column.states.push(BLANK),
                    |column| column.id.push('x'),
                ];
                for spoil in spoils {
                    let mut spoilt = generated.clone();
                    let columns = spoilt.tables.iter_mut().flat_map(|table| &mut table.columns);
                    spoil(columns.rev().find(|column| !column.texts.is_empty()).unwrap());
                    assert!(unpack(&compress(&spoilt.encode_to_vec()).unwrap(), &form).is_none());
                }
                // So is any other order, which has the same digest: of rows, with their cells, of columns or of tables; and
                // rows, columns or tables that are there twice.
                let reorders: [fn(&mut storage::Content) -> Option<()>; 6] = [
                    |content| {
                        let rows_of = |table: &&mut storage::Table| table.keys.len() > 1;
                        let table = content.tables.iter_mut().find(rows_of)?;
                        table.keys.swap(0, 1);
                        table.columns.clear();
                        Some(())
                    },
                    |content| {
                        let table = content.tables.iter_mut().find(|table| table.keys.len() > 1)?;
                        table.keys[1] = table.keys[0].clone();
                        Some(())
                    },
                    |content| {
                        let table = content.tables.iter_mut().find(|table| table.columns.len() > 1)?;
                        table.columns.swap(0, 1);
                        Some(())
                    },
                    |content| {
                        let table = content.tables.iter_mut().find(|table| !table.columns.is_empty())?;
                        table.columns.insert(0, table.columns[0].clone());
                        Some(())
                    },
                    |content| (content.tables.len() > 1).then(|| content.tables.swap(0, 1)),
                    |content| {
                        content.tables.insert(0, content.tables.first()?.clone());
                        Some(())
                    },
                ];
                for reorder in reorders {
                    let mut otherwise = generated.clone();
                    if reorder(&mut otherwise).is_some() {
                        reordered += 1;
                        assert!(unpack(&compress(&otherwise.encode_to_vec()).unwrap(), &form).is_none());
                    }
                }
                // What is empty on purpose has no rows.
                let mut emptied = generated.clone();
                emptied.tables.iter_mut().for_each(|table| table.empty = true);
                assert!(unpack(&compress(&emptied.encode_to_vec()).unwrap(), &form).is_none());
                let more = [bytes, vec![0x10, 1]].concat();
                assert!(unpack(&compress(&more).unwrap(), &form).is_none(), "a field that there isn't");
                filings += 1;
            }
            assert!(filings > 2 && reordered >= 4 * filings, "{}", form.id);
        }
    }
}
