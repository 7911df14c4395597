//! The house, kept tidy: which module may name what, and that no region's form is in the code.
//!
//! Looks at the tokens of `src/`: comments are passed over, and so are `#[cfg(test)]` modules, which may show an
//! example's code or table.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::support::project;

/// What each module may name of the crate. Arrows point down; nothing points up.
const ARROWS: [(&str, &[&str]); 10] = [
    ("budget", &[]),
    ("proto", &[]),
    ("store", &[]),
    ("ledger", &["budget"]),
    ("wording", &["budget"]),
    ("certificate", &["budget", "ledger"]),
    ("submission_file", &["budget", "wording"]),
    ("consolidator", &["budget", "ledger", "store"]),
    ("grpc", &["budget", "ledger", "consolidator", "submission_file", "wording", "proto", "certificate"]),
    (
        "cli",
        &["budget", "ledger", "consolidator", "store", "grpc", "submission_file", "wording", "proto", "certificate"],
    ),
];

/// Single files that may name more than their module.
const ARROWS_OF_FILES: [(&str, &str); 3] = [
    ("consolidator/record.rs", "proto"),
    ("consolidator/review_record.rs", "proto"),
    ("consolidator/content.rs", "proto"),
];

/// What must not be named in a pure module: no clock, disk, network, async, protobuf, randomness, float or thread.
const IMPURE: [&str; 21] = [
    "tokio",
    "tonic",
    "prost",
    "sled",
    "jiff",
    "rand",
    "async",
    "await",
    "f32",
    "f64",
    "thread",
    "fs",
    "net",
    "io",
    "env",
    "process",
    "SystemTime",
    "Instant",
    "Mutex",
    "RwLock",
    "tracing",
];

/// Words that only some places may name.
const ONLY: [(&str, &[&str]); 8] = [
    ("rust_decimal", &["budget/money.rs"]),
    ("sled", &["store/"]),
    ("prost", &["grpc/", "consolidator/record.rs", "consolidator/content.rs", "proto/"]),
    ("tonic", &["grpc/", "cli/", "proto/"]),
    ("SystemTime", &[]),
    ("Instant", &["cli/", "consolidator/metrics.rs", "grpc/watch.rs", "grpc/quota.rs"]),
    ("jiff", &["cli/"]),
    ("rand", &["cli/"]),
];

/// What must not be in the product's code at all, as words in a row.
const NEVER: [&[&str]; 8] = [
    &[".", "unwrap", "("],
    &[".", "expect", "("],
    &["todo", "!"],
    &["unimplemented", "!"],
    &["dbg", "!"],
    &["unsafe"],
    &["f32"],
    &["f64"],
];

/// What a sentence for people says before it gives an example, which has to be of some form.
const EXAMPLE_MARKS: [&str; 4] = ["例", "如 ", "xample", "such as "];

/// Table names that are common words of the trade as well, and so may stand in a sentence.
const COMMON_WORDS: [&str; 2] = ["单位", "说明"];

const TOP_LEVEL: [&str; 12] = [
    "Cargo.toml",
    "Cargo.lock",
    "proto",
    "src",
    "build.rs",
    "tests",
    "README.md",
    "benches",
    "examples",
    "forms",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
];

#[test]
fn arrows_point_down() {
    let mut wrong = Vec::new();
    for source in product() {
        let Some((module, _)) = source.path.split_once('/') else { continue };
        let (_, allowed) = ARROWS.iter().find(|(name, _)| *name == module).expect("a module that ARROWS doesn't know");
        for named in source.names_of_crate() {
            let extra = ARROWS_OF_FILES.iter().any(|(file, more)| *file == source.path && *more == named);
            if named != module && !allowed.contains(&named) && !extra {
                wrong.push(format!("{} names crate::{named}", source.path));
            }
        }
    }
    none(&wrong);
}

