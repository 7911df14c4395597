//! The state as bytes, and back: what a restart begins with instead of the first event.
//!
//! Disposable: everything in it follows from the journal, so nothing reads an image of another program's version, and
//! none has to be readable for years. Canonical: the same events give the same bytes, whatever way the state came
//! about, so the digest of an image names a state. Where images are kept is the business of [`crate::consolidator`].
//!
//! Numbers are LEB128, signed ones zigzag; texts and lists have their length in front.

use std::sync::Arc;

use compact_str::CompactString;
use imbl::{OrdMap, Vector};

use super::actor::{Actor, Operation};
use super::control::{Ceiling, ControlBook, ControlChange};
use super::event::Timestamp;
use super::review::{Aggregate, AggregateState, Remarks, ReviewedFigure, Step, VersionState};
use super::round::RoundState;
use super::state::{Book, BookKey, Filings, KeyUse, State, Stated, Version};
use crate::budget::cell::{CellAddress, RowKey};
use crate::budget::control_figure::CeilingStrength;
use crate::budget::digest::Digest;
use crate::budget::form_set::{FormFiles, FormSet};
use crate::budget::money::{Amount, Denomination, Money, Scale, Total};
use crate::budget::roll_up::{Sum, TableTotals, Totals};
use crate::budget::submission::{Kind, Round, Slot, UnitCode};
use crate::budget::transfer::Transfer;
use crate::budget::unit_tree::{Node, NodeRole, UnitTree};

/// The image of a state.
pub fn image(state: &State) -> Vec<u8> {
    // Large ones are copied each time they outgrow their place.
    let mut out = Writer(Vec::with_capacity(64 * 1024 + 1_024 * state.slots.len()));
    out.number(state.position);
    out.signed(state.time.0.into());
    out.list(state.form_set_versions.values(), |out, form| {
        out.list(form.files.iter(), |out, (name, bytes)| {
            out.text(name);
            out.bytes(bytes);
        });
    });
    out.list(state.form_sets.values(), |out, form| out.digest(&form.digest));
    out.list(state.trees.iter(), |out, (year, tree)| {
        out.number(u64::from(*year));
        out.number(tree.version.into());
        out.list(tree.nodes(), Writer::node);
    });
    out.list(state.controls.iter(), |out, ((year, round), book)| {
        out.round(*year, *round);
        out.number(book.version.into());
        out.list(book.changed_at(), Writer::number);
        out.list(listed(book.all()), |out, (unit, line)| {
            out.unit_cell(unit, &line.cell);
            out.list(line.ceiling.iter(), Writer::ceiling);
        });
        // All other sums of the book follow from these.
        out.list(listed(book.owns()), |out, (unit, line)| {
            out.unit_cell(unit, &line.cell);
            out.signed(line.own().fen());
        });
    });
    out.list(state.rounds.iter(), |out, ((year, round), state)| {
        out.round(*year, *round);
        out.number(state.version.into());
        out.number(state.open.into());
        out.list(state.deadline.iter(), |out, deadline| out.signed(deadline.0.into()));
        out.list(state.changes.iter(), |out, position| out.number(*position));
    });
    out.list(state.aggregates.iter(), |out, ((department, year, round), all)| {
        out.text(department);
        out.round(*year, *round);
        out.list(all.iter(), |out, aggregate| {
            out.number(aggregate.version.into());
            out.digest(&aggregate.digest);
            out.list(aggregate.members.iter(), |out, position| out.number(*position));
            out.list(aggregate.steps.iter(), |out, step| out.step(step.state.as_str(), step.position, step.time));
        });
    });
    out.list(state.slots.iter(), |out, (slot, filings)| {
        out.slot(slot);
        out.list(filings.versions.iter(), Writer::version);
        out.list(filings.refused.iter(), |out, (position, time)| {
            out.number(*position);
            out.signed(time.0.into());
        });
        out.list(filings.justified.iter(), |out, (finding, positions)| {
            out.digest(finding);
            out.list(positions.iter(), |out, position| out.number(*position));
        });
    });
    out.list(state.books.iter(), |out, (key, book)| {
        out.round(key.year, key.round);
        out.digest(&key.layout);
        out.digest(&book.form.digest);
        for side in [&book.reported, &book.adjusted, &book.eliminated] {
            out.list(side.iter(), |out, (node, totals)| {
                out.text(node);
                out.totals(&book.form, totals);
            });
        }
    });
    out.list(state.transfers.iter(), |out, ((year, round, unit), stated)| {
        out.round(*year, *round);
        out.text(unit);
        out.digest(&stated.form.digest);
        out.list(stated.transfers.iter(), Writer::transfer);
    });
    out.list(state.keys.iter(), |out, ((actor, operation, key), used)| {
        out.text(&actor.to_string());
        out.number(*operation as u64);
        out.text(key);
        out.digest(&used.fingerprint);
        out.number(used.position);
    });
    out.list(state.history.iter(), |out, (unit, positions)| {
        out.text(unit);
        let mut before = 0;
        out.list(positions.iter(), |out, position| {
            out.number(position - before);
            before = *position;
        });
    });
    out.0
}

