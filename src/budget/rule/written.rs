//! Reads amounts, head counts and sums that stand in a text, as people write them: `477.11万元`, `≥58人`,
//! `70元/人年`, `58人×70元×12月`.
//!
//! What it can't read it doesn't guess: it says that something stands there. 元 is exact, 万元 means two decimals.

use std::borrow::Cow;

use super::interval::Interval;
use super::syntax::Unit;
use crate::budget::form_set::fold_width;
use crate::budget::money::{Amount, Decimals, Denomination};

/// How deep the brackets of a written sum may nest.
const DEPTH_MAX: usize = 8;

/// What a whole text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// A figure of that unit.
    Figure(Unit, Interval),
    /// It is meant as one of that unit, and can't be read: `10~20万元`, `三千元`.
    Unclear(Unit),
    /// Words.
    Words,
}

impl Reading {
    /// The figure, if it is one of that unit.
    pub(super) fn figure(self, unit: Unit) -> Option<Interval> {
        match self {
            Reading::Figure(of, figure) if of == unit => Some(figure),
            _ => None,
        }
    }

    /// Whether it is one of that unit, if that can be said.
    pub(super) fn is_unit(self, unit: Unit) -> Option<bool> {
        (self != Reading::Unclear(unit)).then(|| self.figure(unit).is_some())
    }
}

/// Reads a whole text.
pub(super) fn read(text: &str) -> Reading {
    let text = text.trim_start_matches(['≥', '≤', '<', '>', '=', '约', '＜', '＞', '＝']);
    let text = text.strip_suffix('整').filter(|text| text.ends_with('元')).unwrap_or(text);
    let figure = number(text).and_then(|(number, rest)| figure(number, rest));
    match figure {
        Some((unit, figure)) => Reading::Figure(unit, figure),
        None => unclear_figure(text).map_or(Reading::Words, Reading::Unclear),
    }
}

fn figure(number: &str, rest: &str) -> Option<(Unit, Interval)> {
    if let Some((amount, behind)) = amount(number, rest) {
        return match behind.strip_prefix("/人") {
            None => behind.is_empty().then_some((Unit::Yuan, amount)),
            Some(per) => is_period(per).then_some((Unit::YuanPerHead, amount)),
        };
    }
    let (of, rest) = multiple(rest);
    let heads = (rest == "人").then(|| decimal(number)?.times(&Interval::exact(of, 1)).ok())?;
    Some((Unit::Heads, heads?))
}

fn is_period(per: &str) -> bool {
    matches!(per, "" | "年" | "/年" | "月" | "/月" | "·年" | "·月")
}

/// The unit of a text that has nothing in it but numerals and what makes them vague, in front of a unit.
fn unclear_figure(text: &str) -> Option<Unit> {
    let per_head =
        || text.rsplit_once("元/人").filter(|(_, per)| is_period(per)).map(|(body, _)| (body, Unit::YuanPerHead));
    let yuan = || text.strip_suffix('元').map(|body| (body, Unit::Yuan));
    let (body, unit) = per_head().or_else(yuan).or_else(|| text.strip_suffix('人').map(|body| (body, Unit::Heads)))?;
    let vague = |c: char| RANGE.contains(&c) || VAGUE.contains(&c);
    let plain = |c: char| c.is_ascii_digit() || is_numeral(c) || vague(c) || matches!(c, '.' | ',');
    let says_how_many = |c: char| c.is_ascii_digit() || is_digit_in_words(c) || c == '十';
    (body.chars().all(plain) && body.starts_with(says_how_many)).then_some(unit)
}

const MULTIPLES: [(char, i128); 5] = [('十', 10), ('百', 100), ('千', 1_000), ('万', 10_000), ('亿', 100_000_000)];

/// A digit in words. Numerals in words are seen, and not read.
fn is_digit_in_words(c: char) -> bool {
    matches!(c, '一' | '二' | '三' | '四' | '五' | '六' | '七' | '八' | '九' | '两')
        || matches!(c, '壹' | '贰' | '叁' | '肆' | '伍' | '陆' | '柒' | '捌' | '玖')
}

fn is_nought(c: char) -> bool {
    matches!(c, '零' | '〇')
}

