//! A catalogue: the year's codes and names of one axis.

use std::borrow::Cow;
use std::collections::BTreeMap;

use compact_str::CompactString;

/// Codes and names of one axis in one year.
#[derive(Debug)]
pub struct Catalogue {
    /// The file that it came from.
    pub file: String,
    /// Whether every official code is in it. If not, an unknown code is a question and no error.
    pub complete: bool,
    /// Name by code.
    pub names: BTreeMap<CompactString, CompactString>,
}

impl Catalogue {
    /// The official name of a code.
    pub fn name(&self, code: &str) -> Option<&str> {
        self.names.get(code).map(CompactString::as_str)
    }
}

/// Folds what people write in two ways: full-width forms to half-width, and no spaces. For comparison only.
///
/// Only what folds is written anew; a text without any is handed back as it stands.
pub(crate) fn fold_width(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    // Looks at every byte rather than stopping at the first: that runs on many bytes at once.
    if !bytes.iter().fold(false, |found, byte| found | may_fold(*byte)) {
        return Cow::Borrowed(text);
    }
    let (mut out, mut at, mut kept) = (String::new(), 0, 0);
    while let Some(from) = bytes.iter().skip(at).position(|byte| may_fold(*byte)).map(|next| at + next) {
        let Some(c) = text.get(from..).and_then(|rest| rest.chars().next()) else { break };
        at = from + c.len_utf8();
        let folds = match c {
            '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0),
            '【' | '〔' => Some('['),
            '】' | '〕' => Some(']'),
            other if other.is_whitespace() => None,
            _ => continue,
        };
        out.reserve(text.len() - kept);
        out.push_str(text.get(kept..from).unwrap_or(""));
        out.extend(folds);
        kept = at;
    }
    if kept == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(text.get(kept..).unwrap_or(""));
    Cow::Owned(out)
}

/// Whether a character that folds may begin with this byte: spaces, and in UTF-8 wide forms, brackets and wide spaces.
fn may_fold(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ' | 0xc2 | 0xe1..=0xe3 | 0xef)
}

#[cfg(test)]
mod tests {
    use super::fold_width;

    #[test]
    fn widths_and_spaces_fold() {
        assert_eq!(fold_width("工作经费（采购） １"), fold_width("工作经费(采购)1"));
        assert_ne!(fold_width("工作经费"), fold_width("工作经费1"));
    }

    /// Character by character, each as it folds.
    fn plainly(text: &str) -> String {
        let fold = |c: char| match c {
            '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap(),
            '【' | '〔' => '[',
            '】' | '〕' => ']',
            other => other,
        };
        text.chars().filter(|c| !c.is_whitespace()).map(fold).collect()
    }

    #[test]
    fn every_character_folds_as_it_does_alone() {
        for c in (0..=0x10_ffff).filter_map(char::from_u32) {
            let text = format!("预{c}{c}a{c}");
            assert_eq!(fold_width(&text), plainly(&text), "{:x}", u32::from(c));
        }
    }
}
