//! A mirror beside its store: what is durable where before an answer, what happens when one of the two fails, and what
//! each start makes of two that don't hold the same.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use budget_consolidator::store::archive::{Entry, Reader};
use budget_consolidator::store::{
    Disk, Journal, JournalError, MIRROR_FILE, MemoryJournal, MirrorOptions, MirroredJournal, RealDisk, Remedy,
    SledJournal, SledOptions, Step,
};
use tempfile::TempDir;

/// A disk that is full, slow, or fails while a test wants it to; it remembers the mirror's file as it was last synced.
#[derive(Default)]
pub struct Device {
    pub full: AtomicBool,
    pub fails: AtomicBool,
    /// Which of the next syncs fails: 1 is the very next.
    pub fails_next: AtomicU64,
    pub slow: AtomicBool,
    pub synced: Mutex<Vec<u8>>,
}

impl Disk for Device {
    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        if self.full.load(Ordering::SeqCst) { Ok(1_234) } else { RealDisk.free_bytes(dir) }
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        // Not for ever: a test that fails while the disk is slow must end too.
        for _ in 0..2_500 {
            if !self.slow.load(Ordering::SeqCst) {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let left = self.fails_next.load(Ordering::SeqCst);
        self.fails_next.store(left.saturating_sub(1), Ordering::SeqCst);
        if self.fails.load(Ordering::SeqCst) || left == 1 {
            return Err(io::Error::other("the mirror's disk is ill"));
        }
        let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        if path.ends_with(MIRROR_FILE) {
            *self.synced.lock().unwrap() = fs::read(path)?;
        }
        Ok(())
    }
}

pub fn record(position: u64) -> Vec<u8> {
    format!("record {position} ").repeat(1 + position as usize % 7 * 60).into_bytes()
}

fn on(engine: Arc<dyn Journal>, directory: &Path) -> Result<MirroredJournal, JournalError> {
    MirroredJournal::open(engine, directory, MirrorOptions::default())
}

fn on_device(engine: Arc<dyn Journal>, directory: &Path, device: &Arc<Device>, lagging: bool) -> MirroredJournal {
    let options = MirrorOptions { lagging, disk: device.clone(), ..MirrorOptions::default() };
    MirroredJournal::open(engine, directory, options).unwrap()
}

fn memory(records: u64) -> Arc<MemoryJournal> {
    let journal = MemoryJournal::new();
    fill(&journal, records);
    Arc::new(journal)
}

fn fill(journal: &dyn Journal, through: u64) {
    for head in journal.head().unwrap()..through {
        journal.append(head, &[record(head + 1)]).unwrap();
    }
}

/// A mirror with a store of that many records, closed again.
fn mirror_of(records: u64) -> TempDir {
    let directory = TempDir::new().unwrap();
    fill(&on(memory(0), directory.path()).unwrap(), records);
    directory
}

fn file(directory: &TempDir) -> PathBuf {
    directory.path().join(MIRROR_FILE)
}

/// The events of a mirror, whether the file is complete, and where each record begins.
fn events(path: &Path) -> (Vec<Vec<u8>>, bool, Vec<u64>) {
    let mut reader = Reader::open(path).unwrap();
    let (mut events, mut offsets) = (Vec::new(), vec![reader.offset()]);
    while let Some(entry) = reader.next().unwrap() {
        if let Entry::Event { bytes, .. } = entry {
            events.push(bytes);
        }
        offsets.push(reader.offset());
    }
    (events, reader.is_complete(), offsets)
}

fn expect(path: &Path, through: u64) {
    let (found, complete, _) = events(path);
    assert_eq!(found, (1..=through).map(record).collect::<Vec<_>>());
    assert!(complete);
}

fn within_seconds(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

// ── in step ──────────────────────────────────────────────────────────────────────────────

#[test]
fn an_append_returns_once_store_and_mirror_have_synced_it() {
    let directory = TempDir::new().unwrap();
    let steps: Arc<Mutex<Vec<(&str, Step)>>> = Arc::default();
    let observer = |name: &'static str| -> budget_consolidator::store::Observer {
        let steps = steps.clone();
        Arc::new(move |step| steps.lock().unwrap().push((name, step)))
    };
    let options = SledOptions { observer: Some(observer("store")), ..SledOptions::default() };
    let engine = SledJournal::open(&directory.path().join("store"), options).unwrap();
    let options = MirrorOptions { observer: Some(observer("mirror")), ..MirrorOptions::default() };
    let journal = MirroredJournal::open(Arc::new(engine), &directory.path().join("mirror"), options).unwrap();
    for head in 0..5 {
        let through = journal.append(head, &[record(head + 1)]).unwrap();
        let steps = steps.lock().unwrap();
        for name in ["store", "mirror"] {
            assert!(steps.contains(&(name, Step::Synced { through })), "{name} {through}: {steps:?}");
        }
        assert_eq!(journal.mirrored(), Some(through));
    }
}

#[test]
fn the_two_syncs_run_in_parallel() {
    let (directory, device) = (TempDir::new().unwrap(), Arc::new(Device::default()));
    let engine = memory(0);
    let journal = Arc::new(on_device(engine.clone(), directory.path(), &device, false));
    device.slow.store(true, Ordering::SeqCst);
    let writer = std::thread::spawn({
        let journal = journal.clone();
        move || journal.append(0, &[record(1)])
    });
    // The engine has it while the mirror still syncs, and nobody is told yet.
    within_seconds("the engine waited for the mirror", || engine.head().unwrap() == 1);
    assert_eq!(journal.head().unwrap(), 0);
    assert_eq!(journal.read(1).unwrap(), None);
    assert_eq!(journal.scan(1).count(), 0);
    assert!(!writer.is_finished());
    device.slow.store(false, Ordering::SeqCst);
    assert_eq!(writer.join().unwrap().unwrap(), 1);
    assert_eq!(journal.head().unwrap(), 1);
}

#[test]
fn a_mirror_whose_sync_fails_stops_the_journal_for_good_and_hides_the_batch() {
    let (directory, device) = (TempDir::new().unwrap(), Arc::new(Device::default()));
    let engine = memory(0);
    let journal = on_device(engine.clone(), directory.path(), &device, false);
    fill(&journal, 3);
    device.fails.store(true, Ordering::SeqCst);
    let error = journal.append(3, &[record(4)]).unwrap_err();
    assert!(matches!(error, JournalError::SyncFailed { .. }) && error.outcome_unknown(), "{error}");
    assert!(error.to_string().contains(MIRROR_FILE), "{error}");
    device.fails.store(false, Ordering::SeqCst);
    for _ in 0..3 {
        assert!(matches!(journal.append(3, &[record(4)]), Err(JournalError::Stopped)));
    }
    assert_eq!((journal.head().unwrap(), journal.read(4).unwrap(), journal.scan(1).count()), (3, None, 3));
    assert_eq!(journal.mirrored(), Some(3));
    // After a restart both have it or neither has.
    drop(journal);
    let journal = on(engine, directory.path()).unwrap();
    assert_eq!((journal.head().unwrap(), journal.mirrored()), (4, Some(4)));
    expect(&directory.path().join(MIRROR_FILE), 4);
}

#[test]
fn a_store_whose_sync_fails_stops_the_journal_for_good() {
    let directory = TempDir::new().unwrap();
    let engine = memory(0);
    let journal = on(engine.clone(), directory.path()).unwrap();
    fill(&journal, 2);
    engine.fail_next_sync();
    let error = journal.append(2, &[record(3)]).unwrap_err();
    assert!(matches!(error, JournalError::SyncFailed { .. }), "{error}");
    assert!(matches!(journal.append(2, &[record(3)]), Err(JournalError::Stopped)));
    drop(journal);
    // The mirror had it, and the outcome was unknown: the restart decides for all.
    let journal = on(Arc::new(engine.crash()), directory.path()).unwrap();
    assert_eq!((journal.head().unwrap(), journal.mirrored()), (3, Some(3)));
}

/// An engine that says that its disk is full while a test wants it to.
struct Picky {
    engine: MemoryJournal,
    full: AtomicBool,
}

impl Journal for Picky {
    fn head(&self) -> Result<u64, JournalError> {
        self.engine.head()
    }
    fn append(&self, expected_head: u64, batch: &[Vec<u8>]) -> Result<u64, JournalError> {
        if self.full.load(Ordering::SeqCst) {
            return Err(JournalError::Full { path: "here".into(), free: 1, reserve: 2 });
        }
        self.engine.append(expected_head, batch)
    }
    fn read(&self, position: u64) -> Result<Option<Vec<u8>>, JournalError> {
        self.engine.read(position)
    }
    fn scan(&self, from: u64) -> budget_consolidator::store::Records<'_> {
        self.engine.scan(from)
    }
}