fn is_numeral(c: char) -> bool {
    is_digit_in_words(c) || is_multiple(c) || is_nought(c)
}

fn is_multiple(c: char) -> bool {
    matches!(c, '拾' | '佰' | '仟') || MULTIPLES.iter().any(|(multiple, _)| *multiple == c)
}

/// The multiple that a text begins with, three words of it at most: 百万 is a million. 千 in front of a measure is a part of it.
fn multiple(text: &str) -> (i128, &str) {
    let (mut of, mut rest) = (1, text);
    for _ in 0..3 {
        let Some(next) = rest.chars().next() else { break };
        let Some((_, by)) = MULTIPLES.iter().find(|(multiple, _)| *multiple == next) else { break };
        let behind = &rest[next.len_utf8()..];
        if next == '千' && behind.starts_with(['克', '米', '瓦', '伏', '安', '卡', '升', '帕', '赫']) {
            break;
        }
        (of, rest) = (of * by, behind);
    }
    (of, rest)
}

/// Whether a text, folded or not, ends as a figure of that unit does: most others are told by that, and not read.
pub(super) fn may_be(text: &str, unit: Unit) -> bool {
    let Some(last) = text.chars().next_back() else { return false };
    let is_of_unit = match unit {
        Unit::Yuan => last == '元',
        Unit::Heads => last == '人',
        Unit::YuanPerHead => matches!(last, '人' | '年' | '月'),
        Unit::Time => true,
    };
    // A blank at the end folds to nothing; what else folds ends no figure.
    is_of_unit || last.is_whitespace()
}

/// 14 digits that are a real date and time.
pub(super) fn is_time(text: &str) -> bool {
    if text.len() != 14 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return false;
    }
    let part =
        |from: usize, to: usize| text.get(from..to).and_then(|digits| digits.parse::<u32>().ok()).unwrap_or(u32::MAX);
    let (year, month, day) = (part(0, 4), part(4, 6), part(6, 8));
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap),
        1..=12 => 31,
        _ => 0,
    };
    (1..=days).contains(&day) && part(8, 10) < 24 && part(10, 12) < 60 && part(12, 14) < 60
}

/// All amounts of money that a text mentions; not rates such as `70元/人`, nor what may be part of a figure.
pub(super) fn mentioned(text: &str) -> Vec<Interval> {
    let mut amounts = Vec::new();
    for stretch in stretches(text) {
        let plain = numbers(&stretch).filter(|number| !number.goes_on());
        amounts.extend(plain.filter_map(|number| Some(number.money()?.0)));
    }
    amounts
}

/// Whether a text mentions an amount of money that can't be read: `12余万元`, `三千元`, `10~20万元`.
pub(super) fn mentions_unclear(text: &str) -> bool {
    stretches(text).any(|stretch| {
        let in_words = |(at, _)| is_unclear_in_words(&stretch, at);
        numbers(&stretch).any(|number| number.is_unclear()) || stretch.match_indices('元').any(in_words)
    })
}

/// The stretches of a text, folded: no figure goes on behind the end of a line or a full-width comma, and where only a blank
/// is between digits nobody knows whether one does.
fn stretches(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    text.split(['\n', '\r', '，']).map(|stretch| {
        if !stretch.contains(char::is_whitespace) {
            return fold_width(stretch);
        }
        let parts: Vec<&str> = stretch.split_whitespace().collect();
        let parted = |pair: &[&str]| {
            pair[0].ends_with(|c: char| c.is_ascii_digit()) && pair[1].starts_with(|c: char| c.is_ascii_digit())
        };
        if parts.windows(2).any(parted) {
            Cow::Owned(fold_width(&parts.join("~")).into_owned())
        } else {
            fold_width(stretch)
        }
    })
}

/// A number in a text.
struct Found<'t> {
    before: &'t str,
    digits: &'t str,
    after: &'t str,
}

impl<'t> Found<'t> {
    /// The amount of money that it is, and what follows it. 元 begins other words too.
    fn money(&self) -> Option<(Interval, &'t str)> {
        amount(self.digits, self.after).filter(|(_, behind)| !behind.starts_with(NO_MONEY))
    }

