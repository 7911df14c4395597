//! Exact money.
//!
//! [`Money`] is an exact number of 元 with two decimals; [`Amount`] is money as somebody reported it,
//! with the [`Scale`] (元 or 万元, and how many decimals) that says how precisely it is known.
//! This file alone names `rust_decimal`; it knows nothing of tables, units or rules.
//! Next: `number.rs` (counts and percentages), `cell.rs` (what can stand in a cell).

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};

use compact_str::{CompactString, ToCompactString};
use rust_decimal::{Decimal, RoundingStrategy};

use super::number::Number;

/// The largest magnitude that one cell may hold: below ten trillion 元 (10^15 分).
///
/// A hundred times the budget of the whole country; a million million such cells still add up exactly.
pub const CELL_FEN_MAX: i64 = 999_999_999_999_999;

/// An exact sum of money in 元, always with two decimals. May be negative.
///
/// ```
/// use budget_consolidator::budget::money::Money;
/// let half = Money::from_fen(50);
/// assert_eq!((half + half).to_string(), "1.00");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(Decimal);

impl Money {
    /// Nothing: `0.00`.
    pub const ZERO: Money = Money(Decimal::from_parts(0, 0, 0, false, 2));

    /// Money from whole 分.
    pub fn from_fen(fen: i64) -> Money {
        Money(Decimal::new(fen, 2))
    }

    /// A sum in whole 分, if it is one that can occur: below 10^27 分.
    pub fn from_total_fen(fen: i128) -> Option<Money> {
        (fen.unsigned_abs() < 10_u128.pow(27)).then(|| Money(Decimal::from_i128_with_scale(fen, 2)))
    }

    /// The same money in whole 分.
    pub fn fen(self) -> i128 {
        // Scale is 2 by construction and addition keeps it, so the mantissa is the 分.
        self.0.mantissa()
    }

    /// Whether it is exactly nothing.
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// Whether it is below nothing.
    pub fn is_negative(self) -> bool {
        self.0.is_sign_negative() && !self.0.is_zero()
    }

    /// The magnitude.
    pub fn abs(self) -> Money {
        Money(self.0.abs())
    }

    /// Prints at `scale`, rounded once, half away from zero: `416709200.00` at 万元.2 is `41670.92`.
    pub fn print(self, scale: Scale) -> String {
        Amount { value: self, scale }.to_string()
    }

    /// As it prints in 元, kept in place: see [`Number::to_text`].
    pub fn to_text(self) -> CompactString {
        Amount { value: self, scale: Scale::FEN }.to_text()
    }

    /// The nearest value that `scale` can print, back in 元: what a ceiling issued in 万元 is compared with.
    pub fn round_to(self, scale: Scale) -> Money {
        let fen = self.digits(scale).and_then(|digits| digits.mantissa.checked_mul(scale.quantum_fen()));
        if let Some(fen) = fen {
            return Money::from_fen(fen);
        }
        let mut value = self.rounded(scale) * scale.denomination.in_yuan();
        value.rescale(2);
        Money(value)
    }

    /// With how many decimals it prints exactly: the fewest, but no fewer than `least`; the finest if none will do.
    pub fn exact_decimals(self, denomination: Denomination, least: u8) -> u8 {
        let finest = denomination.decimals_max();
        let is_exact = |decimals: &u8| {
            let (fen, quantum) = (self.fen(), Scale { denomination, decimals: *decimals }.quantum_fen());
            // Whole numbers of 128 bits take long to divide.
            i64::try_from(fen).map_or_else(|_| fen % i128::from(quantum) == 0, |fen| fen % quantum == 0)
        };
        (least.min(finest)..=finest).find(is_exact).unwrap_or(finest)
    }

    /// Its digits at `scale`, rounded once: what is printed, without a decimal, which takes long to print. Nothing if there
    /// are more than fit.
    fn digits(self, scale: Scale) -> Option<Number> {
        let fen = i64::try_from(self.fen()).ok().filter(|_| scale.decimals <= scale.denomination.decimals_max())?;
        let quantum = scale.quantum_fen();
        let away = i64::from(2 * (fen % quantum).abs() >= quantum) * fen.signum();
        Some(Number { mantissa: fen / quantum + away, decimals: scale.decimals })
    }

