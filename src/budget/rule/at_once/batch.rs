//! Rows at hand, many times over: each place of a batch is a row of a scope, or a row that was met from one.

use std::borrow::Cow;

use super::super::book::{KEY_PARTS, NONE};
use super::super::world::{Frame, World};
use super::Truth;

/// What a formula is asked for, place by place.
pub(in super::super) struct Batch<'b> {
    pub(in super::super) len: usize,
    /// What it was met from, and from which place of that.
    outer: Option<(&'b Batch<'b>, Vec<u32>)>,
    /// What is at hand in the innermost frame; nothing if a formula is asked once.
    own: Option<AtHand>,
    /// How many frames there are.
    pub(super) frames: usize,
}

/// Rows of one table.
pub(super) struct AtHand {
    pub(super) book: usize,
    pub(super) table: usize,
    pub(super) rows: Vec<u32>,
    /// Keys instead, where there need not be a row.
    keys: Vec<[u32; KEY_PARTS]>,
}

impl<'b> Batch<'b> {
    /// One place, and nothing at hand.
    pub(in super::super) fn once() -> Batch<'b> {
        Batch { len: 1, outer: None, own: None, frames: 0 }
    }

    /// Rows of a table.
    pub(in super::super) fn of_rows(book: usize, table: usize, rows: Vec<u32>) -> Batch<'b> {
        let own = AtHand { book, table, rows, keys: Vec::new() };
        Batch { len: own.rows.len(), outer: None, own: Some(own), frames: 1 }
    }

    /// Keys, of which the table may have no row.
    pub(in super::super) fn of_keys(book: usize, table: usize, keys: Vec<[u32; KEY_PARTS]>) -> Batch<'b> {
        let own = AtHand { book, table, rows: vec![NONE; keys.len()], keys };
        Batch { len: own.rows.len(), outer: None, own: Some(own), frames: 1 }
    }

    /// What is at hand by itself.
    pub(in super::super) fn of_frame(frame: &Frame) -> Batch<'b> {
        let own = AtHand { book: frame.book, table: frame.table, rows: vec![frame.row], keys: vec![frame.key] };
        Batch { len: 1, outer: None, own: Some(own), frames: 1 }
    }

    /// Rows that were met from these places.
    pub(super) fn inside(&'b self, book: usize, table: usize, from: Vec<u32>, rows: Vec<u32>) -> Batch<'b> {
        let own = AtHand { book, table, rows, keys: Vec::new() };
        Batch { len: own.rows.len(), outer: Some((self, from)), own: Some(own), frames: self.frames + 1 }
    }

    /// Some of the places.
    pub(super) fn keep(&self, places: &[u32]) -> Batch<'b> {
        let outer = self.outer.as_ref().map(|(outer, from)| (*outer, picked(from, places)));
        let own = self.own.as_ref().map(|own| AtHand {
            rows: picked(&own.rows, places),
            keys: picked(&own.keys, places),
            ..*own
        });
        Batch { len: places.len(), outer, own, frames: self.frames }
    }

    /// From which places of the batch outside it was met.
    pub(super) fn from(&self) -> &[u32] {
        self.outer.as_ref().map_or(&[], |(_, from)| from)
    }

    /// What is at hand in the innermost frame.
    pub(super) fn own(&self) -> Option<&AtHand> {
        self.own.as_ref()
    }

    /// What is at hand in a frame, and for each place where in it; the same place if that isn't said.
    fn frame(&self, number: usize) -> Option<(&AtHand, Option<Cow<'_, [u32]>>)> {
        if number + 1 == self.frames {
            return self.own.as_ref().map(|own| (own, None));
        }
        let (outer, from) = self.outer.as_ref()?;
        let (found, places) = outer.frame(number)?;
        let places = places.map_or(Cow::Borrowed(from.as_slice()), |places| Cow::Owned(picked(&places, from)));
        Some((found, Some(places)))
    }

    /// Book, table and rows at hand in a frame.
    pub(super) fn rows(&self, frame: usize) -> Option<(usize, usize, Cow<'_, [u32]>)> {
        let (found, places) = self.frame(frame)?;
        let rows =
            places.map_or(Cow::Borrowed(found.rows.as_slice()), |places| Cow::Owned(picked(&found.rows, &places)));
        Some((found.book, found.table, rows))
    }

    /// A part of the keys at hand in a frame.
    pub(super) fn parts(&self, world: &World<'_>, frame: usize, part: usize) -> Vec<u32> {
        let Some((found, places)) = self.frame(frame) else { return vec![NONE; self.len] };
        let parts: Vec<u32> = if found.keys.is_empty() {
            let table = world.table(found.book, found.table);
            found.rows.iter().map(|row| table.map_or(NONE, |table| table.part(*row, part))).collect()
        } else {
            found.keys.iter().map(|key| key.get(part).copied().unwrap_or(NONE)).collect()
        };
        places.map_or(parts.clone(), |places| picked(&parts, &places))
    }
}

fn picked<T: Copy>(all: &[T], places: &[u32]) -> Vec<T> {
    let mut picked = Vec::with_capacity(if all.is_empty() { 0 } else { places.len() });
    picked.extend(places.iter().filter_map(|place| all.get(*place as usize).copied()));
    picked
}

/// The places of a batch that are not settled yet.
pub(super) struct Open<'o, 'b> {
    whole: &'o Batch<'b>,
    /// If they are not all: what they are, and where each stands in the whole.
    rest: Option<(Batch<'b>, Vec<u32>)>,
}

impl<'o, 'b> Open<'o, 'b> {
    pub(super) fn all(whole: &'o Batch<'b>) -> Open<'o, 'b> {
        Open { whole, rest: None }
    }

    pub(super) fn batch(&self) -> &Batch<'b> {
        self.rest.as_ref().map_or(self.whole, |(batch, _)| batch)
    }

    /// Tells what was found for each open place.
    pub(super) fn tell(&self, found: &[Truth], mut tell: impl FnMut(usize, Truth)) {
        match &self.rest {
            None => found.iter().enumerate().for_each(|(place, truth)| tell(place, *truth)),
            Some((_, places)) => places.iter().zip(found).for_each(|(place, truth)| tell(*place as usize, *truth)),
        }
    }

    /// Tells what was found for each open place, and leaves open where there is more to ask.
    pub(super) fn settle(&mut self, found: &[Truth], more: impl Fn(Truth) -> bool, tell: impl FnMut(usize, Truth)) {
        self.tell(found, tell);
        let mut kept = Vec::with_capacity(found.len());
        for (at, truth) in (0_u32..).zip(found) {
            if more(*truth) {
                kept.push(at);
            }
        }
        if kept.len() == found.len() {
            return;
        }
        let batch = self.batch().keep(&kept);
        let places = match &self.rest {
            None => kept,
            Some((_, places)) => picked(places, &kept),
        };
        self.rest = Some((batch, places));
    }
}
