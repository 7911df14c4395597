use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;

fn home() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn shanxi() -> FormSet {
    let folder = home().join("forms/shanxi-2024");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let files = files.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()));
    FormSet::load(files.collect()).unwrap()
}

/// All sources, and what of them is not test code.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![home().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
                let text = fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
                found.push((path, text));
            }
        }
    }
    found
}

/// The names of all `{…}` in a template.
fn placeholders(template: &str) -> Vec<(String, String)> {
    let parts = template.split('{').skip(1).map(|part| part.split_once('}').expect("an open brace").0);
    parts.map(|name| name.split_once(':').unwrap_or((name, ""))).map(|(n, l)| (n.to_owned(), l.to_owned())).collect()
}

/// The facts given in a chain of `.with("…", …)` and `.with_list("…", …)` that begins at `text`.
fn chain(mut text: &str) -> Vec<String> {
    let mut facts = Vec::new();
    while let Some(rest) = [".with(", ".with_list("].iter().find_map(|link| text.trim_start().strip_prefix(link)) {
        let Some(name) = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split_once('"')) else { break };
        facts.push(name.0.to_owned());
        let mut depth = 1;
        let end = rest.char_indices().find(|(_, c)| {
            depth += i32::from(*c == '(') - i32::from(*c == ')');
            depth == 0
        });
        text = end.map_or("", |(end, _)| &rest[end + 1..]);
    }
    facts
}

#[test]
fn the_catalogue_says_everything_in_both_languages() {
    let catalogue: Catalogue = toml::from_str(include_str!("catalogue.toml")).unwrap();
    let codes: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
    let entries: BTreeSet<&str> = catalogue.reason.keys().map(String::as_str).collect();
    assert_eq!(codes, entries);
    for (code, entry) in &catalogue.reason {
        for texts in [&entry.zh, &entry.en] {
            for text in [&texts.title, &texts.says, &texts.advice, &texts.page] {
                assert!(!text.trim().is_empty(), "{code}");
            }
            assert!(texts.title.chars().count() < 60 && texts.page.trim().lines().count() > 1, "{code}");
            for template in [&texts.says, &texts.advice] {
                assert_eq!(template.matches('{').count(), template.matches('}').count(), "{code}");
                assert_eq!(template.matches('[').count(), template.matches(']').count(), "{code}");
                for (fact, list) in placeholders(template) {
                    assert!(entry.facts.contains(&fact), "{code} has no fact {fact}");
                    assert!(list.is_empty() || catalogue.value.contains_key(&list), "{code}: no list {list}");
                }
            }
        }
        assert!(entry.zh.says.ends_with(['。', ']']) && entry.zh.advice.ends_with('。'), "{code}");
        assert!(entry.en.says.ends_with(['.', ']']) && entry.en.advice.ends_with('.'), "{code}");
        assert!(entry.en.title.is_ascii() || entry.en.title.contains('差'), "{code}");
    }
    for both in catalogue.label.values().chain(catalogue.value.values().flat_map(|list| list.values())) {
        assert!(!both.zh.is_empty() && !both.en.is_empty(), "{both:?}");
    }
}

#[test]
fn the_catalogue_knows_the_facts_that_the_sources_give() {
    let by_name: BTreeMap<String, Reason> = Reason::ALL.iter().map(|reason| (format!("{reason:?}"), *reason)).collect();
    let mut given: BTreeSet<String> = BTreeSet::new();
    for (path, text) in sources() {
        for part in text.split(".with(").skip(1).chain(text.split(".with_list(").skip(1)) {
            given.extend(
                part.trim_start().strip_prefix('"').and_then(|part| part.split_once('"')).map(|(n, _)| n.to_owned()),
            );
        }
        for part in text.split("Remark::new(Reason::").skip(1) {
            let Some((name, rest)) = part.split_once(')') else { continue };
            let Some(reason) = by_name.get(name) else { continue };
            let known = &CATALOGUE.reason[reason.code()].facts;
            for fact in chain(rest) {
                assert!(known.contains(&fact), "{}: catalogue.toml lists no fact {fact} of {reason}", path.display());
            }
        }
    }
    for (code, entry) in &CATALOGUE.reason {
        for fact in &entry.facts {
            // `waiting` is for a limit that is not there yet.
            assert!(given.contains(fact) || fact == "waiting", "{code}: nothing in src/ gives the fact {fact}");
        }
    }
}

