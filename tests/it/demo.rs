//! `demo` as the real binary: it ends with 0 only if each command of each scene ended as its script says.

use std::collections::BTreeSet;
use std::process::Command;

#[test]
fn the_demo_plays_the_year_in_both_languages() {
    for language in ["zh", "en"] {
        let played =
            Command::new(env!("CARGO_BIN_EXE_consolidator")).args(["demo", "--lang", language]).output().unwrap();
        let said = String::from_utf8(played.stdout).unwrap();
        assert!(played.status.success(), "{said}\n{}", String::from_utf8_lossy(&played.stderr));
        assert_eq!(said.matches("\n━━ ").count(), 22, "{said}");
        if language == "zh" {
            shows_what_the_readme_shows(&said);
        }
    }
}

#[test]
fn the_demo_is_not_kept_among_other_files() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mine"), "").unwrap();
    let played =
        Command::new(env!("CARGO_BIN_EXE_consolidator")).args(["demo", "--keep"]).arg(folder.path()).output().unwrap();
    assert_eq!(played.status.code(), Some(2));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// Each line of the excerpt in README is one that was printed.
fn shows_what_the_readme_shows(said: &str) {
    let readme = include_str!("../../README.md");
    // Behind the command itself.
    let excerpt = readme.split("```").nth(3).unwrap();
    let printed: BTreeSet<String> = said.lines().map(to_the_minute).collect();
    let shown = || excerpt.lines().map(to_the_minute).filter(|line| !line.is_empty());
    assert!(shown().count() > 30, "{excerpt}");
    let missing: Vec<String> = shown().filter(|line| !printed.contains(line)).collect();
    assert!(missing.is_empty(), "README shows what the demo doesn't print: {missing:#?}");
}

/// A line without the seconds of its times: the demo's clock is set, and then goes on as fast as the machine is slow.
fn to_the_minute(line: &str) -> String {
    let is_time =
        |word: &str| word.len() == 8 && word.split(':').filter(|part| part.parse::<u8>().is_ok()).count() == 3;
    let words = line.trim_end().split(' ').map(|word| if is_time(word) { word.get(..5).unwrap_or(word) } else { word });
    words.collect::<Vec<_>>().join(" ")
}
