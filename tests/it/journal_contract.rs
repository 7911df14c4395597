//! What every journal must do, run over memory and over sled, and what the
//! store on disk must refuse, survive or say besides.
//!
//! Knows no budgets. A new engine is added by one line in `every_engine!`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use budget_consolidator::store::{
    BATCH_BYTES_MAX, BATCH_RECORDS_MAX, Disk, Journal, JournalError, MemoryJournal, MirrorOptions, MirroredJournal,
    Observer, RECORD_BYTES_MAX, RealDisk, STORE_FORMAT, SledJournal, SledOptions, Step,
};
use proptest::prelude::*;
use tempfile::TempDir;

/// A journal that can be closed and opened again.
trait Engine {
    fn journal(&self) -> &dyn Journal;
    fn reopen(&mut self);
}

struct InMemory(MemoryJournal);

impl Engine for InMemory {
    fn journal(&self) -> &dyn Journal {
        &self.0
    }
    fn reopen(&mut self) {
        self.0 = self.0.crash();
    }
}

struct OnSled {
    journal: Option<SledJournal>,
    directory: TempDir,
}

impl OnSled {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        Self { journal: Some(open(directory.path()).unwrap()), directory }
    }
}

impl Engine for OnSled {
    fn journal(&self) -> &dyn Journal {
        self.journal.as_ref().unwrap()
    }
    fn reopen(&mut self) {
        self.journal = None;
        self.journal = Some(open(self.directory.path()).unwrap());
    }
}

/// An engine with its mirror; reopened, both are.
struct Mirrored<E> {
    journal: Option<MirroredJournal>,
    open: fn(&Path) -> E,
    lagging: bool,
    directory: TempDir,
}

impl<E: Journal> Mirrored<E> {
    fn new(open: fn(&Path) -> E, lagging: bool) -> Self {
        let mut new = Self { journal: None, open, lagging, directory: TempDir::new().unwrap() };
        new.reopen();
        new
    }
}

impl<E: Journal> Engine for Mirrored<E> {
    fn journal(&self) -> &dyn Journal {
        self.journal.as_ref().unwrap()
    }
    fn reopen(&mut self) {
        self.journal = None;
        let engine = Arc::new((self.open)(&self.directory.path().join("store")));
        let options = MirrorOptions { lagging: self.lagging, ..MirrorOptions::default() };
        let journal = MirroredJournal::open(engine, &self.directory.path().join("mirror"), options).unwrap();
        let settled = self.lagging || journal.mirrored() == Some(journal.head().unwrap());
        assert!(settled, "a mirror in step is in step from the start");
        self.journal = Some(journal);
    }
}

fn open_sled(directory: &Path) -> SledJournal {
    open(directory).unwrap()
}

fn open(directory: &Path) -> Result<SledJournal, JournalError> {
    SledJournal::open(directory, SledOptions::default())
}

/// Bytes that differ from record to record and do not compress to nothing.
fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let step = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(step).collect()
}

fn all(journal: &dyn Journal) -> Vec<Vec<u8>> {
    let records: Vec<_> = journal.scan(1).map(|record| record.unwrap()).collect();
    assert!(records.iter().map(|(position, _)| *position).eq(1..=records.len() as u64));
    records.into_iter().map(|(_, record)| record).collect()
}

// ---- the rules, one function each --------------------------------------

fn empty_journal_has_head_0_and_no_records(engine: &mut dyn Engine) {
    for _ in 0..2 {
        let journal = engine.journal();
        assert_eq!(journal.head().unwrap(), 0);
        assert_eq!(journal.read(0).unwrap(), None);
        assert_eq!(journal.read(1).unwrap(), None);
        assert_eq!(journal.read(u64::MAX).unwrap(), None);
        assert_eq!(journal.scan(0).count() + journal.scan(u64::MAX).count(), 0);
        engine.reopen();
    }
}

fn appended_records_are_read_back_in_order(engine: &mut dyn Engine) {
    let journal = engine.journal();
    assert_eq!(journal.append(0, &[b"a".to_vec(), b"b".to_vec()]).unwrap(), 2);
    assert_eq!(journal.append(2, &[b"c".to_vec()]).unwrap(), 3);
    assert_eq!(journal.head().unwrap(), 3);
    assert_eq!(all(journal), [b"a", b"b", b"c"]);
    assert_eq!(journal.read(2).unwrap().unwrap(), b"b");
    assert_eq!(journal.read(4).unwrap(), None);
    let tail: Vec<_> = journal.scan(3).map(Result::unwrap).collect();
    assert_eq!(tail, [(3, b"c".to_vec())]);
    assert_eq!(journal.scan(4).count(), 0);
}