/// The state of an image. `None` if it isn't one, or one of another program.
pub fn state(image: &[u8]) -> Option<State> {
    let mut read = Reader(image);
    let mut state =
        State { position: read.number()?, time: Timestamp(read.signed()?.try_into().ok()?), ..State::default() };
    for form in read.list(|read| {
        let files = read.list(|read| Some((read.text()?.to_owned(), read.bytes()?.to_vec())))?;
        FormSet::load(files.into_iter().collect::<FormFiles>()).ok()
    })? {
        state.form_set_versions.insert(form.digest, Arc::new(form));
    }
    let versions = state.form_set_versions.clone();
    let form = |digest: Digest| versions.get(&digest).cloned();
    for form in read.list(|read| form(read.digest()?))? {
        state.form_sets.insert(form.id.clone(), form);
    }
    state.trees = map(read.list(|read| {
        let (year, version) = (read.number()?.try_into().ok()?, read.number()?.try_into().ok()?);
        let nodes = read.list(Reader::node)?;
        Some((year, Arc::new(UnitTree::new(version, nodes).ok()?)))
    })?);
    let trees = state.trees.clone();
    state.controls = map(read.list(|read| {
        let (year, round) = read.round()?;
        let version = read.number()?.try_into().ok()?;
        let changed_at = read.list(Reader::number)?.into_iter().collect();
        let figures = read.list(|read| {
            let (unit, cell) = read.unit_cell()?;
            let after = read.list(Reader::ceiling)?.pop();
            Some(ControlChange { unit, cell, before: None, after })
        })?;
        let owns = read.list(|read| Some((read.unit_cell()?, Money::from_total_fen(read.signed()?)?)))?;
        let book = ControlBook::restored(trees.get(&year)?, version, changed_at, &figures, &map(owns))?;
        Some(((year, round), book))
    })?);
    state.rounds = map(read.list(|read| {
        let round = read.round()?;
        let (version, open) = (read.number()?.try_into().ok()?, read.number()? == 1);
        let deadline = read.list(|read| Some(Timestamp(read.signed()?.try_into().ok()?)))?.pop();
        let changes = read.list(Reader::number)?.into_iter().collect();
        Some((round, RoundState { version, open, deadline, changes }))
    })?);
    state.aggregates = map(read.list(|read| {
        let department = read.text()?.into();
        let (year, round) = read.round()?;
        let all = read.list(|read| {
            Some(Aggregate {
                version: read.number()?.try_into().ok()?,
                digest: read.digest()?,
                members: read.list(Reader::number)?.into_iter().collect(),
                steps: read.list(|read| read.step(AggregateState::parse))?.into_iter().collect(),
            })
        })?;
        Some(((department, year, round), all.into_iter().collect()))
    })?);
    state.slots = map(read.list(|read| {
        let slot = read.slot()?;
        let versions = Arc::new(read.list(Reader::version)?);
        let refused = read.list(|read| Some((read.number()?, Timestamp(read.signed()?.try_into().ok()?))))?;
        let justified = read.list(|read| {
            let finding = read.digest()?;
            Some((finding, read.list(Reader::number)?.into_iter().collect::<Vector<_>>()))
        })?;
        Some((slot, Filings { versions, refused: refused.into_iter().collect(), justified: map(justified) }))
    })?);
    state.books = map(read.list(|read| {
        let (year, round) = read.round()?;
        let key = BookKey { year, round, layout: read.digest()? };
        let form = form(read.digest()?)?;
        let mut side = || -> Option<OrdMap<UnitCode, Arc<Totals>>> {
            Some(map(read.list(|read| Some((read.text()?.into(), Arc::new(read.totals(&form)?))))?))
        };
        let (reported, adjusted, eliminated) = (side()?, side()?, side()?);
        Some((key, Book { form, reported, adjusted, eliminated }))
    })?);
    state.transfers = map(read.list(|read| {
        let (year, round) = read.round()?;
        let unit = read.text()?.into();
        let form = form(read.digest()?)?;
        Some(((year, round, unit), Stated { form, transfers: read.list(Reader::transfer)? }))
    })?);
    state.keys = map(read.list(|read| {
        let actor = Actor::parse(read.text()?)?;
        let operation = read.number()?;
        let operation = Operation::ALL.into_iter().find(|known| *known as u64 == operation)?;
        let key = (actor, operation, read.text()?.into());
        Some((key, KeyUse { fingerprint: read.digest()?, position: read.number()? }))
    })?);
    state.history = map(read.list(|read| {
        let unit = read.text()?.into();
        let mut before = 0_u64;
        let positions = read.list(|read| {
            before = before.checked_add(read.number()?)?;
            Some(before)
        })?;
        Some((unit, positions.into_iter().collect::<Vector<_>>()))
    })?);
    read.0.is_empty().then_some(state)
}

