//! Reading an archive: every checksum compared, and nothing that does not fit
//! passed over in silence.
//!
//! Knows no repair. Where the file stops making sense, [`Reader::next`] ends
//! and [`Reader::flaw`] says where, why, and whether anything whole stands
//! behind it; what to do then is up to the caller.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::{ARCHIVE_FORMAT, CHECKED_BYTES, CHECKPOINT, EVENT, HEADER_BYTES, LINE_PREFIX, MARK, TRAILER_BYTES};
use crate::store::directory::io_at;
use crate::store::{JournalError, RECORD_BYTES_MAX};

const BUFFER_BYTES: usize = 1024 * 1024;
/// Longer than any first line, so that a file of another kind isn't read whole.
const LINE_BYTES_MAX: usize = 80;

/// One record of an archive.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry {
    /// An event.
    Event {
        /// Its position.
        position: u64,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// All before it is complete.
    Mark {
        /// The position of the last event before it.
        through: u64,
    },
    /// A signed checkpoint.
    Checkpoint {
        /// The position of the event before it.
        position: u64,
        /// The note.
        note: Vec<u8>,
    },
}

/// Where an archive stops making sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The first position that can't be read.
    pub position: u64,
    /// Where in the file.
    pub offset: u64,
    /// What was found.
    pub what: String,
    /// Whole records behind it. None: the file's end is torn.
    pub resumed: Option<Resumed>,
}

/// What stands whole behind a flaw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumed {
    /// The position of the first such record.
    pub first: u64,
    /// The highest position among them.
    pub last: u64,
    /// Whether nothing whole follows the first mark among them: then the flaw
    /// is in the batch that was written last.
    pub within_last_batch: bool,
}

struct Header {
    kind: u8,
    position: u64,
    length: usize,
    checksum: u32,
}

impl Header {
    /// None unless its checksum fits, and the length is one that a record may have.
    fn parse(bytes: &[u8; HEADER_BYTES]) -> Option<Header> {
        let (checked, rest) = bytes.split_first_chunk::<CHECKED_BYTES>()?;
        let (kind, fields) = checked.split_first()?;
        let (position, fields) = fields.split_first_chunk::<8>()?;
        let length = u32::from_be_bytes(*fields.first_chunk::<4>()?);
        let checksum = u32::from_be_bytes(*rest.first_chunk::<4>()?);
        let header = Header {
            kind: *kind,
            position: u64::from_be_bytes(*position),
            length: usize::try_from(length).ok()?,
            checksum: crc32fast::hash(checked),
        };
        (header.checksum == checksum && header.length <= RECORD_BYTES_MAX).then_some(header)
    }

    fn checked(&self) -> [u8; CHECKED_BYTES] {
        let [a, b, c, d, e, f, g, h] = self.position.to_be_bytes();
        let [i, j, k, l] = u32::try_from(self.length).unwrap_or(u32::MAX).to_be_bytes();
        [self.kind, a, b, c, d, e, f, g, h, i, j, k, l]
    }
}