fn conflicting_batch_leaves_no_trace(engine: &mut dyn Engine) {
    let journal = engine.journal();
    journal.append(0, &[b"first".to_vec()]).unwrap();
    for expected in [0, 2, u64::MAX] {
        let error = journal.append(expected, &[b"x".to_vec(), b"y".to_vec()]).unwrap_err();
        assert!(matches!(error, JournalError::Conflict { actual: 1, expected: e } if e == expected));
        assert!(!error.outcome_unknown());
    }
    assert!(journal.append(7, &[]).is_err());
    assert_eq!(all(journal), [b"first"]);
    engine.reopen();
    assert_eq!(all(engine.journal()), [b"first"]);
    assert_eq!(engine.journal().append(1, &[b"second".to_vec()]).unwrap(), 2);
}

fn empty_batch_changes_nothing(engine: &mut dyn Engine) {
    let journal = engine.journal();
    assert_eq!(journal.append(0, &[]).unwrap(), 0);
    journal.append(0, &[b"one".to_vec()]).unwrap();
    assert_eq!(journal.append(1, &[]).unwrap(), 1);
    assert_eq!(all(journal), [b"one"]);
}

fn records_of_any_size_survive(engine: &mut dyn Engine) {
    let sizes = [0, 1, 4078, 4079, 4080, 4095, 4096, 4097, 8191, 8192, 100_000, 1_000_000];
    let records: Vec<_> = (1..).zip(sizes).map(|(seed, size)| bytes(seed, size)).collect();
    for (head, record) in (0..).zip(&records) {
        engine.journal().append(head, std::slice::from_ref(record)).unwrap();
    }
    assert_eq!(all(engine.journal()), records);
    engine.reopen();
    assert_eq!(all(engine.journal()), records);
    for (position, record) in (1..).zip(&records) {
        assert_eq!(engine.journal().read(position).unwrap().as_ref(), Some(record));
    }
}

fn reopened_journal_goes_on_where_it_was(engine: &mut dyn Engine) {
    let mut expected = Vec::new();
    for round in 0..6u64 {
        let batch: Vec<_> = (0..=round).map(|n| bytes(round * 10 + n, 700)).collect();
        let head = engine.journal().head().unwrap();
        engine.journal().append(head, &batch).unwrap();
        expected.extend(batch);
        engine.reopen();
        assert_eq!(engine.journal().head().unwrap(), expected.len() as u64);
        assert_eq!(all(engine.journal()), expected);
    }
}

fn many_records_stay_dense(engine: &mut dyn Engine) {
    let records: Vec<_> = (0..3000).map(|seed| bytes(seed, (seed % 900) as usize)).collect();
    let mut head = 0;
    for batch in records.chunks(250) {
        head = engine.journal().append(head, batch).unwrap();
    }
    assert_eq!(all(engine.journal()), records);
    engine.reopen();
    assert_eq!(all(engine.journal()), records);
}

fn batch_beyond_the_limits_is_refused_whole(engine: &mut dyn Engine) {
    let journal = engine.journal();
    let half = vec![0; BATCH_BYTES_MAX / 2];
    assert_eq!(journal.append(0, &[half.clone(), half.clone()]).unwrap(), 2);
    let error = journal.append(2, &[half.clone(), half, vec![0]]).unwrap_err();
    assert!(matches!(error, JournalError::BatchTooLarge { records: 3, .. }), "{error}");
    assert_eq!(journal.append(2, &vec![Vec::new(); BATCH_RECORDS_MAX]).unwrap(), 2 + 256);
    let error = journal.append(258, &vec![Vec::new(); BATCH_RECORDS_MAX + 1]).unwrap_err();
    assert!(matches!(error, JournalError::BatchTooLarge { .. }), "{error}");
    let error = journal.append(258, &[vec![0; RECORD_BYTES_MAX + 1]]).unwrap_err();
    assert!(matches!(error, JournalError::RecordTooLarge { .. }), "{error}");
    assert_eq!(journal.head().unwrap(), 258);
    assert_eq!(journal.append(258, &[vec![7; RECORD_BYTES_MAX]]).unwrap(), 259);
    engine.reopen();
    assert_eq!(engine.journal().read(259).unwrap().unwrap().len(), RECORD_BYTES_MAX);
}