fn map<K: Ord + Clone, V: Clone>(entries: Vec<(K, V)>) -> OrdMap<K, V> {
    entries.into_iter().collect()
}

struct Writer(Vec<u8>);

/// Counts what has to be gone through to be counted.
fn listed<T>(items: impl Iterator<Item = T>) -> impl ExactSizeIterator<Item = T> {
    items.collect::<Vec<T>>().into_iter()
}

impl Writer {
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn signed(&mut self, number: i128) {
        let mut number = ((number << 1) ^ (number >> 127)).cast_unsigned();
        while number > u64::MAX.into() {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.number(number as u64);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn digest(&mut self, digest: &Digest) {
        self.0.extend_from_slice(&digest.0);
    }

    fn list<I: ExactSizeIterator>(&mut self, items: I, mut each: impl FnMut(&mut Writer, I::Item)) {
        self.number(items.len() as u64);
        items.for_each(|item| each(self, item));
    }

    fn round(&mut self, year: u16, round: Round) {
        self.number(year.into());
        self.text(round.as_str());
    }

    fn slot(&mut self, slot: &Slot) {
        self.text(&slot.unit);
        self.round(slot.year, slot.round);
        self.text(slot.kind.as_str());
    }

    fn node(&mut self, node: &Node) {
        for text in [&node.code, &node.parent, node.name.as_str(), node.role.as_str()] {
            self.text(text);
        }
        for text in [&node.unit_type, &node.funding, &node.division] {
            self.text(text);
        }
        self.number(node.budgeted.into());
    }

    fn unit_cell(&mut self, unit: &str, cell: &CellAddress) {
        for text in [unit, &cell.table, &cell.row, &cell.column] {
            self.text(text);
        }
    }

    fn ceiling(&mut self, ceiling: &Ceiling) {
        self.signed(ceiling.amount.fen());
        self.scale(ceiling.scale);
        self.text(ceiling.strength.as_str());
        self.text(&ceiling.by);
    }

    fn version(&mut self, version: &Version) {
        self.number(version.version.into());
        self.number(version.position);
        self.signed(version.time.0.into());
        self.digest(&version.digest);
        self.digest(&version.form_set);
        self.number(version.findings.into());
        self.number(version.adjusts.unwrap_or(0).into());
        self.list(version.steps.iter(), |out, step| out.step(step.state.as_str(), step.position, step.time));
        self.list(version.remarks.opinions.iter(), |out, (office, positions)| {
            out.text(office);
            out.list(positions.iter(), |out, position| out.number(*position));
        });
        self.list(version.remarks.figures.iter(), |out, (cell, figure)| {
            for text in [&cell.table, &cell.row, &cell.column] {
                out.text(text);
            }
            out.list(figure.amount.iter(), |out, amount| {
                out.signed(amount.value.fen());
                out.scale(amount.scale);
            });
            out.number(figure.position);
        });
    }

    fn step(&mut self, state: &str, position: u64, time: Timestamp) {
        self.text(state);
        self.number(position);
        self.signed(time.0.into());
    }

    fn scale(&mut self, scale: Scale) {
        self.text(scale.denomination.as_str());
        self.number(scale.decimals.into());
    }

    fn totals(&mut self, form: &FormSet, totals: &Totals) {
        self.number(totals.filings.into());
        self.list(listed(totals.tables()), |out, (table, totals)| {
            out.number(table as u64);
            out.number(totals.filings.into());
            out.number(totals.empty.into());
            out.number(totals.listed);
            let width = form.tables.get(table).map_or(0, |table| table.columns.len());
            out.list(totals.rows(), |out, (key, filings, sums)| {
                out.text(key);
                out.number(filings.into());
                (0..width).for_each(|column| out.sum(&sums.column(column)));
            });
        });
    }

    fn sum(&mut self, sum: &Sum) {
        self.number(sum.parts.into());
        // Taken off to nothing, a sum is exactly blank, so blank ones need no more.
        if sum.parts > 0 {
            self.signed(sum.value.fen());
            self.signed(sum.slack.fen());
        }
    }

    fn transfer(&mut self, transfer: &Transfer) {
        for text in [&transfer.counterparty, &transfer.kind, &transfer.code] {
            self.text(text);
        }
        self.signed(transfer.amount.fen());
        self.list(transfer.filled.iter(), |out, filled| out.number((*filled).into()));
    }
}

/// What is left to read. Everything is `None` once something doesn't fit.
struct Reader<'i>(&'i [u8]);

impl<'i> Reader<'i> {
    fn number(&mut self) -> Option<u64> {
        self.wide()?.try_into().ok()
    }

