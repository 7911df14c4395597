//! The text of a cell: a short one lies in the cell itself, the long ones of a filing lie together.
//!
//! A filing has some six hundred long texts. A place for each on the heap is dear to get, dear to give back, and somewhere
//! else for everybody who goes through them. Whoever reads a filing keeps them in one [`CellTexts`] instead.
//! Knows nothing of cells, which are in `cell.rs`.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use compact_str::CompactString;

/// The longest text, in bytes, that has room in a cell.
const SHORT: usize = size_of::<CompactString>();

/// The text of a cell. Compares, prints and dereferences as the text that it is.
#[derive(Clone)]
pub struct CellText(Place);

#[derive(Clone)]
enum Place {
    /// In the cell if it is short, else on its own.
    Own(CompactString),
    /// Among others.
    Together { texts: Arc<OnceLock<String>>, from: u32, length: u32 },
}

impl Deref for CellText {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            Place::Own(text) => text,
            Place::Together { texts, from, length } => {
                let (from, length) = (*from as usize, *length as usize);
                texts.get().and_then(|texts| texts.get(from..from + length)).unwrap_or("")
            }
        }
    }
}

impl CellText {
    /// The same text, apart from the others of its filing, which it would keep in memory.
    pub fn apart(&self) -> CellText {
        (**self).into()
    }
}

impl<T: Into<CompactString>> From<T> for CellText {
    fn from(text: T) -> CellText {
        CellText(Place::Own(text.into()))
    }
}

impl PartialEq for CellText {
    fn eq(&self, other: &CellText) -> bool {
        **self == **other
    }
}

impl Eq for CellText {}

impl fmt::Debug for CellText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Takes in the texts of a filing. The long ones can be read once this is dropped; until then they are empty.
#[derive(Debug, Default)]
pub struct CellTexts {
    texts: Arc<OnceLock<String>>,
    written: String,
}

/// What the long texts of most filings have room in, in bytes.
const USUAL: usize = 64 * 1024;

impl CellTexts {
    /// Takes in a text.
    pub fn keep(&mut self, text: &str) -> CellText {
        let place = (u32::try_from(self.written.len()), u32::try_from(text.len()));
        let (Ok(from), Ok(length), true) = (place.0, place.1, text.len() > SHORT) else { return text.into() };
        if self.written.is_empty() {
            self.written.reserve(USUAL);
        }
        self.written.push_str(text);
        CellText(Place::Together { texts: self.texts.clone(), from, length })
    }
}

impl Drop for CellTexts {
    fn drop(&mut self) {
        let mut written = std::mem::take(&mut self.written);
        // A small filing doesn't keep the room of a usual one.
        written.shrink_to_fit();
        // Nobody else sets it.
        let _ = self.texts.set(written);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn law_texts_are_kept_as_they_are(said in prop::collection::vec("[a社¥]{0,40}", 0..30)) {
            let mut texts = CellTexts::default();
            let kept: Vec<CellText> = said.iter().map(|text| texts.keep(text)).collect();
            drop(texts);
            for (text, kept) in said.iter().zip(&kept) {
                prop_assert_eq!(&**kept, text);
                prop_assert_eq!(kept, &CellText::from(text.as_str()));
                prop_assert_eq!(format!("{kept:?}"), format!("{text:?}"));
                let own = matches!(kept.0, Place::Own(_));
                prop_assert_eq!(own, text.len() <= SHORT, "only long ones lie together");
                prop_assert_eq!(&kept.apart(), kept);
                prop_assert!(matches!(kept.apart().0, Place::Own(_)));
            }
        }
    }
}