    /// Whether it ends what began before it: a range (`10~20万元`), or a number of several parts (`1万5千元`).
    fn goes_on(&self) -> bool {
        match self.before.strip_suffix(RANGE) {
            Some(begun) => begun.ends_with(|c: char| c.is_ascii_digit() || is_multiple(c)),
            None => self.before.ends_with(|c: char| is_multiple(c) || is_nought(c) || matches!(c, '.' | '·')),
        }
    }

    /// Whether it is meant as an amount of money, and nobody knows which.
    fn is_unclear(&self) -> bool {
        if self.goes_on() {
            return self.money().is_some();
        }
        let behind = multiple(self.after.trim_start_matches(VAGUE)).1.trim_start_matches(VAGUE);
        amount(self.digits, self.after).is_none()
            && behind.strip_prefix('元').is_some_and(|behind| !behind.starts_with(NO_MONEY))
    }
}

/// What makes a number vague, what is between the ends of a range, and what follows 元 where that is no money, or a rate.
const VAGUE: [char; 4] = ['余', '多', '几', '来'];
const RANGE: [char; 6] = ['~', '-', '—', '–', '至', '到'];
const NO_MONEY: [char; 8] = ['/', '旦', '宵', '素', '件', '器', '老', '首'];

/// Whether the 元 at a place of a text stands behind a numeral in words. Rates and limits are none that a text states, and
/// an amount in figures may be said once more behind it in brackets.
fn is_unclear_in_words(text: &str, at: usize) -> bool {
    let (before, behind) = text.split_at(at);
    let behind = behind.strip_prefix('元').unwrap_or(behind);
    let words = before.trim_end_matches(|c| is_numeral(c) || VAGUE.contains(&c));
    let numeral = &before[words.len()..];
    let is_number = numeral.starts_with('十') || numeral.contains(is_multiple) && numeral.contains(is_digit_in_words);
    let is_rate = ["每人", "每户", "每年", "每月", "每次", "人均"].iter().any(|rate| words.ends_with(rate));
    let is_limit = ["以上", "以下"].iter().any(|limit| behind.starts_with(limit));
    let is_said_again = words.ends_with("元(");
    let follows_digits = words.ends_with(|c: char| c.is_ascii_digit());
    is_number && !(is_rate || is_limit || is_said_again || follows_digits || behind.starts_with(NO_MONEY))
}

/// Each number of a text.
fn numbers(text: &str) -> impl Iterator<Item = Found<'_>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = from + first_digit(text.get(from..)?)?;
        let (digits, after) = number(text.get(at..)?)?;
        from = at + digits.len();
        Some(Found { before: text.get(..at)?, digits, after })
    })
}

fn first_digit(text: &str) -> Option<usize> {
    // Digits are part of no other character.
    let (blocks, _) = text.as_bytes().as_chunks::<16>();
    let has_digit = |block: &[u8; 16]| block.iter().fold(false, |found, byte| found | byte.is_ascii_digit());
    let from = blocks.iter().take_while(|block| !has_digit(block)).count() * 16;
    let rest = text.as_bytes().get(from..)?;
    rest.iter().position(u8::is_ascii_digit).map(|at| from + at)
}

/// Digits with a point, and what follows. Thousands separators are passed over, with three digits behind each.
fn number(text: &str) -> Option<(&str, &str)> {
    let mut end = 0;
    let bytes = text.as_bytes();
    while let Some(byte) = bytes.get(end) {
        let is_digit = |ahead: usize| bytes.get(end + ahead).is_some_and(u8::is_ascii_digit);
        let inner = match byte {
            b'.' => end > 0 && is_digit(1),
            b',' => end > 0 && (1..=3).all(is_digit) && !is_digit(4),
            _ => false,
        };
        if !byte.is_ascii_digit() && !inner {
            break;
        }
        end += 1;
    }
    if end == 0 { None } else { Some(text.split_at(end)) }
}

