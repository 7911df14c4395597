//! Flipped bits, seeded: in any file of the store, as a crash and as an orderly end leave it, and in the mirror. Each is
//! detected, or the events that come out are the same byte for byte.
//!
//! `DRILL_FLIPS=500` for the long form. A failing flip is named by its number; the same number is the same flip.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use budget_consolidator::store::restore::read_through;
use budget_consolidator::store::{Journal, MIRROR_FILE, MirrorOptions, MirroredJournal, SledJournal, SledOptions};
use tempfile::TempDir;

use super::rounds;
use crate::safekeeping::mirrored;

/// Filings are of a few kB; a few are of several pieces.
fn record(position: u64) -> Vec<u8> {
    let length = if position.is_multiple_of(11) { 20_000 } else { 200 + position as usize * 977 % 4_000 };
    let mut state = position.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..length).map(|_| (next(&mut state) & 0xff) as u8).collect()
}

fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

const EVENTS: u64 = 120;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
        let target = to.join(entry.file_name().unwrap());
        if entry.is_dir() {
            copy(&entry, &target);
        } else {
            fs::copy(&entry, &target).unwrap();
        }
    }
}

/// A store with its mirror, as a crash leaves it and after an orderly end.
fn originals() -> [TempDir; 2] {
    let root = TempDir::new().unwrap();
    let journal = mirrored(root.path());
    let mut head = 0;
    while head < EVENTS {
        let batch: Vec<_> = (head + 1..=(head + 1 + head % 4).min(EVENTS)).map(record).collect();
        head = journal.append(head, &batch).unwrap();
    }
    let crashed = TempDir::new().unwrap();
    copy(root.path(), crashed.path());
    drop(journal);
    [crashed, root]
}

/// The file that is hit: files in proportion to their bytes, but the small ones every fourth time.
fn hit(directory: &Path, state: &mut u64) -> (PathBuf, u64) {
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.is_file() && fs::metadata(path).unwrap().len() > 0);
    files.sort();
    let small: Vec<_> = files.iter().filter(|path| !path.ends_with("db") && !path.ends_with(MIRROR_FILE)).collect();
    let path = if !small.is_empty() && next(state).is_multiple_of(4) {
        small[next(state) as usize % small.len()].clone()
    } else {
        files.iter().find(|path| path.ends_with("db") || path.ends_with(MIRROR_FILE)).unwrap().clone()
    };
    // sled's file is mostly zeros behind its log: what is written is what is hit.
    let bytes = fs::read(&path).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) as u64 + 1;
    (path, next(state) % (written * 8))
}

fn flip(path: &Path, bit: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
    fs::write(path, bytes).unwrap();
}

/// What comes out, or none if anything was said about damage.
fn events(journal: Result<Arc<dyn Journal>, budget_consolidator::store::JournalError>) -> Option<Vec<Vec<u8>>> {
    journal.ok()?.scan(1).map(|found| found.ok().map(|(_, bytes)| bytes)).collect()
}

fn open(root: &Path, mirror: bool) -> Option<Vec<Vec<u8>>> {
    let options = SledOptions { tail_elsewhere: mirror, ..SledOptions::default() };
    let store = match SledJournal::open(&root.join("data"), options) {
        Ok(store) => Arc::new(store),
        Err(error) => return events(Err(error)),
    };
    if !mirror {
        return events(Ok(store));
    }
    let opened = MirroredJournal::open(store, &root.join("mirror"), MirrorOptions::default());
    events(opened.map(|journal| Arc::new(journal) as Arc<dyn Journal>))
}

#[test]
fn each_flipped_bit_is_detected_or_changes_nothing() {
    let flips = rounds("DRILL_FLIPS", 40);
    let originals = originals();
    let expected: Vec<_> = (1..=EVENTS).map(record).collect();
    for original in &originals {
        let whole = TempDir::new().unwrap();
        copy(original.path(), whole.path());
        assert_eq!(open(whole.path(), true).as_ref(), Some(&expected), "the drill's own premise");
    }
    let (mut detected, mut same, mut alone_detected) = ([0, 0], [0, 0], 0);
    for n in 0..flips {
        let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
        let of_mirror = n % 2 == 1;
        let original = originals[(n / 2 % 2) as usize].path();
        let root = TempDir::new().unwrap();
        copy(original, root.path());
        let (path, bit) = hit(&root.path().join(if of_mirror { "mirror" } else { "data" }), &mut state);
        flip(&path, bit);
        let name = format!("flip {n}: bit {bit} of {}", path.file_name().unwrap().to_string_lossy());

        if of_mirror {
            // What restore would make of it: all, or less and it says so.
            let found = read_through(&path, &|_| {});
            let whole = found.as_ref().is_ok_and(|found| found.complete && found.last == EVENTS);
            assert!(!whole, "{name}: a flipped bit in an archive has to be seen");
        } else {
            let alone = TempDir::new().unwrap();
            copy(&root.path().join("data"), &alone.path().join("data"));
            match open(alone.path(), false) {
                None => alone_detected += 1,
                Some(events) => assert!(events == expected, "{name}: {} events without the mirror", events.len()),
            }
        }
        match open(root.path(), true) {
            None => detected[usize::from(of_mirror)] += 1,
            Some(events) => {
                assert!(events == expected, "{name}: {} events, other than were written", events.len());
                same[usize::from(of_mirror)] += 1;
                // And the mirror is whole again: what was cut off it is made good from the store.
                let mirror = read_through(&root.path().join("mirror").join(MIRROR_FILE), &|_| {}).unwrap();
                assert!(mirror.complete && mirror.last == EVENTS, "{name}: {mirror:?}");
            }
        }
    }
    println!(
        "bit flips: {flips}; in the store without its mirror {alone_detected} detected, the others harmless; with it {} \
         detected, {} with the same events after the start; in the mirror {} refused, {} made good from the store, all \
         seen by restore",
        detected[0], same[0], detected[1], same[1]
    );
}
