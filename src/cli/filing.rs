//! What became of filings, for people and programs: shared by `submit` and `check`.

use std::sync::Arc;

use serde_json::{Value, json};

use super::notes::{Note, counts, headroom, judgement_json, list};
use super::output::{Failure, Look, Sheet, Show, alarm, strong};
use super::returned::{fates, fates_json};
use super::rule_finding::{self, checked};
use super::rules::Judged;
use super::words::{grouped, hex, say, short_digest, time, time_for_programs};
use crate::budget::form_set::FormSet;
use crate::budget::intake::Reading;
use crate::budget::rule::{Books, coverage, evaluate};
use crate::budget::submission::Slot;
use crate::proto::api;
use crate::wording::{Language, label};

/// What became of some filings.
#[derive(Debug)]
pub(super) struct Filings {
    /// Each of them, in order.
    pub(super) filings: Vec<Filing>,
    /// How many were not tried any more because the server was lost.
    pub(super) unsent: usize,
    /// Whether they went to a server; if not, ceilings were not judged.
    pub(super) sent: bool,
}

/// One filing.
#[derive(Debug)]
pub(super) struct Filing {
    /// File name.
    pub(super) file: String,
    /// Whose, of when; none if the file couldn't be read.
    pub(super) slot: Option<Slot>,
    /// The form set, which knows the names of tables and columns.
    pub(super) form: Option<Arc<FormSet>>,
    /// What became of it.
    pub(super) result: Result<Filed, Failure>,
}

/// How far a filing got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Taken.
    Submitted,
    /// Refused by the server, and journalled.
    Refused,
    /// A dry run that would be taken.
    WouldPass,
    /// A dry run that would be refused.
    WouldBeRefused,
    /// Refused by this program for its shape, and not sent.
    Unsent,
    /// Nothing found offline.
    Checked,
    /// Something found offline for which it would be refused.
    CheckedBad,
}

/// How a filing was judged.
#[derive(Debug)]
pub(super) struct Filed {
    pub(super) fate: Fate,
    pub(super) notes: Vec<Note>,
    /// What the check rules found.
    pub(super) rules: Judged,
    pub(super) judgements: Vec<api::Judgement>,
    pub(super) control_version: u32,
    pub(super) row_count: u64,
    pub(super) control_total: String,
    pub(super) digest: Vec<u8>,
    pub(super) version: u32,
    pub(super) position: u64,
    pub(super) time_ms: i64,
    pub(super) repeated: bool,
    /// The position that the server's mirror had reached; none if it has no mirror.
    pub(super) mirror_position: Option<u64>,
    /// The file of its receipt, or why there is none; neither if it stands nowhere.
    pub(super) receipt: Option<Result<String, String>>,
    /// What became of the lines that the version before was returned for.
    pub(super) answers: Vec<api::LineAnswer>,
    /// The approved version that it changes, and whether it is approved itself; none if it is no adjustment.
    pub(super) adjusts: Option<(u32, bool)>,
}

impl Filed {
    /// Refused here for its shape.
    pub(super) fn unsent(reading: &Reading, form: &Arc<FormSet>) -> Filed {
        Filed { fate: Fate::Unsent, ..Filed::judged_offline(reading, form, false) }
    }

    /// Looked at offline, with the rules of its form set.
    pub(super) fn judged_offline(reading: &Reading, form: &Arc<FormSet>, with_coverage: bool) -> Filed {
        let books = Books::of(&reading.submission);
        let checked = evaluate(form, &books, |_| true);
        let coverage = with_coverage.then(|| coverage(form, &books));
        let bad = reading.is_refused() || checked.refuses();
        Filed {
            fate: if bad { Fate::CheckedBad } else { Fate::Checked },
            notes: super::submit::notes(reading),
            rules: Judged { form: Arc::clone(form), checked, coverage, said: Vec::new(), justified: 0 },
            judgements: Vec::new(),
            control_version: 0,
            row_count: reading.row_count,
            control_total: reading.control_total.to_string(),
            digest: reading.digest.0.to_vec(),
            version: 0,
            position: 0,
            time_ms: 0,
            repeated: false,
            mirror_position: None,
            receipt: None,
            answers: Vec::new(),
            adjusts: None,
        }
    }