#[test]
fn every_label_in_use_is_in_the_catalogue() {
    let mut missing = Vec::new();
    for (path, text) in sources().iter().filter(|(path, _)| !path.ends_with("wording/mod.rs")) {
        for part in text.split("label(").skip(1) {
            let Some(key) = part.trim_start().strip_prefix('"').and_then(|part| part.split('"').next()) else {
                continue;
            };
            if !CATALOGUE.label.contains_key(key) {
                missing.push(format!("{}: {key}", path.display()));
            }
        }
    }
    assert!(missing.is_empty(), "catalogue.toml lacks labels: {missing:#?}");
}

#[test]
fn sentences_name_figures_and_what_to_do() {
    let over = Remark::new(Reason::OverCeiling).with("cell", "T03/合计/project").with("ceiling", "39.60");
    let over = over.with("filed", "43.60").with("over", "4.00").with("amount_unit", "万元");
    assert_eq!(
        sentence(&over, Language::Chinese),
        "T03/合计/project：申报数 43.60 万元，控制数 39.60 万元，超出 4.00 万元。请压减 4.00 万元后重报，或请财政部门追加控制数后再报。"
    );
    assert_eq!(
        sentence(&over, Language::English),
        "T03/合计/project: 43.60 万元 filed, control figure (控制数) 39.60 万元, 4.00 万元 too much. \
         Cut 4.00 万元 and file again, or have the finance bureau raise the control figure first."
    );
    let closed = Remark::new(Reason::RoundClosed).with("round", "first").with("expected", "second");
    assert_eq!(
        sentence(&closed, Language::Chinese),
        "一上现在不收，现在收的是二上。请核对轮次（round），或等财政局开放这一轮。"
    );
    let kind = Remark::new(Reason::KindNotTaken).with("kind", "difference").with("unit", "407002");
    assert_eq!(
        sentence(&kind, Language::English),
        "“407002” has no units below it, so it files no difference form (差额表). Check the kind of submission."
    );
    assert_eq!(title(Reason::OverCeiling, Language::Chinese), "超过控制数");
    assert!(
        page(Reason::OverCeiling, Language::English).starts_with("OVER_CEILING  Above the control figure\n\nA control")
    );
}

#[test]
fn absent_and_endless_facts_leave_a_natural_sentence() {
    assert_eq!(
        sentence(&Remark::new(Reason::UnknownTable), Language::English),
        "No such table. Use one of its table ids."
    );
    assert_eq!(
        sentence(&Remark::new(Reason::UnknownYear).with("year", ""), Language::Chinese),
        "还没有单位名册。请核对年度；年度没有错的，请财政局先导入当年的单位名册（unit import）。"
    );
    assert_eq!(sentence(&Remark::new(Reason::OverCeiling), Language::English), "Above the control figure.");
    assert_eq!(
        sentence(&Remark::new(Reason::KindNotTaken), Language::Chinese),
        "不收这种报表。请核对报表种类（kind）。"
    );
    let many: Vec<String> = (1..=40).map(|n| format!("r{n}")).collect();
    let row = Remark::new(Reason::UnknownRow).with("found", "x".repeat(9_999)).with("expected", many.join(", "));
    let english = sentence(&row, Language::English);
    assert!(english.contains("r12 and 28 more.") && english.chars().count() < 500, "{english}");
    let sly = Remark::new(Reason::UnknownTable).with("found", "\u{1b}[2J{expected}[x]").with("expected", "T01");
    assert_eq!(
        sentence(&sly, Language::Chinese),
        "表样里没有编号为“ [2J{expected}[x]”的表。请改用表样里的表编号：T01。"
    );
}