/// A mirror in a directory of its own, and the store that it stands beside.
fn on_picky() -> (TempDir, Arc<Picky>, MirroredJournal) {
    let directory = TempDir::new().unwrap();
    let engine = Arc::new(Picky { engine: MemoryJournal::new(), full: AtomicBool::new(false) });
    let journal = on(engine.clone(), directory.path()).unwrap();
    (directory, engine, journal)
}

#[test]
fn what_the_store_refuses_for_sure_is_taken_back_from_the_mirror() {
    let (directory, engine, journal) = on_picky();
    fill(&journal, 2);
    engine.full.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let error = journal.append(2, &[b"refused".to_vec(), record(9)]).unwrap_err();
        assert!(matches!(error, JournalError::Full { .. }) && !error.outcome_unknown(), "{error}");
        expect(&directory.path().join(MIRROR_FILE), 2);
    }
    engine.full.store(false, Ordering::SeqCst);
    fill(&journal, 4);
    expect(&directory.path().join(MIRROR_FILE), 4);
}

/// The checkpoint of the head goes with the batch behind it, and must not be lost when that is taken back.
#[test]
fn a_checkpoint_that_was_taken_back_with_a_batch_is_written_with_the_next() {
    let notes = |directory: &TempDir| {
        let (mut reader, mut notes) = (Reader::open(&file(directory)).unwrap(), Vec::new());
        while let Some(entry) = reader.next().unwrap() {
            if let Entry::Checkpoint { position, note } = entry {
                notes.push((position, note));
            }
        }
        notes
    };
    for goes_on in [true, false] {
        let (directory, engine, journal) = on_picky();
        fill(&journal, 1);
        journal.keep_checkpoint(1, b"of one");
        fill(&journal, 2);
        journal.keep_checkpoint(2, b"of two");
        engine.full.store(true, Ordering::SeqCst);
        for _ in 0..2 {
            journal.append(2, &[record(3)]).unwrap_err();
            assert_eq!(notes(&directory), [(1, b"of one".to_vec())]);
        }
        engine.full.store(false, Ordering::SeqCst);
        let head = if goes_on { 3 } else { 2 };
        fill(&journal, head);
        drop(journal);
        assert_eq!(notes(&directory), [(1, b"of one".to_vec()), (2, b"of two".to_vec())], "{goes_on}");
        expect(&file(&directory), head);
    }
    // An older one, which is in the file, is not written again in its place.
    let (directory, engine, journal) = on_picky();
    fill(&journal, 1);
    journal.keep_checkpoint(1, b"of one");
    fill(&journal, 2);
    engine.full.store(true, Ordering::SeqCst);
    journal.append(2, &[record(3)]).unwrap_err();
    engine.full.store(false, Ordering::SeqCst);
    fill(&journal, 3);
    drop(journal);
    assert_eq!(notes(&directory), [(1, b"of one".to_vec())]);
}