/// An amount of money: 元 and its plain multiples are exact, 万元 means two decimals.
fn amount<'t>(number: &str, rest: &'t str) -> Option<(Interval, &'t str)> {
    let (of, behind) = multiple(rest);
    let behind = behind.strip_prefix('元')?;
    if !matches!(of, 1 | 10_000) {
        let yuan = decimal(number)?;
        return Some((yuan.times(&Interval::exact(of.checked_mul(100)?, 1)).ok()?, behind));
    }
    let digits = without_separators(number);
    let digits = digits.trim_start_matches('0');
    let digits = match digits.is_empty() || digits.starts_with('.') {
        true => Cow::Owned(format!("0{digits}")),
        false => Cow::Borrowed(digits),
    };
    if of == 10_000 {
        let read = |decimals| Amount::parse(&digits, Denomination::Wan, decimals);
        let amount = read(Decimals::Fixed(2)).or_else(|_| read(Decimals::AsWritten)).ok()?;
        return Some((Interval::of_amount(amount), behind));
    }
    let amount = Amount::parse(&digits, Denomination::Yuan, Decimals::AsWritten).ok()?;
    Some((Interval::exact(amount.value.fen(), 1), behind))
}

/// Most numbers have none, and stay as they stand.
fn without_separators(number: &str) -> Cow<'_, str> {
    if number.contains(',') { Cow::Owned(number.replace(',', "")) } else { Cow::Borrowed(number) }
}

fn decimal(number: &str) -> Option<Interval> {
    let digits = without_separators(number);
    let decimals = decimals(&digits);
    if digits.len() > 18 || decimals > 10 {
        return None;
    }
    let whole: i128 = digits.replace('.', "").parse().ok()?;
    Some(Interval::exact(whole, 10_i128.pow(decimals)))
}

/// How many decimals a number is written with. There are never as many as an exponent can say.
fn decimals(number: &str) -> u32 {
    let fraction = number.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    u32::try_from(fraction).unwrap_or(u32::MAX)
}

/// Why a written sum comes to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsummed {
    /// It can't be read.
    Unreadable,
    /// It comes to something else than the result that stands behind it.
    Otherwise,
}

/// A written sum in 元, worked out: `(145人+133人)×100元-19900元`. Words behind a number say what it counts. Where a result
/// stands behind it (`58人×70元=4060元`), that has to be the result.
pub(super) fn sum(text: &str) -> Result<Interval, Unsummed> {
    let mut parts = text.trim_end_matches(['。', ';', '.']).split('=');
    let value = parts.next().and_then(worked_out).ok_or(Unsummed::Unreadable)?;
    for stated in parts.filter(|part| !part.is_empty()) {
        match is_result(stated, &value) {
            Some(true) => {}
            Some(false) => return Err(Unsummed::Otherwise),
            None => return Err(Unsummed::Unreadable),
        }
    }
    value.times(&Interval::exact(100, 1)).map_err(|_| Unsummed::Unreadable)
}

fn worked_out(text: &str) -> Option<Interval> {
    let mut reader = SumReader { rest: text, depth: 0 };
    let value = reader.sum()?;
    reader.rest.is_empty().then_some(value)
}

/// Whether what is stated is a value, rounded to the last digit that is written.
fn is_result(stated: &str, value: &Interval) -> Option<bool> {
    let (found, over) = worked_out(stated)?.nominal();
    let (value, by) = value.nominal();
    let single = number(stated).filter(|(_, rest)| !rest.contains(['+', '-', '−', '×', '*', '·', 'x', 'X', '÷']));
    let (unit, parts) = match single {
        Some((digits, rest)) => (multiple(rest).0, 10_i128.checked_pow(decimals(digits))?),
        None => (0, 1),
    };
    let apart = found.checked_mul(by)?.checked_sub(value.checked_mul(over)?)?.checked_abs()?;
    Some(apart.checked_mul(2)?.checked_mul(parts)? <= unit.checked_mul(over)?.checked_mul(by)?)
}

struct SumReader<'t> {
    rest: &'t str,
    depth: usize,
}