fn of_racing_writers_one_wins_each_position(engine: &mut dyn Engine) {
    let journal = engine.journal();
    let won: Vec<u64> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4u8)
            .map(|name| {
                scope.spawn(move || {
                    let mut won = 0;
                    while won < 25 {
                        let head = journal.head().unwrap();
                        match journal.append(head, &[vec![name], vec![name]]) {
                            Ok(new) => {
                                assert_eq!(new, head + 2);
                                assert_eq!(journal.read(new).unwrap().unwrap(), [name]);
                                won += 1;
                            }
                            Err(error) => assert!(matches!(error, JournalError::Conflict { .. })),
                        }
                    }
                    won
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    assert_eq!(won, [25; 4]);
    assert!(all(journal).chunks(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(journal.head().unwrap(), 200);
}

macro_rules! every_engine {
    ($($rule:ident),* $(,)?) => {
        mod contract_memory {
            $(#[test] fn $rule() { super::$rule(&mut super::InMemory(super::MemoryJournal::new())); })*
        }
        mod contract_sled {
            $(#[test] fn $rule() { super::$rule(&mut super::OnSled::new()); })*
        }
        mod contract_mirrored {
            $(#[test] fn $rule() { super::$rule(&mut super::Mirrored::new(super::open_sled, false)); })*
        }
        mod contract_mirror_lagging {
            $(#[test] fn $rule() { super::$rule(&mut super::Mirrored::new(super::open_sled, true)); })*
        }
    };
}

every_engine![
    empty_journal_has_head_0_and_no_records,
    appended_records_are_read_back_in_order,
    conflicting_batch_leaves_no_trace,
    empty_batch_changes_nothing,
    records_of_any_size_survive,
    reopened_journal_goes_on_where_it_was,
    many_records_stay_dense,
    batch_beyond_the_limits_is_refused_whole,
    of_racing_writers_one_wins_each_position,
];

// ---- against a model ---------------------------------------------------

#[derive(Debug, Clone)]
enum Move {
    Append(Vec<(u64, usize)>),
    AppendAtWrongHead(u64),
    Reopen,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let size = prop_oneof![0..64usize, 4060..4110usize, 0..20_000usize];
    let one = prop_oneof![
        6 => prop::collection::vec((any::<u64>(), size), 0..6).prop_map(Move::Append),
        1 => (1..9u64).prop_map(Move::AppendAtWrongHead),
        1 => Just(Move::Reopen),
    ];
    prop::collection::vec(one, 1..24)
}

fn agrees_with_a_list(engine: &mut dyn Engine, moves: Vec<Move>) {
    let mut model: Vec<Vec<u8>> = Vec::new();
    for step in moves {
        let head = model.len() as u64;
        match step {
            Move::Append(sizes) => {
                let batch: Vec<_> = sizes.into_iter().map(|(seed, size)| bytes(seed, size)).collect();
                let expected = head + batch.len() as u64;
                assert_eq!(engine.journal().append(head, &batch).unwrap(), expected);
                model.extend(batch);
            }
            Move::AppendAtWrongHead(ahead) => {
                assert!(engine.journal().append(head + ahead, &[vec![1]]).is_err());
            }
            Move::Reopen => engine.reopen(),
        }
        assert_eq!(engine.journal().head().unwrap(), model.len() as u64);
    }
    assert_eq!(all(engine.journal()), model);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn law_journal_equals_a_list_in_memory(moves in moves()) {
        agrees_with_a_list(&mut InMemory(MemoryJournal::new()), moves);
    }

    #[test]
    fn law_journal_equals_a_list_on_sled(moves in moves()) {
        agrees_with_a_list(&mut OnSled::new(), moves);
    }

    #[test]
    fn law_journal_equals_a_list_with_a_mirror(moves in moves(), lagging in any::<bool>()) {
        agrees_with_a_list(&mut Mirrored::new(open_sled, lagging), moves);
    }
}

// ---- durability: what a power cut leaves -------------------------------

/// The rule itself, as a yes or no, so that a journal that breaks it can be
/// shown to fail.
fn keeps_what_it_acknowledged(journal: &MemoryJournal) -> bool {
    let head = journal.append(0, &[b"acknowledged".to_vec()]).unwrap();
    journal.crash().head().unwrap() >= head
}

#[test]
fn withheld_sync_is_noticed_as_loss() {
    assert!(keeps_what_it_acknowledged(&MemoryJournal::new()));
    assert!(!keeps_what_it_acknowledged(&MemoryJournal::without_sync()));
}

#[test]
fn memory_crash_keeps_what_was_synced_by_hand_and_stops_the_old_journal() {
    let journal = MemoryJournal::without_sync();
    journal.append(0, &[b"kept".to_vec()]).unwrap();
    journal.sync();
    journal.append(1, &[b"lost".to_vec()]).unwrap();
    let after = journal.crash();
    assert_eq!(all(&after), [b"kept"]);
    assert!(matches!(journal.append(2, &[vec![]]), Err(JournalError::Stopped)));
}

#[test]
fn memory_stops_after_a_failed_sync() {
    let journal = MemoryJournal::new();
    journal.append(0, &[b"kept".to_vec()]).unwrap();
    journal.fail_next_sync();
    assert!(journal.append(1, &[b"unsure".to_vec()]).unwrap_err().outcome_unknown());
    assert!(matches!(journal.append(1, &[vec![]]), Err(JournalError::Stopped)));
    assert_eq!(all(&journal), [b"kept"]);
    assert_eq!(all(&journal.crash()), [b"kept"]);
}

fn recorder() -> (Observer, Arc<Mutex<Vec<Step>>>) {
    let steps = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&steps);
    (Arc::new(move |step| seen.lock().unwrap().push(step)), steps)
}

#[test]
fn each_batch_is_written_flushed_and_synced_before_it_is_acknowledged() {
    let directory = TempDir::new().unwrap();
    let (observer, on_disk) = recorder();
    let options = SledOptions { observer: Some(observer), ..SledOptions::default() };
    let sled = SledJournal::open(directory.path(), options).unwrap();
    let (observer, in_memory) = recorder();
    let memory = MemoryJournal::new().observed(observer);
    for (journal, steps) in [(&sled as &dyn Journal, on_disk), (&memory, in_memory)] {
        journal.append(0, &[vec![1], vec![2]]).unwrap();
        let first = [Step::Wrote { through: 2 }, Step::Flushed { through: 2 }, Step::Synced { through: 2 }];
        assert_eq!(*steps.lock().unwrap(), first);
        journal.append(2, &[vec![3]]).unwrap();
        assert_eq!(steps.lock().unwrap().last(), Some(&Step::Synced { through: 3 }));
        assert!(journal.append(0, &[vec![]]).is_err());
        assert_eq!(steps.lock().unwrap().len(), 6);
    }
}

/// A disk whose power can be cut: it remembers sled's data file as of the last
/// sync.
#[derive(Default)]
struct Device {
    synced: Mutex<Vec<u8>>,
    forgets: bool,
}

impl Disk for Device {
    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        RealDisk.free_bytes(dir)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        if path.ends_with("db") && !self.forgets {
            *self.synced.lock().unwrap() = fs::read(path)?;
        }
        Ok(())
    }
}

impl Device {
    /// What a power cut now would leave of the store in `live`: of each block
    /// that was written since the last sync, the old or the new content.
    fn cut(&self, live: &Path, seed: u64, block: usize) -> TempDir {
        let left = TempDir::new().unwrap();
        fs::create_dir(left.path().join("blobs")).unwrap();
        for entry in fs::read_dir(live).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), left.path().join(entry.file_name())).unwrap();
            }
        }
        let mut data = fs::read(live.join("db")).unwrap();
        let mut old = self.synced.lock().unwrap().clone();
        old.resize(data.len(), 0);
        let coins = bytes(seed, data.len().div_ceil(block));
        for ((new, old), coin) in data.chunks_mut(block).zip(old.chunks(block)).zip(coins) {
            if coin % 2 == 0 {
                new.copy_from_slice(old);
            }
        }
        fs::write(left.path().join("db"), data).unwrap();
        left
    }
}

/// Cuts the power in each append after sled's flush and before the sync, and
/// says how many of the stores that were left lacked something acknowledged.
fn losses_at_power_cuts(device: Device) -> usize {
    let directory = TempDir::new().unwrap();
    let live = directory.path().to_path_buf();
    let losses = Arc::new(AtomicU64::new(0));
    let device = Arc::new(device);
    let (disk, lost) = (device.clone(), losses.clone());
    let observer = move |step| {
        let Step::Flushed { through } = step else { return };
        let block = if through % 8 == 0 { 4096 } else { 512 * 1024 };
        let left = disk.cut(&live, through, block);
        let kept = open(left.path()).is_ok_and(|journal| {
            let found: Vec<_> = journal.scan(1).map_while(Result::ok).collect();
            let whole = (1..).zip(&found).all(|(n, (at, record))| (n, &bytes(n, 12_000)) == (*at, record));
            whole && found.len() as u64 >= through - 4
        });
        lost.fetch_add(u64::from(!kept), Ordering::SeqCst);
    };
    let options = SledOptions { disk: device, observer: Some(Arc::new(observer)), ..SledOptions::default() };
    let journal = SledJournal::open(directory.path(), options).unwrap();
    for head in (0..160).step_by(4) {
        let batch: Vec<_> = (head + 1..=head + 4).map(|position| bytes(position, 12_000)).collect();
        journal.append(head, &batch).unwrap();
    }
    losses.load(Ordering::SeqCst) as usize
}

#[test]
fn power_cut_before_the_sync_loses_nothing_acknowledged() {
    assert_eq!(losses_at_power_cuts(Device::default()), 0);
}

#[test]
fn power_cut_is_noticed_when_the_sync_is_withheld() {
    assert!(losses_at_power_cuts(Device { forgets: true, ..Device::default() }) > 20);
}

// ---- a disk that misbehaves --------------------------------------------

/// The real disk, but for the answers that a test puts in front.
#[derive(Default)]
struct Moody {
    sync_fails: AtomicBool,
    syncs: Mutex<Vec<PathBuf>>,
    free: Mutex<Option<u64>>,
    free_soon: Mutex<VecDeque<u64>>,
    asked: AtomicU64,
}

impl Disk for Moody {
    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if let Some(free) = self.free_soon.lock().unwrap().pop_front() {
            return Ok(free);
        }
        self.free.lock().unwrap().map_or_else(|| RealDisk.free_bytes(dir), Ok)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        self.syncs.lock().unwrap().push(path);
        if self.sync_fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("the device is gone"));
        }
        RealDisk.sync(file)
    }
}

