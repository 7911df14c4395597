use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::budget::reason::Reason;
use crate::budget::submission::{Kind, Round};

fn home() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn form_set(id: &str) -> FormSet {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(home().join("forms").join(id)).unwrap() {
        let entry = entry.unwrap();
        files.insert(entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
    }
    FormSet::load(files).unwrap()
}

fn examples() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for example in fs::read_dir(home().join("examples")).unwrap() {
        // Beside the examples of regions stand others, without filings.
        let Ok(files) = fs::read_dir(example.unwrap().path().join("submissions")) else { continue };
        for file in files {
            let path = file.unwrap().path();
            found.push((path.clone(), fs::read_to_string(&path).unwrap()));
        }
    }
    found.sort();
    assert!(found.len() >= 9);
    found
}

/// A file with `tables` as its tables.
fn file(tables: &str) -> String {
    format!(
        "{{\n\"form_set\": \"shanxi-2024\", \"unit\": \"407002\", \"year\": 2024, \"round\": \"second\",\n\"tables\": {tables}\n}}"
    )
}

#[test]
fn every_example_reads_and_none_is_refused_for_its_shape() {
    for (path, text) in examples() {
        let file = SubmissionFile::read(&text).unwrap();
        let reading = file.read_on(&form_set(&file.form_set));
        let refusing: Vec<_> = reading.findings.iter().filter(|finding| finding.refuses()).collect();
        assert!(refusing.is_empty(), "{}: {refusing:?}", path.display());
        assert!(reading.row_count > 0);
    }
}

#[test]
fn what_is_written_reads_back_to_the_same_digest() {
    for (path, text) in examples() {
        let file = SubmissionFile::read(&text).unwrap();
        let form = form_set(&file.form_set);
        let reading = file.read_on(&form);
        let written = write(&reading.submission, &form, &file.note);
        let again = SubmissionFile::read(&written).unwrap();
        assert_eq!((&again.slot, &again.note), (&file.slot, &file.note));
        let again = again.read_on(&form);
        assert_eq!(again.digest, reading.digest, "{}", path.display());
        assert_eq!(again.submission, reading.submission);
        assert_eq!(write(&again.submission, &form, &file.note), written);
    }
}

#[test]
fn a_file_keeps_what_it_says() {
    let text = "\u{feff}{ \"form_set\": \"f\", \"unit\": \"007\", \"year\": 2024, \"round\": \"first\", \"kind\": \"difference\", \"note\": null,
        \"tables\": { \"B\": { \"empty\": true },
                      \"A\": { \"amount_unit\": \"元\", \"decimals\": 2, \"rows\": [ {\"b\": \"1.00\", \"row\": \"x\"}, {\"row\": \"y\", \"c\": null, \"b\": \"\\u5143\"} ] } } }";
    let file = SubmissionFile::read(text).unwrap();
    assert_eq!(file.slot, Slot { unit: "007".into(), year: 2024, round: Round::First, kind: Kind::Difference });
    assert_eq!(file.tables.iter().map(|t| t.header.id.as_str()).collect::<Vec<_>>(), ["B", "A"]);
    assert!(file.tables[0].header.empty);
    let table = &file.tables[1];
    assert_eq!((table.header.amount_unit.as_str(), table.header.decimals), ("元", Some(2)));
    assert_eq!(table.header.columns, ["b", "c"]);
    assert_eq!(table.rows[0], ("x".to_owned(), vec!["1.00".to_owned()]));
    assert_eq!(table.rows[1], ("y".to_owned(), vec!["元".to_owned(), String::new()]));
}

/// The text without its mark `▲`, and the line and column that the mark stood at.
fn marked(text: &str) -> (String, usize, usize) {
    let (before, after) = text.split_once('▲').unwrap();
    let line = 1 + before.matches('\n').count();
    let column = 1 + before.rsplit('\n').next().unwrap().chars().count();
    (format!("{before}{after}"), line, column)
}