#[test]
fn budget_and_ledger_are_pure() {
    let pure = |source: &Source| source.path.starts_with("budget/") || source.path.starts_with("ledger/");
    let mut wrong = Vec::new();
    for source in product().into_iter().filter(pure) {
        let named = IMPURE.iter().filter(|word| source.has(&[word]));
        wrong.extend(named.map(|word| format!("{} names {word}", source.path)));
    }
    none(&wrong);
}

#[test]
fn some_words_have_their_place() {
    let mut wrong = Vec::new();
    for source in product() {
        for (word, places) in ONLY {
            if source.has(&[word]) && !places.iter().any(|place| source.path.starts_with(place)) {
                wrong.push(format!("{} names {word}, which only {places:?} may", source.path));
            }
        }
        for words in NEVER.iter().filter(|words| source.has(words)) {
            wrong.push(format!("{} has {}", source.path, words.concat()));
        }
    }
    none(&wrong);
}

#[test]
fn every_module_says_what_it_is() {
    let bare =
        rust_files().into_iter().filter(|(path, text)| !path.ends_with("/tests.rs") && !text.starts_with("//! "));
    none(&bare.map(|(path, _)| format!("{path} does not start with //!")).collect::<Vec<_>>());
}

#[test]
fn the_top_level_is_as_agreed() {
    let entries =
        std::fs::read_dir(project("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let fits = |name: &str| name.starts_with('.') || name.starts_with("LICENSE") || TOP_LEVEL.contains(&name);
    // What the build leaves behind is in .gitignore.
    none(&entries.filter(|name| name != "target" && !fits(name)).collect::<Vec<_>>());
}

#[test]
fn no_form_is_in_the_code() {
    let data = form_data();
    assert!(data.ids.len() > 30 && data.codes.len() > 200, "the forms were not read");
    let mut wrong = Vec::new();
    for source in product().into_iter().chain(wording()) {
        for text in &source.texts {
            for word in words(text) {
                let known = data.ids.contains(word) || data.codes.contains(word);
                if known || data.names.contains(word) && !COMMON_WORDS.contains(&word) {
                    wrong.push(format!("{} says {word:?} in {text:?}", source.path));
                }
            }
        }
        // Three digits may be any number of the program; longer ones that happen to be a code are no accident.
        let numbers = source.tokens.iter().filter(|token| token.len() > 4 && data.codes.contains(*token));
        wrong.extend(numbers.map(|code| format!("{} has the code {code}", source.path)));
    }
    none(&wrong);
}

fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

// ── what is in forms/ ────────────────────────────────────────────────────────────────────

/// Table, relation and rule ids, their names, and the codes of all catalogues.
#[derive(Default)]
struct FormData {
    ids: BTreeSet<String>,
    names: BTreeSet<String>,
    codes: BTreeSet<String>,
}

fn form_data() -> FormData {
    let mut data = FormData::default();
    for path in files_below(&project("forms")) {
        let text = || std::fs::read_to_string(&path).unwrap();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => {
                let document: toml::Table = toml::from_str(&text()).unwrap();
                let entries = document.iter().filter_map(|(id, value)| value.as_table().map(|entries| (id, entries)));
                for (id, entries) in entries.filter(|(id, _)| {
                    !["axis", "catalogue", "let", "elsewhere", "office", "adjust"].contains(&id.as_str())
                }) {
                    data.ids.insert(id.clone());
                    data.names.extend(entries.get("name").and_then(toml::Value::as_str).map(str::to_owned));
                }
            }
            Some("csv") => {
                let mut reader = csv::Reader::from_path(&path).unwrap();
                let records = reader.records().map(Result::unwrap);
                let fields = records.flat_map(|record| record.iter().map(str::to_owned).collect::<Vec<_>>());
                data.codes.extend(fields.filter(|field| field.len() > 2 && field.bytes().all(|b| b.is_ascii_digit())));
            }
            _ => {}
        }
    }
    data
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

// ── what is in src/ ──────────────────────────────────────────────────────────────────────

/// One place each: the sentence for a file that can't be read, and what takes a byte order mark off. Form sets stand below
/// the module that has it for everybody else.
#[test]
fn what_is_done_with_every_file_that_is_read_is_done_in_one_place() {
    let holding = |texts: &[&str]| {
        let has = |source: &Source| source.texts.iter().any(|held| texts.iter().any(|text| held.contains(text)));
        let mut paths: Vec<String> = product().into_iter().filter(has).map(|source| source.path).collect();
        paths.sort();
        paths
    };
    assert_eq!(holding(&["file-unreadable"]), ["cli/settings.rs"]);
    assert_eq!(holding(&["feff", "xef"]), ["budget/form_set/load.rs", "submission_file/mod.rs"]);
}

/// A file of `src/` as tokens, without comments and test modules.
struct Source {
    /// Below `src/`, with slashes.
    path: String,
    /// Words (names, keywords, numbers) and single signs; a string or character is the sign `"`.
    tokens: Vec<String>,
    /// What stands in its strings.
    texts: Vec<String>,
}

impl Source {
    fn has(&self, words: &[&str]) -> bool {
        self.tokens.windows(words.len()).any(|tokens| tokens.iter().zip(words).all(|(token, word)| token == word))
    }

    /// What follows `crate::`, also in braces.
    fn names_of_crate(&self) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        for at in 0..self.tokens.len() {
            let token = |ahead: usize| self.tokens.get(at + ahead).map_or("", String::as_str);
            if [token(0), token(1), token(2)] != ["crate", ":", ":"] {
                continue;
            }
            let mut depth = 0;
            let mut first = true;
            for ahead in 3.. {
                match token(ahead) {
                    "{" => depth += 1,
                    "}" => depth -= 1,
                    "," if depth == 1 => first = true,
                    name if first && depth < 2 => {
                        names.insert(name);
                        first = false;
                    }
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
            }
        }
        names
    }
}

/// All Rust of the product: files that only tests are made of are left out.
fn product() -> Vec<Source> {
    let mut sources = Vec::new();
    let mut tests = BTreeSet::new();
    for (path, text) in rust_files() {
        let (tokens, test_files) = product_tokens(lex(&text));
        let folder = path.strip_suffix("mod.rs").map_or_else(|| path.replace(".rs", "/"), str::to_owned);
        tests.extend(test_files.iter().map(|name| format!("{folder}{name}.rs")));
        let texts = tokens.iter().filter_map(|(_, text)| text.clone()).collect();
        sources.push(Source { path, tokens: tokens.into_iter().map(|(token, _)| token).collect(), texts });
    }
    assert!(sources.len() > 30, "src/ was not read");
    sources.retain(|source| !tests.contains(&source.path));
    sources
}

/// The messages of the product: data that speaks of no form either, but for examples that say that they are some.
fn wording() -> Vec<Source> {
    let files = files_below(&project("src")).into_iter().filter(|path| path.extension().is_some_and(|e| e == "toml"));
    files
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let says = |line: &&str| !line.starts_with('#') && !EXAMPLE_MARKS.iter().any(|mark| line.contains(mark));
            let texts = text.lines().filter(says).map(str::to_owned).collect();
            Source { path: below_src(&path), tokens: Vec::new(), texts }
        })
        .collect()
}

