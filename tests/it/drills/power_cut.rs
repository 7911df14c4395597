//! The power cut: what was acknowledged must be there from what the device had, in the store with its mirror and in the
//! mirror alone.
//!
//! Two forms. In the process, a disk that remembers what was synced: at each sync of the mirror the power is cut, and of
//! each block written since the last sync the old or the new content stays. And on a real file system: an ext4 image on
//! a loop device, from which the image is copied while the server stands still, so that the copy has what ext4 had
//! handed to the device, and not what was waiting in memory. What such a copy can't show is a device that loses its own
//! cache after it said that a flush was done.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use budget_consolidator::store::archive::{Entry, Reader, line};
use budget_consolidator::store::{
    Disk, Journal, JournalError, MIRROR_FILE, MemoryJournal, MirrorOptions, MirroredJournal, RealDisk, SledJournal,
    SledOptions,
};
use tempfile::TempDir;

use super::{Acknowledged, Process, check_versions, keep_filing, lose_and_restore, rounds};
use crate::mirror::record;
use crate::support::*;

// ── in the process ───────────────────────────────────────────────────────────────────────

#[derive(Default)]
struct Tally {
    cuts: AtomicU64,
    /// Refused at the start with a position: the operator decides, nothing is cut off.
    refused: AtomicU64,
    lost_with_store: AtomicU64,
    lost_from_mirror: AtomicU64,
}

/// A disk under the mirror whose power is cut at each of its syncs, just before the sync is done.
struct Cutter {
    synced: Mutex<Vec<u8>>,
    acknowledged: AtomicU64,
    batch: AtomicU64,
    forgets: bool,
    seed: AtomicU64,
    tally: Tally,
}

fn noise(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

impl Disk for Cutter {
    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        RealDisk.free_bytes(dir)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        if path.ends_with(MIRROR_FILE) {
            let written = fs::read(path)?;
            if self.acknowledged.load(Ordering::SeqCst) > 0 {
                self.cut(&written);
            }
            let mut synced = self.synced.lock().unwrap();
            // A device that forgets keeps the file as it was made.
            if !self.forgets || synced.is_empty() {
                *synced = written;
            }
        }
        Ok(())
    }
}

impl Cutter {
    fn cut(&self, written: &[u8]) {
        let mut state = self.seed.fetch_add(1, Ordering::SeqCst);
        let synced = self.synced.lock().unwrap().clone();
        let acknowledged = self.acknowledged.load(Ordering::SeqCst);
        // The file may have grown on the device or not; blocks of 512 or 4096 bytes may have been written or not.
        let block = if noise(&mut state).is_multiple_of(2) { 512 } else { 4096 };
        let grown = synced.len() + noise(&mut state) as usize % (written.len() - synced.len() + 1);
        let mut left = written[..grown].to_vec();
        for (at, bytes) in left.chunks_mut(block).enumerate() {
            let start = at * block;
            if noise(&mut state).is_multiple_of(3) {
                for (offset, byte) in bytes.iter_mut().enumerate() {
                    *byte = synced.get(start + offset).copied().unwrap_or(0);
                }
            }
        }
        // The store may have the batch that was under way, or not.
        for store in [acknowledged, acknowledged + self.batch.load(Ordering::SeqCst)] {
            self.tally.cuts.fetch_add(1, Ordering::SeqCst);
            let directory = TempDir::new().unwrap();
            fs::write(directory.path().join(MIRROR_FILE), &left).unwrap();
            self.judge(directory.path(), store, acknowledged);
        }
    }

