//! `demo` as the real binary: it ends with 0 only if each command of each scene ended as its script says.

use std::process::Command;

#[test]
fn the_demo_plays_the_year_in_both_languages() {
    for language in ["zh", "en"] {
        let played =
            Command::new(env!("CARGO_BIN_EXE_consolidator")).args(["demo", "--lang", language]).output().unwrap();
        let said = String::from_utf8(played.stdout).unwrap();
        assert!(played.status.success(), "{said}\n{}", String::from_utf8_lossy(&played.stderr));
        assert_eq!(said.matches("\n━━ ").count(), 22, "{said}");
    }
}
