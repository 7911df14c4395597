//! `check`: looks at submission files without a server, by the form sets that came with the program or from a folder.
//!
//! The same intake and the same rules as the server's; only ceilings and other filings are not known here, and the
//! answer says so.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::filing::{Filed, Filing, Filings};
use super::output::{Answer, Failure};
use super::settings::Settings;
use super::submit::{file_name, files_of, read};
use crate::budget::form_set::{FormFiles, FormSet};
use crate::budget::reason::{Reason, Remark};
use crate::consolidator::embedded_form_sets;
use crate::submission_file::SubmissionFile;
use crate::wording::sentence;

/// What `check` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[arg(value_name = "FILE|DIR", required = true)]
    pub(super) paths: Vec<PathBuf>,
    #[arg(long, value_name = "DIR")]
    pub(super) forms: Option<PathBuf>,
    #[arg(long)]
    pub(super) coverage: bool,
}

/// Runs `check`.
///
/// # Errors
/// A file or folder that isn't there, or a form set that can't be used.
pub fn run(args: &Args, settings: &Settings) -> Result<Answer, Failure> {
    let files = files_of(&args.paths, settings)?;
    let forms = forms(args.forms.as_deref(), settings)?;
    let mut filings = Vec::with_capacity(files.len());
    for path in &files {
        let (_, file) = match read(path, settings) {
            Ok(read) => read,
            Err(failure) if files.len() == 1 => return Err(failure),
            Err(failure) => {
                filings.push(Filing::failed(file_name(path), None, failure));
                continue;
            }
        };
        let slot = Some(file.slot.clone());
        filings.push(match at_hand(&forms, &file, settings) {
            Ok(form) => {
                let filed = Filed::judged_offline(&file.read_on(form), form, args.coverage);
                Filing { file: file_name(path), slot, form: Some(Arc::clone(form)), result: Ok(filed) }
            }
            Err(failure) => Filing::failed(file_name(path), slot, failure),
        });
    }
    let filings = Filings { filings, unsent: 0, sent: false };
    Ok(Answer { code: filings.code(), ..settings.answer(&filings) })
}

/// The form set that a file is on, if it is at hand and of the file's year.
fn at_hand<'f>(
    forms: &'f [Arc<FormSet>],
    file: &SubmissionFile,
    settings: &Settings,
) -> Result<&'f Arc<FormSet>, Failure> {
    let (id, year) = (file.form_set.as_str(), file.slot.year);
    let Some(form) = forms.iter().find(|form| form.id == id) else {
        let known: Vec<&str> = forms.iter().map(|form| form.id.as_str()).collect();
        let facts = [("found", id), ("known", &known.join(", "))];
        return Err(Failure::Usage(settings.say("check-form-set-unknown", &facts)));
    };
    form.is_of(year).map_err(Failure::Refused)?;
    Ok(form)
}

/// The form set of that id.
pub(super) fn find<'f>(forms: &'f [Arc<FormSet>], id: &str) -> Result<&'f Arc<FormSet>, Failure> {
    forms.iter().find(|form| form.id == id).ok_or_else(|| {
        let known: Vec<&str> = forms.iter().map(|form| form.id.as_str()).collect();
        let remark = Remark::new(Reason::UnknownFormSet).with("found", id).with("expected", known.join(", "));
        Failure::Refused(remark)
    })
}

/// The form sets of a folder (one, or one in each folder inside), or those that came with the program.
pub(super) fn forms(folder: Option<&Path>, settings: &Settings) -> Result<Vec<Arc<FormSet>>, Failure> {
    let sets = match folder {
        None => embedded_form_sets(),
        Some(folder) => {
            let mut sets = vec![read_folder(folder, settings)?];
            if let Ok(entries) = std::fs::read_dir(folder) {
                for inside in entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.is_dir()) {
                    sets.push(read_folder(&inside, settings)?);
                }
            }
            sets.retain(|files| files.contains_key(crate::budget::form_set::FORMS_FILE));
            sets
        }
    };
    sets.into_iter()
        .map(|files| {
            FormSet::load(files).map(Arc::new).map_err(|faults| {
                let said = faults.first().map(|fault| {
                    format!(
                        "{}:{}:{} {}",
                        fault.file,
                        fault.line,
                        fault.column,
                        sentence(&fault.remark, settings.language)
                    )
                });
                Failure::Usage(said.unwrap_or_default())
            })
        })
        .collect()
}

/// The files of a form set in a folder: `*.toml` and `*.csv`.
pub(super) fn read_folder(folder: &Path, settings: &Settings) -> Result<FormFiles, Failure> {
    let wrong = |error: &std::io::Error| settings.unreadable(folder, error);
    let mut files = FormFiles::new();
    for entry in std::fs::read_dir(folder).map_err(|error| wrong(&error))? {
        let path = entry.map_err(|error| wrong(&error))?.path();
        let fits = path.extension().is_some_and(|extension| extension == "toml" || extension == "csv");
        if let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|_| fits && path.is_file()) {
            files.insert(name.to_owned(), std::fs::read(&path).map_err(|error| wrong(&error))?);
        }
    }
    Ok(files)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::cli;

    #[test]
    fn what_the_server_would_always_refuse_is_said_offline_too() {
        let example = include_str!("../../examples/fenyang-2024/submissions/407004.json");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f.json");
        let check = |text: String, says: &str| {
            assert_ne!(text, example);
            std::fs::write(&file, text).unwrap();
            let arguments = ["consolidator", "--lang", "en", "check"].map(std::ffi::OsString::from);
            let ended = cli::run(arguments.into_iter().chain([file.clone().into()]).collect::<Vec<_>>());
            let said = ended.out + &ended.err;
            assert!(ended.code != 0 && said.contains(says), "{}: {said}", ended.code);
        };
        check(example.replace("\"year\": 2024", "\"year\": 2025"), "YEAR_DIFFERS");
        check(example.replace("\"shanxi-2024\"", "\"shanxi-2025\""), "--forms");
        check(example.replace("\"407004\"", "\"４０７００４\""), "something like 407002");
    }
}