#[test]
fn a_batch_that_cannot_be_taken_back_stops_the_journal_with_an_unknown_outcome() {
    let (directory, device) = (TempDir::new().unwrap(), Arc::new(Device::default()));
    let engine = Arc::new(Picky { engine: MemoryJournal::new(), full: AtomicBool::new(false) });
    let journal = Arc::new(on_device(engine.clone(), directory.path(), &device, false));
    fill(&*journal, 2);
    engine.full.store(true, Ordering::SeqCst);
    device.fails_next.store(2, Ordering::SeqCst);
    let error = journal.append(2, &[record(3)]).unwrap_err();
    assert!(error.outcome_unknown(), "a restart would adopt it: {error}");
    engine.full.store(false, Ordering::SeqCst);
    assert!(matches!(journal.append(2, &[record(3)]), Err(JournalError::Stopped)));
}

#[test]
fn the_mirrors_reserve_refuses_appends_and_opening_while_reads_go_on() {
    let (directory, device) = (TempDir::new().unwrap(), Arc::new(Device::default()));
    let engine = memory(0);
    let journal = on_device(engine.clone(), directory.path(), &device, false);
    fill(&journal, 2);
    device.full.store(true, Ordering::SeqCst);
    let error = journal.append(2, &[record(3)]).unwrap_err();
    let JournalError::Full { path, free: 1_234, .. } = &error else { panic!("{error}") };
    assert_eq!(path, directory.path());
    assert_eq!((engine.head().unwrap(), journal.scan(1).count()), (2, 2));
    drop(journal);
    let options = MirrorOptions { disk: device.clone(), ..MirrorOptions::default() };
    let error = MirroredJournal::open(engine.clone(), directory.path(), options).err().unwrap();
    assert!(matches!(error, JournalError::Full { .. }), "{error}");
    device.full.store(false, Ordering::SeqCst);
    fill(&on_device(engine, directory.path(), &device, false), 3);
}

