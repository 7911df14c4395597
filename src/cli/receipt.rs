//! Receipts as files: what `submit` leaves beside a filing, and what `audit verify` proves with it.
//!
//! # The format
//! One JSON object, no number with a fraction. `position`, `leaf`, `path`, `checkpoint` and `key_changes` prove that the
//! event stands in the journal, `filer_signature` that it was filed with the key of a certificate; `says` is what the
//! leaf says, for people, and is compared with it.
//!
//! ```text
//! format       "budget-consolidator receipt, format 1"
//! says         unit, year, round, kind, outcome, version, digest, form_set, time, rows, control_total, control_version,
//!              rules (pass, pass_by_rounding, fail, not_evaluable), findings
//! position     where the event stands, from 1; its leaf has the index position − 1
//! leaf         base64: the event as it is stored, a budget.storage.v1.Envelope
//! path         base64 each: the hashes beside its way to the root, lowest first (RFC 9162)
//! checkpoint   the signed note: size and root of the tree (C2SP tlog-checkpoint)
//! public_key   the key that checks it, as the server gave it: no proof, but refused if another has signed
//! key_changes  signed notes by which earlier keys handed over to later ones
//! filer_signature   only where `submit` had a certificate's key: certificate (base64 DER), scheme (as in RFC 8446, 4.2.3),
//!              signature (base64), over these lines, each with its line end:
//!                  budget-consolidator filing, format 1
//!                  407002 2024 second unit              the slot
//!                  the digest of the filing, hex
//!                  the SHA-256 of the certificate, hex
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::output::{Failure, Look, Sheet, Show, alarm, strong};
use super::settings::Settings;
use super::way::Credentials;
use super::words::{say, time, time_for_programs};
use crate::budget::cell::Cell;
use crate::budget::digest::Digest;
use crate::budget::form_set::FormSet;
use crate::budget::submission::{FiledTable, Slot, Submission};
use crate::certificate::signature::{self, Signature};
use crate::certificate::{self, Certificate};
use crate::consolidator::record::Record;
use crate::ledger::checkpoint::{Checkpoint, PublicKey};
use crate::ledger::event::Event;
use crate::ledger::receipt::{BadReceipt, Receipt};
use crate::proto::api;
use crate::submission_file::{SubmissionFile, without_mark};
use crate::wording::{Language, label};

const FORMAT: &str = "budget-consolidator receipt, format 1";
/// The most cells that are named one by one.
const CELLS_TOLD_MAX: usize = 20;
/// The longest file that is read as a receipt.
pub(super) const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: String,
    says: Value,
    position: u64,
    leaf: String,
    path: Vec<String>,
    checkpoint: String,
    public_key: String,
    key_changes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    filer_signature: Option<FilerSignature>,
}

/// A signature as it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FilerSignature {
    certificate: String,
    scheme: String,
    signature: String,
}

impl FilerSignature {
    fn of(signature: &Signature) -> FilerSignature {
        let Signature { certificate, scheme, bytes } = signature;
        let (certificate, signature) = (STANDARD.encode(certificate), STANDARD.encode(bytes));
        FilerSignature { certificate, scheme: scheme.clone(), signature }
    }

    fn read(self) -> Option<Signature> {
        let (certificate, bytes) = (STANDARD.decode(self.certificate).ok()?, STANDARD.decode(self.signature).ok()?);
        Some(Signature { certificate, scheme: self.scheme, bytes })
    }
}

/// The receipt that a server answered.
pub(super) fn of_answer(answer: api::GetReceiptResponse) -> Option<Receipt> {
    let path = answer.path.iter().map(|hash| Digest::from_bytes(hash)).collect::<Option<_>>()?;
    let api::GetReceiptResponse { position, leaf, checkpoint, key_changes, .. } = answer;
    let key = PublicKey::parse(&answer.public_key)?;
    Some(Receipt { position, leaf, path, checkpoint, key, key_changes })
}

