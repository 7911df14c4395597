//! Reads amounts, head counts and sums that stand in a text, as people write them: `477.11万元`, `≥58人`,
//! `70元/人年`, `58人×70元×12月`.
//!
//! What it can't read it doesn't guess. 元 is exact, 万元 means two decimals.

use std::borrow::Cow;

use super::interval::Interval;
use super::syntax::Unit;
use crate::budget::money::{Amount, Decimals, Denomination};

/// How deep the brackets of a written sum may nest.
const DEPTH_MAX: usize = 8;

/// The whole text as a figure of that unit.
pub(super) fn read(text: &str, unit: Unit) -> Option<Interval> {
    figure(text).filter(|(of, _)| *of == unit).map(|(_, figure)| figure)
}

/// The whole text as a figure, and its unit.
pub(super) fn figure(text: &str) -> Option<(Unit, Interval)> {
    let text = text.trim_start_matches(['≥', '≤', '<', '>', '=', '约', '＜', '＞', '＝']);
    let (number, rest) = number(text)?;
    match rest {
        "元" | "万元" => amount(number, rest).map(|(amount, _)| (Unit::Yuan, amount)),
        "人" => Some((Unit::Heads, decimal(number)?)),
        "万人" => Some((Unit::Heads, decimal(number)?.times(&Interval::exact(10_000, 1)).ok()?)),
        rest => {
            let per = rest.strip_prefix("元/人")?;
            let fits = matches!(per, "" | "年" | "/年" | "月" | "/月" | "·年" | "·月");
            let (rate, _) = amount(number, "元").filter(|_| fits)?;
            Some((Unit::YuanPerHead, rate))
        }
    }
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

/// Whether a text is 14 digits.
pub(super) fn is_time(text: &str) -> bool {
    text.len() == 14 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// All amounts of money that a text mentions; not rates such as `70元/人`.
pub(super) fn mentioned(text: &str) -> impl Iterator<Item = Interval> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let at = first_digit(rest)?;
            let (digits, after) = number(rest.get(at..)?)?;
            rest = after;
            if let Some((found, _)) = amount(digits, after).filter(|(_, behind)| !behind.starts_with('/')) {
                return Some(found);
            }
        }
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

/// Digits with a point, and what follows. Thousands separators are passed over.
fn number(text: &str) -> Option<(&str, &str)> {
    let mut end = 0;
    let bytes = text.as_bytes();
    while let Some(byte) = bytes.get(end) {
        let before_digit = bytes.get(end + 1).is_some_and(u8::is_ascii_digit);
        let inner = end > 0 && matches!(byte, b'.' | b',') && before_digit;
        if !byte.is_ascii_digit() && !inner {
            break;
        }
        end += 1;
    }
    if end == 0 { None } else { Some(text.split_at(end)) }
}

fn amount<'t>(number: &str, rest: &'t str) -> Option<(Interval, &'t str)> {
    if !rest.starts_with("万元") && !rest.starts_with('元') {
        return None;
    }
    let digits = without_separators(number);
    let digits = digits.trim_start_matches('0');
    let digits = match digits.is_empty() || digits.starts_with('.') {
        true => Cow::Owned(format!("0{digits}")),
        false => Cow::Borrowed(digits),
    };
    if let Some(rest) = rest.strip_prefix("万元") {
        let read = |decimals| Amount::parse(&digits, Denomination::Wan, decimals);
        let amount = read(Decimals::Fixed(2)).or_else(|_| read(Decimals::AsWritten)).ok()?;
        return Some((Interval::of_amount(amount), rest));
    }
    let rest = rest.strip_prefix('元')?;
    let amount = Amount::parse(&digits, Denomination::Yuan, Decimals::AsWritten).ok()?;
    Some((Interval::exact(amount.value.fen(), 1), rest))
}

/// Most numbers have none, and stay as they stand.
fn without_separators(number: &str) -> Cow<'_, str> {
    if number.contains(',') { Cow::Owned(number.replace(',', "")) } else { Cow::Borrowed(number) }
}

fn decimal(number: &str) -> Option<Interval> {
    let digits = without_separators(number);
    let decimals = digits.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    if digits.len() > 18 || decimals > 6 {
        return None;
    }
    let whole: i128 = digits.replace('.', "").parse().ok()?;
    Some(Interval::exact(whole, 10_i128.pow(u32::try_from(decimals).ok()?)))
}

/// A written sum in 元, worked out: `(145人+133人)×100元-19900元`. Words behind a number say what it counts.
pub(super) fn sum(text: &str) -> Option<Interval> {
    let text = text.split('=').next().unwrap_or(text);
    let mut reader = SumReader { rest: text, depth: 0 };
    let value = reader.sum()?;
    if reader.rest.is_empty() { value.times(&Interval::exact(100, 1)).ok() } else { None }
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
            if self.take(&['×', '*', '·']) {
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
        if self.take(&['万']) {
            value = value.times(&Interval::exact(10_000, 1)).ok()?;
        }
        // What is counted: letters, and `/人年` behind a rate.
        let unit = |c: char| c.is_alphabetic() || c == '/';
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
            ("70元/人年", Unit::Yuan, None),
            ("20%", Unit::Yuan, None),
            ("及时", Unit::Yuan, None),
            ("79.5元/人/年", Unit::YuanPerHead, Some(7_950)),
            ("1980元/人", Unit::YuanPerHead, Some(198_000)),
            ("100元", Unit::YuanPerHead, None),
            ("≥58人", Unit::Heads, Some(58)),
            ("≥23.5万人", Unit::Heads, Some(235_000)),
            ("58个", Unit::Heads, None),
        ] {
            assert_eq!(fen(read(text, unit)), expected.map(|value| (value, 0)), "{text}");
        }
        assert_eq!(mentioned("每人每年70元，需4060元；另有1.5万元、36元/人。").count(), 3);
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
        ] {
            assert_eq!(fen(sum(text)), yuan.map(|yuan| (yuan * 100, 0)), "{text}");
        }
    }
}