// ── lagging ──────────────────────────────────────────────────────────────────────────────

#[test]
fn a_lagging_mirror_is_not_waited_for_says_how_far_it_is_and_follows() {
    let (directory, device) = (TempDir::new().unwrap(), Arc::new(Device::default()));
    let journal = on_device(memory(0), directory.path(), &device, true);
    device.slow.store(true, Ordering::SeqCst);
    fill(&journal, 300);
    let (head, mirrored) = (journal.head().unwrap(), journal.mirrored().unwrap());
    assert!(head == 300 && mirrored < 300, "{head} {mirrored}");
    device.slow.store(false, Ordering::SeqCst);
    within_seconds("it did not follow", || journal.mirrored() == Some(300));
    expect(&directory.path().join(MIRROR_FILE), 300);
}

#[test]
fn a_lagging_mirror_catches_up_before_an_orderly_end_and_after_a_start() {
    let (directory, device) = (TempDir::new().unwrap(), Arc::new(Device::default()));
    let engine = memory(40);
    let journal = on_device(engine.clone(), directory.path(), &device, true);
    within_seconds("it did not catch up", || journal.mirrored() == Some(40));
    fill(&journal, 80);
    drop(journal);
    expect(&directory.path().join(MIRROR_FILE), 80);
}

#[test]
fn a_lagging_mirror_that_fails_falls_behind_until_a_restart_and_never_syncs_again() {
    let (directory, device) = (TempDir::new().unwrap(), Arc::new(Device::default()));
    let engine = memory(0);
    let journal = on_device(engine.clone(), directory.path(), &device, true);
    fill(&journal, 1);
    within_seconds("it did not follow", || journal.mirrored() == Some(1));
    device.fails.store(true, Ordering::SeqCst);
    fill(&journal, 2);
    std::thread::sleep(Duration::from_millis(50));
    device.fails.store(false, Ordering::SeqCst);
    fill(&journal, 9);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!((journal.head().unwrap(), journal.mirrored()), (9, Some(1)));
    drop(journal);
    drop(on(engine, directory.path()).unwrap());
    expect(&directory.path().join(MIRROR_FILE), 9);
}

/// Nobody waits for it, so it keeps no start waiting either.
#[test]
fn a_lagging_mirror_on_a_full_disk_does_not_keep_a_start_from_going_on() {
    let (directory, device) = (TempDir::new().unwrap(), Arc::new(Device::default()));
    let engine = memory(0);
    let journal = on_device(engine.clone(), directory.path(), &device, true);
    fill(&journal, 2);
    within_seconds("it did not follow", || journal.mirrored() == Some(2));
    device.full.store(true, Ordering::SeqCst);
    fill(&journal, 4);
    drop(journal);
    let options = |lagging| MirrorOptions { lagging, disk: device.clone(), ..MirrorOptions::default() };
    let refused = MirroredJournal::open(engine.clone(), directory.path(), options(false)).err().unwrap();
    assert!(matches!(refused, JournalError::Full { .. }), "{refused}");
    let journal = MirroredJournal::open(engine, directory.path(), options(true)).unwrap();
    fill(&journal, 6);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!((journal.head().unwrap(), journal.mirrored(), journal.has_room()), (6, Some(2), true));
    device.full.store(false, Ordering::SeqCst);
    within_seconds("it did not go on", || journal.mirrored() == Some(6));
    drop(journal);
    expect(&directory.path().join(MIRROR_FILE), 6);
}