/// A receipt as the text of its file; signed with a certificate's key, if it is of a filing and there is one.
pub(super) fn written(receipt: &Receipt, signer: Option<&Credentials>) -> Option<String> {
    let record = Record::decode(receipt.position, &receipt.leaf).ok()?;
    let signature = signer.zip(signed_text(&record)).and_then(|(credentials, text)| signed_by(credentials, &text));
    let written = Written {
        format: FORMAT.to_owned(),
        says: says(&record),
        position: receipt.position,
        leaf: STANDARD.encode(&receipt.leaf),
        path: receipt.path.iter().map(|hash| STANDARD.encode(hash.0)).collect(),
        checkpoint: receipt.checkpoint.clone(),
        public_key: receipt.key.to_string(),
        key_changes: receipt.key_changes.clone(),
        filer_signature: signature.as_ref().map(FilerSignature::of),
    };
    serde_json::to_string_pretty(&written).ok().map(|text| text + "\n")
}

/// What a filer signs; nothing for what is no filing.
fn signed_text(record: &Record) -> Option<String> {
    let attempt = record.envelope.event.attempt()?;
    let Slot { unit, year, round, kind } = &attempt.slot;
    Some(format!("budget-consolidator filing, format 1\n{unit} {year} {round} {kind}\n{}", attempt.digest))
}

/// None without a key that can sign: a receipt is one without it too.
fn signed_by(credentials: &Credentials, text: &str) -> Option<Signature> {
    let pem = credentials.read().ok()?;
    let certificates = certificate::certificates(&credentials.certificate, &pem.certificate).ok()?;
    let key = certificate::key(&credentials.key, &pem.key).ok()?;
    signature::sign(text, certificates.first()?, &key)
}

/// What an event says, for people.
fn says(record: &Record) -> Value {
    let envelope = &record.envelope;
    let (outcome, version) = match &envelope.event {
        Event::Submitted(submitted) => ("submitted", submitted.version),
        Event::Refused(_) => ("refused", 0),
        _ => ("none", 0),
    };
    let time = time_for_programs(envelope.time.0);
    let Some(attempt) = envelope.event.attempt() else {
        return json!({ "time": time, "actor": envelope.actor.to_string() });
    };
    let counts = attempt.verdicts.counts;
    json!({
        "unit": attempt.slot.unit.as_str(),
        "year": attempt.slot.year,
        "round": attempt.slot.round.as_str(),
        "kind": attempt.slot.kind.as_str(),
        "outcome": outcome,
        "version": version,
        "digest": attempt.digest.to_string(),
        "form_set": attempt.form_set.id.as_str(),
        "time": time,
        "rows": attempt.row_count,
        "control_total": attempt.control_total.to_string(),
        "control_version": attempt.control_version,
        "rules": {
            "pass": counts.pass,
            "pass_by_rounding": counts.pass_by_rounding,
            "fail": counts.fail,
            "not_evaluable": counts.not_evaluable,
        },
        "findings": attempt.findings.len(),
    })
}

/// Writes a receipt. One of another event that is there already is kept under its position.
pub(super) fn save(path: &Path, text: &str) -> std::io::Result<()> {
    if let Ok(before) = std::fs::read(path)
        && before != text.as_bytes()
    {
        let position = serde_json::from_slice::<Written>(&before).map_or(0, |written| written.position);
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{position}"));
        std::fs::rename(path, PathBuf::from(name))?;
    }
    std::fs::write(path, text)
}

/// `407002.receipt` beside `407002.json`.
pub(super) fn beside(filing: &Path) -> PathBuf {
    filing.with_extension("receipt")
}

/// A receipt's file, read: what proves, what it says for people, and the filer's signature.
type Parts = (Receipt, Value, Option<Signature>);

fn parse(bytes: &[u8]) -> Result<Parts, String> {
    let written: Written = serde_json::from_slice(without_mark(bytes)).map_err(|error| error.to_string())?;
    if written.format != FORMAT {
        return Err(format!("format {:?}", written.format));
    }
    let key = PublicKey::parse(&written.public_key).ok_or("public_key")?;
    let leaf = STANDARD.decode(&written.leaf).map_err(|error| format!("leaf: {error}"))?;
    let hash = |text: &String| STANDARD.decode(text).ok().and_then(|bytes| Digest::from_bytes(&bytes));
    let path = written.path.iter().map(hash).collect::<Option<_>>().ok_or("path")?;
    let Written { position, checkpoint, key_changes, says, filer_signature, .. } = written;
    let signature = filer_signature.map(|written| written.read().ok_or("filer_signature")).transpose()?;
    Ok((Receipt { position, leaf, path, checkpoint, key, key_changes }, says, signature))
}