fn on_moody_disk(directory: &Path) -> (SledOptions, Arc<Moody>) {
    fs::create_dir_all(directory).unwrap();
    let disk = Arc::new(Moody::default());
    (SledOptions { disk: disk.clone(), ..SledOptions::default() }, disk)
}

#[test]
fn failed_sync_stops_the_journal_for_good_and_hides_the_batch() {
    let directory = TempDir::new().unwrap();
    let (options, disk) = on_moody_disk(directory.path());
    let journal = SledJournal::open(directory.path(), options).unwrap();
    journal.append(0, &[b"kept".to_vec()]).unwrap();
    disk.sync_fails.store(true, Ordering::SeqCst);
    let error = journal.append(1, &[b"unsure".to_vec()]).unwrap_err();
    assert!(matches!(error, JournalError::SyncFailed { .. }) && error.outcome_unknown(), "{error}");
    assert_eq!(journal.head().unwrap(), 1);
    assert_eq!(journal.read(2).unwrap(), None);
    assert_eq!(all(&journal), [b"kept"]);

    // The disk is well again, but a second fsync would prove nothing.
    disk.sync_fails.store(false, Ordering::SeqCst);
    let syncs = disk.syncs.lock().unwrap().len();
    for _ in 0..3 {
        let error = journal.append(1, &[b"more".to_vec()]).unwrap_err();
        assert!(matches!(error, JournalError::Stopped) && !error.outcome_unknown(), "{error}");
    }
    assert_eq!(disk.syncs.lock().unwrap().len(), syncs);
    assert_eq!(all(&journal), [b"kept"]);

    // After a restart the batch is there whole or not at all.
    drop(journal);
    let found = all(&open(directory.path()).unwrap());
    assert!(found == [b"kept".to_vec()] || found == [b"kept".to_vec(), b"unsure".to_vec()]);
}

