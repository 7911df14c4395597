//! Fixed rows: `"key label = what it adds"`.

use std::ops::Deref;

use compact_str::CompactString;

/// One fixed row of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedRow {
    /// Its key, the middle part of a cell's address.
    pub key: CompactString,
    /// What is printed.
    pub label: String,
    /// The rows that it adds up; none for a row that is filed as it is.
    pub parts: Vec<Part>,
}

/// One addend of a fixed row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Index of the row that is added.
    pub row: usize,
    /// Whether it is taken off instead.
    pub minus: bool,
}

/// The fixed rows of a table in print order, which are also found by their keys.
#[derive(Debug)]
pub struct FixedRows {
    rows: Vec<FixedRow>,
    /// Places in `rows`, sorted by key.
    by_key: Vec<usize>,
}

impl FixedRows {
    /// The place in print of the row of that key.
    pub fn place(&self, key: &str) -> Option<usize> {
        let at = self.by_key.binary_search_by(|place| self.rows[*place].key.as_str().cmp(key)).ok()?;
        self.by_key.get(at).copied()
    }

    /// The row of that key.
    pub fn find(&self, key: &str) -> Option<&FixedRow> {
        self.rows.get(self.place(key)?)
    }
}

impl From<Vec<FixedRow>> for FixedRows {
    fn from(rows: Vec<FixedRow>) -> FixedRows {
        let mut by_key: Vec<usize> = (0..rows.len()).collect();
        by_key.sort_by(|a, b| rows[*a].key.cmp(&rows[*b].key));
        FixedRows { rows, by_key }
    }
}

impl Deref for FixedRows {
    type Target = [FixedRow];

    fn deref(&self) -> &[FixedRow] {
        &self.rows
    }
}

/// What is wrong with a list of fixed rows: the row's index, and the offending name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RowFault {
    /// Not of the form `key label`.
    Malformed(usize),
    /// The same key again.
    Duplicate(usize, String),
    /// A part that is no row.
    UnknownPart(usize, String),
    /// The row adds itself, directly or through others.
    Cycle(usize, String),
}

/// Reads a list of fixed rows and resolves what each adds.
pub(super) fn parse_rows(lines: &[&str]) -> Result<Vec<FixedRow>, RowFault> {
    let mut rows: Vec<FixedRow> = Vec::with_capacity(lines.len());
    let mut sums: Vec<Option<&str>> = Vec::with_capacity(lines.len());
    for (at, line) in lines.iter().enumerate() {
        let (head, sum) = match line.split_once(" = ") {
            Some((head, sum)) => (head, Some(sum)),
            None => (*line, None),
        };
        let (key, label) = head.trim().split_once(' ').ok_or(RowFault::Malformed(at))?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if key.is_empty() || !key.chars().all(plain) || label.trim().is_empty() {
            return Err(RowFault::Malformed(at));
        }
        if rows.iter().any(|row| row.key == key) {
            return Err(RowFault::Duplicate(at, key.to_owned()));
        }
        rows.push(FixedRow { key: key.into(), label: label.trim().to_owned(), parts: Vec::new() });
        sums.push(sum);
    }
    let ranges = sums
        .iter()
        .enumerate()
        .map(|(at, sum)| sum.map_or(Ok(Vec::new()), |sum| parse_sum(&rows, at, sum)))
        .collect::<Result<Vec<_>, _>>()?;
    for (at, row) in rows.iter_mut().enumerate() {
        row.parts = ranges[at].iter().flat_map(|range| range.parts(&ranges)).collect();
    }
    if let Some(at) = cycle(&rows) {
        return Err(RowFault::Cycle(at, rows[at].key.to_string()));
    }
    Ok(rows)
}

/// An addend as written: one row, or a range of them.
#[derive(Debug)]
struct Addend {
    from: usize,
    to: usize,
    minus: bool,
}