fn rust_files() -> Vec<(String, String)> {
    let files = files_below(&project("src")).into_iter().filter(|path| path.extension().is_some_and(|e| e == "rs"));
    files.map(|path| (below_src(&path), std::fs::read_to_string(&path).unwrap())).collect()
}

fn below_src(path: &Path) -> String {
    path.strip_prefix(project("src")).unwrap().to_str().unwrap().replace('\\', "/")
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// A token, and the content if it is a string.
type Token = (String, Option<String>);

/// Drops what follows `#[cfg(test)]`; gives the names of test modules that are files of their own.
fn product_tokens(tokens: Vec<Token>) -> (Vec<Token>, Vec<String>) {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::with_capacity(tokens.len());
    let mut files = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let token = |at: usize| tokens.get(at).map_or("", |(token, _)| token.as_str());
        if !MARK.iter().enumerate().all(|(ahead, mark)| token(at + ahead) == *mark) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        at += MARK.len();
        if token(at) == "mod" && token(at + 2) == ";" {
            files.push(token(at + 1).to_owned());
        }
        let mut depth = 0;
        while at < tokens.len() {
            match token(at) {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            at += 1;
            if depth == 0 && ["}", ";"].contains(&token(at - 1)) {
                break;
            }
        }
    }
    (kept, files)
}

/// Rust as tokens, comments dropped: as much of the language as is needed to find words and strings.
fn lex(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let raw = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r')).filter(|after| {
            let after = after.trim_start_matches('#');
            after.starts_with('"')
        });
        if rest.starts_with("//") {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
        } else if rest.starts_with("/*") {
            rest = rest.find("*/").map_or("", |end| &rest[end + 2..]);
        } else if let Some(raw) = raw {
            let hashes = raw.len() - raw.trim_start_matches('#').len();
            let close = format!("\"{}", "#".repeat(hashes));
            let body = &raw[hashes + 1..];
            let end = body.find(&close).unwrap();
            tokens.push(("\"".to_owned(), Some(body[..end].to_owned())));
            rest = &body[end + close.len()..];
        } else if c == '"' {
            let end = closing(&rest[1..], '"');
            tokens.push(("\"".to_owned(), Some(rest[1..=end].to_owned())));
            rest = &rest[end + 2..];
        } else if c == '\'' {
            let mut after = rest[1..].chars();
            let is_char = after.next() == Some('\\') || after.next() == Some('\'');
            rest = if is_char { &rest[closing(&rest[1..], '\'') + 2..] } else { &rest[1..] };
        } else if c.is_alphanumeric() || c == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            // 1_000 is the number 1000.
            let word = &rest[..end];
            tokens.push((if c.is_ascii_digit() { word.replace('_', "") } else { word.to_owned() }, None));
            rest = &rest[end..];
        } else {
            if !c.is_whitespace() {
                tokens.push((c.to_string(), None));
            }
            rest = &rest[c.len_utf8()..];
        }
    }
    tokens
}

