//! The saved state: used where it can be, passed over where it can't, and never seen in what is answered.

use std::path::Path;
use std::sync::{Arc, Mutex};

use budget_consolidator::budget::digest::Digest;
use budget_consolidator::consolidator::verify::{SavedState, Verified, verify_store};
use budget_consolidator::consolidator::{Consolidator, SAVED_STATE_FILE, embedded_form_sets, fold};
use budget_consolidator::ledger::image;
use budget_consolidator::store::{Journal, JournalError, MemoryJournal, Records, ReplacedFile};

use crate::replay::{digest_of_all_views, file_the_example};
use crate::support::*;

/// Notes from where it is scanned.
#[derive(Default)]
struct Watched {
    journal: MemoryJournal,
    scanned: Mutex<Vec<u64>>,
}

impl Journal for Watched {
    fn head(&self) -> Result<u64, JournalError> {
        self.journal.head()
    }

    fn append(&self, expected_head: u64, batch: &[Vec<u8>]) -> Result<u64, JournalError> {
        self.journal.append(expected_head, batch)
    }

    fn read(&self, position: u64) -> Result<Option<Vec<u8>>, JournalError> {
        self.journal.read(position)
    }

    fn scan(&self, from: u64) -> Records<'_> {
        self.scanned.lock().unwrap().push(from);
        self.journal.scan(from)
    }
}

fn saved(directory: &Path) -> Option<ReplacedFile> {
    Some(ReplacedFile::new(directory, SAVED_STATE_FILE))
}

/// The example filed and stopped in an orderly way: the journal, and the saved state in a directory.
async fn filed() -> (Arc<Watched>, tempfile::TempDir) {
    let (journal, directory) = (Arc::new(Watched::default()), tempfile::tempdir().unwrap());
    let server = TestServer::saving(journal.clone(), saved(directory.path())).await;
    file_the_example(&server).await;
    server.stop().await;
    (journal, directory)
}

/// Opens, and says from where the journal was folded; the state must be the fold of the whole.
async fn opened_from(journal: &Arc<Watched>, directory: &Path) -> u64 {
    let whole = image::image(&fold(&journal.journal).unwrap());
    journal.scanned.lock().unwrap().clear();
    let opened = Consolidator::open(journal.clone(), test_clock(), embedded_form_sets(), saved(directory)).unwrap();
    let (consolidator, writer) = opened;
    assert_eq!(image::image(&consolidator.snapshot().state), whole, "the state is not the fold of the journal");
    consolidator.close().await;
    writer.join();
    journal.scanned.lock().unwrap()[0]
}

#[tokio::test]
async fn a_restart_folds_only_what_came_after_the_saved_state() {
    let (journal, directory) = filed().await;
    let head = journal.head().unwrap();
    assert_eq!(opened_from(&journal, directory.path()).await, head + 1);
    // A later event, and no orderly end: the saved state is now behind.
    let server = TestServer::on(journal.clone()).await;
    let file = example("fenyang-2024/submissions/407003.json");
    server.client(&unit("407003")).await.submit(&file, &form("shanxi-2024")).await.unwrap();
    let before = digest_of_all_views(&server).await;
    server.stop().await;
    assert_eq!(journal.head().unwrap(), head + 1);
    assert_eq!(opened_from(&journal, directory.path()).await, head + 1);
    // Opening saved it again.
    assert_eq!(opened_from(&journal, directory.path()).await, head + 2);
    let server = TestServer::saving(journal, saved(directory.path())).await;
    assert_eq!(digest_of_all_views(&server).await, before);
    server.stop().await;
}

#[tokio::test]
async fn a_saved_state_that_is_damaged_is_passed_over() {
    let (journal, directory) = filed().await;
    let path = directory.path().join(SAVED_STATE_FILE);
    let whole = std::fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 40) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(&path, flipped).unwrap();
        assert_eq!(opened_from(&journal, directory.path()).await, 1, "byte {at}");
    }
    for length in [0, 1, 40, 90, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert_eq!(opened_from(&journal, directory.path()).await, 1, "cut to {length}");
    }
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(opened_from(&journal, directory.path()).await, journal.head().unwrap() + 1);
}

