//! The journal as an archive, piece by piece: what `backup` writes to a file.
//!
//! Consistent because the journal only grows: the export of a snapshot ends at the snapshot's position, whatever is
//! appended meanwhile. The format is [`crate::store::archive`]'s.

use std::sync::Arc;

use super::{Snapshot, stored};
use crate::budget::reason::{Reason, Remark};
use crate::ledger::Position;
use crate::store::{Journal, archive};

/// A piece is handed out once it is at least this long.
const PIECE_BYTES: usize = 256 * 1024;

/// Part of an archive.
#[derive(Debug)]
pub struct Piece {
    /// Its bytes; pieces are written one after the other.
    pub bytes: Vec<u8>,
    /// The position of the last event in it, or in an earlier one.
    pub position: Position,
    /// The position of the last event that there will be.
    pub head: Position,
}

/// An archive that is being written.
pub struct Export {
    journal: Arc<dyn Journal>,
    /// The last position that was handed out.
    position: Position,
    head: Position,
    /// Signed checkpoints that the archive ends in.
    notes: Vec<String>,
    begun: bool,
    ended: bool,
}

impl Snapshot {
    /// The events from `from` (0 means 1) to the position of this snapshot, as an archive.
    ///
    /// # Errors
    /// `UNKNOWN_POSITION` if there is no such event and it is not the next one either.
    pub fn export(&self, from: Position) -> Result<Export, Remark> {
        let (from, head) = (from.max(1), self.state.position);
        if from > head.saturating_add(1) {
            return Err(Remark::new(Reason::UnknownPosition).with("position", from).with("head", head));
        }
        // Not before it is kept: what is handed out must be known at the next start.
        let signed = self.signed.as_ref().filter(|signed| signed.size == head && head > 0);
        let mut notes = Vec::new();
        if let (Some(signed), Some((_, changes))) = (signed, self.notary.keys()) {
            self.notary.make_durable(signed.size)?;
            notes.extend(changes.iter().cloned().chain([signed.note.clone()]));
            notes.dedup();
        }
        let journal = self.journal.clone();
        Ok(Export { journal, position: from - 1, head, notes, begun: false, ended: false })
    }
}

impl Export {
    fn piece(&mut self) -> Result<Piece, Remark> {
        let mut bytes = if self.begun { Vec::new() } else { archive::line().into_bytes() };
        self.begun = true;
        while self.position < self.head && bytes.len() < PIECE_BYTES {
            let position = self.position + 1;
            archive::add_event(&mut bytes, position, &stored(self.journal.as_ref(), position)?);
            self.position = position;
        }
        if self.position == self.head {
            archive::add_mark(&mut bytes, self.head);
            self.notes.iter().for_each(|note| archive::add_checkpoint(&mut bytes, self.head, note.as_bytes()));
            self.ended = true;
        }
        Ok(Piece { bytes, position: self.position, head: self.head })
    }
}

impl Iterator for Export {
    type Item = Result<Piece, Remark>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let piece = self.piece();
        self.ended |= piece.is_err();
        Some(piece)
    }
}
