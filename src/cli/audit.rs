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
use crate::store::restore::archive_at;
use crate::store::{KEY_FILE, archive};
use crate::submission_file::without_mark;

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
        #[arg(id = "signing_there", long = "signing", value_name = "DIR")]
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
        Verb::Export(args) => backup::save(args, "export-saved", settings).await,
        Verb::RotateKey { signing } => {
            // Opening it would make it, with a key that nobody asked for.
            let there = signing.join(KEY_FILE);
            std::fs::metadata(&there).map_err(|error| settings.unreadable(&there, &error))?;
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
    let receipt = receipt::of_answer(answer).ok_or_else(bad)?;
    // The key that was saved is worth more than the one that comes along.
    let trusted = seen::read(settings)?.map_or_else(|| receipt.key.clone(), |seen| seen.key);
    receipt.verify(std::slice::from_ref(&trusted)).map_err(|_| bad())?;
    receipt::written(&receipt, filer).ok_or_else(bad)
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
    let keys = keys_of(key, settings)?;
    let file = archive_at(proof);
    let unreadable = |error: &std::io::Error| settings.unreadable(&file, error);
    let holds_none = || {
        let facts = [("file", proof.display().to_string())];
        Failure::Usage(settings.say("audit-holds-no-filing", &facts.each_ref().map(|(k, v)| (*k, v.as_str()))))
    };
    let meta = std::fs::metadata(&file).map_err(|error| unreadable(&error))?;
    if is_archive(&file).map_err(|error| unreadable(&error))? {
        return if filing.is_some() { Err(holds_none()) } else { verified::run(proof, &keys, settings) };
    }
    if meta.len() > receipt::FILE_BYTES_MAX {
        return Err(unreadable(&std::io::Error::other("> 64 MiB")));
    }
    let bytes = std::fs::read(&file).map_err(|error| unreadable(&error))?;
    let mut proof = receipt::verify(submit::file_name(proof), &bytes, &keys);
    if filing.is_some() && proof.holds() && proof.form_set().is_none() {
        return Err(holds_none());
    }
    if let Some((path, digest)) = filing.zip(proof.form_set()) {
        let forms = check::forms(forms, settings)?;
        let form = forms.iter().find(|form| form.digest == digest).ok_or_else(|| {
            let remark = Remark::new(Reason::UnknownFormSet).with("found", digest.short());
            let known: Vec<String> = forms.iter().map(|form| format!("{} {}", form.id, form.digest.short())).collect();
            Failure::Refused(remark.with("expected", known.join(", ")))
        })?;
        let (_, file) = submit::read(path, settings)?;
        proof.compare(submit::file_name(path), &file, form, settings)?;
    }
    Ok(Answer { code: u8::from(!proof.holds()), ..settings.answer(&proof) })
}

/// Whether a file is an archive: what doesn't begin as a receipt does, with a brace, is more like a damaged archive.
fn is_archive(path: &Path) -> std::io::Result<bool> {
    use std::io::Read;
    let mut begin = Vec::new();
    std::fs::File::open(path)?.take(archive::line().len() as u64).read_to_end(&mut begin)?;
    Ok(without_mark(&begin).trim_ascii_start().first().is_some_and(|first| *first != b'{'))
}

/// A public key as text, or those in a file, one a line: a key that was replaced still checks what it signed.
fn keys_of(said: &str, settings: &Settings) -> Result<Vec<PublicKey>, Failure> {
    let text = std::fs::read_to_string(said).unwrap_or_else(|_| said.to_owned());
    let keys: Option<Vec<PublicKey>> =
        text.lines().filter(|line| !line.trim().is_empty()).map(PublicKey::parse).collect();
    let keys = keys.filter(|keys| !keys.is_empty());
    keys.ok_or_else(|| Failure::Usage(settings.say("audit-key-wrong", &[("key", said)])))
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
