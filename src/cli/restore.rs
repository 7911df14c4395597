//! `restore`: a store from a backup file or a mirror's directory, into a directory that is empty or not there yet.
//!
//! Works without a server. The archive is read whole before anything is written; what was written is opened again,
//! compared record by record and folded, and only then gets its name. Nothing is repaired: what the archive lacks is
//! said, and what can't be used is refused.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::backup::{begins_late, progress};
use super::output::{Answer, Failure, Look, Sheet, Show, alarm};
use super::settings::Settings;
use super::words::say;
use crate::budget::reason::{Reason, Remark};
use crate::consolidator::{fold, operator_fault};
use crate::store::places::refuse_within;
use crate::store::restore::{Contents, Draft, archive_at, read_through};
use crate::store::{JournalError, MIRROR_FILE, Remedy};

/// What `restore` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[arg(value_name = "FILE|MIRROR")]
    pub(super) archive: PathBuf,
    #[arg(long = "data", value_name = "DIR")]
    pub(super) new_store: PathBuf,
    #[arg(long, value_name = "POSITION", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) through: Option<u64>,
}

/// Runs `restore`.
///
/// # Errors
/// An archive that can't be used, a directory that isn't empty, or a disk that is full or fails.
pub fn run(args: &Args, settings: &Settings) -> Result<Answer, Failure> {
    let refused = |error| Failure::Refused(operator_fault(error));
    let archive = archive_at(&args.archive);
    if archive.file_name().is_some_and(|name| name == MIRROR_FILE) {
        refuse_within(&args.new_store, archive.parent().unwrap_or(&archive)).map_err(refused)?;
    }
    let length = std::fs::metadata(&archive).map_or(0, |meta| meta.len());
    let bar = progress(length * 2, "{bar:30} {percent}%");
    let contents = read_through(&archive, &|bytes| bar.set_position(bytes)).map_err(refused)?;
    let through = wanted(&archive, &contents, args.through, settings)?;
    let ahead = |bytes| bar.set_position(length + bytes);
    let draft = Draft::write(&archive, &args.new_store, through, &ahead).map_err(refused)?;
    bar.finish_and_clear();
    if let Some(journal) = draft.journal() {
        fold(journal).map_err(Failure::Refused)?;
    }
    draft.finish().map_err(refused)?;
    let restored = Restored {
        archive: args.archive.display().to_string(),
        directory: args.new_store.display().to_string(),
        is_mirror: args.archive.is_dir(),
        events: through,
        left_out: left_out(&contents, through),
    };
    // A mirror may end in a batch that was never acknowledged; a backup may not.
    let lacks = matches!(restored.left_out, LeftOut::Torn(_)) && !restored.is_mirror;
    Ok(Answer { code: u8::from(lacks), ..settings.answer(&restored) })
}

/// The last position that can be restored. A mirror marks each batch, and what stands behind its last mark was never
/// acknowledged: a start leaves it out, and so does this. A backup has its one mark at its end, and holds nothing that was
/// not acknowledged; in front of damage a whole record was completed by a mark behind it.
fn usable(contents: &Contents) -> u64 {
    let damaged = contents.flaw.as_ref().is_some_and(|flaw| flaw.resumed.is_some());
    if damaged || contents.marked == 0 { contents.last } else { contents.marked }
}

/// Up to which position is restored.
fn wanted(archive: &Path, contents: &Contents, asked: Option<u64>, settings: &Settings) -> Result<u64, Failure> {
    if contents.first > 1 {
        return Err(Failure::Refused(begins_late(archive, contents.first)));
    }
    let last = if contents.first == 0 { 0 } else { usable(contents) };
    if let Some(asked) = asked.filter(|asked| *asked > last) {
        let facts = [("asked", asked.to_string()), ("last", last.to_string())];
        return Err(Failure::Usage(settings.say("restore-beyond", &facts.each_ref().map(|(k, v)| (*k, v.as_str())))));
    }
    if let Some((flaw, behind)) = contents.flaw.as_ref().and_then(|flaw| Some((flaw, flaw.resumed?)))
        && asked.is_none()
    {
        return Err(Failure::Refused(operator_fault(JournalError::ArchiveDamaged {
            path: archive.to_path_buf(),
            position: flaw.position,
            offset: flaw.offset,
            what: flaw.what.clone(),
            last: behind.last,
            remedy: Remedy::OtherCopy,
        })));
    }
    let through = asked.unwrap_or(last);
    if through == 0 {
        return Err(Failure::Refused(Remark::new(Reason::NotAnArchive).with("path", archive.display())));
    }
    Ok(through)
}

/// What the archive had or should have had beyond what was restored.
#[derive(Debug)]
enum LeftOut {
    Nothing,
    /// It was asked for less.
    Asked {
        last: u64,
    },
    /// Its end is torn: why.
    Torn(String),
}

fn left_out(contents: &Contents, through: u64) -> LeftOut {
    // Behind damage there is more than can be read without a gap.
    let last =
        contents.flaw.as_ref().and_then(|flaw| flaw.resumed).map_or_else(|| usable(contents), |behind| behind.last);
    if through < last {
        return LeftOut::Asked { last };
    }
    match &contents.flaw {
        Some(flaw) => LeftOut::Torn(flaw.what.clone()),
        None if !contents.complete => LeftOut::Torn("the mark that completes the last batch is missing".to_owned()),
        None => LeftOut::Nothing,
    }
}

/// What was restored.
#[derive(Debug)]
struct Restored {
    archive: String,
    directory: String,
    is_mirror: bool,
    events: u64,
    left_out: LeftOut,
}

impl Show for Restored {
    fn text(&self, look: &Look) -> String {
        let events = self.events.to_string();
        let facts = [("archive", self.archive.as_str()), ("directory", &self.directory), ("events", &events)];
        let start = match self.left_out {
            // With it the start would take over what was to be left out.
            LeftOut::Asked { .. } if self.is_mirror => "restored-start-part",
            _ if self.is_mirror => "restored-start-mirror",
            _ => "restored-start",
        };
        let mut out = ["restored", start].map(|key| say(look.language, key, &facts) + "\n").concat();
        let more = match &self.left_out {
            LeftOut::Nothing => return out,
            LeftOut::Asked { last } => say(look.language, "restored-part", &[("last", &last.to_string())]),
            LeftOut::Torn(_) => alarm(&say(look.language, "restored-torn", &[("events", &events)])),
        };
        out.push_str(&more);
        out.push('\n');
        out
    }

    fn json(&self) -> Value {
        let left_out = match &self.left_out {
            LeftOut::Nothing => Value::Null,
            LeftOut::Asked { last } => json!({ "why": "asked", "last_position": last }),
            LeftOut::Torn(what) => json!({ "why": "torn", "what": what }),
        };
        json!({
            "archive": self.archive,
            "directory": self.directory,
            "last_position": self.events,
            "left_out": left_out,
        })
    }

    fn sheet(&self) -> Sheet {
        let torn = matches!(self.left_out, LeftOut::Torn(_));
        let row = [self.archive.clone(), self.directory.clone(), self.events.to_string(), torn.to_string()];
        Sheet { columns: vec!["archive", "directory", "last_position", "torn"], rows: vec![row.into()] }
    }
}