    fn judge(&self, directory: &Path, store: u64, acknowledged: u64) {
        let count = |counter: &AtomicU64, it: bool| counter.fetch_add(u64::from(it), Ordering::SeqCst);
        // Alone: what restore would take.
        let alone = Reader::open(&directory.join(MIRROR_FILE)).map_or(0, |mut reader| {
            let mut whole = 0;
            while let Ok(Some(entry)) = reader.next() {
                if let Entry::Event { position, bytes } = entry {
                    assert_eq!(bytes, record(position), "made up");
                    whole = position;
                }
            }
            whole
        });
        count(&self.tally.lost_from_mirror, alone < acknowledged);
        let engine = MemoryJournal::new();
        for head in 0..store {
            engine.append(head, &[record(head + 1)]).unwrap();
        }
        match MirroredJournal::open(Arc::new(engine), directory, MirrorOptions::default()) {
            Ok(journal) => {
                let all: Vec<_> = journal.scan(1).map(|found| found.unwrap().1).collect();
                assert_eq!(all, (1..=all.len() as u64).map(record).collect::<Vec<_>>());
                count(&self.tally.lost_with_store, (all.len() as u64) < acknowledged);
                assert_eq!(journal.mirrored(), Some(all.len() as u64));
            }
            Err(JournalError::ArchiveDamaged { position, .. }) => {
                assert!(position > acknowledged || self.forgets, "what was acknowledged can't be damaged");
                count(&self.tally.refused, true);
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn cuts(batches: u64, forgets: bool) -> Arc<Cutter> {
    let cutter = Arc::new(Cutter {
        synced: Mutex::new(line().into_bytes()),
        acknowledged: AtomicU64::new(0),
        batch: AtomicU64::new(0),
        forgets,
        seed: AtomicU64::new(1),
        tally: Tally::default(),
    });
    let directory = TempDir::new().unwrap();
    let options = MirrorOptions { disk: cutter.clone(), ..MirrorOptions::default() };
    let journal = MirroredJournal::open(Arc::new(MemoryJournal::new()), directory.path(), options).unwrap();
    for n in 0..batches {
        let head = journal.head().unwrap();
        let batch: Vec<_> = (head + 1..=head + 1 + n % 5).map(record).collect();
        cutter.batch.store(batch.len() as u64, Ordering::SeqCst);
        let head = journal.append(head, &batch).unwrap();
        cutter.acknowledged.store(head, Ordering::SeqCst);
    }
    cutter
}

#[test]
fn power_cut_at_any_sync_loses_nothing_acknowledged_from_store_and_mirror_nor_from_the_mirror_alone() {
    let Tally { cuts, refused, lost_with_store, lost_from_mirror } = &cuts(60, false).tally;
    let numbers = [cuts, refused, lost_with_store, lost_from_mirror].map(|counter| counter.load(Ordering::SeqCst));
    let [cuts, refused, with_store, from_mirror] = numbers;
    println!(
        "power cut in the process: {cuts} cuts, {with_store} lost with the store, {from_mirror} from the mirror alone, \
         {refused} starts refused with the position of a batch that was never acknowledged"
    );
    assert!(cuts > 100 && refused < cuts / 2, "{numbers:?}");
    assert_eq!((with_store, from_mirror), (0, 0));
}

#[test]
fn a_mirror_that_does_not_sync_is_noticed_as_loss() {
    assert!(cuts(40, true).tally.lost_from_mirror.load(Ordering::SeqCst) > 30);
}

// ── on ext4 ──────────────────────────────────────────────────────────────────────────────

const IMAGE_BYTES: u64 = 256 * 1024 * 1024;

/// A file system that is mounted until it is dropped.
pub(super) struct Mounted(pub(super) PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        // A process that is just ending may hold it a moment longer.
        for _ in 0..100 {
            if run("umount", &[&self.0]).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

pub(super) fn run(program: &str, arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Result<(), String> {
    let mut command = Command::new(program);
    command.args(arguments.iter().map(|argument| argument.as_ref()));
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    let text = || format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    if output.status.success() { Ok(()) } else { Err(text()) }
}

/// Commits of ext4's own and its write-back are put off, so that what reaches the device is what was synced.
fn mount(image: &Path, at: &Path) -> Result<Mounted, String> {
    fs::create_dir_all(at).unwrap();
    run("mount", &[&"-o", &"loop,commit=300", &image, &at])?;
    Ok(Mounted(at.to_owned()))
}

fn new_image(root: &Path) -> Result<(PathBuf, Mounted), String> {
    let image = root.join("image");
    File::create(&image).unwrap().set_len(IMAGE_BYTES).unwrap();
    run("mkfs.ext4", &[&"-q", &"-F", &image])?;
    let mounted = mount(&image, &root.join("live"))?;
    Ok((image, mounted))
}

/// The image as the device has it. Copied until two copies are the same: then nothing moved meanwhile.
fn copy_of_device(image: &Path, to: &Path) {
    let read = || fs::read(image).unwrap();
    let mut last = read();
    for _ in 0..20 {
        let next = read();
        if next == last {
            fs::write(to, next).unwrap();
            return;
        }
        last = next;
    }
    panic!("the device does not come to rest");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cut_on_ext4_loses_nothing_acknowledged() {
    let rounds = rounds("DRILL_CUTS", 2);
    let (mut versions, mut count) = (0, 0);
    for round in 0..rounds {
        let root = TempDir::new().unwrap();
        let (image, live) = match new_image(root.path()) {
            Ok(made) => made,
            Err(why) => return skipped("power_cut_on_ext4_loses_nothing_acknowledged", &why),
        };
        let process = Process::start_mirrored(&live.0.join("data"), &live.0.join("mirror"));
        let admin = Client::connect(&process.address, ADMINISTRATOR).await;
        admin.import_units("fenyang-2024/units.csv", 2024).await.unwrap();
        let (acknowledged, form) = (Acknowledged::default(), Arc::new(form("shanxi-2024")));
        let clients = keep_filing(&process.address, &form, 0, &acknowledged);
        tokio::time::sleep(Duration::from_millis(300 + round * 97 % 600)).await;
        // The server stands still; then what was acknowledged by now must be on the device.
        let pid = process.child.id().to_string();
        run("kill", &[&"-STOP", &pid]).unwrap();
        let certain: Acknowledged = Arc::new(Mutex::new(acknowledged.lock().unwrap().clone()));
        let cut = root.path().join("cut");
        copy_of_device(&image, &cut);
        process.kill();
        for client in clients {
            client.await.unwrap();
        }
        drop(live);

        let after = mount(&cut, &root.path().join("after")).unwrap();
        let (data, mirror) = (after.0.join("data"), after.0.join("mirror"));
        // Every other time the mirror alone must do.
        if round % 2 == 1 {
            lose_and_restore(&data, &mirror);
        }
        let process = Process::start_mirrored(&data, &mirror);
        versions += check_versions(&process.address, &form, &certain).await;
        process.kill();
        count += certain.lock().unwrap().len();
    }
    assert!(count > 5, "too few filings: {count}");
    println!(
        "power cut on ext4: {rounds} cuts, every other one with the data directory lost as well; {count} submissions \
         acknowledged, {versions} present, none lost, none half"
    );
}

/// A disk that says that it has synced.
struct Liar;

impl Disk for Liar {
    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        RealDisk.free_bytes(dir)
    }
    fn sync(&self, _: &File) -> io::Result<()> {
        Ok(())
    }
}

/// The control: the same cut on a store and a mirror that don't sync must lose, or the drill would prove nothing.
#[test]
fn power_cut_on_ext4_is_noticed_when_the_syncs_are_withheld() {
    let root = TempDir::new().unwrap();
    let (image, live) = match new_image(root.path()) {
        Ok(made) => made,
        Err(why) => return skipped("power_cut_on_ext4_is_noticed_when_the_syncs_are_withheld", &why),
    };
    let options = SledOptions { disk: Arc::new(Liar), ..SledOptions::default() };
    let engine = Arc::new(SledJournal::open(&live.0.join("data"), options).unwrap());
    let options = MirrorOptions { disk: Arc::new(Liar), ..MirrorOptions::default() };
    let journal = MirroredJournal::open(engine, &live.0.join("mirror"), options).unwrap();
    for head in 0..40 {
        journal.append(head, &[record(head + 1)]).unwrap();
    }
    let cut = root.path().join("cut");
    copy_of_device(&image, &cut);
    drop(journal);
    drop(live);
    let after = mount(&cut, &root.path().join("after")).unwrap();
    let store = SledJournal::open(&after.0.join("data"), SledOptions::default()).map_or(0, |journal| {
        let head = journal.head().unwrap();
        drop(journal);
        head
    });
    let mirror = MirroredJournal::events_in(&after.0.join("mirror")).unwrap_or(0);
    assert!(store < 40 && mirror < 40, "store {store}, mirror {mirror}");
}
