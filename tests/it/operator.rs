//! What an operator is told who runs the service on what can't be served, and the verbs that work without it on what they
//! can't use: the path, what the matter is, what to do, in both languages; and no word as to somebody who files.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use budget_consolidator::cli::serve::signing_beside;
use budget_consolidator::store::places::refuse_misnamed;
use budget_consolidator::store::{MIRROR_FILE, MirrorOptions, MirroredJournal, SledJournal, SledOptions, archive};
use tempfile::TempDir;

use crate::safekeeping::{consolidator, mirrored, path, said, sled};
use crate::support::*;

/// `data` and `mirror` with a unit tree and form sets in them: records that fold.
async fn furnished() -> TempDir {
    let root = TempDir::new().unwrap();
    let server = TestServer::on(mirrored(root.path())).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    server.stop().await;
    root
}

/// A store and its mirror without a record.
fn empty() -> TempDir {
    let root = TempDir::new().unwrap();
    drop(mirrored(root.path()));
    root
}

/// What the program says and with which code, in a language.
fn told(language: &str, arguments: &[&str]) -> (String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_consolidator"));
    command.args(["--lang", language]).args(arguments).env_remove("BUDGET_AS").env_remove("RUST_LOG");
    said(&command.output().unwrap())
}

/// Refused in both languages with that code and all of those words, and not as a server refuses a filing.
fn refused(arguments: &[&str], code: &str, words: &[&str]) {
    for language in ["zh", "en"] {
        let (text, exit) = told(language, arguments);
        assert!(exit == Some(1) && text.contains(code), "{arguments:?}: {exit:?} {text}");
        for word in words {
            let word = match (language, *word) {
                ("zh", "No such file") => "没有这个文件",
                ("zh", "Not a directory") => "不是目录",
                (_, word) => word,
            };
            assert!(text.contains(word), "{arguments:?}: no {word} in {text}");
        }
        assert!(!text.contains("send it again") && !text.contains("重新提交"), "{arguments:?}: {text}");
        let (page, exit) = told(language, &["explain", code]);
        assert!(exit == Some(0) && page.lines().count() > 3, "{page}");
    }
}

fn serve<'a>(data: &'a Path, mirror: Option<&'a Path>) -> Vec<&'a str> {
    let mut arguments = vec!["serve", "--insecure-loopback", "--listen", "127.0.0.1:0", "--data", path(data)];
    arguments.extend(mirror.iter().flat_map(|mirror| ["--mirror", path(mirror)]));
    arguments
}

#[test]
fn a_store_that_the_engine_cannot_open_is_refused_with_the_way_back() {
    let root = empty();
    let data = root.path().join("data");
    let length = fs::metadata(data.join("conf")).unwrap().len();
    fs::write(data.join("conf"), vec![0xa5; usize::try_from(length).unwrap()]).unwrap();
    let way_back = ["consolidator restore", "--data", "--signing", path(&data)];
    refused(&serve(&data, None), "STORE_UNREADABLE", &way_back);
}

#[test]
fn files_that_sled_never_syncs_and_a_newer_format_are_named_with_their_path() {
    let root = empty();
    let data = root.path().join("data");
    fs::write(data.join("blobs/7"), "never synced").unwrap();
    refused(&serve(&data, None), "STORE_UNREADABLE", &["blobs", path(&data), "consolidator restore"]);
    fs::remove_file(data.join("blobs/7")).unwrap();
    fs::write(data.join("FORMAT"), "budget-consolidator journal, format 2\n").unwrap();
    refused(&serve(&data, None), "JOURNAL_NEWER", &[path(&data), "2", "1"]);
    // And it is no damage.
    refused(&["fsck", "--data", path(&data)], "JOURNAL_NEWER", &[path(&data)]);
}

