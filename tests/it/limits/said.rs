//! What is said in a filing, a tree, a form set or a step of review, and how much of it may be.

use super::*;

type Review = api::review_service_client::ReviewServiceClient<Connection>;

/// Whether an answer is a refusal that names the limit.
fn beyond<T>(answer: &Result<T, Status>, named: &str) -> bool {
    let Err(status) = answer else { return false };
    let info = status.get_error_details().error_info().cloned();
    info.is_some_and(|info| info.metadata.values().any(|fact| fact == named || fact.contains(named)))
}

/// The example's filing with another value in one place.
fn filing(table: &str, row: &str, column: &str, value: &str) -> SubmissionFile {
    let mut file = example("fenyang-2024/submissions/407004.json");
    let table = file.tables.iter_mut().find(|filed| filed.header.id == table).unwrap();
    let at = table.header.columns.iter().position(|known| known == column).unwrap();
    value.clone_into(&mut table.rows.iter_mut().find(|(key, _)| key == row).unwrap().1[at]);
    file
}

#[tokio::test]
async fn what_stands_in_a_cell_is_as_much_as_it_may_be() {
    let server = TestServer::fenyang().await;
    let client = server.client(&unit("407004")).await;
    let form = form("shanxi-2024");
    let found = async |file: &SubmissionFile| {
        let verdict = client.dry_run(file, &form).await.unwrap().verdict.unwrap();
        verdict.findings.into_iter().map(|finding| finding.reason).collect::<Vec<_>>()
    };
    let says = async |file: SubmissionFile, reason: &str| found(&file).await.iter().any(|found| found == reason);
    for (bytes, beyond) in [(limits::TEXT_BYTES_MAX, false), (limits::TEXT_BYTES_MAX + 1, true)] {
        let file = filing("UNIT", "-", "duty", &"x".repeat(bytes));
        assert_eq!(says(file, "TEXT_TOO_LONG").await, beyond, "{bytes}");
    }
    // In 万元, of which the limit has nine digits and two decimals.
    assert_eq!(limits::CELL_FEN_MAX / 1_000_000, 999_999_999);
    for (amount, beyond) in [("999999999.99", false), ("1000000000.00", true), ("-1000000000.00", true)] {
        assert_eq!(says(filing("T01A", "total", "amount", amount), "AMOUNT_TOO_LARGE").await, beyond, "{amount}");
    }
    for (rows, kept) in
        [(limits::FINDINGS_MAX - 100, limits::FINDINGS_MAX - 100), (limits::FINDINGS_MAX + 100, limits::FINDINGS_MAX)]
    {
        let mut file = example("fenyang-2024/submissions/407004.json");
        let table = file.tables.iter_mut().find(|filed| filed.header.id == "T03").unwrap();
        let width = table.header.columns.len();
        let at = table.header.columns.iter().position(|known| known == "total").unwrap();
        let wrong = |row: usize| {
            let mut values = vec![String::new(); width];
            values[at] = "好多".into();
            (format!("2{row:06}"), values)
        };
        table.rows = (0..rows).map(wrong).collect();
        let found = found(&file).await;
        let unreadable = found.iter().filter(|reason| reason.starts_with("AMOUNT_")).count();
        assert_eq!(unreadable, kept, "{rows}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_tree_is_as_deep_as_it_may_be() {
    let server = TestServer::start().await;
    let administrator = server.client(ADMINISTRATOR).await;
    let node = |code: &str, parent: &str| api::UnitNode {
        code: code.into(),
        parent: parent.into(),
        name: "某单位".into(),
        role: if parent == "0" { "department" } else { "unit" }.into(),
        budgeted: true,
        ..Default::default()
    };
    let import = async |nodes: Vec<api::UnitNode>, idempotency_key: String| {
        let request = api::ImportUnitsRequest { idempotency_key, year: 2024, nodes };
        administrator.registry().import_units(request).await.map(drop)
    };
    for (bytes, fits) in [(limits::CODE_BYTES_MAX, true), (limits::CODE_BYTES_MAX + 1, false)] {
        let answer = import(vec![node(&"4".repeat(bytes), "0")], new_key()).await;
        assert_eq!(answer.is_ok(), fits, "{bytes}: {answer:?}");
        assert!(fits || beyond(&answer, "code"), "{answer:?}");
    }
    for (chars, fits) in [(limits::NODE_TEXT_CHARS_MAX, true), (limits::NODE_TEXT_CHARS_MAX + 1, false)] {
        for field in 0..4 {
            let mut texts: [String; 4] = Default::default();
            texts[0] = "某单位".into();
            texts[field] = "长".repeat(chars);
            let [name, unit_type, funding, division] = texts;
            let node = api::UnitNode { name, unit_type, funding, division, ..node("407", "0") };
            let answer = import(vec![node], new_key()).await;
            assert_eq!(answer.is_ok(), fits, "{field} {chars}: {answer:?}");
            assert!(fits || beyond(&answer, "text"), "{answer:?}");
        }
    }
    let steering = api::UnitNode { name: "单位\u{1b}[31m".into(), ..node("407", "0") };
    assert!(beyond(&import(vec![steering], new_key()).await, "text"));
    // Levels, the bureau's included.
    for (levels, fits) in [(limits::DEPTH_MAX, true), (limits::DEPTH_MAX + 1, false)] {
        let code = |level: usize| if level == 0 { "0".to_owned() } else { format!("4{level:02}") };
        let answer = import((1..levels).map(|level| node(&code(level), &code(level - 1))).collect(), new_key()).await;
        assert_eq!(answer.is_ok(), fits, "{levels}: {answer:?}");
        assert!(fits || beyond(&answer, "depth"), "{answer:?}");
    }
    for (bytes, fits) in [(limits::REQUEST_KEY_BYTES_MAX, true), (limits::REQUEST_KEY_BYTES_MAX + 1, false), (0, false)]
    {
        let answer = import(vec![node("407", "0")], "k".repeat(bytes)).await;
        assert_eq!(answer.is_ok(), fits, "{bytes}: {answer:?}");
        assert!(fits || beyond(&answer, "1–64"), "{answer:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_form_set_is_as_large_as_it_may_be() {
    let server = TestServer::start().await;
    let bureau = server.client(BUREAU).await;
    let faults = async |files: FormFiles| {
        let files = files.into_iter().map(|(name, content)| api::FormFile { name, content }).collect();
        let answer = bureau.registry().check_form_set(api::CheckFormSetRequest { files }).await.unwrap().into_inner();
        answer.faults.into_iter().map(|fault| fault.sentence_en).collect::<Vec<_>>()
    };
    let changed = |file: &str, change: &dyn Fn(String) -> String| {
        let mut files = form_files("shanxi-2024");
        let text = String::from_utf8(files[file].clone()).unwrap();
        files.insert(file.to_owned(), change(text).into_bytes());
        files
    };
    let ruled = |formula: &str| {
        changed("rules.toml", &|text| {
            text + &format!(
                "\n[X-01]\ntitle = \"试\"\ntitle_en = \"t\"\nreason = \"试\"\nreason_en = \"t\"\nstrength = \"verify\"\n\
                 applies = [\"unit\"]\ncheck = '{formula}'\nexample = \"试\"\nexample_en = \"t\"\ntodo = \"试\"\ntodo_en = \"t\"\n"
            )
        })
    };
    let formula = |bytes: usize| format!("{:bytes$}", "表一收入[total].预算数 >= 0");
    // Padded with blanks; Chinese letters have three bytes each.
    let long = |bytes: usize| formula(bytes - (formula(0).len() - formula(0).chars().count()));
    assert_eq!(long(limits::FORMULA_BYTES_MAX).len(), limits::FORMULA_BYTES_MAX);
    // The formula itself is the first level.
    let nested = |deep: usize| format!("表一收入[total].预算数 >= {}0{}", "(".repeat(deep), ")".repeat(deep));
    let rules = |count: usize| {
        changed("rules.toml", &|text| {
            let known = text.lines().filter(|line| line.starts_with('[')).count();
            text + &(known..count).map(|at| format!("\n[Z-{at}]\n")).collect::<String>()
        })
    };
    // A form set of two tables, and rules that are each about so many columns of them.
    let lines = |rules: usize, columns: usize| {
        let table = |id: &str, name: &str, columns: usize| {
            let columns: String = (0..columns).map(|at| format!("c{at} = \"列{at}\", ")).collect();
            format!("[{id}]\nname = \"{name}\"\nrows = [\"total 合计\"]\nrollup = \"sum\"\ncolumns = {{ {columns} }}\n")
        };
        let forms = format!(
            "id = \"wide\"\ntitle = \"宽\"\nyear = 2024\namount = \"元.2\"\nkinds = [\"unit\"]\n{}{}",
            table("V", "甲", columns / 2),
            table("W", "乙", columns - columns / 2)
        );
        let rule = |at: usize| {
            format!(
                "[X-{at:02}]\ntitle = \"试\"\ntitle_en = \"t\"\nreason = \"试\"\nreason_en = \"t\"\nstrength = \"verify\"\n\
                 applies = [\"unit\"]\ncheck = '甲, 乙: * >= 0'\nexample = \"试\"\nexample_en = \"t\"\ntodo = \"试\"\ntodo_en = \"t\"\n"
            )
        };
        let rules: String = (0..rules).map(rule).collect();
        FormFiles::from([("forms.toml".to_owned(), forms.into_bytes()), ("rules.toml".to_owned(), rules.into_bytes())])
    };
    // Two lists without a common axis, and formulas that hold each row of one against each of the other.
    let paired = |formulas: usize| {
        let axes = "[axis]\n\"一\" = \"\"\n\"二\" = \"\"\n";
        let table = |id: &str, name: &str, axis: &str| {
            format!(
                "[{id}]\nname = \"{name}\"\nrows = \"{axis}\"\nrollup = \"list\"\ncolumns = {{ words = \"文字: text\" }}\n"
            )
        };
        let forms = format!(
            "id = \"paired\"\ntitle = \"对\"\nyear = 2024\namount = \"元.2\"\nkinds = [\"unit\"]\n{axes}{}{}",
            table("V", "甲", "一"),
            table("W", "乙", "二")
        );
        let checks = vec!["'甲: exists 乙[文字 = \"x\"]'"; formulas].join(", ");
        let rules = format!(
            "[X-01]\ntitle = \"试\"\ntitle_en = \"t\"\nreason = \"试\"\nreason_en = \"t\"\nstrength = \"verify\"\n\
             check = [{checks}]\ntodo = \"试\"\ntodo_en = \"t\"\n"
        );
        FormFiles::from([("forms.toml".to_owned(), forms.into_bytes()), ("rules.toml".to_owned(), rules.into_bytes())])
    };
    let rows = |count: usize| {
        changed("forms.toml", &|text| {
            let (before, after) = text.split_once("\"carry 上年结转\",").unwrap();
            let more: String = (8..count).map(|at| format!("\n  \"more{at} 更多\",")).collect();
            format!("{before}\"carry 上年结转\",{more}{after}")
        })
    };
    for (what, at_most, beyond, said) in [
        ("bytes", ruled(&long(limits::FORMULA_BYTES_MAX)), ruled(&long(limits::FORMULA_BYTES_MAX + 1)), "4000 bytes"),
        ("nesting", ruled(&nested(limits::FORMULA_DEPTH_MAX)), ruled(&nested(limits::FORMULA_DEPTH_MAX + 1)), "≤ 24"),
        ("rules", rules(limits::RULES_MAX), rules(limits::RULES_MAX + 1), "≤ 1000"),
        ("rows", rows(limits::PARTS_MAX), rows(limits::PARTS_MAX + 1), "≤ 2000"),
        ("lines of a formula", lines(1, limits::FORMULA_LINES_MAX), lines(1, limits::FORMULA_LINES_MAX + 1), "≤ 2000"),
        ("paired lines", paired(limits::PAIRED_LINES_MAX), paired(limits::PAIRED_LINES_MAX + 1), "≤ 100"),
        ("lines of all rules", lines(10, 2_000), lines(11, 2_000), "≤ 20000"),
    ] {
        let (fine, refused) = (faults(at_most).await, faults(beyond).await);
        let names = |faults: &[String]| faults.iter().any(|fault| fault.contains(said));
        assert!(!names(&fine), "{what}: {fine:?}");
        assert!(names(&refused), "{what}: {refused:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_is_said_is_as_long_as_it_may_be() {
    let server = TestServer::fenyang().await;
    let (bureau, department) = (server.client(BUREAU).await, server.client(DEPARTMENT).await);
    let client = server.client(&unit("407004")).await;
    let form = form("shanxi-2024");

    let issue = async |chars: usize| {
        let figure = api::ControlFigure {
            unit: "407".into(),
            cell: "T03/208/total".into(),
            amount_unit: "万元".into(),
            ceiling: "1".into(),
            strength: "hard".into(),
        };
        let request = api::IssueControlFiguresRequest {
            idempotency_key: new_key(),
            year: 2024,
            round: api::Round::First.into(),
            form_set: "shanxi-2024".into(),
            figures: vec![figure],
            reason: "长".repeat(chars),
            ..Default::default()
        };
        bureau.control().issue_control_figures(request).await.map(drop)
    };
    assert!(beyond(&issue(limits::CONTROL_REASON_CHARS_MAX + 1).await, "reason_long"));
    issue(limits::CONTROL_REASON_CHARS_MAX).await.unwrap();

    let slip = client.submit(&example("fenyang-2024/submissions/407004-slip.json"), &form).await.unwrap();
    let mut found = found(&slip.verdict.unwrap().rule_findings).into_iter();
    let failed = found.find(|found| found.verdict == i32::from(api::RuleVerdict::Fail));
    let fingerprint = failed.unwrap().fingerprint;
    let slot = || Some(slot_out(&example("fenyang-2024/submissions/407004.json").slot));
    let justify = async |items: usize, chars: usize| {
        let item = api::JustifyItem { fingerprint: fingerprint.clone(), text: "长".repeat(chars) };
        let request = api::JustifyRequest {
            idempotency_key: new_key(),
            slot: slot(),
            position: slip.position,
            items: vec![item; items],
        };
        client.submissions().justify(request).await.map(drop)
    };
    assert!(beyond(&justify(1, limits::JUSTIFICATION_CHARS_MAX + 1).await, "2000"));
    justify(1, limits::JUSTIFICATION_CHARS_MAX).await.unwrap();
    assert!(beyond(&justify(limits::JUSTIFICATIONS_MAX + 1, 1).await, "many"));
    // All about one finding: at the limit it is that which is wrong.
    assert!(beyond(&justify(limits::JUSTIFICATIONS_MAX, 1).await, "twice"));

    let filed = client.submit(&example("fenyang-2024/submissions/407004.json"), &form).await.unwrap();
    let target = || Some(api::VersionTarget { slot: slot(), version: filed.version });
    let mut review = Review::new(department.connection());
    let figures = |count: usize| api::ReviewFiguresRequest {
        idempotency_key: new_key(),
        target: target(),
        figures: vec![
            api::ReviewedFigure {
                cell: "T03/208/total".into(),
                amount: Some("1".into()),
                reason: "复核".into()
            };
            count
        ],
    };
    let most = limits::REVIEW_LINES_MAX;
    assert!(beyond(&review.review_figures(figures(most + 1)).await, "many"));
    assert!(!beyond(&review.review_figures(figures(most)).await, "many"), "it is the repeated cell that is wrong");
    let opinion = |chars: usize| api::GiveOpinionRequest {
        idempotency_key: new_key(),
        target: target(),
        office: "department".into(),
        opinion: api::Opinion::Agree.into(),
        text: "长".repeat(chars),
    };
    assert!(beyond(&review.give_opinion(opinion(limits::REVIEW_CHARS_MAX + 1)).await, "2000"));
    review.give_opinion(opinion(limits::REVIEW_CHARS_MAX)).await.unwrap();
    let line = api::ReturnedLine { table: "UNIT".into(), row: "-".into(), column: "duty".into(), ..Default::default() };
    let given_back = |lines: usize, chars: usize| api::ReturnRequest {
        idempotency_key: new_key(),
        target: Some(api::return_request::Target::Submission(target().unwrap())),
        reason: "长".repeat(chars),
        lines: vec![line.clone(); lines],
    };
    assert!(beyond(&review.r#return(given_back(1, limits::REVIEW_CHARS_MAX + 1)).await, "2000"));
    assert!(beyond(&review.r#return(given_back(most + 1, 1)).await, "many"));
    let answer = review.r#return(given_back(most, limits::REVIEW_CHARS_MAX)).await;
    assert!(!beyond(&answer, "many") && !beyond(&answer, "2000"), "{answer:?}");
    server.stop().await;
}