/// Where a filing's file differs from what the receipt holds.
#[derive(Debug)]
pub(super) struct Difference {
    place: String,
    receipt: String,
    file: String,
}

/// What a receipt proves, or why it proves nothing.
#[derive(Debug)]
pub(super) struct Proof {
    file: String,
    outcome: Result<Proved, Flaw>,
    compared: Option<Compared>,
}

#[derive(Debug)]
struct Proved {
    receipt: Receipt,
    record: Record,
    signed: Checkpoint,
    /// With whose certificate the filing was signed as well.
    filer: Option<Certificate>,
}

/// Why a receipt proves nothing: which label says it, and with what.
#[derive(Debug)]
struct Flaw {
    key: &'static str,
    what: String,
}

#[derive(Debug)]
struct Compared {
    file: String,
    differences: Vec<Difference>,
    /// How many more there are.
    more: usize,
}

/// Looks at a receipt by public keys, and nothing else.
pub(super) fn verify(name: String, bytes: &[u8], keys: &[PublicKey]) -> Proof {
    let flaw = |key, what: String| Flaw { key, what };
    let prove = || {
        let (receipt, said, signature) = parse(bytes).map_err(|error| flaw("receipt-unreadable", error))?;
        let signed = receipt.verify(keys).map_err(|bad| match bad {
            BadReceipt::NotInTree => flaw("receipt-not-in-tree", receipt.position.to_string()),
            BadReceipt::Note(note) => flaw("receipt-bad-signature", note.code().to_owned()),
            BadReceipt::OtherKey => flaw("receipt-other-key", receipt.key.to_string()),
            BadReceipt::KeyChange(number) => flaw("receipt-key-change", number.to_string()),
        })?;
        let record = Record::decode(receipt.position, &receipt.leaf);
        let record = record.map_err(|remark| flaw("receipt-unreadable", remark.to_string()))?;
        let meant = says(&record);
        if meant != said {
            let field = meant.as_object().and_then(|meant| {
                let differs = |(name, value): &(&String, &Value)| said.get(name.as_str()) != Some(*value);
                meant.iter().find(differs).map(|(name, _)| name.clone())
            });
            return Err(flaw("receipt-says-otherwise", field.unwrap_or_else(|| "says".to_owned())));
        }
        let filer = match signature {
            None => None,
            Some(signature) => Some(filer(&record, &signature).ok_or_else(|| {
                let scheme = signature.scheme.clone();
                flaw("receipt-filer-not-signed", scheme)
            })?),
        };
        Ok(Proved { receipt, record, signed, filer })
    };
    Proof { file: name, outcome: prove(), compared: None }
}

/// The certificate with which a filing was signed, if it is whoever filed it that it names.
fn filer(record: &Record, signature: &Signature) -> Option<Certificate> {
    let certificate = signature.verify(&signed_text(record)?)?;
    certificate.actor().is_ok_and(|actor| actor == record.envelope.actor).then_some(certificate)
}

impl Proof {
    /// Whether nothing is wrong.
    pub(super) fn holds(&self) -> bool {
        self.outcome.is_ok() && self.compared.as_ref().is_none_or(|compared| compared.differences.is_empty())
    }

    /// The digest of the form set that its filing was filed on, if it is a filing that is proved.
    pub(super) fn form_set(&self) -> Option<Digest> {
        self.outcome.as_ref().ok().and_then(|proved| proved.record.form_set())
    }