impl Addend {
    /// The rows that it adds. Of a range, rows that add up others of the range are left out: they would count twice.
    fn parts(&self, ranges: &[Vec<Addend>]) -> Vec<Part> {
        let meets = |other: &Addend| other.from <= self.to && self.from <= other.to;
        let adds_inside = |row: usize| self.from != self.to && ranges[row].iter().any(meets);
        (self.from..=self.to).filter(|row| !adds_inside(*row)).map(|row| Part { row, minus: self.minus }).collect()
    }
}

fn parse_sum(rows: &[FixedRow], at: usize, sum: &str) -> Result<Vec<Addend>, RowFault> {
    let index =
        |key: &str| rows.iter().position(|row| row.key == key).ok_or_else(|| RowFault::UnknownPart(at, key.to_owned()));
    let mut addends = Vec::new();
    let mut minus = false;
    for word in sum.split_whitespace() {
        match word {
            "+" => minus = false,
            "-" => minus = true,
            range => {
                let (from, to) = match range.split_once("..") {
                    Some((from, to)) => (index(from)?, index(to)?),
                    None => (index(range)?, index(range)?),
                };
                if from > to {
                    return Err(RowFault::UnknownPart(at, range.to_owned()));
                }
                addends.push(Addend { from, to, minus });
            }
        }
    }
    Ok(addends)
}

/// The first row found that adds itself, if any: a walk that visits each row once.
fn cycle(rows: &[FixedRow]) -> Option<usize> {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        Not,
        OnTheWay,
        Done,
    }
    fn visit(rows: &[FixedRow], at: usize, seen: &mut [Seen]) -> Option<usize> {
        match seen[at] {
            Seen::Done => return None,
            Seen::OnTheWay => return Some(at),
            Seen::Not => seen[at] = Seen::OnTheWay,
        }
        let found = rows[at].parts.iter().find_map(|part| visit(rows, part.row, seen));
        seen[at] = Seen::Done;
        found
    }
    let mut seen = vec![Seen::Not; rows.len()];
    (0..rows.len()).find_map(|at| visit(rows, at, &mut seen))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_resolve_their_sums() {
        let rows = parse_rows(&["a 甲", "b 乙", "c 合计 = a..b", "d 总计 = c - a"]).unwrap();
        assert_eq!(rows[2].parts, [Part { row: 0, minus: false }, Part { row: 1, minus: false }]);
        assert_eq!(rows[3].parts, [Part { row: 2, minus: false }, Part { row: 0, minus: true }]);
    }

    #[test]
    fn rows_are_found_by_key_wherever_they_are_printed() {
        let rows = FixedRows::from(parse_rows(&["9 九", "10 十", "b 乙", "a 甲"]).unwrap());
        let found = |key| rows.place(key).zip(rows.find(key).map(|row| row.label.as_str()));
        assert_eq!(["9", "10", "b", "a"].map(found), [(0, "九"), (1, "十"), (2, "乙"), (3, "甲")].map(Some));
        assert_eq!(["", "1", "c"].map(found), [None; 3]);
    }

    #[test]
    fn a_range_adds_no_row_twice_wherever_its_subtotals_stand() {
        let parts =
            |lines: &[&str]| parse_rows(lines).unwrap()[0].parts.iter().map(|part| part.row).collect::<Vec<_>>();
        assert_eq!(parts(&["t 总 = a..c", "a 甲 = b + c", "b 乙", "c 丙"]), [2, 3]);
        assert_eq!(parts(&["t 总 = a..c", "a 甲", "b 乙", "c 丙 = a + b"]), [1, 2]);
    }

    #[test]
    fn wrong_rows_are_refused() {
        assert_eq!(parse_rows(&["a"]), Err(RowFault::Malformed(0)));
        assert_eq!(parse_rows(&["a 甲", "a 乙"]), Err(RowFault::Duplicate(1, "a".to_owned())));
        assert_eq!(parse_rows(&["a 甲 = x"]), Err(RowFault::UnknownPart(0, "x".to_owned())));
        assert_eq!(parse_rows(&["a 甲 = b", "b 乙 = a"]), Err(RowFault::Cycle(0, "a".to_owned())));
    }
}
