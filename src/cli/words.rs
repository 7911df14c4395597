//! Words and figures for people: labels filled in, times, rounds, amounts with separators.
//!
//! All texts stand in the catalogue of `wording`; here they only get their figures.

use jiff::Timestamp;
use jiff::tz::Offset;

use crate::budget::money::{Denomination, Money, Scale};
use crate::ledger::actor::Actor;
use crate::proto::api;
use crate::wording::{Language, label, system_words};

/// The label of that key with `{name}`s filled in.
pub(super) fn say(language: Language, key: &str, facts: &[(&str, &str)]) -> String {
    let mut rest = label(key, language);
    let mut out = String::with_capacity(rest.len() + 16);
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let Some((name, tail)) = after.split_once('}') else { break };
        let fact = facts.iter().find(|(known, _)| *known == name).map_or("", |(_, fact)| fact);
        match name {
            "error" | "why" => out.push_str(&system_words(fact, language)),
            _ => out.push_str(fact),
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

/// A time as on a clock in China, `2024-01-17 17:15:04`.
///
/// China has been at +08:00 without summer time since 1992, so no time zone database is needed.
pub(super) fn time(ms: i64) -> String {
    let Ok(offset) = Offset::from_hours(8) else { return String::new() };
    match Timestamp::from_millisecond(ms) {
        Ok(at) => offset.to_datetime(at).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => ms.to_string(),
    }
}

/// Reads `120` or `@120`, a position; `2024-01-31T12:00`, a time in China; `2024-01-31`, that day; or a time with its
/// offset, `2024-01-31T04:00:00Z`. A day, minute or second is meant to its end: what a screen shows as of 12:00:05 is in it.
pub(super) fn parse_moment(text: &str) -> Result<api::AsOf, String> {
    moment(text, |text| {
        let whole = match text.len() {
            _ if text.contains('.') => 1,
            MINUTE_LENGTH => 60_000,
            _ => 1_000,
        };
        read_time(text).map(|ms| if is_day(text) { ms } else { ms - ms.rem_euclid(whole) + whole - 1 })
    })
}

/// The same from its beginning: what happened since then.
pub(super) fn parse_since(text: &str) -> Result<api::AsOf, String> {
    const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
    moment(text, |text| read_time(text).map(|ms| if is_day(text) { ms + 1 - DAY_MS } else { ms }))
}

/// How long `2024-01-31T12:00` is.
const MINUTE_LENGTH: usize = 16;

fn is_day(text: &str) -> bool {
    text.len() == "2024-01-31".len()
}

fn moment(text: &str, read_time: impl FnOnce(&str) -> Option<i64>) -> Result<api::AsOf, String> {
    let position = text.strip_prefix('@').unwrap_or(text);
    let moment = if position.bytes().all(|b| b.is_ascii_digit()) && !position.is_empty() {
        position.parse().ok().map(api::as_of::Moment::Position)
    } else {
        read_time(text).map(api::as_of::Moment::TimeMs)
    };
    let moment = moment.ok_or_else(|| "120, 2024-01-31, 2024-01-31T12:00".to_owned())?;
    Ok(api::AsOf { moment: Some(moment) })
}

/// A time in China or with its offset, in milliseconds of Unix time; of a date, its last one.
pub(super) fn read_time(text: &str) -> Option<i64> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at.as_millisecond());
    }
    let offset = Offset::from_hours(8).ok()?;
    // A date reads the front of a longer text too, and would take the time off it.
    if is_day(text)
        && let Ok(day) = text.parse::<jiff::civil::Date>()
    {
        let next = offset.to_timestamp(day.tomorrow().ok()?.at(0, 0, 0, 0)).ok()?;
        return Some(next.as_millisecond() - 1);
    }
    Some(offset.to_timestamp(text.parse::<jiff::civil::DateTime>().ok()?).ok()?.as_millisecond())
}

/// The position that an answer shows, with its time if it is the past that was asked for.
pub(super) fn as_of(position: u64, time_ms: i64, past: bool, language: Language) -> String {
    let (position, time) = (position.to_string(), time(time_ms));
    say(language, if past { "as-of-past" } else { "as-of" }, &[("n", &position), ("time", &time)])
}

/// The same for programs, RFC 3339 with milliseconds, in UTC.
pub(super) fn time_for_programs(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |at| format!("{at:.3}"))
}