    /// Holds a filing's file against it, cell by cell.
    pub(super) fn compare(
        &mut self,
        name: String,
        file: &SubmissionFile,
        form: &Arc<FormSet>,
        settings: &Settings,
    ) -> Result<(), Failure> {
        let Ok(proved) = &self.outcome else { return Ok(()) };
        let reading = file.read_on(form);
        let held = proved.record.submission(form).map_err(Failure::Refused)?;
        let same = proved.record.envelope.event.attempt().is_some_and(|attempt| attempt.digest == reading.digest);
        let mut differences = if same { Vec::new() } else { differences(&held, &reading.submission, form, settings) };
        if !same && differences.is_empty() {
            // What the digest covers beside cells: nobody should have to guess that something is wrong.
            let place = settings.label("receipt-digest").to_owned();
            let digest = proved.record.envelope.event.attempt().map(|attempt| attempt.digest.short());
            differences.push(Difference { place, receipt: digest.unwrap_or_default(), file: reading.digest.short() });
        }
        // The cells are compared on the form set of the receipt, whatever the file says that it is on.
        if file.form_set != form.id {
            let place = settings.label("receipt-form-set").to_owned();
            differences.insert(0, Difference { place, receipt: form.id.to_string(), file: file.form_set.clone() });
        }
        let more = differences.len().saturating_sub(CELLS_TOLD_MAX);
        differences.truncate(CELLS_TOLD_MAX);
        self.compared = Some(Compared { file: name, differences, more });
        Ok(())
    }
}

/// Every cell in which two submissions on one form set differ, in the order of the form set.
fn differences(held: &Submission, filed: &Submission, form: &FormSet, settings: &Settings) -> Vec<Difference> {
    let mut found = Vec::new();
    if held.header != filed.header {
        let place = settings.label("receipt-header").to_owned();
        found.push(Difference { place, receipt: held.header.to_string(), file: filed.header.to_string() });
    }
    for (at, table) in form.tables.iter().enumerate() {
        let sides = [held.table(at), filed.table(at)];
        let scale = |filed: Option<&FiledTable>| match filed {
            None => settings.label("receipt-not-filed").to_owned(),
            Some(filed) if filed.rows().is_empty() => settings.label("receipt-empty").to_owned(),
            Some(filed) => {
                let as_form = settings.label("receipt-as-form");
                let unit = filed.denomination.map_or(as_form, |denomination| denomination.as_str());
                filed.decimals.map_or(unit.to_owned(), |decimals| format!("{unit} {decimals}"))
            }
        };
        let stated = sides.map(scale);
        if stated[0] != stated[1] {
            let [receipt, file] = stated;
            found.push(Difference { place: table.id.to_string(), receipt, file });
        }
        let rows = sides.map(|side| side.map(FiledTable::rows));
        let mut keys: Vec<&str> =
            rows.iter().flatten().flat_map(|rows| rows.iter().map(|row| row.key.as_str())).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let [ours, theirs] = rows.map(|rows| rows.and_then(|rows| rows.get(key)));
            for (number, column) in table.columns.iter().enumerate() {
                let cell = |row: Option<crate::budget::submission::FiledRow<'_>>| {
                    row.and_then(|row| row.cells.get(number).cloned()).unwrap_or(Cell::Blank)
                };
                let (ours, theirs) = (cell(ours), cell(theirs));
                if ours != theirs {
                    let place = format!("{}/{key}/{}", table.id, column.id);
                    found.push(Difference { place, receipt: shown(&ours, settings), file: shown(&theirs, settings) });
                }
            }
        }
    }
    found
}

fn shown(cell: &Cell, settings: &Settings) -> String {
    match cell {
        Cell::Blank => settings.label("receipt-blank").to_owned(),
        Cell::Amount(amount) => format!("{amount} {}", amount.scale.denomination.as_str()),
        Cell::Number(_) | Cell::Text(_) | Cell::Unreadable(_) => cell.to_string(),
    }
}

impl Proved {
    fn sentence(&self, language: Language) -> String {
        let envelope = &self.record.envelope;
        let mut facts = vec![
            ("position", self.receipt.position.to_string()),
            ("size", self.signed.size.to_string()),
            ("origin", self.signed.origin.clone()),
            ("key", format!("{:08x}", self.receipt.key.id())),
            ("time", time(envelope.time.0)),
        ];
        let key = match (&envelope.event, envelope.event.attempt()) {
            (event, Some(attempt)) => {
                let slot = &attempt.slot;
                facts.extend([
                    ("unit", slot.unit.to_string()),
                    ("year", slot.year.to_string()),
                    ("round", label(&format!("round-{}", slot.round), language).to_owned()),
                    ("kind", label(&format!("kind-{}", slot.kind), language).to_owned()),
                    ("digest", attempt.digest.short()),
                ]);
                match event {
                    Event::Submitted(submitted) => {
                        facts.push(("version", submitted.version.to_string()));
                        "receipt-proves-filing"
                    }
                    _ => "receipt-proves-refusal",
                }
            }
            (_, None) => "receipt-proves-event",
        };
        let facts: Vec<(&str, &str)> = facts.iter().map(|(name, fact)| (*name, fact.as_str())).collect();
        say(language, key, &facts)
    }
}