/// Where the quote that closes stands; what follows a backslash doesn't close.
fn closing(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if c == quote && !escaped {
            return at;
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}

#[test]
fn the_lexer_sees_through_comments_strings_and_tests() {
    let text = r###"
        //! budget://T03 in a comment
        use crate::{ledger::{state, view}, store}; use crate::wording::x;
        const A: &str = "budget://0 \" // no comment"; const B: char = '"'; const C: char = '\''; fn f<'a>() {}
        const D: &str = r#"a "raw" one"#; const E: u32 = 2_080_109;
        #[cfg(test)]
        mod tests { fn g() { let x = "}"; x.unwrap() } }
        #[cfg(test)]
        mod more;
        fn after() {}
    "###;
    let (tokens, files) = product_tokens(lex(text));
    let texts: BTreeMap<usize, String> = tokens.iter().filter_map(|(_, text)| text.clone()).enumerate().collect();
    let source = Source {
        path: String::new(),
        tokens: tokens.into_iter().map(|(token, _)| token).collect(),
        texts: texts.into_values().collect(),
    };
    assert_eq!(source.texts, ["budget://0 \\\" // no comment", "a \"raw\" one"]);
    assert_eq!(source.names_of_crate().into_iter().collect::<Vec<_>>(), ["ledger", "store", "wording"]);
    assert!(source.has(&["fn", "after"]) && source.has(&["2080109"]) && !source.has(&["unwrap"]));
    assert_eq!(files, ["more"]);
}