    /// Answered by the server.
    ///
    /// # Errors
    /// A failure if the answer can't be read; also below.
    pub(super) fn sent(answer: api::SubmitResponse, form: &Arc<FormSet>) -> Result<Filed, Failure> {
        let verdict = answer.verdict.unwrap_or_default();
        let taken = verdict.outcome == i32::from(api::Outcome::Submitted);
        Ok(Filed {
            fate: if taken { Fate::Submitted } else { Fate::Refused },
            version: answer.version,
            position: answer.position,
            time_ms: answer.time_ms,
            repeated: answer.repeated,
            mirror_position: answer.mirror_position,
            answers: answer.answers,
            ..Filed::judged(verdict, form)?
        })
    }

    /// An adjustment, answered by the server.
    pub(super) fn adjusted(answer: api::AdjustResponse, form: &Arc<FormSet>) -> Result<Filed, Failure> {
        let approved = answer.state == i32::from(api::VersionState::Approved);
        let adjusts = (answer.version > 0).then_some((answer.adjusts, approved));
        let answer = api::SubmitResponse {
            verdict: answer.verdict,
            position: answer.position,
            version: answer.version,
            time_ms: answer.time_ms,
            repeated: answer.repeated,
            mirror_position: answer.mirror_position,
            answers: answer.answers,
        };
        Ok(Filed { adjusts, ..Filed::sent(answer, form)? })
    }

    /// Answered by the server, but only tried.
    pub(super) fn dry(answer: api::DryRunResponse, form: &Arc<FormSet>) -> Result<Filed, Failure> {
        let verdict = answer.verdict.unwrap_or_default();
        let taken = verdict.outcome == i32::from(api::Outcome::Submitted);
        Ok(Filed {
            fate: if taken { Fate::WouldPass } else { Fate::WouldBeRefused },
            version: answer.version,
            position: answer.position,
            ..Filed::judged(verdict, form)?
        })
    }

    fn judged(verdict: api::Verdict, form: &Arc<FormSet>) -> Result<Filed, Failure> {
        let checked = checked(verdict.rule_counts, &rule_finding::read(&verdict.rule_findings)?);
        let justified = usize::try_from(verdict.justified).unwrap_or(usize::MAX);
        Ok(Filed {
            fate: Fate::Refused,
            notes: verdict.findings.iter().map(Note::wire).collect(),
            rules: Judged { form: Arc::clone(form), checked, coverage: None, said: Vec::new(), justified },
            judgements: verdict.judgements,
            control_version: verdict.control_version,
            row_count: verdict.row_count,
            control_total: verdict.control_total,
            digest: verdict.digest,
            version: 0,
            position: 0,
            time_ms: 0,
            repeated: false,
            mirror_position: None,
            receipt: None,
            answers: Vec::new(),
            adjusts: None,
        })
    }

    /// What became of it, in a few words each.
    fn facts(&self, language: Language) -> Vec<String> {
        let mut facts = Vec::new();
        let number = |key: &str, count: String| say(language, key, &[("n", &count)]);
        // A dry run stands nowhere: it was judged at a position and would be a version.
        let dry = matches!(self.fate, Fate::WouldPass | Fate::WouldBeRefused);
        if self.version > 0 && self.fate != Fate::WouldBeRefused {
            facts.push(number(if dry { "fact-would-be-version" } else { "fact-version" }, self.version.to_string()));
        }
        if self.position > 0 {
            facts.push(number(if dry { "as-of" } else { "fact-position" }, self.position.to_string()));
        }
        if self.time_ms != 0 {
            facts.push(time(self.time_ms));
        }
        facts.push(number("fact-rows", self.row_count.to_string()));
        facts.push(number("fact-control-total", grouped(&self.control_total)));
        if self.fate != Fate::Unsent && self.fate != Fate::CheckedBad {
            facts.push(number("fact-digest", short_digest(&self.digest)));
        }
        facts
    }
}

impl Fate {
    /// Whether nothing was refused.
    pub(super) fn is_clean(self) -> bool {
        matches!(self, Fate::Submitted | Fate::WouldPass | Fate::Checked)
    }

    fn code(self) -> &'static str {
        match self {
            Fate::Submitted => "submitted",
            Fate::Refused => "refused",
            Fate::WouldPass => "would_pass",
            Fate::WouldBeRefused => "would_be_refused",
            Fate::Unsent => "not_sent",
            Fate::Checked => "nothing_refuses",
            Fate::CheckedBad => "would_be_refused",
        }
    }

    fn name(self, language: Language) -> &'static str {
        match self {
            Fate::Submitted => label("fate-submitted", language),
            Fate::Refused => label("fate-refused", language),
            Fate::WouldPass => label("fate-would-pass", language),
            Fate::WouldBeRefused | Fate::CheckedBad => label("fate-would-be-refused", language),
            Fate::Unsent => label("fate-unsent", language),
            Fate::Checked => label("fate-checked", language),
        }
    }
}

