//! `audit`: checkpoints, receipts, and the whole journal verified from a file.
//!
//! What proves is in [`crate::ledger`]; a receipt's file in `receipt.rs`, the report on an export in `verified.rs`, what
//! was seen of a server before in `seen.rs`.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::client::Client;
use super::output::{Answer, Failure, Look, Sheet, Show, strong};
use super::settings::Settings;
use super::way::Credentials;
use super::words::say;
use super::{backup, check, receipt, seen, submit, verified};
use crate::budget::reason::{Reason, Remark};
use crate::consolidator::Signing;
use crate::ledger::checkpoint::{self, Checkpoint, PublicKey};
use crate::proto::api;
use crate::store::archive;

/// What `audit` does.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Verb {
    /// The last signed checkpoint, saved if asked.
    Checkpoint {
        /// Save it.
        #[arg(long)]
        save: bool,
        /// Without comparing.
        #[arg(long, requires = "save")]
        replace: bool,
    },
    /// The receipt of an event.
    Receipt {
        /// Which event.
        #[arg(value_name = "POSITION")]
        position: u64,
        /// Where to.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// A receipt, or a whole export, without a server.
    Verify {
        /// What is verified.
        #[arg(value_name = "RECEIPT|EXPORT")]
        proof: PathBuf,
        /// The filing that is held against it.
        #[arg(value_name = "FILING")]
        filing: Option<PathBuf>,
        /// The public key.
        #[arg(long, value_name = "KEY|FILE")]
        key: String,
        /// Where the form sets are.
        #[arg(long, value_name = "DIR")]
        forms: Option<PathBuf>,
    },
    /// The whole journal with its checkpoints as one file.
    Export(backup::Args),
    /// A new signing key in the place of the old one.
    RotateKey {
        /// The signing directory.
        #[arg(long, value_name = "DIR")]
        signing: PathBuf,
    },
}

/// Runs `audit`.
///
/// # Errors
/// A file that isn't there, a refusal, or a server that can't be reached; what doesn't hold is in the answer.
pub async fn run(verb: Verb, settings: &Settings) -> Result<Answer, Failure> {
    match verb {
        Verb::Checkpoint { save, replace } => show(save, replace, settings).await,
        Verb::Receipt { position, out } => fetch(position, out, settings).await,
        Verb::Verify { proof, filing, key, forms } => {
            verify(&proof, filing.as_deref(), &key, forms.as_deref(), settings)
        }
        Verb::Export(args) => backup::run(args, settings).await,
        Verb::RotateKey { signing } => {
            let key = Signing::open(&signing, None).and_then(Signing::rotate).map_err(Failure::Refused)?;
            let shown = Shown { label: "audit-key-rotated", facts: vec![("key", key.to_string())], json: Value::Null };
            Ok(settings.answer(&shown))
        }
    }
}

async fn show(save: bool, replace: bool, settings: &Settings) -> Result<Answer, Failure> {
    let before = if replace { None } else { seen::read(settings)? };
    let client = if replace { Client::connect_unseen(settings).await? } else { Client::connect(settings).await? };
    let old_size = before.as_ref().map_or(1, |seen| seen.checkpoint.size);
    let request = api::GetConsistencyProofRequest { old_size, size: 0 };
    let answer = client.audit().get_consistency_proof(request).await;
    let answer = answer.map_err(|status| client.failure(&status))?.into_inner();
    let (key, checkpoint) = match &before {
        Some(seen) => seen::judge(seen, &answer, &settings.server).map_err(Failure::Refused)?,
        None => first_seen(&answer).ok_or_else(|| Failure::Refused(Remark::new(Reason::NotSigned)))?,
    };
    let saved = if save { Some(seen::save(settings, &key, &answer.checkpoint)?) } else { None };
    Ok(settings.answer(&Seen { key, checkpoint, note: answer.checkpoint, saved }))
}

/// What a server shows of itself for the first time: its key is taken at its word.
fn first_seen(answer: &api::GetConsistencyProofResponse) -> Option<(PublicKey, Checkpoint)> {
    let key = PublicKey::parse(&answer.public_key)?;
    let checkpoint = checkpoint::verify(&answer.checkpoint, std::slice::from_ref(&key)).ok()?;
    Some((key, checkpoint))
}

async fn fetch(position: u64, out: Option<PathBuf>, settings: &Settings) -> Result<Answer, Failure> {
    let client = Client::connect(settings).await?;
    let text = receipt_text(&client, position, settings, None).await?;
    let path = out.unwrap_or_else(|| PathBuf::from(format!("{position}.receipt")));
    receipt::save(&path, &text).map_err(|error| unwritable(&path, &error, settings))?;
    let facts = vec![("position", position.to_string()), ("file", path.display().to_string())];
    let json = json!({ "position": position, "file": path.display().to_string() });
    Ok(settings.answer(&Shown { label: "audit-receipt-saved", facts, json }))
}

/// The receipt of an event as the text of its file, looked at before it is kept; signed by whoever has just filed it.
pub(super) async fn receipt_text(
    client: &Client,
    position: u64,
    settings: &Settings,
    filer: Option<&Credentials>,
) -> Result<String, Failure> {
    let answer = client.audit().get_receipt(api::GetReceiptRequest { position }).await;
    let answer = answer.map_err(|status| client.failure(&status))?.into_inner();
    let bad = || Failure::Failed(settings.say("receipt-bad-from-server", &[("n", &position.to_string())]));
    let (receipt, key) = receipt::of_answer(answer).ok_or_else(bad)?;
    // The key that was saved is worth more than the one that comes along.
    let trusted = seen::read(settings)?.map_or_else(|| key.clone(), |seen| seen.key);
    receipt.verify(&trusted).map_err(|_| bad())?;
    receipt::written(&receipt, &key, filer).ok_or_else(bad)
}