    fn rounded(self, scale: Scale) -> Decimal {
        // Moving the point of a mantissa far below 28 digits is exact.
        let shifted = Decimal::from_i128_with_scale(self.fen(), 2 + scale.denomination.shift());
        let mut printed =
            shifted.round_dp_with_strategy(u32::from(scale.decimals), RoundingStrategy::MidpointAwayFromZero);
        printed.rescale(u32::from(scale.decimals));
        if printed.is_zero() {
            // A negative sum that rounds to nothing prints as 0.00, not as -0.00.
            printed.set_sign_positive(true);
        }
        printed
    }

    /// Reads a sum as the wire has it: 元 with exactly two decimals, the strict grammar of [`Amount::parse`],
    /// and no cap of a cell.
    pub fn parse_total(text: &str) -> Option<Money> {
        let (whole, cents) = text.split_once('.')?;
        let total = Money::from_total_fen(format!("{whole}{cents}").parse().ok()?)?;
        // There is one way to write it, and that is how it prints.
        (total.to_string() == text).then_some(total)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.digits(Scale::FEN) {
            Some(digits) => digits.fmt(f),
            None => fmt::Display::fmt(&self.0, f),
        }
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} 元")
    }
}

// The cell cap keeps every sum that can occur some ten decimal digits below `Decimal`'s limit,
// so these operators neither round nor overflow.
impl Add for Money {
    type Output = Money;
    fn add(self, other: Money) -> Money {
        Money(self.0 + other.0)
    }
}

impl Sub for Money {
    type Output = Money;
    fn sub(self, other: Money) -> Money {
        Money(self.0 - other.0)
    }
}

impl Neg for Money {
    type Output = Money;
    fn neg(self) -> Money {
        if self.is_zero() { Money::ZERO } else { Money(-self.0) }
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Money) {
        *self = *self + other;
    }
}

impl SubAssign for Money {
    fn sub_assign(&mut self, other: Money) {
        *self = *self - other;
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Money>>(parts: I) -> Money {
        parts.map(Total::from).fold(Total::ZERO, Add::add).money()
    }
}

/// A sum that runs over thousands of cells, in whole 分: exact, and five times faster to add to than a decimal.
///
/// Aligned like its neighbours, since a table of sums holds two of them per cell.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[repr(Rust, packed(8))]
pub struct Total(i128);

impl Total {
    /// Nothing.
    pub const ZERO: Total = Total(0);

    /// A sum of so many 分.
    pub fn from_fen(fen: i128) -> Total {
        Total(fen)
    }

    /// The sum in whole 分.
    pub fn fen(self) -> i128 {
        self.0
    }

    /// The sum as money. A million million cells at the cap are far below what money can hold.
    pub fn money(self) -> Money {
        Money::from_total_fen(self.0).unwrap_or(Money::ZERO)
    }
}

impl From<Money> for Total {
    fn from(money: Money) -> Total {
        Total(money.fen())
    }
}

impl Add for Total {
    type Output = Total;
    fn add(self, other: Total) -> Total {
        Total(self.0 + other.0)
    }
}

impl Sub for Total {
    type Output = Total;
    fn sub(self, other: Total) -> Total {
        Total(self.0 - other.0)
    }
}

impl fmt::Debug for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.money().fmt(f)
    }
}

/// What an amount is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Denomination {
    /// 元.
    Yuan,
    /// 万元, ten thousand 元.
    Wan,
}

impl Denomination {
    /// Reads `元` or `万元`.
    pub fn parse(text: &str) -> Option<Denomination> {
        match text {
            "元" => Some(Denomination::Yuan),
            "万元" => Some(Denomination::Wan),
            _ => None,
        }
    }