impl Filing {
    /// A filing that came to nothing.
    pub(super) fn failed(file: String, slot: Option<Slot>, failure: Failure) -> Filing {
        Filing { file, slot, form: None, result: Err(failure) }
    }

    fn heading(&self, language: Language) -> String {
        let Some(slot) = &self.slot else { return self.file.clone() };
        let round = label(&format!("round-{}", slot.round), language);
        let kind = label(&format!("kind-{}", slot.kind), language);
        let year = slot.year.to_string();
        say(language, "filing-of", &[("unit", &slot.unit), ("year", &year), ("round", round), ("kind", kind)])
            + &format!(" · {}", self.file)
    }

    fn text(&self, look: &Look) -> String {
        let language = look.language;
        let mut out = format!("{}\n", strong(&self.heading(language)));
        let filed = match &self.result {
            Ok(filed) => filed,
            Err(failure) => {
                let word = alarm(label("fate-failed", language));
                out.push_str(&format!("  {word}  {}\n", failure.sentence(language)));
                if let Failure::Unreachable(_) = failure {
                    out.push_str(&format!("  {}\n", label("run-again", language)));
                }
                return out;
            }
        };
        let name = filed.fate.name(language);
        let name = if filed.fate.is_clean() { strong(name) } else { alarm(name) };
        out.push_str(&format!("  {name}  {}\n", filed.facts(language).join(" · ")));
        if filed.repeated {
            out.push_str(&format!("  {}\n", label("fact-repeated", language)));
        }
        // Only a mirror that is configured to follow can be behind what was acknowledged.
        if let Some(behind) =
            filed.mirror_position.and_then(|mirror| filed.position.checked_sub(mirror)).filter(|n| *n > 0)
        {
            out.push_str(&format!("  {}\n", say(language, "fact-mirror-behind", &[("n", &behind.to_string())])));
        }
        match &filed.receipt {
            Some(Ok(file)) => out.push_str(&format!("  {}\n", say(language, "fact-receipt", &[("file", file)]))),
            Some(Err(why)) => {
                let facts = [("why", why.as_str()), ("n", &filed.position.to_string())];
                out.push_str(&format!("  {}\n", say(language, "fact-no-receipt", &facts)));
            }
            None => {}
        }
        if let Some((base, approved)) = filed.adjusts {
            let key = if approved { "fact-adjusts-approved" } else { "fact-adjusts" };
            out.push_str(&format!("  {}\n", say(language, key, &[("base", &base.to_string())])));
        }
        if !filed.answers.is_empty() {
            let n = filed.answers.len().to_string();
            out.push_str(&format!("  {}\n", say(language, "answers-title", &[("n", &n)])));
            for line in fates(&filed.answers, self.form.as_deref(), language) {
                out.push_str(&format!("    {line}\n"));
            }
        }
        if !filed.notes.is_empty() {
            out.push_str(&format!("  {}{}\n", label("findings", language), counts(&filed.notes, language)));
            out.push_str(&list(&filed.notes, self.form.as_deref(), look));
        }
        if matches!(filed.fate, Fate::Submitted | Fate::Refused) {
            // What was filed can be looked up; so the screen shows what to do now.
            out.push_str(&filed.rules.brief(look));
            if let Some(slot) = self.slot.as_ref().filter(|_| filed.rules.checked.counts.fail > 0) {
                let facts =
                    [("node", slot.unit.as_str()), ("year", &slot.year.to_string()), ("round", slot.round.as_str())];
                out.push_str(&format!("  {}\n", say(language, "rule-look-up", &facts)));
            }
        } else {
            out.push_str(&filed.rules.text(look));
        }
        if !filed.judgements.is_empty() {
            let version = filed.control_version.to_string();
            out.push_str(&format!("  {}\n", say(language, "headroom-title", &[("n", &version)])));
            let inner = Look { width: look.width.map(|width| width.saturating_sub(2)), ..*look };
            for line in headroom(&filed.judgements, self.form.as_deref(), &inner).lines() {
                out.push_str(&format!("  {line}\n"));
            }
        }
        out
    }