impl SumReader<'_> {
    fn take(&mut self, signs: &[char]) -> bool {
        match self.rest.strip_prefix(signs) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn sum(&mut self) -> Option<Interval> {
        let mut value = self.product()?;
        loop {
            if self.take(&['+']) {
                value = value.plus(&self.product()?).ok()?;
            } else if self.take(&['-', '−']) {
                value = value.minus(&self.product()?).ok()?;
            } else {
                return Some(value);
            }
        }
    }

    fn product(&mut self) -> Option<Interval> {
        let mut value = self.factor()?;
        loop {
            if self.take(&['×', '*', '·', 'x', 'X']) {
                value = value.times(&self.factor()?).ok()?;
            } else if self.take(&['÷']) {
                value = value.divided_by(&self.factor()?).ok()?;
            } else {
                return Some(value);
            }
        }
    }

    fn factor(&mut self) -> Option<Interval> {
        let mut value = if self.take(&['(']) {
            if self.depth >= DEPTH_MAX {
                return None;
            }
            self.depth += 1;
            let value = self.sum()?;
            self.depth -= 1;
            if !self.take(&[')']) {
                return None;
            }
            value
        } else {
            let (digits, rest) = number(self.rest)?;
            self.rest = rest;
            decimal(digits)?
        };
        if self.take(&['%']) {
            value = value.times(&Interval::exact(1, 100)).ok()?;
        }
        let (of, rest) = multiple(self.rest);
        if of > 1 {
            value = value.times(&Interval::exact(of, 1)).ok()?;
            self.rest = rest;
        }
        // 58余人 are not 58.
        if self.rest.starts_with(VAGUE) {
            return None;
        }
        // What is counted: letters, and `/人年` behind a rate.
        let unit = |c: char| c == '/' || c.is_alphabetic() && !matches!(c, 'x' | 'X');
        let end = self.rest.find(|c| !unit(c)).unwrap_or(self.rest.len());
        self.rest = &self.rest[end..];
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fen(interval: Option<Interval>) -> Option<(i128, i128)> {
        interval.map(|interval| interval.nominal()).map(|(value, over)| (value / over, value % over))
    }

    #[test]
    fn figures_in_texts_are_read_as_people_write_them() {
        for (text, unit, expected) in [
            ("477.11万元", Unit::Yuan, Some(477_110_000)),
            ("<1068万元", Unit::Yuan, Some(1_068_000_000)),
            ("50040元", Unit::Yuan, Some(5_004_000)),
            ("1,050.5元", Unit::Yuan, Some(105_050)),
            ("4060元整", Unit::Yuan, Some(406_000)),
            ("1,2,3元", Unit::Yuan, None),
            ("70元/人年", Unit::Yuan, None),
            ("20%", Unit::Yuan, None),
            ("及时", Unit::Yuan, None),
            ("79.5元/人/年", Unit::YuanPerHead, Some(7_950)),
            ("1980元/人", Unit::YuanPerHead, Some(198_000)),
            ("100元", Unit::YuanPerHead, None),
            ("≥58人", Unit::Heads, Some(58)),
            ("≥23.5万人", Unit::Heads, Some(235_000)),
            ("58个", Unit::Heads, None),
            ("0.12亿元", Unit::Yuan, Some(1_200_000_000)),
            ("1.23456789亿元", Unit::Yuan, Some(12_345_678_900)),
            ("8千元", Unit::Yuan, Some(800_000)),
            ("2.5百万元", Unit::Yuan, Some(250_000_000)),
            ("0.2万元/人·年", Unit::YuanPerHead, Some(200_000)),
            ("3千人", Unit::Heads, Some(3_000)),
        ] {
            assert_eq!(fen(read(text).figure(unit)), expected.map(|value| (value, 0)), "{text}");
        }
        assert_eq!(mentioned("每人每年70元，需4060元；另有1.5万元、36元/人。").len(), 3);
    }

    #[test]
    fn what_is_meant_as_a_figure_and_is_none_is_told_from_words() {
        for (text, unit, is) in [
            ("10~20万元", Unit::Yuan, None),
            ("三千元", Unit::Yuan, None),
            ("12余万元", Unit::Yuan, None),
            ("10~20万元", Unit::Heads, Some(false)),
            ("58-60人", Unit::Heads, None),
            ("约70多元/人", Unit::YuanPerHead, None),
            ("4060元", Unit::Yuan, Some(true)),
            ("每人70元", Unit::Yuan, Some(false)),
            ("2024年招聘5人", Unit::Heads, Some(false)),
            ("万元", Unit::Yuan, Some(false)),
            ("元", Unit::Yuan, Some(false)),
            ("专人", Unit::Heads, Some(false)),
        ] {
            assert_eq!(read(text).is_unit(unit), is, "{text}");
        }
        for (text, amounts, unclear) in [
            ("需资金0.12亿元。", 1, false),
            ("需资金12余万元。", 0, true),
            ("需资金三十万元。", 0, true),
            ("需资金十元", 0, true),
            ("需资金1.2.3元", 0, true),
            ("单位：万元；多元化，一元论，公元2024年，100美元，70元/人", 0, false),
            ("单位:万元,300件", 0, false),
            ("约3千余元/人", 0, false),
            // The end of a range, or of a number of several parts.
            ("需0.2~0.41万元", 0, true),
            ("需5000-4060元", 0, true),
            ("需10至20万元", 0, true),
            ("需1万5千元", 0, true),
            ("需4千零60元", 0, true),
            ("需.5元", 0, true),
            ("1、2000元用于甲；2、2060元用于乙", 2, false),
            // 元 begins other words.
            ("2024元旦前代缴", 0, false),
            ("100元件", 0, false),
            // Where one figure ends and another begins.
            ("核定人数58\n4060元由县级承担", 1, false),
            ("人数58，4060元", 1, false),
            ("人数58,4060元", 1, false),
            ("人数58 4060元", 0, true),
            ("共1,050元", 1, false),
            // In words, and vague.
            ("需四千余元", 0, true),
            ("需十余万元", 0, true),
            ("需一百多元", 0, true),
            ("需几万元", 0, false),
            ("需4070元（肆仟零柒拾元整）", 1, false),
            ("单笔五万元以上集体决策", 0, false),
            ("每人每年七十元", 0, false),
        ] {
            assert_eq!((mentioned(text).len(), mentions_unclear(text)), (amounts, unclear), "{text}");
        }
    }

    #[test]
    fn written_sums_are_worked_out() {
        for (text, yuan) in [
            ("58人×70元", Some(4_060)),
            ("(145人+133人)×100元", Some(27_800)),
            ("243个×700元+47个×1200元", Some(226_500)),
            ("6人×1980元×12月", Some(142_560)),
            ("3490人×100元×70%", Some(244_300)),
            ("42005人×23元×12月÷2", Some(5_796_690)),
            ("2万元-100元", Some(19_900)),
            ("58人×", None),
            ("约58人", None),
            ("1÷0", None),
            ("((((((((((1))))))))))", None),
            ("", None),
            ("2亿元-1千元", Some(199_999_000)),
            ("3千克×100元", Some(300)),
            ("58余人×70元", None),
            ("58人×70元=4060元", Some(4_060)),
            ("58人×70元=4060", Some(4_060)),
            ("58人×70元=4060元。", Some(4_060)),
            ("58人x70元", Some(4_060)),
            ("58人×70元=0.41万元", Some(4_060)),
            ("58人×70元=4000元+60元=4060元", Some(4_060)),
            ("100元÷3×3=100元", Some(100)),
            ("58人×70元=", Some(4_060)),
            ("58人×70元=4061元", None),
            ("58人×70元=0.42万元", None),
            ("58人×70元=约四千元", None),
        ] {
            assert_eq!(fen(sum(text).ok()), yuan.map(|yuan| (yuan * 100, 0)), "{text}");
        }
        assert_eq!(sum("58人×70元=4061元"), Err(Unsummed::Otherwise));
        assert_eq!(sum("58人×70元=约四千元"), Err(Unsummed::Unreadable));
        assert_eq!(sum("10元÷3=3.33元").map(|_| ()), Ok(()));
        assert_eq!(sum("10元÷3=3.34元").map(|_| ()), Err(Unsummed::Otherwise));
    }

    #[test]
    fn times_must_be_real() {
        assert!(is_time("20240117171504"));
        assert!(is_time("20240229000000"));
        for text in ["20230229000000", "20241301000000", "20240117251504", "2024011717150", "２0240117171504"] {
            assert!(!is_time(text), "{text}");
        }
    }
}
