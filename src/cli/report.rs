//! What was looked at, one line for each thing: how `fsck` and `audit verify` answer.
//!
//! Knows no verb; each says its title and its end. What both recompute is said here once.

use serde_json::{Value, json};

use super::output::{Failure, Look, Sheet, Show, alarm, strong};
use super::words::{say, time, who};
use crate::budget::reason::Remark;
use crate::consolidator::verify::{Faults, SavedState, Verified};
use crate::wording::{Language, label, sentence};

/// How a thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Good,
    /// Worth knowing; the next start deals with it.
    Note,
    Bad,
    /// Couldn't be looked at because of another fault.
    Skipped,
}

impl Standing {
    fn code(self) -> &'static str {
        match self {
            Standing::Good => "good",
            Standing::Note => "note",
            Standing::Bad => "bad",
            Standing::Skipped => "skipped",
        }
    }

    fn sign(self, language: Language) -> &'static str {
        match self {
            Standing::Good => label("fsck-good", language),
            Standing::Note => label("fsck-note", language),
            Standing::Bad => label("fsck-bad", language),
            Standing::Skipped => label("fsck-skipped", language),
        }
    }
}

/// One thing that was looked at.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) standing: Standing,
    key: &'static str,
    facts: Vec<(&'static str, String)>,
    faults: Vec<Remark>,
}

impl Line {
    fn text(&self, language: Language) -> String {
        let facts: Vec<(&str, &str)> = self.facts.iter().map(|(key, fact)| (*key, fact.as_str())).collect();
        say(language, self.key, &facts)
    }
}

/// All that was looked at.
#[derive(Debug)]
pub(super) struct Report {
    /// The labels of the title, and of the end if all is well or not, with their facts.
    pub(super) title: &'static str,
    pub(super) ends: [&'static str; 2],
    pub(super) facts: Vec<(&'static str, String)>,
    pub(super) lines: Vec<Line>,
}

impl Report {
    pub(super) fn say(&mut self, standing: Standing, key: &'static str, facts: &[(&'static str, String)]) {
        self.lines.push(Line { standing, key, facts: facts.to_vec(), faults: Vec::new() });
    }

    pub(super) fn bad(&mut self, key: &'static str, facts: &[(&'static str, String)], faults: Vec<Remark>) {
        self.lines.push(Line { standing: Standing::Bad, key, facts: facts.to_vec(), faults });
    }

    pub(super) fn faults(
        &mut self,
        good: &'static str,
        bad: &'static str,
        facts: &[(&'static str, String)],
        faults: Faults,
    ) {
        if faults.count == 0 {
            self.say(Standing::Good, good, facts);
        } else {
            let facts = [facts, &[("bad", faults.count.to_string())]].concat();
            self.bad(bad, &facts, faults.first);
        }
    }

    /// What was recomputed from the records.
    pub(super) fn verified(&mut self, verified: Verified) {
        // First of all, whatever else is right: these records were signed once and are not here.
        for one in &verified.given_up {
            let facts = [
                ("position", one.position.to_string()),
                ("time", time(one.time.0)),
                ("who", who(&one.actor.to_string())),
                ("signed", one.signed.to_string()),
                ("n", one.count().to_string()),
            ];
            self.say(Standing::Note, "verify-given-up", &facts);
        }
        let events = [("n", verified.events.to_string())];
        let unreadable = verified.unreadable.count > 0;
        self.faults("fsck-records", "fsck-records-bad", &events, verified.unreadable);
        if unreadable {
            return self.say(Standing::Skipped, "fsck-fold-skipped", &[]);
        }
        if let Some(fault) = verified.unfolded {
            return self.bad("fsck-fold-bad", &[], vec![fault]);
        }
        self.say(Standing::Good, "fsck-fold", &[]);
        let submissions = [("n", verified.submissions.to_string()), ("rows", verified.rows.to_string())];
        self.faults("fsck-digests", "fsck-digests-bad", &submissions, verified.digests);
        self.faults("fsck-figures", "fsck-figures-bad", &submissions, verified.figures);
        self.faults("fsck-verdicts", "fsck-verdicts-bad", &submissions, verified.verdicts);
        let ceilings = [("n", verified.judged.to_string())];
        self.faults("fsck-ceilings", "fsck-ceilings-bad", &ceilings, verified.ceilings);
        self.faults("fsck-findings", "fsck-findings-bad", &submissions, verified.findings);
        if verified.shape_untold > 0 {
            self.say(Standing::Note, "fsck-shape-untold", &[("n", verified.shape_untold.to_string())]);
        }
        if let Some(SavedState { position, same }) = verified.saved_state {
            let facts = [("position", position.to_string())];
            match same {
                true => self.say(Standing::Good, "fsck-saved-state", &facts),
                false => self.bad("fsck-saved-state-differs", &facts, Vec::new()),
            }
        }
    }

    pub(super) fn bad_lines(&self) -> usize {
        self.lines.iter().filter(|line| line.standing == Standing::Bad).count()
    }
}

impl Show for Report {
    fn text(&self, look: &Look) -> String {
        let language = look.language;
        let bad = self.bad_lines();
        let mut facts: Vec<(&str, &str)> = self.facts.iter().map(|(name, fact)| (*name, fact.as_str())).collect();
        let mut out = format!("{}\n", strong(&say(language, self.title, &facts)));
        for line in &self.lines {
            let mark = |text: String| if line.standing == Standing::Bad { alarm(&text) } else { text };
            out.push_str(&mark(format!("  [{}] {}", line.standing.sign(language), line.text(language))));
            out.push('\n');
            for fault in &line.faults {
                out.push_str(&format!("      {} ({})\n", sentence(fault, language), fault.reason));
            }
        }
        let count = bad.to_string();
        facts.push(("n", &count));
        let [good, not] = self.ends;
        out.push_str(&format!("{}\n", say(language, if bad == 0 { good } else { not }, &facts)));
        out
    }

    fn json(&self) -> Value {
        let fault = |fault: &Remark| Failure::Refused(fault.clone()).json(Language::English);
        let line = |line: &Line| {
            json!({
                "check": line.key,
                "standing": line.standing.code(),
                "facts": line.facts.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
                "sentence": line.text(Language::English),
                "faults": line.faults.iter().map(fault).collect::<Vec<_>>(),
            })
        };
        let mut value: serde_json::Map<String, Value> =
            self.facts.iter().map(|(name, fact)| ((*name).to_owned(), json!(fact))).collect();
        value.insert("bad".to_owned(), json!(self.bad_lines()));
        value.insert("checks".to_owned(), self.lines.iter().map(line).collect());
        Value::Object(value)
    }

    fn sheet(&self) -> Sheet {
        let row = |line: &Line| {
            let position = line.faults.first().and_then(|fault| fault.fact("position")).unwrap_or("");
            [line.key, line.standing.code(), position, &line.text(Language::English)].map(str::to_owned).to_vec()
        };
        let columns = vec!["check", "standing", "first_position", "sentence"];
        Sheet { columns, rows: self.lines.iter().map(row).collect() }
    }
}