    fn json(&self) -> Value {
        let slot = self.slot.as_ref().map(|slot| {
            json!({
                "unit": slot.unit.as_str(),
                "year": slot.year,
                "round": slot.round.as_str(),
                "kind": slot.kind.as_str(),
            })
        });
        let mut value = json!({ "file": self.file, "slot": slot });
        let more = match &self.result {
            Err(failure) => json!({ "outcome": "failed", "error": failure.json(Language::English) }),
            Ok(filed) => json!({
                "outcome": filed.fate.code(),
                "version": filed.version,
                "position": filed.position,
                "time": if filed.time_ms == 0 { Value::Null } else { time_for_programs(filed.time_ms).into() },
                "repeated": filed.repeated,
                "mirror_position": filed.mirror_position,
                "receipt": filed.receipt.as_ref().and_then(|receipt| receipt.as_ref().ok()),
                "row_count": filed.row_count,
                "control_total": filed.control_total,
                "digest": hex(&filed.digest),
                "findings": filed.notes.iter().map(Note::json).collect::<Vec<_>>(),
                "rules": filed.rules.json(),
                "control_version": filed.control_version,
                "judgements": filed.judgements.iter().map(judgement_json).collect::<Vec<_>>(),
                "answers": fates_json(&filed.answers),
                "adjusts": filed.adjusts.map(|(base, _)| base),
            }),
        };
        if let (Some(value), Value::Object(more)) = (value.as_object_mut(), more) {
            value.extend(more);
        }
        value
    }
}

impl Filings {
    /// The exit code of the worst of them: a server that is lost weighs more than a refusal.
    pub(super) fn code(&self) -> u8 {
        let code = |filing: &Filing| match &filing.result {
            Ok(filed) => u8::from(!filed.fate.is_clean()),
            Err(failure) => failure.code(),
        };
        self.filings.iter().map(code).max().unwrap_or(0)
    }
}

impl Show for Filings {
    fn text(&self, look: &Look) -> String {
        let mut out = self.filings.iter().map(|filing| filing.text(look)).collect::<Vec<_>>().join("\n");
        if self.filings.len() > 1 || self.unsent > 0 {
            let good = self.filings.iter().filter(|f| f.result.as_ref().is_ok_and(|filed| filed.fate.is_clean()));
            let (all, good) = (self.filings.len() + self.unsent, good.count());
            let bad = (self.filings.len() - good).to_string();
            let facts = [
                ("all", all.to_string()),
                ("good", good.to_string()),
                ("bad", bad),
                ("unsent", self.unsent.to_string()),
            ];
            let facts = facts.each_ref().map(|(key, value)| (*key, value.as_str()));
            let key = if self.unsent > 0 { "filings-sum-unsent" } else { "filings-sum" };
            out.push_str(&format!("\n{}\n", say(look.language, key, &facts)));
        }
        if !self.sent {
            out.push_str(&format!("\n{}\n", label("ceilings-not-judged", look.language)));
        }
        out
    }

    fn json(&self) -> Value {
        json!({
            "filings": self.filings.iter().map(Filing::json).collect::<Vec<_>>(),
            "not_tried": self.unsent,
            "ceilings_judged": self.sent,
        })
    }