#[test]
fn bad_files_are_refused_with_their_place() {
    use Reason::*;
    let head = r#"{"form_set": "f", "unit": "1", "year": 2024, "round": "second", "#;
    let with = |rest: &str| format!("{head}{rest}");
    let year =
        |year: &str| format!(r#"{{"form_set": "f", "unit": "1", "year": {year}, "round": "first", "tables": {{}}}}"#);
    let table = |table: &str| file(&format!("{{ \"T03\": {table} }}"));
    let row = |row: &str| table(&format!("{{ \"rows\": [\n    {row}\n  ] }}"));
    let cases: Vec<(String, Reason)> = vec![
        ("▲".into(), FileSyntax),
        ("▲{".into(), FileSyntax),
        ("{} ▲{}".into(), FileSyntax),
        ("{ \"form_set\": \"f\",\n  \"unit\": \"1\", ▲}".into(), FileSyntax),
        ("{\"预算\": 1 ▲2}".into(), FileSyntax),
        (row(r#"{"row": "\ud800▲"}"#), FileSyntax),
        (format!("{head}\"note\": {}▲[", "[".repeat(100_000)), FileSyntax),
        (with(&format!("\"note\": ▲{}{}, \"tables\": {{}}}}", "[".repeat(99), "]".repeat(99))), FileWrongValue),
        ("▲[]".into(), FileWrongValue),
        ("▲{\"form_set\": \"f\"}".into(), FileMissingKey),
        (format!("▲{}", with("\"kind\": \"unit\"}")), FileMissingKey),
        (with("▲\"color\": 1}"), FileUnknownKey),
        (with("\n ▲\"year\": 2024}"), FileDuplicateKey),
        (r#"{"form_set": "f", "unit": ▲407, "year": 1, "round": "", "tables": {}}"#.into(), FileUnquoted),
        (r#"{"form_set": ▲" ", "unit": "4", "year": 1, "round": "", "tables": {}}"#.into(), FileWrongValue),
        (r#"{"form_set": "f", "unit": ▲"４０７", "year": 1, "round": "", "tables": {}}"#.into(), FileWrongValue),
        (year("▲\"2024\""), FileWrongValue),
        (year("▲20240"), FileWrongValue),
        (year("▲2024.0"), FileWrongValue),
        (year("▲1e3"), FileWrongValue),
        (r#"{"form_set": "f", "unit": "4", "year": 2024, "round": ▲"third", "tables": {}}"#.into(), FileWrongValue),
        (with(r#""kind": ▲"x", "tables": {}}"#), FileWrongValue),
        (file("▲[]"), FileWrongValue),
        (table("▲[]"), FileWrongValue),
        (table("▲{}"), FileMissingKey),
        (table("▲{ \"empty\": false }"), FileMissingKey),
        (table("{ \"empty\": ▲\"yes\" }"), FileWrongValue),
        (table("{ ▲\"unit\": \"元\", \"rows\": [] }"), FileUnknownKey),
        (table("{ \"decimals\": ▲2.0, \"rows\": [] }"), FileWrongValue),
        (table("{ \"decimals\": ▲-1, \"rows\": [] }"), FileWrongValue),
        (table("{ \"amount_unit\": ▲null, \"rows\": [] }"), FileWrongValue),
        (table("{ \"rows\": ▲{} }"), FileWrongValue),
        (table("{ \"rows\": [] },\n ▲\"T03\": { \"rows\": [] }"), FileDuplicateKey),
        (row("▲[]"), FileWrongValue),
        (row("▲{\"total\": \"1.00\"}"), FileMissingKey),
        (row("{\"row\": ▲2080109}"), FileUnquoted),
        (row("{\"row\": ▲null}"), FileWrongValue),
        (row("{\"row\": \"合计\", \"total\": ▲41670.92}"), FileUnquoted),
        (row("{\"row\": \"合计\", \"total\": ▲true}"), FileWrongValue),
        (row("{\"row\": \"合计\", \"total\": \"1\",\n ▲\"total\": \"1\"}"), FileDuplicateKey),
    ];
    for (text, reason) in cases {
        let (text, line, column) = marked(&text);
        let fault = SubmissionFile::read(&text).unwrap_err();
        let shown: String = text.chars().take(120).collect();
        assert_eq!((fault.remark.reason, fault.line, fault.column), (reason, line, column), "{shown}\n{fault}");
        for language in [Language::Chinese, Language::English] {
            assert!(fault.sentence(language).chars().count() > 20, "{}", fault.sentence(language));
        }
    }
}

#[test]
fn figures_keep_their_digits_in_the_message() {
    let fault =
        SubmissionFile::read(&file("{ \"T03\": { \"rows\": [ {\"row\": \"x\", \"total\": 100.00} ] } }")).unwrap_err();
    assert_eq!(fault.remark.fact("found"), Some("100.00"));
    assert_eq!(fault.remark.fact("key"), Some("total"));
}

#[test]
fn bytes_that_are_not_utf8_are_placed() {
    let fault = SubmissionFile::read_bytes(b"{\n  \"note\": \"\xe8\xa1\xa8\xb1\xed\"").unwrap_err();
    assert_eq!((fault.remark.reason, fault.line, fault.column), (Reason::FileSyntax, 2, 13));
    assert_eq!(fault.remark.fact("found"), Some("0xB1 (byte 17)"));
}

#[test]
fn a_file_can_not_spell_out_more_than_memory_holds() {
    let rows: Vec<String> = (0..5_000).map(|n| format!("{{\"row\": \"{n}\", \"c{n}\": \"1\"}}")).collect();
    let fault =
        SubmissionFile::read(&file(&format!("{{ \"T03\": {{ \"rows\": [{}] }} }}", rows.join(",")))).unwrap_err();
    assert_eq!(fault.remark.reason, Reason::FileTooLarge);
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_fall(text in "(\\PC|[\\[\\]{}\":,0-9.\\\\\n]){0,200}") {
        let _ = SubmissionFile::read(&text);
    }

    #[test]
    fn no_damage_makes_the_reader_fall(cut in 0usize..400, byte in any::<u8>()) {
        let mut bytes = file("{ \"T03\": { \"decimals\": 2, \"rows\": [ {\"row\": \"合计\", \"total\": \"1.00\"} ] } }").into_bytes();
        let at = cut % bytes.len();
        bytes[at] = byte;
        let _ = SubmissionFile::read_bytes(&bytes);
        bytes.truncate(at);
        prop_assert!(SubmissionFile::read_bytes(&bytes).is_err());
    }
}

#[test]
fn every_example_fits_the_schema_of_its_form_set() {
    for id in ["shanxi-2024", "linjiang-2024"] {
        let schema = schema(&form_set(id));
        assert!(jsonschema::meta::is_valid(&schema));
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        for (path, text) in examples() {
            let file: serde_json::Value = serde_json::from_str(&text).unwrap();
            if file["form_set"] == id {
                let errors: Vec<String> =
                    validator.iter_errors(&file).map(|e| format!("{} {e}", e.instance_path())).collect();
                assert!(errors.is_empty(), "{}: {errors:?}", path.display());
            }
        }
    }
}

#[test]
fn the_schema_knows_rows_columns_and_amounts() {
    let form = form_set("shanxi-2024");
    let validator = jsonschema::draft202012::new(&schema(&form)).unwrap();
    let fits = |tables: &str| validator.is_valid(&serde_json::from_str(&file(tables)).unwrap());
    let amount = |amount: &str| {
        fits(&format!("{{ \"T01A\": {{ \"rows\": [ {{\"row\": \"total\", \"amount\": {amount}}} ] }} }}"))
    };
    for good in ["\"0\"", "\"0.00\"", "\"18\"", "\"41670.92\"", "\"-0.01\"", "\"-3.5\"", "\"\"", "null"] {
        assert!(amount(good), "{good}");
    }
    for bad in [
        "41670.92",
        "\"1,234.50\"",
        "\"1e3\"",
        "\"+5\"",
        "\"007\"",
        "\"5.\"",
        "\".5\"",
        "\"-0.00\"",
        "\"1.234\"",
        "\"-0.001\"",
        "\"１２\"",
    ] {
        assert!(!amount(bad), "{bad}");
    }
    for (good, tables) in [
        (true, r#"{ "T07": { "empty": true } }"#),
        (
            true,
            r#"{ "T01A": { "amount_unit": "万元", "decimals": 6, "rows": [ {"row": "total", "amount": "1.234567"} ] } }"#,
        ),
        (true, r#"{ "T03": { "rows": [ {"row": "合计"}, {"row": "208"}, {"row": "2080109"} ] } }"#),
        (true, r#"{ "PI": { "rows": [ {"row": "2024-001/3"} ] } }"#),
        (false, r#"{ "T07": {} }"#),
        (false, r#"{ "T07": { "empty": true, "rows": [ {"row": "合计"} ] } }"#),
        (false, r#"{ "T01A": { "amount_unit": "亿元", "rows": [] } }"#),
        (false, r#"{ "T01A": { "rows": [ {"row": "收入总计"} ] } }"#),
        (false, r#"{ "T01A": { "rows": [ {"amount": "1"} ] } }"#),
        (false, r#"{ "T01A": { "rows": [ {"row": "total", "sum": "1"} ] } }"#),
        (false, r#"{ "T03": { "rows": [ {"row": "2080"} ] } }"#),
        (false, r#"{ "PI": { "rows": [ {"row": "2024-001"} ] } }"#),
        (false, r#"{ "T12": { "rows": [ {"row": "2024-001", "total": "1"} ] } }"#),
        (false, r#"{ "T99": { "rows": [] } }"#),
    ] {
        assert_eq!(fits(tables), good, "{tables}");
    }
}