/// Decimal text with thousands separators.
pub(super) fn grouped(text: &str) -> String {
    let (sign, body) = text.strip_prefix('-').map_or(("", text), |body| ("-", body));
    let (whole, fraction) = body.split_once('.').map_or((body, None), |(whole, fraction)| (whole, Some(fraction)));
    if whole.is_empty() || !whole.bytes().all(|b| b.is_ascii_digit()) {
        return text.to_owned();
    }
    let mut out = sign.to_owned();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    if let Some(fraction) = fraction {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// The scale of a column type such as `万元.2` or `元.~`; none if it holds no amounts.
pub(super) fn scale_of(column_type: &str) -> Option<Scale> {
    let (denomination, decimals) = column_type.split_once('.').unwrap_or((column_type, "2"));
    let denomination = Denomination::parse(denomination)?;
    let decimals = if decimals == "~" { 2 } else { decimals.parse().ok()? };
    Some(Scale { denomination, decimals })
}

/// Exact 元 of the wire, `-12.50`. A sum can be larger than a cell, so a cell's limit doesn't apply.
pub(super) fn money(exact: &str) -> Option<Money> {
    let (whole, fraction) = exact.split_once('.')?;
    let two = fraction.len() == 2 && !whole.is_empty();
    two.then(|| format!("{whole}{fraction}").parse().ok().map(Money::from_fen)).flatten()
}

/// How a printed value and its exact 元 belong together: the scale that it was written at.
pub(super) fn written_scale(value: &str, exact: &str, expected: Option<Scale>) -> Option<Scale> {
    let exact = money(exact)?;
    let decimals = u8::try_from(value.split_once('.').map_or(0, |(_, fraction)| fraction.len())).ok()?;
    let first = expected.map_or(Denomination::Wan, |scale| scale.denomination);
    let other = if first == Denomination::Wan { Denomination::Yuan } else { Denomination::Wan };
    [first, other]
        .into_iter()
        .filter(|denomination| decimals <= denomination.decimals_max())
        .map(|denomination| Scale { denomination, decimals })
        .find(|scale| exact.print(*scale) == value)
}

/// 一上, 二上.
pub(super) fn round_name(round: i32, language: Language) -> &'static str {
    match api::Round::try_from(round) {
        Ok(api::Round::First) => label("round-first", language),
        Ok(api::Round::Second | api::Round::Unspecified) | Err(_) => label("round-second", language),
    }
}

/// The stable name of a round.
pub(super) fn round_code(round: i32) -> &'static str {
    match api::Round::try_from(round) {
        Ok(api::Round::First) => "first",
        Ok(api::Round::Second | api::Round::Unspecified) | Err(_) => "second",
    }
}

/// 单位预算, 部门预算, 差额表.
pub(super) fn kind_name(kind: i32, language: Language) -> &'static str {
    match kind_code(kind) {
        "department" => label("kind-department", language),
        "difference" => label("kind-difference", language),
        _ => label("kind-unit", language),
    }
}

/// The stable name of a kind.
pub(super) fn kind_code(kind: i32) -> &'static str {
    match api::Kind::try_from(kind) {
        Ok(api::Kind::Department) => "department",
        Ok(api::Kind::Difference) => "difference",
        Ok(api::Kind::Unit | api::Kind::Unspecified) | Err(_) => "unit",
    }
}

/// The first twelve digits of a digest.
pub(super) fn short_digest(bytes: &[u8]) -> String {
    let mut text = hex(bytes);
    text.truncate(12);
    text
}

/// Bytes as hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `407004/unit`, as `--as` is said.
pub(super) fn who(actor: &str) -> String {
    Actor::parse(actor).map_or_else(|| actor.to_owned(), |actor| format!("{}/{}", actor.node, actor.role.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_grouped_in_thousands() {
        for (text, shown) in [
            ("0", "0"),
            ("1234.5", "1,234.5"),
            ("-1234567.00", "-1,234,567.00"),
            ("999", "999"),
            ("", ""),
            ("x1", "x1"),
        ] {
            assert_eq!(grouped(text), shown);
        }
    }

    #[test]
    fn labels_take_their_facts() {
        assert_eq!(say(Language::Chinese, "fact-version", &[("n", "2")]), "第 2 版");
        assert_eq!(time(1_705_482_904_000), "2024-01-17 17:15:04");
        assert_eq!(time_for_programs(1_705_482_904_000), "2024-01-17T09:15:04.000Z");
    }

    #[test]
    fn moments_are_positions_or_times_in_china() {
        let read = |text: &str| parse_moment(text).map(|as_of| as_of.moment.unwrap());
        use api::as_of::Moment::{Position, TimeMs};
        for (text, moment) in [
            ("120", Position(120)),
            ("@120", Position(120)),
            // To the end of what is written: a screen shows no milliseconds.
            ("2024-01-17T17:15:04", TimeMs(1_705_482_904_999)),
            ("2024-01-17 17:15:04", TimeMs(1_705_482_904_999)),
            ("2024-01-17T17:15", TimeMs(1_705_482_959_999)),
            ("2024-01-17T09:15:04Z", TimeMs(1_705_482_904_999)),
            ("2024-01-17T09:15:04.250Z", TimeMs(1_705_482_904_250)),
            ("2024-01-17", TimeMs(1_705_507_199_999)),
        ] {
            assert_eq!(read(text), Ok(moment), "{text}");
        }
        for (text, moment) in [
            ("120", Position(120)),
            ("2024-01-17T17:15:04", TimeMs(1_705_482_904_000)),
            ("2024-01-17", TimeMs(1_705_507_200_000 - 24 * 60 * 60 * 1_000)),
        ] {
            assert_eq!(parse_since(text).map(|as_of| as_of.moment.unwrap()), Ok(moment), "since {text}");
        }
        for text in ["", "@", "yesterday", "2024-13-01", "2024-01-32T00:00", "-3", "99999999999999999999999"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sums_beyond_a_cell_are_read() {
        assert_eq!(money("427503300.00").unwrap().to_string(), "427503300.00");
        assert_eq!(money("12345678901234.56").unwrap().to_string(), "12345678901234.56");
        assert_eq!(money("-12000000000001.50").unwrap().to_string(), "-12000000000001.50");
        assert_eq!(money("x"), None);
    }

    #[test]
    fn a_value_tells_the_scale_it_was_written_at() {
        let wan = scale_of("万元.2");
        assert_eq!(written_scale("0.41", "4060.00", wan), wan);
        assert_eq!(written_scale("4060.00", "4060.00", wan).unwrap().to_string(), "元.2");
        assert_eq!(scale_of("count"), None);
    }
}
