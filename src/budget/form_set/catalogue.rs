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

/// How many bytes of a text are looked at in one go.
const BLOCK: usize = 16;

/// Folds what people write in two ways: full-width forms to half-width, and no spaces. For comparison only.
///
/// Only what folds is written anew; a text without any is handed back as it stands.
pub(crate) fn fold_width(text: &str) -> Cow<'_, str> {
    if !may_fold_any(text.as_bytes()) {
        return Cow::Borrowed(text);
    }
    let (mut out, mut kept, mut at) = (String::new(), 0, 0);
    while let Some(begins) = text.as_bytes().get(at) {
        let next = at + length_of(*begins);
        if may_fold(*begins)
            && let Some(folded) = text.get(at..next).and_then(|c| c.chars().next()).and_then(fold)
        {
            out.reserve(text.len() - kept);
            out.push_str(text.get(kept..at).unwrap_or(""));
            out.extend(folded);
            kept = next;
        }
        at = next;
    }
    if kept == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(text.get(kept..).unwrap_or(""));
    Cow::Owned(out)
}

/// How many bytes a character has, by the first of them (RFC 3629).
#[inline]
fn length_of(begins: u8) -> usize {
    match begins {
        0..0xc0 => 1,
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0.. => 4,
    }
}

/// Whether a text, folded, is one that is folded already.
#[inline]
pub(crate) fn folds_to(text: &str, folded: &str) -> bool {
    // Folding leaves a text as it is or makes it shorter.
    if text.len() <= folded.len() { text == folded } else { folds_alike(text, folded) }
}

/// Whether two texts are one when they are folded.
pub(crate) fn folds_alike(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    let (a_next, b_next) = parting(a, b);
    let stays = |next: Option<u8>| next.is_none_or(|byte| !may_fold(byte));
    !(stays(a_next) && stays(b_next)) && fold_width(a) == fold_width(b)
}

/// Whether one of two texts begins the other when they are folded.
pub(crate) fn one_begins_other(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    let (Some(a_next), Some(b_next)) = parting(a, b) else { return true };
    (may_fold(a_next) || may_fold(b_next)) && {
        let (a, b) = (fold_width(a), fold_width(b));
        a.starts_with(b.as_ref()) || b.starts_with(a.as_ref())
    }
}

/// How the characters begin in which two texts first differ; most texts are told apart by them, and nothing is folded.
fn parting(a: &str, b: &str) -> (Option<u8>, Option<u8>) {
    let alike = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    // As far as they are alike, characters begin at the same places.
    let from = (0..=alike).rev().find(|at| a.is_char_boundary(*at)).unwrap_or(0);
    (a.as_bytes().get(from).copied(), b.as_bytes().get(from).copied())
}

/// What a character becomes, which may be nothing; `None` if it stays.
fn fold(c: char) -> Option<Option<char>> {
    match c {
        '\u{ff01}'..='\u{ff5e}' => Some(char::from_u32(c as u32 - 0xfee0)),
        '【' | '〔' => Some(Some('[')),
        '】' | '〕' => Some(Some(']')),
        other if other.is_whitespace() => Some(None),
        _ => None,
    }
}

/// Whether a character that folds may begin with any of these bytes.
///
/// Looks at every byte of a block rather than stopping at the first: that runs on many bytes at once.
fn may_fold_any(bytes: &[u8]) -> bool {
    let block = |block: &[u8; BLOCK]| block.iter().fold(false, |found, byte| found | may_fold(*byte));
    match bytes.last_chunk() {
        // The last block may begin within the one before.
        Some(last) => bytes.as_chunks().0.iter().any(block) || block(last),
        None => {
            let mut short = [0; BLOCK];
            short.get_mut(..bytes.len()).into_iter().for_each(|short| short.copy_from_slice(bytes));
            block(&short)
        }
    }
}

/// Whether a character that folds may begin with this byte: spaces, and in UTF-8 wide forms, brackets and wide spaces.
#[inline]
fn may_fold(byte: u8) -> bool {
    // Without a branch, or it is one byte after the other.
    let within = |from: u8, to: u8| byte.wrapping_sub(from) <= to - from;
    within(b'\t', b'\r') | (byte == b' ') | (byte == 0xc2) | within(0xe1, 0xe3) | (byte == 0xef)
}

#[cfg(test)]
mod tests {
    use super::{fold_width, folds_alike, folds_to, one_begins_other};

    #[test]
    fn texts_are_told_apart_as_if_they_were_folded() {
        let texts = [
            "",
            "a",
            " a",
            "a ",
            "a\u{3000}b",
            "ab",
            "ａｂ",
            "（a）",
            "(a)",
            "〔a",
            "[a",
            "、a",
            "\u{3000}、a",
            "其他",
            "其 他",
            "其它",
        ];
        for text in texts {
            for other in texts {
                let (a, b) = (fold_width(text), fold_width(other));
                assert_eq!(folds_alike(text, other), a == b, "{text:?} {other:?}");
                assert_eq!(folds_to(text, &b), a == b, "{text:?} {b:?}");
                let begins = a.starts_with(b.as_ref()) || b.starts_with(a.as_ref());
                assert_eq!(one_begins_other(text, other), begins, "{text:?} {other:?}");
            }
        }
    }

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