impl Show for Proof {
    fn text(&self, look: &Look) -> String {
        let language = look.language;
        let proved = match &self.outcome {
            Ok(proved) => proved,
            Err(Flaw { key, what }) => {
                let facts = [("file", self.file.as_str()), ("what", what.as_str())];
                return format!("{}\n", alarm(&say(language, key, &facts)));
            }
        };
        let mut out = format!("{}\n", strong(&proved.sentence(language)));
        if let Some(filer) = &proved.filer {
            let (actor, until) = (proved.record.envelope.actor.to_string(), time(filer.until.saturating_mul(1_000)));
            let facts = [("actor", actor.as_str()), ("serial", &filer.serial), ("until", &until)];
            out.push_str(&format!("{}\n", say(language, "receipt-filer-signed", &facts)));
        } else if proved.record.envelope.event.attempt().is_some() {
            // Nothing tells one that was taken out from one that never was.
            out.push_str(&format!("{}\n", say(language, "receipt-filer-unsigned", &[])));
        }
        match &self.compared {
            None => {}
            Some(Compared { file, differences, .. }) if differences.is_empty() => {
                out.push_str(&format!("{}\n", say(language, "receipt-file-same", &[("file", file)])));
            }
            Some(Compared { file, differences, more }) => {
                let count = (differences.len() + more).to_string();
                let facts = [("file", file.as_str()), ("n", &count)];
                out.push_str(&format!("{}\n", alarm(&say(language, "receipt-file-differs", &facts))));
                for Difference { place, receipt, file } in differences {
                    let facts = [("place", place.as_str()), ("receipt", receipt), ("file", file)];
                    out.push_str(&format!("  {}\n", say(language, "receipt-cell-differs", &facts)));
                }
                if *more > 0 {
                    out.push_str(&format!("  {}\n", say(language, "receipt-more", &[("n", &more.to_string())])));
                }
            }
        }
        out
    }

    fn json(&self) -> Value {
        let difference = |one: &Difference| json!({ "place": one.place, "receipt": one.receipt, "file": one.file });
        match &self.outcome {
            Err(Flaw { key, what }) => json!({ "receipt": self.file, "proved": false, "why": key, "what": what }),
            Ok(proved) => json!({
                "receipt": self.file,
                "proved": true,
                "position": proved.receipt.position,
                "says": says(&proved.record),
                "origin": proved.signed.origin,
                "key": proved.receipt.key.to_string(),
                "size": proved.signed.size,
                "root": proved.signed.root.to_string(),
                "sentence": proved.sentence(Language::English),
                "filer_certificate": proved.filer.as_ref().map(|filer| &filer.serial),
                "filing": self.compared.as_ref().map(|compared| json!({
                    "file": compared.file,
                    "same": compared.differences.is_empty(),
                    "differences": compared.differences.iter().map(difference).collect::<Vec<_>>(),
                    "more": compared.more,
                })),
            }),
        }
    }

    fn sheet(&self) -> Sheet {
        let proved = if self.outcome.is_ok() { "yes" } else { "no" };
        let why = self.outcome.as_ref().err().map_or(String::new(), |flaw| flaw.key.to_owned());
        let mut rows = Vec::new();
        for one in self.compared.iter().flat_map(|compared| &compared.differences) {
            let cells = [proved, &why, &one.place, &one.receipt, &one.file];
            rows.push(cells.map(str::to_owned).to_vec());
        }
        if rows.is_empty() {
            rows.push([proved, &why, "", "", ""].map(str::to_owned).to_vec());
        }
        Sheet { columns: vec!["proved", "why", "place", "receipt", "file"], rows }
    }
}