fn unwritable(path: &Path, error: &std::io::Error, settings: &Settings) -> Failure {
    let facts = [("file", path.display().to_string()), ("error", error.to_string())];
    Failure::Failed(settings.say("file-unwritable", &facts.each_ref().map(|(k, v)| (*k, v.as_str()))))
}

fn verify(
    proof: &Path,
    filing: Option<&Path>,
    key: &str,
    forms: Option<&Path>,
    settings: &Settings,
) -> Result<Answer, Failure> {
    let key = key_of(key, settings)?;
    let unreadable = |error: &std::io::Error| {
        let facts = [("file", proof.display().to_string()), ("error", error.to_string())];
        Failure::Usage(settings.say("file-unreadable", &facts.each_ref().map(|(k, v)| (*k, v.as_str()))))
    };
    let meta = std::fs::metadata(proof).map_err(|error| unreadable(&error))?;
    if meta.is_dir() || is_archive(proof).map_err(|error| unreadable(&error))? {
        return verified::run(proof, &key, settings);
    }
    if meta.len() > receipt::FILE_BYTES_MAX {
        return Err(unreadable(&std::io::Error::other("> 64 MiB")));
    }
    let bytes = std::fs::read(proof).map_err(|error| unreadable(&error))?;
    let mut proof = receipt::verify(submit::file_name(proof), &bytes, &key);
    if let Some((path, digest)) = filing.zip(proof.form_set()) {
        let forms = check::forms(forms, settings)?;
        let form = forms.iter().find(|form| form.digest == digest).ok_or_else(|| {
            let remark = Remark::new(Reason::UnknownFormSet).with("found", digest.short());
            let known: Vec<String> = forms.iter().map(|form| format!("{} {}", form.id, form.digest.short())).collect();
            Failure::Refused(remark.with("expected", known.join(", ")))
        })?;
        let (_, file) = submit::read(path, settings)?;
        proof.compare(submit::file_name(path), &file.read_on(form), form, settings)?;
    }
    Ok(Answer { code: u8::from(!proof.holds()), ..settings.answer(&proof) })
}

/// Whether a file begins as an archive does, as far as it goes.
fn is_archive(path: &Path) -> std::io::Result<bool> {
    use std::io::Read;
    let line = archive::line();
    let mut begin = Vec::new();
    std::fs::File::open(path)?.take(line.len() as u64).read_to_end(&mut begin)?;
    // One that was damaged in its first line is more like an archive than like a receipt, which begins with a brace.
    Ok(begin.first().is_none_or(|first| *first != b'{'))
}

/// A public key as text, or in a file: of several lines the last one.
fn key_of(said: &str, settings: &Settings) -> Result<PublicKey, Failure> {
    let text = std::fs::read_to_string(said).ok();
    let text = text.as_deref().and_then(|text| text.lines().rfind(|line| !line.trim().is_empty())).unwrap_or(said);
    PublicKey::parse(text).ok_or_else(|| Failure::Usage(settings.say("audit-key-wrong", &[("key", said)])))
}

/// Something was done.
#[derive(Debug)]
struct Shown {
    label: &'static str,
    facts: Vec<(&'static str, String)>,
    json: Value,
}

impl Show for Shown {
    fn text(&self, look: &Look) -> String {
        let facts: Vec<(&str, &str)> = self.facts.iter().map(|(name, fact)| (*name, fact.as_str())).collect();
        format!("{}\n", say(look.language, self.label, &facts))
    }

    fn json(&self) -> Value {
        match &self.json {
            Value::Null => self.facts.iter().map(|(name, fact)| ((*name).to_owned(), json!(fact))).collect(),
            json => json.clone(),
        }
    }

    fn sheet(&self) -> Sheet {
        let columns = self.facts.iter().map(|(name, _)| *name).collect();
        Sheet { columns, rows: vec![self.facts.iter().map(|(_, fact)| fact.clone()).collect()] }
    }
}

/// A checkpoint that a server shows.
#[derive(Debug)]
struct Seen {
    key: PublicKey,
    checkpoint: Checkpoint,
    note: String,
    saved: Option<PathBuf>,
}

impl Show for Seen {
    fn text(&self, look: &Look) -> String {
        let facts = [
            ("origin", self.checkpoint.origin.clone()),
            ("size", self.checkpoint.size.to_string()),
            ("root", self.checkpoint.root.to_string()),
            ("key", self.key.to_string()),
        ];
        let facts = facts.each_ref().map(|(name, fact)| (*name, fact.as_str()));
        let mut out = format!("{}\n", strong(&say(look.language, "audit-checkpoint", &facts)));
        if let Some(path) = &self.saved {
            let file = path.display().to_string();
            out.push_str(&format!("{}\n", say(look.language, "audit-checkpoint-saved", &[("file", &file)])));
        }
        out.push_str(&format!("\n{}", self.note));
        out
    }

    fn json(&self) -> Value {
        json!({
            "origin": self.checkpoint.origin,
            "size": self.checkpoint.size,
            "root": self.checkpoint.root.to_string(),
            "public_key": self.key.to_string(),
            "checkpoint": self.note,
            "saved": self.saved.as_ref().map(|path| path.display().to_string()),
        })
    }

    fn sheet(&self) -> Sheet {
        let row = [self.checkpoint.origin.clone(), self.checkpoint.size.to_string(), self.checkpoint.root.to_string()];
        Sheet { columns: vec!["origin", "size", "root"], rows: vec![row.into()] }
    }
}