    fn wide(&mut self) -> Option<u128> {
        let mut number = 0_u128;
        for shift in (0..u128::BITS).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u128::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i128> {
        let number = self.wide()?;
        Some((number >> 1).cast_signed() ^ -((number & 1).cast_signed()))
    }

    fn take(&mut self, length: usize) -> Option<&'i [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn bytes(&mut self) -> Option<&'i [u8]> {
        let length = self.number()?.try_into().ok()?;
        self.take(length)
    }

    fn text(&mut self) -> Option<&'i str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    fn digest(&mut self) -> Option<Digest> {
        self.take(32).and_then(Digest::from_bytes)
    }

    fn list<T>(&mut self, mut each: impl FnMut(&mut Reader<'i>) -> Option<T>) -> Option<Vec<T>> {
        let length = self.number()?;
        // Nothing is set aside for a length that is only claimed.
        let mut items = Vec::new();
        for _ in 0..length {
            items.push(each(self)?);
        }
        Some(items)
    }

    fn round(&mut self) -> Option<(u16, Round)> {
        Some((self.number()?.try_into().ok()?, Round::parse(self.text()?)?))
    }

    fn slot(&mut self) -> Option<Slot> {
        let unit = self.text()?.into();
        let (year, round) = self.round()?;
        Some(Slot { unit, year, round, kind: Kind::parse(self.text()?)? })
    }

    fn node(&mut self) -> Option<Node> {
        Some(Node {
            code: self.text()?.into(),
            parent: self.text()?.into(),
            name: self.text()?.to_owned(),
            role: NodeRole::parse(self.text()?)?,
            unit_type: self.text()?.to_owned(),
            funding: self.text()?.to_owned(),
            division: self.text()?.to_owned(),
            budgeted: self.number()? == 1,
        })
    }

    fn unit_cell(&mut self) -> Option<(UnitCode, CellAddress)> {
        Some((self.text()?.into(), CellAddress::new(self.text()?, self.text()?, self.text()?)))
    }

    fn ceiling(&mut self) -> Option<Ceiling> {
        let amount = Money::from_total_fen(self.signed()?)?;
        let scale = self.scale()?;
        let strength = CeilingStrength::parse(self.text()?)?;
        Some(Ceiling { amount, scale, strength, by: self.text()?.into() })
    }

    fn version(&mut self) -> Option<Version> {
        Some(Version {
            version: self.number()?.try_into().ok()?,
            position: self.number()?,
            time: Timestamp(self.signed()?.try_into().ok()?),
            digest: self.digest()?,
            form_set: self.digest()?,
            findings: self.number()?.try_into().ok()?,
            adjusts: Some(self.number()?.try_into().ok()?).filter(|base| *base > 0),
            steps: self.list(|read| read.step(VersionState::parse))?.into_iter().collect(),
            remarks: Remarks {
                opinions: map(self.list(|read| {
                    let office = read.text()?.into();
                    Some((office, read.list(Reader::number)?.into_iter().collect()))
                })?),
                figures: map(self.list(Reader::reviewed)?),
            },
        })
    }

    fn reviewed(&mut self) -> Option<(CellAddress, ReviewedFigure)> {
        let cell = CellAddress::new(self.text()?, self.text()?, self.text()?);
        let amount = self.list(|read| {
            let value = Money::from_total_fen(read.signed()?)?;
            Some(Amount { value, scale: read.scale()? })
        })?;
        Some((cell, ReviewedFigure { amount: amount.into_iter().next(), position: self.number()? }))
    }

    fn step<S>(&mut self, parse: impl Fn(&str) -> Option<S>) -> Option<Step<S>> {
        let (state, position) = (parse(self.text()?)?, self.number()?);
        Some(Step { state, position, time: Timestamp(self.signed()?.try_into().ok()?) })
    }

    fn scale(&mut self) -> Option<Scale> {
        let denomination = Denomination::parse(self.text()?)?;
        Some(Scale { denomination, decimals: self.number()?.try_into().ok()? })
    }

    fn totals(&mut self, form: &FormSet) -> Option<Totals> {
        let mut totals = Totals::new(form);
        totals.filings = self.number()?.try_into().ok()?;
        let tables = self.list(|read| {
            let table: usize = read.number()?.try_into().ok()?;
            let width = form.tables.get(table)?.columns.len();
            let mut sums = TableTotals::default();
            sums.filings = read.number()?.try_into().ok()?;
            sums.empty = read.number()?.try_into().ok()?;
            sums.listed = read.number()?;
            for _ in 0..read.number()? {
                let key = RowKey::from(read.text()?);
                let filings = read.number()?.try_into().ok()?;
                sums.push(key, filings, (0..width).map(|_| read.sum()))?;
            }
            Some((table, sums))
        })?;
        for (table, sums) in tables {
            totals.put(table, sums)?;
        }
        Some(totals)
    }

    fn sum(&mut self) -> Option<Sum> {
        let parts = self.number()?.try_into().ok()?;
        if parts == 0 {
            return Some(Sum::BLANK);
        }
        let (value, slack) = (Total::from_fen(self.signed()?), Total::from_fen(self.signed()?));
        Some(Sum { value, slack, parts })
    }

    fn transfer(&mut self) -> Option<Transfer> {
        let (counterparty, kind, code) = (self.text()?, self.text()?, self.text()?);
        Some(Transfer {
            counterparty: UnitCode::from(counterparty),
            kind: CompactString::from(kind),
            code: CompactString::from(code),
            amount: Money::from_total_fen(self.signed()?)?,
            filled: self.list(|read| Some(read.number()? == 1))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back() {
        let mut out = Writer(Vec::new());
        let all = [0, 1, -1, 63, -64, 64, i128::from(i64::MAX), i128::MAX, i128::MIN];
        all.into_iter().for_each(|number| out.signed(number));
        let mut read = Reader(&out.0);
        assert!(all.into_iter().all(|number| read.signed() == Some(number)) && read.0.is_empty());
        assert_eq!(Reader(&[0x80]).number(), None);
        assert_eq!(Reader(&[0xff; 40]).wide(), None);
    }

    #[test]
    fn an_empty_state_reads_back_and_a_torn_image_does_not() {
        let whole = image(&State::default());
        assert_eq!(image(&state(&whole).unwrap()), whole);
        assert!(state(&whole[1..]).is_none() && state(&[whole, vec![0]].concat()).is_none());
        assert!(state(&[]).is_none());
    }
}