#[test]
fn open_syncs_files_and_directories_up_to_the_one_that_was_there() {
    let directory = TempDir::new().unwrap();
    let root = directory.path().canonicalize().unwrap();
    let disk = Arc::new(Moody::default());
    let options = SledOptions { disk: disk.clone(), ..SledOptions::default() };
    let store = root.join("a/b/store");
    let journal = SledJournal::open(&store, options).unwrap();
    let synced = disk.syncs.lock().unwrap().clone();
    let expected = [
        store.join("db"),
        store.join("conf"),
        store.join("blobs"),
        store.clone(),
        root.join("a/b"),
        root.join("a"),
        root.clone(),
    ];
    assert!(expected.iter().all(|path| synced.contains(path)), "{synced:?}");
    assert!(!synced.contains(&root.parent().unwrap().to_path_buf()), "{synced:?}");
    journal.append(0, &[vec![1]]).unwrap();
    assert_eq!(disk.syncs.lock().unwrap()[synced.len()..], [store.join("db")]);
}

#[test]
fn failed_sync_at_open_refuses_the_store() {
    let directory = TempDir::new().unwrap();
    let (options, disk) = on_moody_disk(directory.path());
    disk.sync_fails.store(true, Ordering::SeqCst);
    let error = SledJournal::open(directory.path(), options).err().unwrap();
    assert!(matches!(error, JournalError::SyncFailed { .. }), "{error}");
    assert_eq!(open(directory.path()).unwrap().head().unwrap(), 0);
}

#[test]
fn reserve_refuses_appends_while_reads_go_on() {
    let directory = TempDir::new().unwrap();
    let (options, disk) = on_moody_disk(directory.path());
    let reserve = options.reserve_bytes;
    let journal = SledJournal::open(directory.path(), options).unwrap();
    journal.append(0, &[b"kept".to_vec()]).unwrap();

    *disk.free.lock().unwrap() = Some(reserve - 1);
    let error = journal.append(1, &[b"no".to_vec()]).unwrap_err();
    let JournalError::Full { free, reserve: stated, .. } = error else { panic!("{error}") };
    assert_eq!((free, stated), (reserve - 1, reserve));
    assert_eq!(all(&journal), [b"kept"]);

    // Nothing was touched, so it goes on once there is space.
    *disk.free.lock().unwrap() = Some(reserve);
    assert_eq!(journal.append(1, &[b"again".to_vec()]).unwrap(), 2);
}

