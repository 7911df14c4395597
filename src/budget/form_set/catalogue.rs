//! A catalogue: the year's codes and names of one axis.

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
pub(crate) fn fold_width(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| match c {
            '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
            '【' | '〔' => '[',
            '】' | '〕' => ']',
            other => other,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::fold_width;

    #[test]
    fn widths_and_spaces_fold() {
        assert_eq!(fold_width("工作经费（采购） １"), fold_width("工作经费(采购)1"));
        assert_ne!(fold_width("工作经费"), fold_width("工作经费1"));
    }
}