    /// `元` or `万元`.
    pub fn as_str(self) -> &'static str {
        match self {
            Denomination::Yuan => "元",
            Denomination::Wan => "万元",
        }
    }

    /// The most decimals that still mean whole 分: 2 in 元, 6 in 万元.
    pub fn decimals_max(self) -> u8 {
        2 + u8::try_from(self.shift()).unwrap_or(0)
    }

    fn shift(self) -> u32 {
        match self {
            Denomination::Yuan => 0,
            Denomination::Wan => 4,
        }
    }

    fn in_yuan(self) -> Decimal {
        match self {
            Denomination::Yuan => Decimal::ONE,
            Denomination::Wan => Decimal::from_parts(10_000, 0, 0, false, 0),
        }
    }
}

/// Powers of ten, for the digits between what is printed and a 分.
const TENS: [i64; 7] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000];

/// How an amount is printed: its denomination and number of decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scale {
    /// 元 or 万元.
    pub denomination: Denomination,
    /// Digits after the point, at most [`Denomination::decimals_max`].
    pub decimals: u8,
}

impl Scale {
    /// Exact to the 分: 元 with two decimals.
    pub const FEN: Scale = Scale { denomination: Denomination::Yuan, decimals: 2 };

    /// Half of the last printed digit, in 元; nothing if the scale reaches the 分.
    ///
    /// A printed amount stands for everything within this of it.
    pub fn half_quantum(self) -> Money {
        Money::from_fen(self.half_quantum_fen())
    }

    /// The same in 分.
    pub fn half_quantum_fen(self) -> i64 {
        // A single 分 is exact, and half of it is nothing.
        self.quantum_fen() / 2
    }

    /// The last printed digit, in 分.
    pub fn quantum_fen(self) -> i64 {
        let finer = self.denomination.decimals_max().saturating_sub(self.decimals);
        TENS.get(usize::from(finer)).copied().unwrap_or(1_000_000)
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.denomination.as_str(), self.decimals)
    }
}

/// How many decimals a column expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decimals {
    /// At most this many; fewer are filled up with zeros (`18` at two decimals is `18.00`).
    Fixed(u8),
    /// As each figure writes them.
    AsWritten,
}

/// Money as reported: its value and the scale that it was printed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount {
    /// The exact value in 元.
    pub value: Money,
    /// How it was written.
    pub scale: Scale,
}

impl Amount {
    /// Reads an amount by the one strict grammar of wire and files:
    /// `-? (0 | [1-9][0-9]*) ( "." [0-9]+ )?`, ASCII only.
    ///
    /// Separators, exponents, a plus sign and leading zeros are refused, each by name.
    ///
    /// ```
    /// use budget_consolidator::budget::money::*;
    /// let a = Amount::parse("41670.92", Denomination::Wan, Decimals::Fixed(2)).unwrap();
    /// assert_eq!(a.value, Money::from_fen(41_670_920_000));
    /// assert_eq!(a.to_string(), "41670.92");
    /// assert_eq!(Amount::parse("1,234.5", Denomination::Wan, Decimals::Fixed(2)), Err(AmountError::Separator));
    /// ```
    pub fn parse(text: &str, denomination: Denomination, decimals: Decimals) -> Result<Amount, AmountError> {
        let digits = Digits::parse(text)?;
        let written = digits.decimals;
        let allowed = match decimals {
            Decimals::Fixed(fixed) => fixed,
            Decimals::AsWritten => denomination.decimals_max(),
        };
        if written > allowed {
            return Err(AmountError::TooManyDecimals { written, allowed });
        }
        let finer = u32::from(denomination.decimals_max().saturating_sub(written));
        let fen = digits.mantissa.checked_mul(10_i64.pow(finer.min(6))).ok_or(AmountError::TooLarge)?;
        if fen.abs() > CELL_FEN_MAX {
            return Err(AmountError::TooLarge);
        }
        let decimals = match decimals {
            Decimals::Fixed(fixed) => fixed,
            Decimals::AsWritten => written,
        };
        Ok(Amount { value: Money::from_fen(fen), scale: Scale { denomination, decimals } })
    }
}

impl Amount {
    /// As it prints, kept in place: see [`Number::to_text`].
    pub fn to_text(self) -> CompactString {
        self.value.digits(self.scale).map_or_else(|| self.to_compact_string(), Number::to_text)
    }