/// What was read at one place.
enum Found {
    Whole(Header, Vec<u8>),
    /// A header that checks, of a kind from later.
    Unknown(Header),
    Nothing(&'static str),
    End,
}

/// Reads an archive from its beginning.
pub struct Reader<R> {
    input: BufReader<R>,
    name: PathBuf,
    /// Where the next record begins.
    offset: u64,
    /// The last position read; none before the first.
    position: Option<u64>,
    first: u64,
    /// Through where the last mark says so; none before the first.
    marked: Option<u64>,
    marked_end: u64,
    flaw: Option<Flaw>,
    ended: bool,
}

impl Reader<File> {
    /// Opens the archive in a file.
    ///
    /// # Errors
    /// [`JournalError::NotAnArchive`], [`JournalError::NewerFormat`], or what the system says.
    pub fn open(path: &Path) -> Result<Reader<File>, JournalError> {
        Reader::new(File::open(path).map_err(io_at(path))?, path)
    }
}

impl<R: Read + Seek> Reader<R> {
    /// Reads an archive from `input`, which `name` stands for in errors.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn new(input: R, name: &Path) -> Result<Reader<R>, JournalError> {
        let mut input = BufReader::with_capacity(BUFFER_BYTES, input);
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') && line.len() < LINE_BYTES_MAX {
            let mut byte = [0];
            match input.read_exact(&mut byte) {
                Ok(()) => line.extend_from_slice(&byte),
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(io_at(name)(error)),
            }
        }
        let format = std::str::from_utf8(&line).ok().and_then(|line| line.strip_suffix('\n'));
        let format = format.and_then(|line| line.strip_prefix(LINE_PREFIX)).and_then(|number| number.parse().ok());
        match format {
            Some(ARCHIVE_FORMAT) => {}
            Some(found) if found > ARCHIVE_FORMAT => {
                return Err(JournalError::NewerFormat { path: name.to_path_buf(), found, known: ARCHIVE_FORMAT });
            }
            _ => return Err(JournalError::NotAnArchive { path: name.to_path_buf() }),
        }
        let offset = line.len() as u64;
        Ok(Reader {
            input,
            name: name.to_path_buf(),
            offset,
            position: None,
            first: 0,
            marked: None,
            marked_end: offset,
            flaw: None,
            ended: false,
        })
    }

    /// The next record; none at the end of the file, or at the first place that
    /// does not check, which [`Reader::flaw`] then tells.
    ///
    /// # Errors
    /// A kind of record that this program doesn't know, or what the system says.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Entry>, JournalError> {
        if self.ended {
            return Ok(None);
        }
        let what = match self.read_here()? {
            Found::End => {
                self.ended = true;
                return Ok(None);
            }
            Found::Unknown(header) => {
                let Header { kind, position, .. } = header;
                return Err(JournalError::NewerKind { path: self.name.clone(), position, kind });
            }
            Found::Whole(header, bytes) => match self.take(header, bytes) {
                Ok(entry) => return Ok(Some(entry)),
                Err(what) => what,
            },
            Found::Nothing(what) => what.to_owned(),
        };
        self.ended = true;
        let resumed = self.look_behind()?;
        self.flaw = Some(Flaw { position: self.expected(), offset: self.offset, what, resumed });
        Ok(None)
    }

    /// Where the file stops making sense, if [`Reader::next`] ended there.
    pub fn flaw(&self) -> Option<&Flaw> {
        self.flaw.as_ref()
    }

    /// The first position; 0 if there is no event.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The last position read so far; 0 before the first.
    pub fn position(&self) -> u64 {
        self.position.unwrap_or(0)
    }

    /// The position through which a mark says that the file is complete.
    pub fn marked(&self) -> u64 {
        self.marked.unwrap_or(0)
    }

    /// Where in the file the last mark ends, or the first line if there is none.
    pub fn marked_end(&self) -> u64 {
        self.marked_end
    }

    /// Where in the file the next record begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether all was read, all of it checked, and the last record is a mark:
    /// nothing is missing at the end.
    pub fn is_complete(&self) -> bool {
        self.ended && self.flaw.is_none() && self.marked_end == self.offset && self.position.is_some()
    }

    fn expected(&self) -> u64 {
        self.position.map_or(1, |position| position.saturating_add(1))
    }

    /// Takes a whole record, if it is the one that must come here.
    fn take(&mut self, header: Header, bytes: Vec<u8>) -> Result<Entry, String> {
        let Header { kind, position, length, .. } = header;
        let end = self.offset + (HEADER_BYTES + length + TRAILER_BYTES) as u64;
        if kind == MARK {
            if length > 0 || self.position.is_some_and(|last| last != position) || self.marked == Some(position) {
                return Err(format!("a mark through {position}"));
            }
            self.position = Some(position);
            self.marked = Some(position);
            self.marked_end = end;
            self.offset = end;
            return Ok(Entry::Mark { through: position });
        }
        if kind == CHECKPOINT {
            // Only behind a mark: neither may have changed places with the other.
            if self.position != Some(position) || self.marked_end != self.offset {
                return Err(format!("a checkpoint behind {position}"));
            }
            // It takes nothing from what the mark says.
            self.marked_end = end;
            self.offset = end;
            return Ok(Entry::Checkpoint { position, note: bytes });
        }
        if position == 0 || self.position.is_some_and(|last| position != last + 1) {
            return Err(format!("record {position} stands there"));
        }
        if self.first == 0 {
            self.first = position;
        }
        self.position = Some(position);
        self.offset = end;
        Ok(Entry::Event { position, bytes })
    }

    /// Reads what stands at the input's place.
    fn read_here(&mut self) -> Result<Found, JournalError> {
        let mut header = [0; HEADER_BYTES];
        match self.fill(&mut header)? {
            0 => return Ok(Found::End),
            HEADER_BYTES => {}
            _ => return Ok(Found::Nothing("the file ends within a record")),
        }
        let Some(header) = Header::parse(&header) else {
            return Ok(Found::Nothing("no header of a record with its checksum"));
        };
        if !matches!(header.kind, EVENT | MARK | CHECKPOINT) {
            return Ok(Found::Unknown(header));
        }
        // The header's checksum vouches for the length, so this is no allocation by accident.
        let mut bytes = vec![0; header.length + TRAILER_BYTES];
        if self.fill(&mut bytes)? < bytes.len() {
            return Ok(Found::Nothing("the file ends within a record"));
        }
        let trailer = bytes.split_off(header.length);
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&header.checked());
        hasher.update(&bytes);
        if trailer != hasher.finalize().to_be_bytes() {
            return Ok(Found::Nothing("the bytes don't have their checksum"));
        }
        Ok(Found::Whole(header, bytes))
    }

    /// Fills a buffer as far as the file goes.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, JournalError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.input.read(rest) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(io_at(&self.name)(error)),
            }
        }
        Ok(filled)
    }

    /// Looks for whole records behind the one that did not check, byte by byte.
    fn look_behind(&mut self) -> Result<Option<Resumed>, JournalError> {
        let expected = self.expected();
        let mut resumed: Option<Resumed> = None;
        let mut marked = false;
        // First the place itself: a whole record out of order is one that stands behind.
        let mut at = self.offset;
        while let Some(mut found) = self.candidate(at, expected)? {
            self.input.seek(SeekFrom::Start(found)).map_err(io_at(&self.name))?;
            at = found + 1;
            // Behind a whole record mostly stands another: read on without looking for it.
            while let Found::Whole(Header { kind, position, length, .. }, _) = self.read_here()? {
                let before = resumed.unwrap_or(Resumed { first: position, last: position, within_last_batch: true });
                let last = before.last.max(position);
                resumed = Some(Resumed {
                    last,
                    within_last_batch: before.within_last_batch && (!marked || kind == CHECKPOINT),
                    ..before
                });
                marked |= kind == MARK;
                found += (HEADER_BYTES + length + TRAILER_BYTES) as u64;
                at = found;
            }
        }
        Ok(resumed)
    }

    /// The next offset from `at` on with a header that checks.
    fn candidate(&mut self, at: u64, expected: u64) -> Result<Option<u64>, JournalError> {
        let mut start = at;
        let mut window = vec![0; BUFFER_BYTES];
        loop {
            self.input.seek(SeekFrom::Start(start)).map_err(io_at(&self.name))?;
            let filled = self.fill(&mut window)?;
            let read = window.get(..filled).unwrap_or_default();
            let found = read.windows(HEADER_BYTES).position(|bytes| {
                // Cheap first: most bytes are no kind.
                matches!(bytes.first(), Some(&(EVENT | MARK | CHECKPOINT)))
                    && bytes
                        .first_chunk::<HEADER_BYTES>()
                        .and_then(Header::parse)
                        .is_some_and(|header| header.position >= expected)
            });
            if let Some(found) = found {
                return Ok(Some(start + found as u64));
            }
            if filled < window.len() {
                return Ok(None);
            }
            // Headers may stand across two windows.
            start += (filled - (HEADER_BYTES - 1)) as u64;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Cursor;

    use super::super::{add_batch, add_event, add_mark, line};
    use super::*;

    /// Three batches: 1..=2, 3, 4..=6, with bytes of several lengths.
    fn archive() -> (Vec<u8>, Vec<Vec<u8>>) {
        let records: Vec<Vec<u8>> = (1..=6u8).map(|n| vec![n; usize::from(n) * 7 % 31]).collect();
        let mut out = line().into_bytes();
        add_batch(&mut out, 0, records[..2].iter().map(Vec::as_slice));
        add_batch(&mut out, 2, records[2..3].iter().map(Vec::as_slice));
        add_batch(&mut out, 3, records[3..].iter().map(Vec::as_slice));
        (out, records)
    }

    fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, Reader<Cursor<Vec<u8>>>) {
        let mut reader = Reader::new(Cursor::new(bytes.to_vec()), Path::new("a file")).unwrap();
        let mut events = Vec::new();
        while let Some(entry) = reader.next().unwrap() {
            if let Entry::Event { bytes, .. } = entry {
                events.push(bytes);
            }
        }
        (events, reader)
    }

    #[test]
    fn what_was_written_is_read_back() {
        let (file, records) = archive();
        let (events, reader) = read(&file);
        assert_eq!(events, records);
        assert!(reader.is_complete());
        assert_eq!((reader.first(), reader.position(), reader.marked()), (1, 6, 6));
        assert_eq!(reader.marked_end(), file.len() as u64);
    }

    /// The layout as the module's documentation has it, byte by byte: it can't change unseen.
    #[test]
    fn the_layout_is_as_documented() {
        let mut out = line().into_bytes();
        add_event(&mut out, 258, b"abc");
        add_mark(&mut out, 258);
        let mut expected = b"budget-consolidator archive, format 1\n".to_vec();
        for (kind, bytes) in [(1, &b"abc"[..]), (2, b"")] {
            let mut checked = vec![kind, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0];
            checked.push(bytes.len() as u8);
            expected.extend(&checked);
            expected.extend(crc32fast::hash(&checked).to_be_bytes());
            expected.extend(bytes);
            expected.extend(crc32fast::hash(&[&checked, bytes].concat()).to_be_bytes());
        }
        assert_eq!(out, expected);
    }

    #[test]
    fn cut_anywhere_it_has_a_torn_end_and_gives_what_is_whole() {
        let (file, records) = archive();
        for length in line().len()..file.len() {
            let (events, reader) = read(&file[..length]);
            assert_eq!(events, records[..events.len()], "cut at {length}");
            assert!(!reader.is_complete() || reader.marked_end() == length as u64);
            assert!(reader.flaw().is_none_or(|flaw| flaw.resumed.is_none()), "cut at {length}");
            assert!(reader.marked() <= events.len() as u64);
        }
        for length in 0..line().len() {
            let cut = Reader::new(Cursor::new(file[..length].to_vec()), Path::new("a file"));
            assert!(matches!(cut.err(), Some(JournalError::NotAnArchive { .. })));
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed_and_told_from_a_torn_end() {
        let (file, records) = archive();
        for bit in 0..file.len() * 8 {
            let mut flipped = file.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let Ok(mut reader) = Reader::new(Cursor::new(flipped), Path::new("a file")) else {
                assert!(bit / 8 < line().len());
                continue;
            };
            let mut events = Vec::new();
            while let Some(entry) = reader.next().unwrap() {
                if let Entry::Event { bytes, .. } = entry {
                    events.push(bytes);
                }
            }
            let flaw = reader.flaw().expect("a flaw");
            assert_eq!(events, records[..events.len()]);
            assert_eq!(flaw.position, events.len() as u64 + 1);
            // The last mark has nothing behind it, so its damage can't be told from a torn end.
            let last_mark = bit / 8 >= file.len() - HEADER_BYTES - TRAILER_BYTES;
            assert_eq!(flaw.resumed.is_none(), last_mark, "bit {bit}: {flaw:?}");
            let last_batch = flaw.position > 3;
            assert!(flaw.resumed.is_none_or(|behind| behind.within_last_batch == last_batch), "bit {bit}: {flaw:?}");
        }
    }

    #[test]
    fn dropped_swapped_and_doubled_records_are_noticed() {
        let mut parts = vec![Vec::new(); 4];
        for (part, position) in parts.iter_mut().zip(1..) {
            add_event(part, position, &[9; 40]);
        }
        for order in [vec![0, 2, 3], vec![0, 2, 1, 3], vec![0, 1, 1, 2, 3]] {
            let mut file = line().into_bytes();
            order.iter().for_each(|at| file.extend(&parts[*at]));
            add_mark(&mut file, 4);
            let (events, reader) = read(&file);
            let flaw = reader.flaw().expect("a flaw");
            assert!(flaw.resumed.is_some() && events.len() < 3, "{order:?}: {flaw:?}");
        }
        let (front, reader) = read(&[line().into_bytes(), parts[2].clone(), parts[3].clone()].concat());
        assert_eq!((front.len(), reader.first(), reader.is_complete()), (2, 3, false));
    }

    #[test]
    fn checkpoints_stand_behind_what_they_are_of() {
        let (mut file, records) = archive();
        super::super::add_checkpoint(&mut file, 6, b"a note");
        let (events, reader) = read(&file);
        assert_eq!((events, reader.is_complete(), reader.marked_end()), (records, true, file.len() as u64));
        super::super::add_checkpoint(&mut file, 7, b"a note");
        let (_, reader) = read(&file);
        assert!(!reader.is_complete() && reader.flaw().unwrap().what.contains("checkpoint"), "{:?}", reader.flaw());
        // Behind events that no mark completes there is no place for one, whatever follows.
        let mut torn = line().into_bytes();
        add_event(&mut torn, 1, b"an event");
        super::super::add_checkpoint(&mut torn, 1, b"a note");
        add_mark(&mut torn, 1);
        let (_, reader) = read(&torn);
        assert!(!reader.is_complete() && reader.flaw().unwrap().what.contains("checkpoint"), "{:?}", reader.flaw());
    }

    #[test]
    fn kinds_and_formats_from_later_are_refused_in_words() {
        let (mut file, _) = archive();
        super::super::add(&mut file, 9, 6, b"something");
        let mut reader = Reader::new(Cursor::new(file), Path::new("a file")).unwrap();
        let error = std::iter::from_fn(|| reader.next().transpose()).find_map(Result::err).unwrap();
        assert!(matches!(error, JournalError::NewerKind { position: 6, kind: 9, .. }), "{error}");
        let newer = Reader::new(Cursor::new(b"budget-consolidator archive, format 2\n"), Path::new("a file"));
        assert!(matches!(newer.err(), Some(JournalError::NewerFormat { found: 2, known: 1, .. })));
    }
}