    fn sheet(&self) -> Sheet {
        let mut columns = vec!["file", "unit", "outcome", "version", "position", "control_total", "digest"];
        columns.extend(Note::COLUMNS);
        let mut rows = Vec::new();
        for filing in &self.filings {
            let unit = filing.slot.as_ref().map_or(String::new(), |slot| slot.unit.to_string());
            let mut head = vec![filing.file.clone(), unit];
            let none = || vec![String::new(); Note::COLUMNS.len()];
            match &filing.result {
                Err(failure) => {
                    head.extend(["failed".to_owned(), String::new(), String::new(), String::new(), String::new()]);
                    let said = |column: &str| match column {
                        "sentence_zh" => failure.sentence(Language::Chinese),
                        "sentence_en" => failure.sentence(Language::English),
                        _ => String::new(),
                    };
                    head.extend(Note::COLUMNS.map(said));
                    rows.push(head);
                }
                Ok(filed) => {
                    head.extend([
                        filed.fate.code().to_owned(),
                        filed.version.to_string(),
                        filed.position.to_string(),
                        filed.control_total.clone(),
                        hex(&filed.digest),
                    ]);
                    let mut notes: Vec<Vec<String>> = filed.notes.iter().map(Note::cells).collect();
                    notes.extend(filed.rules.cells());
                    if notes.is_empty() {
                        notes.push(none());
                    }
                    rows.extend(notes.into_iter().map(|cells| head.iter().cloned().chain(cells).collect()));
                }
            }
        }
        Sheet { columns, rows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::submission::{Kind, Round};

    fn over() -> Filing {
        let judgement = api::Judgement {
            taken: "0.00".into(),
            unit: "407004".into(),
            cell: "A1/合计/project".into(),
            ceiling: "39.60".into(),
            filed: "43.60".into(),
            headroom: "-4.00".into(),
            amount_unit: "万元".into(),
            strength: "hard".into(),
            over: true,
        };
        let finding = api::Finding {
            strength: 1,
            reason: "OVER_CEILING".into(),
            table: "A1".into(),
            row: "合计".into(),
            column: "project".into(),
            sentence_zh: "超出控制数 4.00 万元。".into(),
            sentence_en: "4.00 万元 above the ceiling.".into(),
            ..api::Finding::default()
        };
        let verdict = api::Verdict {
            outcome: i32::from(api::Outcome::Refused),
            findings: vec![finding],
            judgements: vec![judgement],
            control_version: 1,
            row_count: 12,
            control_total: "1234567.00".into(),
            digest: vec![0xab; 32],
            ..api::Verdict::default()
        };
        let answer = api::SubmitResponse { verdict: Some(verdict), position: 7, ..api::SubmitResponse::default() };
        let slot = Slot { unit: "407004".into(), year: 2024, round: Round::Second, kind: Kind::Unit };
        let files = crate::consolidator::embedded_form_sets().into_iter().next().unwrap();
        let form = Arc::new(FormSet::load(files).unwrap());
        Filing { file: "a.json".into(), slot: Some(slot), form: None, result: Filed::sent(answer, &form) }
    }

    #[test]
    fn a_refusal_shows_what_is_over_and_by_how_much() {
        let look = Look { language: Language::Chinese, width: None, colour: false };
        let filings = Filings { filings: vec![over()], unsent: 0, sent: true };
        let text = super::super::output::finish(&filings.text(&look), false);
        insta::assert_snapshot!(text, @r#"
        407004 · 2024 年二上 · 单位预算 · a.json
          被拒绝（已记录，不计入汇总）  第 7 号记录 · 12 行 · 校验总额 1,234,567.00 元（所有金额格之和） · 摘要 abababababab
          审核发现：必须改正 1
          [必须改正] A1 · 合计 · project
              超出控制数 4.00 万元。
              (OVER_CEILING)
          审核规则：通过 0，四舍五入后通过 0，不通过 0，无法审核 0
          控制数执行情况（第 1 版控制数）
          谁的控制数  表/行/栏         控制数  申报数   余额  计量  约束
          ---------------------------------------------------------------------
          407004      A1/合计/project   39.60   43.60  -4.00  万元  硬性  超出
        "#);
        assert_eq!(filings.code(), 1);
        let lost = Filing::failed("b.json".into(), None, Failure::Unreachable("x".into()));
        let filings = Filings { filings: vec![over(), lost], unsent: 2, sent: true };
        assert_eq!(filings.code(), 3);
        assert!(filings.text(&look).contains(label("run-again", Language::Chinese)));
    }

    #[test]
    fn a_shared_ceiling_adds_up_with_what_others_have_of_it() {
        let look = Look { language: Language::Chinese, width: None, colour: false };
        let filing = over();
        let own = filing.result.unwrap().judgements.remove(0);
        let shared = api::Judgement {
            unit: "407".into(),
            ceiling: "1041650.00".into(),
            taken: "39.60".into(),
            filed: "1041220.06".into(),
            headroom: "390.34".into(),
            over: false,
            ..own.clone()
        };
        let text = super::super::output::finish(&headroom(&[own, shared], None, &look), false);
        insta::assert_snapshot!(text, @r#"
        谁的控制数  表/行/栏               控制数  别的单位占用        申报数    余额  计量  约束
        ------------------------------------------------------------------------------------------------
        407004      A1/合计/project         39.60                       43.60   -4.00  万元  硬性  超出
        407         A1/合计/project  1,041,650.00         39.60  1,041,220.06  390.34  万元  硬性
        "#);
    }

    #[test]
    fn programs_get_amounts_as_text() {
        let filings = Filings { filings: vec![over()], unsent: 0, sent: true };
        let value = filings.json();
        assert_eq!(value["filings"][0]["judgements"][0]["headroom"], "-4.00");
        assert_eq!(value["filings"][0]["outcome"], "refused");
        assert!(filings.sheet().rows.iter().all(|row| row.len() == filings.sheet().columns.len()));
    }
}