    /// The digits that it was written with, without the point: `416709200.00` at 万元.2 is `4167092`.
    /// `None` if the value is finer than its scale, which no amount that was read is.
    pub fn digits(self) -> Option<i64> {
        let fen = i64::try_from(self.value.fen()).ok()?;
        let quantum = self.scale.quantum_fen();
        (fen % quantum == 0).then_some(fen / quantum)
    }

    /// The amount from those digits, if it is one that a cell can hold.
    pub fn from_digits(digits: i64, scale: Scale) -> Option<Amount> {
        let fen = digits.checked_mul(scale.quantum_fen()).filter(|fen| fen.abs() <= CELL_FEN_MAX)?;
        Some(Amount { value: Money::from_fen(fen), scale })
    }
}

/// As it was written; a value that is finer than the scale rounded once, half away from zero.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value.digits(self.scale) {
            Some(digits) => digits.fmt(f),
            None => fmt::Display::fmt(&self.value.rounded(self.scale), f),
        }
    }
}

/// A decimal as its digits: `-12.50` is mantissa −1250 with 2 decimals.
pub(crate) struct Digits {
    pub(crate) mantissa: i64,
    pub(crate) decimals: u8,
}

impl Digits {
    /// The strict grammar of [`Amount::parse`]; the one place where digits are read.
    pub(crate) fn parse(text: &str) -> Result<Digits, AmountError> {
        let (negative, body) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mut mantissa, mut whole, mut fraction, mut point) = (0_i64, 0_usize, 0_usize, false);
        for byte in body.bytes() {
            match byte {
                b'0'..=b'9' => {
                    // Too many digits wrap here and are refused below.
                    mantissa = mantissa.wrapping_mul(10).wrapping_add(i64::from(byte - b'0'));
                    *(if point { &mut fraction } else { &mut whole }) += 1;
                }
                b'.' if !point => point = true,
                _ => return Err(Digits::misspelt(body)),
            }
        }
        if whole == 0 || point && fraction == 0 {
            return Err(AmountError::Malformed);
        }
        if whole > 1 && body.starts_with('0') {
            return Err(AmountError::LeadingZero);
        }
        if whole + fraction > 18 {
            return Err(if whole > 15 {
                AmountError::TooLarge
            } else {
                let written = u8::try_from(fraction).unwrap_or(u8::MAX);
                AmountError::TooManyDecimals { written, allowed: 6 }
            });
        }
        if negative && mantissa == 0 {
            return Err(AmountError::NegativeZero);
        }
        let decimals = u8::try_from(fraction).unwrap_or(u8::MAX);
        Ok(Digits { mantissa: if negative { -mantissa } else { mantissa }, decimals })
    }

    /// Which wrong character stands in it, or that it has two points.
    fn misspelt(body: &str) -> AmountError {
        match body.chars().find(|c| !c.is_ascii_digit() && *c != '.') {
            Some(',' | '_' | '，' | ' ' | '\'') => AmountError::Separator,
            Some('e' | 'E') => AmountError::Exponent,
            Some('+') => AmountError::PlusSign,
            Some(other) => AmountError::NotADigit(other),
            None => AmountError::Malformed,
        }
    }
}