#[test]
fn directories_that_were_mixed_up_are_refused_and_nothing_is_made_in_them() {
    let root = empty();
    let (data, mirror, new) = (root.path().join("data"), root.path().join("mirror"), root.path().join("new"));
    let both = [path(&data), path(&mirror)];
    refused(&serve(&mirror, None), "WRONG_DIRECTORY", &[path(&mirror)]);
    refused(&serve(&mirror, Some(&data)), "WRONG_DIRECTORY", &both);
    refused(&serve(&mirror, Some(&new)), "WRONG_DIRECTORY", &[path(&mirror), path(&new)]);
    refused(&serve(&new, Some(&data)), "WRONG_DIRECTORY", &[path(&new), path(&data)]);
    refused(&serve(&data, Some(&data)), "WRONG_DIRECTORY", &[path(&data)]);
    let within = data.join("deep/mirror");
    refused(&serve(&data, Some(&within)), "WRONG_DIRECTORY", &[path(&data), path(&within)]);
    // The other way round a lost mirror would take the data with it.
    let inner = mirror.join("deep/data");
    refused(&serve(&inner, Some(&mirror)), "WRONG_DIRECTORY", &[path(&inner), path(&mirror)]);
    assert!(!mirror.join("deep").exists());
    // By another way to the same place.
    let link = root.path().join("link");
    std::os::unix::fs::symlink(&data, &link).unwrap();
    refused(&serve(&data, Some(&link)), "WRONG_DIRECTORY", &[path(&link)]);
    refused(&["fsck", "--data", path(&mirror), "--mirror", path(&data)], "WRONG_DIRECTORY", &both);
    assert!(!new.exists() && !within.exists() && !mirror.join("FORMAT").exists() && !mirror.join("db").exists());
    // Beside one another they are what they were.
    drop(mirrored(root.path()));
}

#[test]
fn fsck_judges_no_store_by_what_is_the_matter_elsewhere() {
    let root = empty();
    let (data, mirror) = (root.path().join("data"), root.path().join("mirror"));
    let (absent, file, bare) = (root.path().join("absent"), root.path().join("file"), root.path().join("bare"));
    fs::write(&file, "text").unwrap();
    fs::create_dir(&bare).unwrap();
    let fsck = |more: &[&str], code: &str, words: &[&str]| {
        refused(&[&["fsck", "--data"], more].concat(), code, words);
    };
    fsck(&[path(&data), "--scratch", path(&absent)], "PATH_UNUSABLE", &[path(&absent), "No such file"]);
    fsck(&[path(&data), "--scratch", path(&file)], "PATH_UNUSABLE", &[path(&file)]);
    fsck(&[path(&absent)], "PATH_UNUSABLE", &[path(&absent), "No such file"]);
    fsck(&[path(&file)], "PATH_UNUSABLE", &[path(&file), "Not a directory"]);
    fsck(&[path(&bare)], "WRONG_DIRECTORY", &[path(&bare)]);
    fsck(&[path(&data), "--mirror", path(&file)], "PATH_UNUSABLE", &[path(&file), "Not a directory"]);
    fsck(&[path(&data), "--mirror", path(&bare)], "PATH_UNUSABLE", &[path(&bare), "No such file"]);
    // A store without its log is damaged all the same.
    fs::remove_file(data.join("db")).unwrap();
    let (text, code) = told("en", &["fsck", "--data", path(&data), "--mirror", path(&mirror)]);
    assert!(code == Some(1) && text.contains("[BAD] The engine can't open it"), "{text}");
    assert!(text.contains("STORE_UNREADABLE") && text.contains("its file db is missing"), "{text}");
}

/// An archive with those records; a mark behind each but the last `unmarked`.
fn archive_of(first: u64, records: &[Vec<u8>], unmarked: usize) -> Vec<u8> {
    let mut bytes = archive::line().into_bytes();
    for (at, record) in records.iter().enumerate() {
        let position = first + at as u64;
        archive::add_event(&mut bytes, position, record);
        if at + unmarked < records.len() {
            archive::add_mark(&mut bytes, position);
        }
    }
    bytes
}