#[test]
fn reserve_refuses_to_open_before_sled_is_touched() {
    let directory = TempDir::new().unwrap();
    let (options, disk) = on_moody_disk(directory.path());
    disk.free_soon.lock().unwrap().push_back(0);
    let error = SledJournal::open(directory.path(), options.clone()).err().unwrap();
    assert!(matches!(error, JournalError::Full { free: 0, .. }), "{error}");
    assert!(!directory.path().join("db").exists());
    assert!(SledJournal::open(directory.path(), options).is_ok());
    assert_eq!(disk.asked.load(Ordering::SeqCst), 2);
}

// ---- a directory that is not as it should be ---------------------------

/// A closed store with `records` records of 10,000 bytes each.
fn closed_store(records: u64) -> TempDir {
    let directory = TempDir::new().unwrap();
    let journal = open(directory.path()).unwrap();
    for head in 0..records {
        journal.append(head, &[bytes(head, 10_000)]).unwrap();
    }
    drop(journal);
    directory
}

/// Changes a closed store behind the journal's back, as no one should.
pub fn tamper(directory: &Path, change: impl FnOnce(&sled::Db)) {
    let config = sled::Config::new().path(directory).flush_every_ms(None);
    let db = loop {
        match config.open() {
            Ok(db) => break db,
            Err(sled::Error::Io(error)) if error.to_string().contains("lock") => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            Err(error) => panic!("{error}"),
        }
    };
    change(&db);
    db.flush().unwrap();
}

type Change = fn(&sled::Db);

/// The key of a piece, written out here so that the format can't change unseen.
fn key(position: u64, piece: u32) -> Vec<u8> {
    [position.to_be_bytes().as_slice(), &piece.to_be_bytes()].concat()
}

fn refusal(directory: &Path) -> JournalError {
    open(directory).err().expect("the store should have been refused")
}

#[test]
fn second_opener_is_told_that_the_store_is_in_use() {
    let directory = closed_store(1);
    let journal = open(directory.path()).unwrap();
    let error = refusal(directory.path());
    assert!(matches!(error, JournalError::InUse { .. }), "{error}");
    assert_eq!(journal.append(1, &[vec![1]]).unwrap(), 2);
    drop(journal);
    assert_eq!(open(directory.path()).unwrap().head().unwrap(), 2);
}

#[test]
fn lock_alone_is_enough_to_be_in_use() {
    let directory = closed_store(1);
    let lock = File::open(directory.path().join("LOCK")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    let error = refusal(directory.path());
    assert!(matches!(error, JournalError::InUse { .. }), "{error}");
    drop(lock);
    assert_eq!(open(directory.path()).unwrap().head().unwrap(), 1);
}

#[test]
fn newer_format_is_refused_before_sled_is_touched() {
    let directory = closed_store(1);
    let line = format!("budget-consolidator journal, format {}\n", STORE_FORMAT + 1);
    fs::write(directory.path().join("FORMAT"), line).unwrap();
    let before = fs::metadata(directory.path().join("db")).unwrap().modified().unwrap();
    let error = refusal(directory.path());
    assert!(matches!(error, JournalError::NewerFormat { found: 2, known: 1, .. }), "{error}");
    assert_eq!(fs::metadata(directory.path().join("db")).unwrap().modified().unwrap(), before);
}

#[test]
fn missing_or_garbled_format_is_refused() {
    let directory = closed_store(1);
    for text in ["", "budget-consolidator journal, format 0", "something else"] {
        fs::write(directory.path().join("FORMAT"), text).unwrap();
        assert!(matches!(refusal(directory.path()), JournalError::WrongDirectory { .. }));
    }
    fs::remove_file(directory.path().join("FORMAT")).unwrap();
    assert!(matches!(refusal(directory.path()), JournalError::WrongDirectory { .. }));
}

#[test]
fn store_whose_making_was_cut_short_is_made_again() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("FORMAT.new"), b"").unwrap();
    tamper(directory.path(), |_| {});
    assert_eq!(open(directory.path()).unwrap().head().unwrap(), 0);
    assert!(!directory.path().join("FORMAT.new").exists());
    assert_eq!(open(directory.path()).unwrap().head().unwrap(), 0);
}

#[test]
fn store_whose_data_file_is_gone_is_not_taken_for_a_new_one() {
    let directory = closed_store(3);
    for entry in fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name == "db" || name.starts_with("snap.") {
            fs::remove_file(path).unwrap();
        }
    }
    let error = refusal(directory.path());
    assert!(matches!(error, JournalError::Damaged { position: 0, .. }), "{error}");
}