#[tokio::test]
async fn a_saved_state_of_another_journal_is_passed_over() {
    let (_, directory) = filed().await;
    let other = Arc::new(Watched::default());
    let server = TestServer::on(other.clone()).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    for name in ["407003", "407001", "407002", "407004-over", "407004", "407001"] {
        let file = example(&format!("fenyang-2024/submissions/{name}.json"));
        server.client(&unit(&file.slot.unit)).await.submit(&file, &form("shanxi-2024")).await.unwrap();
    }
    server.stop().await;
    assert_eq!(opened_from(&other, directory.path()).await, 1);
    // And one that is ahead of its journal, as after a restore from an older backup.
    let (journal, directory) = filed().await;
    let shorter = Arc::new(Watched::default());
    for position in 1..journal.head().unwrap() {
        shorter.append(position - 1, &[journal.read(position).unwrap().unwrap()]).unwrap();
    }
    assert_eq!(opened_from(&shorter, directory.path()).await, 1);
}

#[tokio::test]
async fn a_saved_state_of_another_version_is_passed_over() {
    let (journal, directory) = filed().await;
    let path = directory.path().join(SAVED_STATE_FILE);
    let bytes = std::fs::read(&path).unwrap();
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
    let line = String::from_utf8(bytes[..end].to_vec()).unwrap();
    // Named by the sources that fold, not by a version that nobody counts on while it is worked on.
    let (line, sources) = line.rsplit_once(' ').unwrap();
    assert_eq!(sources.len(), 16, "{sources}");
    let line = format!("{line} {}", "0".repeat(16));
    std::fs::write(&path, [line.as_bytes(), &bytes[end..]].concat()).unwrap();
    assert_eq!(opened_from(&journal, directory.path()).await, 1);
}

#[tokio::test]
async fn where_it_cannot_be_saved_the_service_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let nowhere = directory.path().join("gone");
    let server = TestServer::saving(Arc::new(MemoryJournal::new()), saved(&nowhere)).await;
    file_the_example(&server).await;
    server.stop().await;
    assert!(!nowhere.exists());
}

/// A saved state with another image, as somebody makes it who can write in the directory: its digest is right.
pub fn forged(saved: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let (line, rest) = saved.split_at(saved.iter().position(|byte| *byte == b'\n').unwrap() + 1);
    let (record, packed) = rest[32..].split_at(32);
    let mut image = zstd::decode_all(packed).unwrap();
    change(&mut image);
    let packed = zstd::bulk::compress(&image, 1).unwrap();
    let checked = [record, &packed].concat();
    [line, &Digest::of(&checked).0, &checked].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saved_state_that_somebody_made_is_told_from_the_fold() {
    let (journal, directory) = filed().await;
    let (path, head) = (directory.path().join(SAVED_STATE_FILE), journal.head().unwrap());
    let file = saved(directory.path()).unwrap();
    let found = || {
        let Verified { saved_state, unfolded, figures, .. } = verify_store(&journal.journal, &file, &|_| {}).unwrap();
        assert_eq!((unfolded, figures.count), (None, 0));
        saved_state
    };
    assert_eq!(found(), Some(SavedState { position: head, same: true }));
    // Of all the bytes that could be others, some that a start would take.
    let whole = std::fs::read(&path).unwrap();
    let fold = image::image(&fold(&journal.journal).unwrap());
    let taken = (0..fold.len()).rev().step_by(fold.len() / 97).filter(|at| {
        let mut other = fold.clone();
        other[*at] ^= 1;
        image::state(&other).is_some_and(|state| state.position == head && image::image(&state) != fold)
    });
    let taken: Vec<usize> = taken.take(4).collect();
    assert_eq!(taken.len(), 4);
    for at in taken {
        std::fs::write(&path, forged(&whole, |image| image[at] ^= 1)).unwrap();
        assert_eq!(found(), Some(SavedState { position: head, same: false }), "byte {at}");
    }
    // One that no start would take is nobody's business.
    std::fs::write(&path, forged(&whole, Vec::clear)).unwrap();
    assert_eq!(found(), None);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(found(), None);
}