/// Why a text is not an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AmountError {
    /// A thousands separator: `1,234.5`, `1_000`.
    Separator,
    /// Scientific notation: `1e3`.
    Exponent,
    /// `+5`.
    PlusSign,
    /// `007`.
    LeadingZero,
    /// `-0`, `-0.00`: a blank, `0` or a negative amount must be meant.
    NegativeZero,
    /// A character that no amount has, such as a full-width digit or a letter.
    NotADigit(char),
    /// A point without digits on both sides, two points, or nothing at all.
    Malformed,
    /// More decimals than the column's precision, or than a 分 has.
    TooManyDecimals {
        /// Decimals found.
        written: u8,
        /// Decimals allowed.
        allowed: u8,
    },
    /// Beyond [`CELL_FEN_MAX`].
    TooLarge,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wan(text: &str) -> Result<Amount, AmountError> {
        Amount::parse(text, Denomination::Wan, Decimals::Fixed(2))
    }

    #[test]
    fn amounts_keep_value_and_print() {
        for (text, fen, print) in [
            ("0", 0, "0.00"),
            ("18", 18_000_000, "18.00"),
            ("-0.01", -10_000, "-0.01"),
            ("41670.92", 41_670_920_000, "41670.92"),
        ] {
            let amount = wan(text).unwrap();
            assert_eq!(amount.value.fen(), fen, "{text}");
            assert_eq!(amount.to_string(), print);
        }
    }

    #[test]
    fn bad_amounts_are_refused_by_name() {
        use AmountError::*;
        for (text, error) in [
            ("1,234.5", Separator),
            ("1_000", Separator),
            ("1e3", Exponent),
            ("+5", PlusSign),
            ("007", LeadingZero),
            ("-0.00", NegativeZero),
            ("NaN", NotADigit('N')),
            ("１２", NotADigit('１')),
            ("5.", Malformed),
            (".5", Malformed),
            ("", Malformed),
            ("-", Malformed),
            ("1.2.3", Malformed),
            ("1.234", TooManyDecimals { written: 3, allowed: 2 }),
            ("1000000000.00", TooLarge),
            ("99999999999999999999999999999999", TooLarge),
        ] {
            assert_eq!(wan(text), Err(error), "{text}");
        }
        let fen = Amount::parse("1.005", Denomination::Yuan, Decimals::AsWritten);
        assert_eq!(fen, Err(TooManyDecimals { written: 3, allowed: 2 }));
    }

    #[test]
    fn printing_rounds_once_and_half_up() {
        let scale = Scale { denomination: Denomination::Wan, decimals: 2 };
        for (fen, print) in [
            (406_000, "0.41"),
            (405_000, "0.41"),
            (404_900, "0.40"),
            (499_999, "0.50"),
            (-5_000, "-0.01"),
            (-4_999, "0.00"),
        ] {
            assert_eq!(Money::from_fen(fen).print(scale), print, "{fen}");
        }
        assert_eq!(Money::from_fen(406_000).round_to(scale), Money::from_fen(410_000));
    }

    #[test]
    fn an_amount_prints_as_its_money_does_at_its_scale() {
        for denomination in [Denomination::Yuan, Denomination::Wan] {
            for decimals in 0..=denomination.decimals_max() {
                let scale = Scale { denomination, decimals };
                for fen in (-30_000..30_000).step_by(37).chain([0, 1_000_000, -1_000_000, CELL_FEN_MAX, -CELL_FEN_MAX])
                {
                    let value = Money::from_fen(fen);
                    let decimal = value.rounded(scale);
                    assert_eq!(value.print(scale), decimal.to_string(), "{fen} {scale}");
                    assert_eq!(value.round_to(scale).0, decimal * denomination.in_yuan(), "{fen} {scale}");
                    assert_eq!(
                        (value.to_string(), value.to_text().as_str()),
                        (value.0.to_string(), &*value.to_string())
                    );
                    let amount = Amount { value, scale };
                    assert_eq!(
                        (amount.to_string(), amount.to_text().as_str()),
                        (value.print(scale), &*value.print(scale))
                    );
                }
            }
        }
    }

    #[test]
    fn totals_have_one_spelling() {
        for text in ["0.00", "-0.05", "12.30", "9999999999999999999999999.99"] {
            assert_eq!(Money::parse_total(text).unwrap().to_string(), text);
        }
        for text in ["", ".", "1", "1.2", "1.234", ".50", "01.00", "-0.00", "+1.00", "1,0.00", "1e1.00", "1.-2"] {
            assert_eq!(Money::parse_total(text), None, "{text}");
        }
    }

    #[test]
    fn half_a_quantum_is_the_reach_of_a_print() {
        let half = |denomination, decimals| Scale { denomination, decimals }.half_quantum().fen();
        assert_eq!(half(Denomination::Wan, 2), 5_000);
        assert_eq!(half(Denomination::Wan, 6), 0);
        assert_eq!(half(Denomination::Yuan, 0), 50);
        assert_eq!(half(Denomination::Yuan, 1), 5);
        assert_eq!(half(Denomination::Yuan, 2), 0);
    }
}