fn records(data: &Path) -> Vec<Vec<u8>> {
    use budget_consolidator::store::Journal;
    sled(data).scan(1).map(|record| record.unwrap().1).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fsck_takes_no_mirror_that_a_start_refuses_and_promises_nothing_for_another_history() {
    let root = furnished().await;
    let (data, mirror) = (root.path().join("data"), root.path().join("mirror"));
    let events = records(&data);
    let fsck = || told("en", &["fsck", "--data", path(&data), "--mirror", path(&mirror)]);
    fs::write(mirror.join(MIRROR_FILE), archive_of(2, &events[1..], 0)).unwrap();
    let (text, code) = fsck();
    assert!(code == Some(1) && text.contains("does not begin with record 1") && !text.contains("Nothing is"), "{text}");
    refused(&serve(&data, Some(&mirror)), "NOT_AN_ARCHIVE", &[path(&mirror), "2"]);
    fs::write(mirror.join(MIRROR_FILE), archive_of(1, &[b"noise".to_vec()], 0)).unwrap();
    let (text, code) = fsck();
    assert!(code == Some(1) && text.contains("HISTORIES_DIFFER") && !text.contains("the next start"), "{text}");
    // An empty store is not filled by a start either.
    fs::write(mirror.join(MIRROR_FILE), archive_of(1, &events, 0)).unwrap();
    let bare = root.path().join("bare");
    drop(sled(&bare));
    let (text, code) = told("en", &["fsck", "--data", path(&bare), "--mirror", path(&mirror)]);
    assert!(code == Some(1) && text.contains("STORE_EMPTY") && !text.contains("the next start"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unfinished_batch_of_a_mirror_is_left_out_by_start_restore_and_fsck_alike() {
    use budget_consolidator::store::Journal;
    let root = furnished().await;
    let (data, mirror) = (root.path().join("data"), root.path().join("mirror"));
    let events = records(&data);
    let whole = events.len() as u64;
    // The store never had it: its mark was not written.
    let torn = archive_of(1, &[&events[..], &[events[0].clone()]].concat(), 1);
    fs::write(mirror.join(MIRROR_FILE), &torn).unwrap();
    let (text, code) = told("en", &["fsck", "--data", path(&data), "--mirror", path(&mirror)]);
    assert!(code == Some(0) && text.contains("[note] Mirror: an unfinished batch"), "{text}");
    assert!(!text.contains("takes them over"), "{text}");
    let restored = root.path().join("restored");
    let (text, code) = told("en", &["restore", path(&mirror), "--data", path(&restored)]);
    assert!(code == Some(0) && text.contains("never acknowledged"), "{text}");
    assert_eq!(sled(&restored).head().unwrap(), whole);
    // A backup has one mark, at its end: all that is whole in it was acknowledged.
    let file = root.path().join("backup");
    fs::write(&file, archive_of(1, &events, events.len())).unwrap();
    fs::remove_dir_all(&restored).unwrap();
    let (text, code) = told("en", &["restore", path(&file), "--data", path(&restored)]);
    assert!(code == Some(1) && text.contains("torn"), "{text}");
    assert_eq!(sled(&restored).head().unwrap(), whole);
    let options = SledOptions { tail_elsewhere: true, ..SledOptions::default() };
    let engine = Arc::new(SledJournal::open(&data, options).unwrap());
    let started = MirroredJournal::open(engine, &mirror, MirrorOptions::default()).unwrap();
    assert_eq!(started.head().unwrap(), whole);
}

#[test]
fn restore_says_what_it_cannot_use_and_where() {
    let root = empty();
    let (absent, bare, file) = (root.path().join("absent"), root.path().join("bare"), root.path().join("file"));
    let (data, link, new) = (root.path().join("data"), root.path().join("link"), root.path().join("new"));
    fs::create_dir(&bare).unwrap();
    fs::write(&file, archive::line()).unwrap();
    refused(&["restore", path(&absent), "--data", path(&new)], "PATH_UNUSABLE", &[path(&absent), "No such file"]);
    refused(&["restore", path(&bare), "--data", path(&new)], "PATH_UNUSABLE", &[path(&bare), MIRROR_FILE]);
    refused(&["restore", path(&file), "--data", path(&new)], "NOT_AN_ARCHIVE", &[path(&file)]);
    fs::write(&file, archive_of(1, &[b"record".to_vec()], 0)).unwrap();
    std::os::unix::fs::symlink(&absent, &link).unwrap();
    refused(&["restore", path(&file), "--data", path(&link)], "PATH_UNUSABLE", &[path(&link)]);
    let under = data.join("FORMAT/new");
    refused(&["restore", path(&file), "--data", path(&under)], "PATH_UNUSABLE", &[path(&under), "Not a directory"]);
    assert!(!new.exists() && fs::read_dir(&bare).unwrap().next().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_fills_an_empty_directory_that_is_there_and_one_that_a_link_leads_to() {
    use budget_consolidator::store::Journal;
    use std::os::unix::fs::MetadataExt;
    let root = furnished().await;
    let (mirror, data) = (root.path().join("mirror"), root.path().join("data"));
    let whole = sled(&data).head().unwrap();
    // On another file system, where the machine has one, nothing could be renamed to what the link leads to.
    let shared = Path::new("/dev/shm");
    let elsewhere = if shared.is_dir() { TempDir::new_in(shared) } else { TempDir::new() }.unwrap();
    let (there, link) = (root.path().join("there"), root.path().join("link"));
    fs::create_dir(&there).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), &link).unwrap();
    let number = |directory: &Path| fs::metadata(directory).unwrap().ino();
    for (target, leads_to) in [(&there, there.as_path()), (&link, elsewhere.path())] {
        // What a restore left that was killed, and what a new file system has.
        fs::create_dir_all(leads_to.join("restoring/blobs")).unwrap();
        fs::write(leads_to.join("restoring/RESTORING"), "").unwrap();
        fs::create_dir(leads_to.join("lost+found")).unwrap();
        // A start there would be that of a new store, which nothing could be restored into any more.
        refused(&serve(target, None), "WRONG_DIRECTORY", &["consolidator restore"]);
        let before = number(leads_to);
        let (text, code) = told("en", &["restore", path(&mirror), "--data", path(target)]);
        assert_eq!(code, Some(0), "{text}");
        assert_eq!((number(leads_to), sled(target).head().unwrap()), (before, whole), "{text}");
        assert!(!leads_to.join("restoring").exists() && leads_to.join("FORMAT").exists());
        // Filled, it is empty no more.
        refused(&["restore", path(&mirror), "--data", path(target)], "DIRECTORY_NOT_EMPTY", &[]);
        let (text, code) = told("en", &["fsck", "--data", path(target), "--mirror", path(&mirror)]);
        assert_eq!(code, Some(0), "{text}");
    }
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    // What is in the way is not touched, by whichever name one comes to it.
    fs::remove_dir_all(&there).unwrap();
    fs::create_dir(&there).unwrap();
    fs::write(there.join("precious"), "text").unwrap();
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&there, &link).unwrap();
    for target in [&there, &link] {
        refused(&["restore", path(&mirror), "--data", path(target)], "DIRECTORY_NOT_EMPTY", &[]);
    }
    assert_eq!(fs::read_dir(&there).unwrap().count(), 1);
}

/// A draft is known by what is in it, not by its name: a mirror or store that has such a name is somebody's only copy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_removes_nothing_but_drafts() {
    let root = furnished().await;
    let mirror = root.path().join("mirror");
    let copy = |to: &Path| {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(&mirror).unwrap().map(Result::unwrap) {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    };
    let (within, beside) = (root.path().join("new/restoring"), root.path().join("other.restoring"));
    for (copied, target) in [(&within, root.path().join("new")), (&beside, root.path().join("other"))] {
        copy(copied);
        let before = fs::read_dir(copied).unwrap().count();
        refused(&["restore", path(&mirror), "--data", path(&target)], "DIRECTORY_NOT_EMPTY", &[]);
        let within = copied.starts_with(&target);
        let code = if within { "WRONG_DIRECTORY" } else { "DIRECTORY_NOT_EMPTY" };
        refused(&["restore", path(copied), "--data", path(&target)], code, &[]);
        assert_eq!(fs::read_dir(copied).unwrap().count(), before);
    }
}

/// However far a restore had come when it was cut off, no new store is begun there, and one more restore is all it takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_was_cut_off_is_done_by_the_next() {
    use budget_consolidator::store::Journal;
    let root = furnished().await;
    let (mirror, data) = (root.path().join("mirror"), root.path().join("data"));
    let whole = sled(&data).head().unwrap();
    let (there, beside) = (root.path().join("there"), root.path().join("there.restoring"));
    let draft = |at: &Path| {
        fs::create_dir_all(at.join("blobs")).unwrap();
        fs::write(at.join("RESTORING"), "").unwrap();
    };
    let moved_in = || {
        draft(&there.join("restoring"));
        fs::copy(data.join("FORMAT"), there.join("restoring/FORMAT")).unwrap();
        for name in ["db", "conf"] {
            fs::copy(data.join(name), there.join(name)).unwrap();
        }
        fs::create_dir(there.join("blobs")).unwrap();
        fs::write(there.join("snap.0000000000000001"), "").unwrap();
    };
    let beside_nothing = || draft(&beside);
    let beside_an_empty_one = || {
        draft(&beside);
        fs::create_dir(&there).unwrap();
    };
    let begun = || fs::create_dir_all(there.join("restoring")).unwrap();
    let left: [&dyn Fn(); 4] = [&moved_in, &beside_nothing, &beside_an_empty_one, &begun];
    for leave in left {
        leave();
        let was_there = there.exists();
        refused(&serve(&there, None), "WRONG_DIRECTORY", &["consolidator restore"]);
        assert_eq!(there.exists(), was_there, "nothing is made");
        let (text, code) = told("en", &["restore", path(&mirror), "--data", path(&there)]);
        assert_eq!(code, Some(0), "{text}");
        assert_eq!(sled(&there).head().unwrap(), whole);
        assert!(!there.join("restoring").exists() && !beside.exists());
        fs::remove_dir_all(&there).unwrap();
    }
    // What no store has is somebody's, and so is a store.
    moved_in();
    for precious in ["precious", "FORMAT"] {
        fs::write(there.join(precious), "text").unwrap();
        refused(&["restore", path(&mirror), "--data", path(&there)], "DIRECTORY_NOT_EMPTY", &[]);
        assert!(there.join("db").exists() && there.join(precious).exists());
        fs::remove_file(there.join(precious)).unwrap();
    }
    fs::remove_dir_all(&there).unwrap();
    // What was cut off when all was moved in is a store like any other; if its FORMAT is lost later, nobody's data go with it.
    assert_eq!(told("en", &["restore", path(&mirror), "--data", path(&there)]).1, Some(0));
    draft(&there.join("restoring"));
    let format = fs::read(there.join("FORMAT")).unwrap();
    fs::remove_file(there.join("FORMAT")).unwrap();
    refused(&serve(&there, None), "WRONG_DIRECTORY", &["FORMAT"]);
    refused(&["restore", path(&mirror), "--data", path(&there)], "DIRECTORY_NOT_EMPTY", &[]);
    fs::write(there.join("FORMAT"), format).unwrap();
    assert_eq!(sled(&there).head().unwrap(), whole);
    assert!(!there.join("restoring").exists());
}

#[test]
fn no_store_is_begun_among_other_files() {
    let root = TempDir::new().unwrap();
    let data = root.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("407001.json"), "{}").unwrap();
    refused(&serve(&data, None), "WRONG_DIRECTORY", &[path(&data)]);
    assert_eq!(fs::read_dir(&data).unwrap().count(), 1, "nothing is made");
    // What a new file system has, and what hides, is in nobody's way; nor is what a start left that was cut off.
    fs::remove_file(data.join("407001.json")).unwrap();
    fs::create_dir(data.join("lost+found")).unwrap();
    for left in [".keep", "FORMAT.new", "LOCK"] {
        fs::write(data.join(left), "").unwrap();
    }
    refuse_misnamed(&data, None).unwrap();
}

/// Whatever takes the data would take what proves them as well, by whichever name one comes to it.
#[test]
fn a_signing_directory_within_the_data_is_refused() {
    let root = TempDir::new().unwrap();
    let (data, link) = (root.path().join("data"), root.path().join("link"));
    std::os::unix::fs::symlink(root.path(), &link).unwrap();
    for signing in [data.clone(), data.join("signing"), link.join("data/keys/signing")] {
        let arguments = [serve(&data, None), vec!["--signing", path(&signing)]].concat();
        refused(&arguments, "WRONG_DIRECTORY", &["signing directory", path(&data)]);
    }
    assert!(!data.exists(), "nothing is made");
    // Where the data directory is called by no name of its own, key and checkpoint stand beside it all the same.
    fs::create_dir_all(data.join("below")).unwrap();
    let beside = root.path().canonicalize().unwrap().join("data.signing");
    assert_eq!(signing_beside(&data), root.path().join("data.signing"));
    assert_eq!(signing_beside(&data.join("below/..")), beside);
}

/// Whatever takes the mirror would take the store as well, and a start would refuse the two.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_restored_into_its_own_mirror_or_around_it() {
    let root = furnished().await;
    let mirror = root.path().join("mirror");
    let before = fs::read_dir(&mirror).unwrap().count();
    for target in [mirror.clone(), mirror.join("data"), mirror.join("deep/data")] {
        refused(&["restore", path(&mirror), "--data", path(&target)], "WRONG_DIRECTORY", &[path(&mirror)]);
    }
    let (file, target) = (mirror.join(MIRROR_FILE), mirror.join("data"));
    refused(&["restore", path(&file), "--data", path(&target)], "WRONG_DIRECTORY", &[path(&mirror)]);
    fs::create_dir(root.path().join("around")).unwrap();
    fs::rename(&mirror, root.path().join("around/mirror")).unwrap();
    let around = root.path().join("around");
    refused(&["restore", path(&around.join("mirror")), "--data", path(&around)], "WRONG_DIRECTORY", &[path(&around)]);
    assert_eq!(fs::read_dir(around.join("mirror")).unwrap().count(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_of_a_mirror_is_not_to_be_started_with_that_mirror() {
    let root = furnished().await;
    let (mirror, new) = (root.path().join("mirror"), root.path().join("new"));
    for (through, with_mirror) in [("1", false), ("", true)] {
        let mut arguments = vec!["restore", path(&mirror), "--data", path(&new)];
        if !through.is_empty() {
            arguments.extend(["--through", through]);
        }
        let (text, code) = said(&consolidator(&arguments));
        assert_eq!(code, Some(0), "{text}");
        assert_eq!(text.contains("--mirror"), with_mirror, "{text}");
        fs::remove_dir_all(&new).unwrap();
    }
}

#[test]
fn a_log_in_a_file_has_no_colours() {
    let root = TempDir::new().unwrap();
    let log = root.path().join("log");
    // A start that is refused logs why.
    let data = root.path().join("data");
    drop(sled(&data));
    fs::write(data.join("FORMAT"), "something else").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_consolidator"));
    command.args(serve(&data, None)).env_remove("RUST_LOG").env_remove("NO_COLOR").stdout(Stdio::null());
    command.stderr(fs::File::create(&log).unwrap()).status().unwrap();
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.contains("the store failed") && !text.contains('\u{1b}'), "{text:?}");
}