#[test]
fn store_on_disk_is_as_documented() {
    let directory = closed_store(2);
    let format = fs::read_to_string(directory.path().join("FORMAT")).unwrap();
    assert_eq!(format, "budget-consolidator journal, format 1\n");
    tamper(directory.path(), |db| {
        let keys: Vec<_> = db.iter().keys().map(|key| key.unwrap().to_vec()).collect();
        let pieces = (1..=2).flat_map(|position| (0..3).map(move |piece| key(position, piece)));
        assert_eq!(keys, pieces.chain([key(u64::MAX, 0)]).collect::<Vec<_>>());
        let first = db.get(key(1, 0)).unwrap().unwrap();
        assert_eq!(first.len(), 4096);
        assert_eq!(first[..13], [1, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0x27, 0x10]);
        let mut checked = 1u64.to_be_bytes().to_vec();
        checked.extend(bytes(0, 10_000));
        assert_eq!(first[13..17], crc32fast::hash(&checked).to_be_bytes());
        assert_eq!(first[17..], checked[8..8 + 4079]);
    });
    assert_eq!(all(&open(directory.path()).unwrap()), [bytes(0, 10_000), bytes(1, 10_000)]);
}

#[test]
fn flipped_byte_is_damage_at_its_position_and_the_rest_is_read() {
    for piece in 0..3 {
        let directory = closed_store(5);
        tamper(directory.path(), |db| {
            let mut value = db.get(key(3, piece)).unwrap().unwrap().to_vec();
            *value.last_mut().unwrap() ^= 0x10;
            db.insert(key(3, piece), value).unwrap();
        });
        let journal = open(directory.path()).unwrap();
        assert!(matches!(journal.read(3), Err(JournalError::Damaged { position: 3, .. })));
        assert_eq!(journal.read(4).unwrap().unwrap(), bytes(3, 10_000));
        let scanned: Vec<_> = journal.scan(1).collect();
        assert_eq!(scanned.len(), 3, "a scan ends at the damage");
        assert!(matches!(scanned[2], Err(JournalError::Damaged { position: 3, .. })));
    }
}

#[test]
fn missing_or_foreign_pieces_are_damage_at_their_position() {
    let changes: [Change; 4] = [
        |db| drop(db.remove(key(2, 0)).unwrap()),
        |db| drop(db.remove(key(2, 2)).unwrap()),
        |db| (0..3).for_each(|piece| drop(db.remove(key(2, piece)).unwrap())),
        |db| drop(db.insert(key(1, 3), "extra").unwrap()),
    ];
    for change in changes {
        let directory = closed_store(4);
        tamper(directory.path(), change);
        let journal = open(directory.path()).unwrap();
        let error = journal.scan(1).find_map(Result::err).unwrap();
        assert!(matches!(error, JournalError::Damaged { position: 2, .. }), "{error}");
    }
}

#[test]
fn head_and_last_record_that_disagree_are_refused_with_the_position() {
    let changes: [(u64, Change); 6] = [
        // The last two records are gone.
        (3, |db| {
            for piece in 0..3 {
                db.remove(key(3, piece)).unwrap();
                db.remove(key(4, piece)).unwrap();
            }
        }),
        // The tail is gone.
        (4, |db| (0..3).for_each(|piece| drop(db.remove(key(4, piece)).unwrap()))),
        // The last record is cut.
        (4, |db| drop(db.remove(key(4, 2)).unwrap())),
        // There is more than the head says.
        (5, |db| drop(db.insert(key(9, 0), "beyond").unwrap())),
        // The head is gone, or is not what was written.
        (0, |db| drop(db.remove(key(u64::MAX, 0)).unwrap())),
        (0, |db| drop(db.insert(key(u64::MAX, 0), &[1, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0]).unwrap())),
    ];
    for (expected, change) in changes {
        let directory = closed_store(4);
        tamper(directory.path(), change);
        let error = refusal(directory.path());
        let JournalError::Damaged { position, .. } = &error else { panic!("{error}") };
        assert_eq!(*position, expected, "{error}");
        assert!(error.to_string().contains("consolidator restore"), "{error}");
    }
}