#[test]
fn a_lagging_mirror_that_met_a_full_disk_goes_on_by_itself_once_there_is_room() {
    let (directory, device) = (TempDir::new().unwrap(), Arc::new(Device::default()));
    let journal = on_device(memory(0), directory.path(), &device, true);
    device.full.store(true, Ordering::SeqCst);
    fill(&journal, 5);
    // Long enough for it to have looked.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(journal.mirrored(), Some(0));
    device.full.store(false, Ordering::SeqCst);
    // Nothing more is appended that would tell it.
    within_seconds("it did not go on", || journal.mirrored() == Some(5));
    expect(&file(&directory), 5);
}

// ── at the start ─────────────────────────────────────────────────────────────────────────

#[test]
fn a_store_behind_its_mirror_takes_over_the_tail() {
    for have in [1, 7, 19] {
        let mirror = mirror_of(20);
        let engine = memory(have);
        let journal = on(engine.clone(), mirror.path()).unwrap();
        assert_eq!((journal.head().unwrap(), engine.head().unwrap()), (20, 20));
        assert!((1..=20).all(|position| engine.read(position).unwrap() == Some(record(position))));
        fill(&journal, 22);
        drop(journal);
        expect(&file(&mirror), 22);
    }
}

#[test]
fn a_mirror_behind_its_store_is_brought_up() {
    for had in [0, 1, 13] {
        let mirror = mirror_of(had);
        let journal = on(memory(20), mirror.path()).unwrap();
        assert_eq!((journal.head().unwrap(), journal.mirrored()), (20, Some(20)));
        drop(journal);
        expect(&file(&mirror), 20);
    }
}

#[test]
fn two_histories_are_refused_with_the_first_position_that_differs() {
    for (store, mirrored) in [(9, 9), (9, 12), (12, 9)] {
        let mirror = mirror_of(mirrored);
        let before = fs::read(file(&mirror)).unwrap();
        let engine = memory(6);
        for head in 6..store {
            engine.append(head, &[format!("another {head}").into_bytes()]).unwrap();
        }
        let error = on(engine.clone(), mirror.path()).err().unwrap();
        let JournalError::HistoriesDiffer { position: 7, .. } = error else { panic!("{error}") };
        assert_eq!((engine.head().unwrap(), fs::read(file(&mirror)).unwrap()), (store, before), "nothing was touched");
    }
}

#[test]
fn an_empty_store_beside_a_mirror_that_is_not_is_refused() {
    let mirror = mirror_of(5);
    let before = fs::read(file(&mirror)).unwrap();
    let engine = memory(0);
    let error = on(engine.clone(), mirror.path()).err().unwrap();
    assert!(matches!(error, JournalError::StoreEmpty { events: 5, .. }), "{error}");
    assert!(error.to_string().contains("consolidator restore"), "{error}");
    assert_eq!((engine.head().unwrap(), fs::read(file(&mirror)).unwrap()), (0, before));
    assert_eq!(MirroredJournal::events_in(mirror.path()).unwrap(), 5);
    assert_eq!(MirroredJournal::events_in(TempDir::new().unwrap().path()).unwrap(), 0);
}