#[test]
fn places_read_like_a_sheet() {
    let form = shanxi();
    for (at, chinese) in [
        (
            Place::cell("T03", 5, "2080109", "basic"),
            "表三 第 5 行 2080109 社会保险经办机构 · 基本支出 (T03/2080109/basic)",
        ),
        (Place::cell("T01A", 0, "general", "amount"), "表一收入 一、一般公共预算 · 预算数 (T01A/general/amount)"),
        (Place::cell("T01B", 8, "208", "total"), "表一支出 第 8 行 208 八、社会保障和就业支出 · 合计 (T01B/208/total)"),
        (Place::cell("T03", 1, "合计", "total"), "表三 第 1 行 合计 · 合计 (T03/合计/total)"),
        (Place::row("PI", 3, "2024-001/3"), "指标 第 3 行 2024-001/3 (PI/2024-001/3)"),
        (Place::cell("UNIT", 1, "-", "staff_quota"), "单位 第 1 行 · 编制人数 (UNIT/-/staff_quota)"),
        (Place::cell("T03", 0, "", "base"), "表三 · base (T03/*/base)"),
        (Place::table("T03"), "表三 (T03)"),
        (Place::cell("T99", 2, "x", "y"), "T99/x/y 第 2 行"),
        (Place::default(), "整份报表"),
    ] {
        assert_eq!(place(&at, Some(&form), Language::Chinese), chinese);
    }
    let at = Place::cell("T03", 5, "2080109", "basic");
    assert_eq!(
        place(&at, Some(&form), Language::English),
        "表三 line 5 2080109 社会保险经办机构 · 基本支出 (T03/2080109/basic)"
    );
    assert_eq!(place(&at, None, Language::English), "T03/2080109/basic line 5");
    let remark = Remark::new(Reason::AmountSeparator).with("column", "基本支出").with("found", "1,234.50");
    assert_eq!(
        finding(&Finding::refusing(at, remark), Some(&form), Language::Chinese),
        "【必须改正】表三 第 5 行 2080109 社会保险经办机构 · 基本支出 (T03/2080109/basic)：“基本支出”的金额“1,234.50”里有逗号、空格之类的分隔符。请去掉分隔符，只写数字和小数点。"
    );
}

#[test]
fn locales_name_a_language() {
    for (locale, language) in [
        ("en_US.UTF-8", Language::English),
        ("en", Language::English),
        ("EN-gb", Language::English),
        ("zh_CN.UTF-8", Language::Chinese),
        ("C.UTF-8", Language::Chinese),
        ("", Language::Chinese),
        ("eno", Language::Chinese),
    ] {
        assert_eq!(Language::from_locale(locale), language, "{locale}");
    }
}

proptest! {
    // A failure's seed is printed; a folder beside src/ for it is not wanted.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_fact_makes_it_fall(
        at in 0..Reason::ALL.len(),
        facts in proptest::collection::vec(("[a-z_]{1,12}", "\\PC{0,40}|[\\[\\]{}“” ,]{0,12}"), 0..6),
    ) {
        let reason = Reason::ALL[at];
        let mut remark = Remark { reason, facts };
        for (n, fact) in CATALOGUE.reason[reason.code()].facts.iter().enumerate() {
            remark = remark.with(fact, "}{][".repeat(n));
        }
        for language in Language::ALL {
            prop_assert!(!sentence(&remark, language).is_empty());
        }
    }
}

#[test]
fn what_the_system_says_is_said_in_the_readers_language() {
    let chinese = |text| system_words(text, Language::Chinese);
    assert_eq!(chinese("File exists (os error 17)"), "已有同名的文件或目录");
    assert_eq!(chinese("tcp: Connection refused (os error 111)"), "tcp: 服务器没有在那个地址上接受连接");
    assert_eq!(system_words("File exists (os error 17)", Language::English), "File exists");
    for other in ["Strange (os error 999)", "no number", "cut (os error "] {
        assert_eq!(chinese(other), other);
    }
    let remark = Remark::new(Reason::PathUnusable).with("path", "/a").with("what", "Is a directory (os error 21)");
    assert!(sentence(&remark, Language::Chinese).starts_with("/a 用不了：这是目录，不是文件。"));
}

#[test]
fn a_long_list_is_cut_and_still_counted() {
    let units = |n: u32| (0..n).map(|at| format!("407{at:03}"));
    let says = |remark: &Remark, language| {
        let text = sentence(remark, language);
        assert!(!text.contains("…+"), "{text}");
        text
    };
    for n in [1, 12, 13, 49, 50, 51, 52, 1_000, 100_000] {
        let remark = Remark::new(Reason::DepartmentNotReady).with("department", "407").with("problem", "units");
        let remark = remark.with_list("missing", units(n));
        assert!(remark.fact("missing").unwrap().len() <= 400);
        let (zh, en) = (says(&remark, Language::Chinese), says(&remark, Language::English));
        assert!(zh.contains("407000") && en.contains("407000"), "{zh} {en}");
        assert_eq!(zh.contains(&format!("等 {n} 个")), n > 12, "{n}: {zh}");
        assert_eq!(en.contains(&format!("and {} more", n.saturating_sub(12))), n > 12, "{n}: {en}");
    }
    // Of a text that was cut, nobody knows how many there were.
    let cut = Remark::new(Reason::DepartmentNotReady).with("department", "407").with("problem", "units");
    let cut = cut.with("missing", units(60).collect::<Vec<_>>().join(", "));
    let (zh, en) = (says(&cut, Language::Chinese), says(&cut, Language::English));
    assert!(zh.contains("407011 等。") && en.contains("407011 and more"), "{zh} {en}");
}