/// sled, given a log that is damaged in the middle, may open what stands before as if that were all.
#[test]
fn store_that_ends_before_what_was_acknowledged_is_refused_unless_a_mirror_may_have_it() {
    let directory = closed_store(4);
    tamper(directory.path(), |db| {
        for position in 3..=4 {
            (0..3).for_each(|piece| drop(db.remove(key(position, piece)).unwrap()));
        }
        let head = 2u64.to_be_bytes();
        let checksum = crc32fast::hash(&[u64::MAX.to_be_bytes(), head].concat()).to_be_bytes();
        db.insert(key(u64::MAX, 0), [&[1], &head[..], &checksum].concat()).unwrap();
    });
    let error = refusal(directory.path());
    assert!(matches!(error, JournalError::TailLost { head: 2, acknowledged: 4 }), "{error}");
    let opened = || {
        let options = SledOptions { tail_elsewhere: true, ..SledOptions::default() };
        Arc::new(SledJournal::open(directory.path(), options).unwrap())
    };
    let store = opened();
    assert_eq!((store.head().unwrap(), store.acknowledged()), (2, 4));
    drop(store);
    // A mirror that has no more refuses too; one that has it gives it back.
    let mirror = TempDir::new().unwrap();
    let error = MirroredJournal::open(opened(), mirror.path(), MirrorOptions::default()).err().unwrap();
    assert!(matches!(error, JournalError::TailLost { head: 2, acknowledged: 4 }), "{error}");
    let mirror = TempDir::new().unwrap();
    let whole = closed_store(4);
    drop(MirroredJournal::open(Arc::new(open_sled(whole.path())), mirror.path(), MirrorOptions::default()).unwrap());
    drop(MirroredJournal::open(opened(), mirror.path(), MirrorOptions::default()).unwrap());
    assert_eq!(all(&open(directory.path()).unwrap()), (0..4).map(|seed| bytes(seed, 10_000)).collect::<Vec<_>>());
}

#[test]
fn witness_that_is_gone_old_or_garbled_harms_nothing() {
    let directory = closed_store(4);
    let path = directory.path().join("ACKNOWLEDGED");
    let written = fs::read(&path).unwrap();
    assert_eq!(written, [&4u64.to_be_bytes()[..], &crc32fast::hash(&4u64.to_be_bytes()).to_be_bytes()].concat());
    let old = [&1u64.to_be_bytes()[..], &crc32fast::hash(&1u64.to_be_bytes()).to_be_bytes()].concat();
    for left in [Some(vec![]), Some(vec![0; 12]), Some(vec![0xff; 12]), Some(old), None] {
        match left {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        assert_eq!(all(&open(directory.path()).unwrap()).len(), 4);
    }
    open(directory.path()).unwrap().append(4, &[vec![1]]).unwrap();
    assert_eq!(fs::read(&path).unwrap()[..8], 5u64.to_be_bytes());
}

#[test]
fn half_written_snapshot_is_removed_and_nothing_is_lost() {
    let directory = closed_store(3);
    let left = directory.path().join("snap.00000000000F4240.generating");
    fs::write(&left, b"half").unwrap();
    let journal = open(directory.path()).unwrap();
    assert!(!left.exists());
    assert_eq!(all(&journal).len(), 3);
}

#[test]
fn anything_in_blobs_is_refused_at_open_and_stops_an_append() {
    let directory = closed_store(1);
    let blob = directory.path().join("blobs/12345");
    fs::write(&blob, b"never synced").unwrap();
    let error = refusal(directory.path());
    assert!(matches!(error, JournalError::BlobsPresent { files: 1, .. }), "{error}");

    fs::remove_file(&blob).unwrap();
    let journal = open(directory.path()).unwrap();
    fs::write(&blob, b"never synced").unwrap();
    let error = journal.append(1, &[vec![1]]).unwrap_err();
    assert!(matches!(error, JournalError::SyncFailed { .. }), "{error}");
    assert!(matches!(journal.append(1, &[vec![1]]), Err(JournalError::Stopped)));
    assert_eq!(all(&journal).len(), 1);
}

#[test]
fn garbage_in_sleds_files_is_a_refusal_and_never_a_panic() {
    for name in ["conf", "db"] {
        let directory = closed_store(40);
        for entry in fs::read_dir(directory.path()).unwrap() {
            let path = entry.unwrap().path();
            let found = path.file_name().unwrap().to_string_lossy().into_owned();
            if found == name || (name == "db" && found.starts_with("snap.")) {
                let length = fs::metadata(&path).unwrap().len() as usize;
                fs::write(&path, bytes(9, length)).unwrap();
            }
        }
        let error = refusal(directory.path());
        assert!(matches!(error, JournalError::OpenFailed { .. } | JournalError::Damaged { .. }), "{name}: {error}");
        assert!(error.to_string().contains("consolidator restore "), "it says what to do: {error}");
    }
}

#[test]
fn store_that_cannot_be_made_is_named() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("a file");
    fs::write(&file, b"").unwrap();
    let error = refusal(&file.join("store"));
    assert!(matches!(error, JournalError::Io { .. }), "{error}");
    assert!(error.to_string().contains("a file"), "{error}");
}