#[test]
fn an_unfinished_batch_is_cut_off_and_kept_beside() {
    let whole = fs::read(file(&mirror_of(6))).unwrap();
    let (_, _, offsets) = events(&file(&mirror_of(6)));
    // Behind the mark of record 5: within record 6, whole but for its mark, within the mark.
    let marked = offsets[offsets.len() - 3] as usize;
    let lengths = (marked + 1..whole.len()).filter(|at| at - marked < 24 || whole.len() - at < 30);
    for length in lengths {
        for store in [5, 6, 8] {
            let mirror = TempDir::new().unwrap();
            fs::write(file(&mirror), &whole[..length]).unwrap();
            let engine = memory(store);
            let journal = on(engine.clone(), mirror.path()).unwrap();
            assert_eq!((journal.head().unwrap(), journal.mirrored()), (store, Some(store)), "{length} {store}");
            drop(journal);
            expect(&file(&mirror), store);
            assert_eq!(fs::read(mirror.path().join("cut-behind-5.0")).unwrap(), whole[marked..length]);
        }
    }
}

#[test]
fn damage_is_refused_with_its_position_and_what_to_do() {
    let whole = fs::read(file(&mirror_of(12))).unwrap();
    let (_, _, offsets) = events(&file(&mirror_of(12)));
    // Each record has its own mark here: record n begins at offsets[2 * (n - 1)].
    for position in 1..=11u64 {
        for store in [12, 20, position - 1] {
            if store == 0 {
                continue;
            }
            let mirror = TempDir::new().unwrap();
            let mut bytes = whole.clone();
            bytes[offsets[2 * (position as usize - 1)] as usize + 20] ^= 4;
            fs::write(file(&mirror), &bytes).unwrap();
            let error = on(memory(store), mirror.path()).err().unwrap();
            let JournalError::ArchiveDamaged { position: named, last: 12, remedy, .. } = &error else {
                panic!("{error}")
            };
            assert_eq!(*named, position);
            assert_eq!(*remedy, if store >= 12 { Remedy::MadeFromStore } else { Remedy::Compared });
            assert_eq!(fs::read(file(&mirror)).unwrap(), bytes, "nothing was touched");
        }
    }
}

#[test]
fn damage_in_the_last_batch_is_made_good_from_a_store_that_has_it_all() {
    let whole = fs::read(file(&mirror_of(6))).unwrap();
    let (_, _, offsets) = events(&file(&mirror_of(6)));
    let begins = offsets[offsets.len() - 3] as usize;
    let mut bytes = whole.clone();
    bytes[begins + 20] ^= 4;
    for store in [6, 9] {
        let mirror = TempDir::new().unwrap();
        fs::write(file(&mirror), &bytes).unwrap();
        drop(on(memory(store), mirror.path()).unwrap());
        expect(&file(&mirror), store);
        assert_eq!(fs::read(mirror.path().join("cut-behind-5.0")).unwrap(), bytes[begins..]);
    }
    // A store that lacks it may have lost it: nothing is cut.
    let mirror = TempDir::new().unwrap();
    fs::write(file(&mirror), &bytes).unwrap();
    let error = on(memory(5), mirror.path()).err().unwrap();
    assert!(matches!(error, JournalError::ArchiveDamaged { position: 6, remedy: Remedy::Compared, .. }), "{error}");
    assert_eq!(fs::read(file(&mirror)).unwrap(), bytes);
}

#[test]
fn a_file_that_is_no_mirror_or_of_a_newer_program_is_refused_untouched() {
    let mirror = mirror_of(3);
    let whole = fs::read(file(&mirror)).unwrap();
    let newer = String::from_utf8_lossy(&whole[..38]).replace("format 1", "format 2").into_bytes();
    let (_, _, offsets) = events(&file(&mirror));
    let late = [&whole[..38], &whole[offsets[2] as usize..]].concat();
    let foreign = b"year,unit\n2024,407\n".to_vec();
    for (bytes, expected) in [(newer, "format 2"), (late, "begins with 1"), (foreign, "does not begin like")] {
        fs::write(file(&mirror), &bytes).unwrap();
        let error = on(memory(3), mirror.path()).err().unwrap();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(fs::read(file(&mirror)).unwrap(), bytes);
    }
}

#[test]
fn a_mirror_in_use_is_not_taken_by_another_store() {
    let mirror = mirror_of(0);
    let journal = on(memory(3), mirror.path()).unwrap();
    let error = on(memory(3), mirror.path()).err().unwrap();
    assert!(matches!(&error, JournalError::InUse { .. }), "{error}");
    fill(&journal, 4);
    drop(journal);
    expect(&file(&mirror), 4);
}
