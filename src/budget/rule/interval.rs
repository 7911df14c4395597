//! Exact arithmetic on what printed figures can stand for: intervals of fractions, each end open or closed.
//!
//! A printed amount is every amount that prints so. Nothing is rounded and nothing is estimated: bounds are whole
//! numbers over a common denominator, and an operation that would not fit says so instead of wrapping.
//! It knows no cells and no rules. Amounts are in 分, everything else in ones (12.64 % is 1264 / 10000).

use crate::budget::money::Amount;
use crate::budget::number::Number;

/// Everything that a figure can stand for, and the value that it is printed as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    low: i128,
    printed: i128,
    high: i128,
    /// All three are over it; above zero.
    denominator: i128,
    low_open: bool,
    high_open: bool,
    roundings: Roundings,
}

/// How many roundings lie between a figure and what it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Roundings {
    /// It is exact.
    None,
    /// One printed figure, perhaps with exact ones beside it.
    One,
    /// Several, or one that was multiplied.
    Several,
}

/// Why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Impossible {
    /// The divisor can be zero.
    DivisionByZero,
    /// A bound would not fit.
    TooLarge,
}

impl Roundings {
    /// Those of two figures that are added up.
    #[inline]
    pub(crate) fn and(self, other: Roundings) -> Roundings {
        match (self, other) {
            (Roundings::None, other) | (other, Roundings::None) => other,
            _ => Roundings::Several,
        }
    }
}

type Result<T> = std::result::Result<T, Impossible>;

/// How the two sides of a comparison lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meeting {
    /// As printed, or with the one rounding of the coarser side.
    Plain,
    /// Only because of several roundings.
    ByRounding,
    /// No values do it.
    Never,
}

impl Meeting {
    /// How two comparisons lie that both have to hold.
    pub(crate) fn and(self, other: Meeting) -> Meeting {
        match (self, other) {
            (Meeting::Never, _) | (_, Meeting::Never) => Meeting::Never,
            (Meeting::ByRounding, _) | (_, Meeting::ByRounding) => Meeting::ByRounding,
            (Meeting::Plain, Meeting::Plain) => Meeting::Plain,
        }
    }
}

/// What a comparison asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    /// =
    Equal,
    /// ≠
    Different,
    /// <
    Below,
    /// ≤
    AtMost,
    /// >
    Above,
    /// ≥
    AtLeast,
}

impl Interval {
    /// Exactly nothing: also what a blank adds.
    pub(crate) const ZERO: Interval = Interval::exact(0, 1);

    /// Exactly `numerator / denominator`; the denominator must be above zero.
    pub(crate) const fn exact(numerator: i128, denominator: i128) -> Interval {
        let (low_open, high_open, roundings) = (false, false, Roundings::None);
        Interval { low: numerator, printed: numerator, high: numerator, denominator, low_open, high_open, roundings }
    }

    /// What an amount stands for: the whole 分 within half a printed unit of it, rounded half away from zero; itself if
    /// it is given to the 分.
    pub(crate) fn of_amount(amount: Amount) -> Interval {
        let fen = amount.value.fen();
        match amount.scale.quantum_fen() {
            1 => Interval::exact(fen, 1),
            // Money is whole 分: the last amount that still prints so is one 分 before the next.
            quantum => {
                let half = i128::from(quantum / 2);
                let (low, high) = (fen - half + i128::from(fen <= 0), fen + half - i128::from(fen >= 0));
                Interval { low, high, roundings: Roundings::One, ..Interval::exact(fen, 1) }
            }
        }
    }

    /// What a sum of amounts stands for: anything up to `slack` 分 away from it, but for the last: money is whole 分,
    /// and was rounded half away from zero at least once. So the sum of one amount stands for what that one does.
    pub(crate) fn of_sum(fen: i128, slack: i128) -> Interval {
        if slack == 0 {
            return Interval::exact(fen, 1);
        }
        let (low, high) = (fen - slack + i128::from(fen <= 0), fen + slack - i128::from(fen >= 0));
        Interval { low, high, roundings: Roundings::Several, ..Interval::exact(fen, 1) }
    }

    /// What a percentage stands for: half its last digit around it, so 50 % for 49.5 up to, but not, 50.5.
    pub(crate) fn of_percent(number: Number) -> Interval {
        let denominator = 200 * 10_i128.pow(u32::from(number.decimals));
        Interval::printed(2 * i128::from(number.mantissa), 1, denominator)
    }

    /// A count or year: exact.
    pub(crate) fn of_count(number: Number) -> Interval {
        Interval::exact(i128::from(number.mantissa), 10_i128.pow(u32::from(number.decimals)))
    }

    /// A figure that was rounded half away from zero to `printed`.
    fn printed(printed: i128, half: i128, denominator: i128) -> Interval {
        let roundings = Roundings::One;
        let (low_open, high_open) = (printed <= 0, printed >= 0);
        Interval { low: printed - half, printed, high: printed + half, denominator, low_open, high_open, roundings }
    }

    /// The printed value as a fraction.
    pub(crate) fn nominal(&self) -> (i128, i128) {
        (self.printed, self.denominator)
    }

    /// The printed value, how far the farther bound is from it, and the roundings, if the value is a whole number.
    pub(crate) fn whole(&self) -> Option<(i128, i128, Roundings)> {
        let reach = (self.high - self.printed).max(self.printed - self.low);
        (self.denominator == 1).then_some((self.printed, reach, self.roundings))
    }

    fn is_point(&self) -> bool {
        self.low == self.high
    }

    fn over(&self, denominator: i128) -> Result<Interval> {
        if self.denominator == denominator {
            return Ok(*self);
        }
        let by = denominator / self.denominator;
        let times = |bound: i128| bound.checked_mul(by).ok_or(Impossible::TooLarge);
        let (low, printed, high) = (times(self.low)?, times(self.printed)?, times(self.high)?);
        Ok(Interval { low, printed, high, denominator, ..*self })
    }

    /// Both over one denominator.
    fn common(&self, other: &Interval) -> Result<(Interval, Interval)> {
        if self.denominator == other.denominator {
            return Ok((*self, *other));
        }
        let step = self.denominator / gcd(self.denominator, other.denominator);
        let denominator = step.checked_mul(other.denominator).ok_or(Impossible::TooLarge)?;
        Ok((self.over(denominator)?, other.over(denominator)?))
    }

    /// The sum.
    #[inline]
    pub(crate) fn plus(&self, other: &Interval) -> Result<Interval> {
        if self.denominator == other.denominator {
            return self.plus_alike(other);
        }
        let (a, b) = self.common(other)?;
        a.plus_alike(&b)
    }

    /// The sum of two over the same denominator.
    #[inline]
    fn plus_alike(&self, b: &Interval) -> Result<Interval> {
        let a = self;
        let add = |a: i128, b: i128| a.checked_add(b).ok_or(Impossible::TooLarge);
        Ok(Interval {
            low: add(a.low, b.low)?,
            printed: add(a.printed, b.printed)?,
            high: add(a.high, b.high)?,
            denominator: a.denominator,
            low_open: a.low_open || b.low_open,
            high_open: a.high_open || b.high_open,
            roundings: a.roundings.and(b.roundings),
        })
    }

    /// The negative.
    pub(crate) fn negative(&self) -> Interval {
        let (low_open, high_open) = (self.high_open, self.low_open);
        Interval { low: -self.high, printed: -self.printed, high: -self.low, low_open, high_open, ..*self }
    }

    /// The difference.
    pub(crate) fn minus(&self, other: &Interval) -> Result<Interval> {
        self.plus(&other.negative())
    }

    /// The product.
    pub(crate) fn times(&self, other: &Interval) -> Result<Interval> {
        let multiply = |a: i128, b: i128| a.checked_mul(b).ok_or(Impossible::TooLarge);
        // Most factors are exact whole numbers.
        let whole = |i: &Interval| i.roundings == Roundings::None && i.is_point() && i.denominator == 1;
        if whole(self) && whole(other) {
            return Ok(Interval::exact(multiply(self.printed, other.printed)?, 1));
        }
        let mut corners = [(0, false); 4];
        let ends = |i: &Interval| [(i.low, i.low_open), (i.high, i.high_open)];
        for (at, (a, a_open)) in ends(self).into_iter().enumerate() {
            for (to, (b, b_open)) in ends(other).into_iter().enumerate() {
                // Zero times anything is reached as soon as the zero is, whatever the other end.
                let reached_zero = a == 0 && !a_open || b == 0 && !b_open;
                let open = !reached_zero && (a_open || b_open);
                corners[2 * at + to] = (multiply(a, b)?, open);
            }
        }
        let denominator = multiply(self.denominator, other.denominator)?;
        let printed = multiply(self.printed, other.printed)?;
        Ok(hull(corners, printed, denominator, self.roundings.max(other.roundings)))
    }

    /// The quotient.
    pub(crate) fn divided_by(&self, other: &Interval) -> Result<Interval> {
        // Down to zero, even if zero itself is left out, there is no greatest quotient. What is printed lies in between.
        let sign = if other.low > 0 {
            1
        } else if other.high < 0 {
            -1
        } else {
            return Err(Impossible::DivisionByZero);
        };
        // 1 / [c, d] = [1/d, 1/c], over the common denominator c·d.
        let multiply = |a: i128, b: i128| a.checked_mul(b).ok_or(Impossible::TooLarge);
        let (c, d) = if sign > 0 { (other.low, other.high) } else { (-other.high, -other.low) };
        let m = if sign > 0 { other.printed } else { -other.printed };
        let (c_open, d_open) =
            if sign > 0 { (other.low_open, other.high_open) } else { (other.high_open, other.low_open) };
        let whole = if c == d { c } else { multiply(multiply(c, d)?, m)? };
        let reciprocal = |of: i128| multiply(whole / of, other.denominator);
        let inverse = Interval {
            low: reciprocal(d)?,
            printed: reciprocal(m)?,
            high: reciprocal(c)?,
            denominator: whole,
            low_open: d_open,
            high_open: c_open,
            roundings: other.roundings,
        }
        .reduced();
        let inverse = if sign > 0 { inverse } else { inverse.negative() };
        self.times(&inverse)
    }

    /// In lowest terms, so that long products still fit.
    fn reduced(self) -> Interval {
        let by = gcd(gcd(self.low, self.high), gcd(self.printed, self.denominator));
        if by <= 1 {
            return self;
        }
        let (low, printed, high) = (self.low / by, self.printed / by, self.high / by);
        Interval { low, printed, high, denominator: self.denominator / by, ..self }
    }

    /// How the two lie to one another.
    pub(crate) fn compare(&self, relation: Relation, other: &Interval) -> Result<Meeting> {
        if self.denominator == other.denominator {
            return Ok(self.compare_alike(relation, other));
        }
        let (a, b) = self.common(other)?;
        Ok(a.compare_alike(relation, &b))
    }

    fn compare_alike(&self, relation: Relation, b: &Interval) -> Meeting {
        let a = self;
        let meeting = |plain: bool, possible: bool| match (plain, possible) {
            (true, _) => Meeting::Plain,
            (false, true) => Meeting::ByRounding,
            (false, false) => Meeting::Never,
        };
        match relation {
            Relation::Equal => meeting(a.printed == b.printed || a.explains(b) || b.explains(a), a.meets(b)),
            Relation::Different => meeting(a.printed != b.printed, !(a.is_point() && b.is_point())),
            Relation::AtMost => meeting(a.printed <= b.printed || a.explains(b) || b.explains(a), a.reaches(b)),
            Relation::AtLeast => meeting(a.printed >= b.printed || a.explains(b) || b.explains(a), b.reaches(a)),
            Relation::Below => meeting(a.printed < b.printed, a.low < b.high),
            Relation::Above => meeting(a.printed > b.printed, b.low < a.high),
        }
    }

    /// Whether `other`, printed like this figure, is this figure: its one rounding explains the difference.
    fn explains(&self, other: &Interval) -> bool {
        self.roundings == Roundings::One && {
            let above = self.low < other.printed || self.low == other.printed && !self.low_open;
            above && (other.printed < self.high || other.printed == self.high && !self.high_open)
        }
    }

    /// Whether some value of this is at most some value of the other.
    fn reaches(&self, other: &Interval) -> bool {
        self.low < other.high || self.low == other.high && !self.low_open && !other.high_open
    }

    fn meets(&self, other: &Interval) -> bool {
        self.reaches(other) && other.reaches(self)
    }

    /// How far two printed sides may lie apart in the direction in which they do: the most that rounding explains,
    /// as a fraction that is a multiple of `step`.
    pub(crate) fn slack(&self, other: &Interval, (step, over): (i128, i128)) -> Result<(i128, i128)> {
        let difference = self.minus(other)?;
        let (difference, _) = difference.common(&Interval::exact(0, over))?;
        let (reach, open) = if difference.printed >= 0 {
            (difference.printed - difference.low, difference.low_open)
        } else {
            (difference.high - difference.printed, difference.high_open)
        };
        let step = step.checked_mul(difference.denominator / over).ok_or(Impossible::TooLarge)?.max(1);
        let steps = reach / step - i128::from(open && reach % step == 0 && reach > 0);
        Ok((steps.checked_mul(step).ok_or(Impossible::TooLarge)?, difference.denominator))
    }
}

fn hull(corners: [(i128, bool); 4], printed: i128, denominator: i128, roundings: Roundings) -> Interval {
    let (mut low, mut high) = (corners[0], corners[0]);
    for corner in corners {
        if corner.0 < low.0 || corner.0 == low.0 && !corner.1 {
            low = corner;
        }
        if corner.0 > high.0 || corner.0 == high.0 && !corner.1 {
            high = corner;
        }
    }
    let roundings = if roundings == Roundings::None { Roundings::None } else { Roundings::Several };
    let (low_open, high_open) = (low.1, high.1);
    Interval { low: low.0, printed, high: high.0, denominator, low_open, high_open, roundings }.reduced()
}

fn gcd(a: i128, b: i128) -> i128 {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        // Nearly all fit into half as many bits, which are divided several times as fast.
        (a, b) = match (u64::try_from(a), u64::try_from(b)) {
            (Ok(short), Ok(by)) => (b, u128::from(short % by)),
            _ => (b, a % b),
        };
    }
    i128::try_from(a).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::money::{Decimals, Denomination};

    fn wan(text: &str) -> Interval {
        Interval::of_amount(Amount::parse(text, Denomination::Wan, Decimals::Fixed(2)).unwrap())
    }

    fn yuan(text: &str) -> Interval {
        Interval::of_amount(Amount::parse(text, Denomination::Yuan, Decimals::AsWritten).unwrap())
    }

    fn percent(text: &str) -> Interval {
        Interval::of_percent(Number::parse(text, Decimals::AsWritten).unwrap())
    }

    fn sum(parts: &[Interval]) -> Interval {
        parts.iter().fold(Interval::ZERO, |sum, part| sum.plus(part).unwrap())
    }

    #[test]
    fn a_total_of_n_parts_may_be_off_by_half_as_many_printed_units() {
        for n in 1..=40_i128 {
            let parts: Vec<Interval> = (0..n).map(|_| wan("1.00")).collect();
            for off in -25..=25_i128 {
                let total = Interval::of_amount(Amount {
                    value: crate::budget::money::Money::from_fen(i64::try_from(n * 1_000_000 + off * 10_000).unwrap()),
                    ..Amount::parse("1.00", Denomination::Wan, Decimals::Fixed(2)).unwrap()
                });
                let meeting = total.compare(Relation::Equal, &sum(&parts)).unwrap();
                assert_eq!(meeting != Meeting::Never, off.abs() <= n / 2, "{n} parts, {off} off");
                assert_eq!(meeting == Meeting::Plain, off == 0);
                let (slack, denominator) = total.slack(&sum(&parts), (10_000, 1)).unwrap();
                assert_eq!(slack / denominator, n / 2 * 10_000);
            }
        }
    }

    #[test]
    fn one_rounding_is_a_plain_pass() {
        let equal = |a: Interval, b: Interval| a.compare(Relation::Equal, &b).unwrap();
        assert_eq!(equal(yuan("4060.00"), wan("0.41")), Meeting::Plain);
        assert_eq!(equal(yuan("4050.00"), wan("0.41")), Meeting::Plain);
        assert_eq!(equal(yuan("4049.99"), wan("0.41")), Meeting::Never);
        assert_eq!(equal(yuan("4150.00"), wan("0.41")), Meeting::Never);
        assert_eq!(equal(yuan("-4150.00"), wan("-0.41")), Meeting::Never);
        assert_eq!(equal(wan("2118.35"), sum(&[wan("313.65"), wan("1804.71")])), Meeting::ByRounding);
        assert_eq!(equal(wan("2118.37"), sum(&[wan("313.65"), wan("1804.71")])), Meeting::ByRounding);
        assert_eq!(equal(wan("2118.38"), sum(&[wan("313.65"), wan("1804.71")])), Meeting::Never);
        assert_eq!(equal(wan("5.00"), Interval::ZERO), Meeting::Never);
        assert_eq!(equal(percent("1.08"), wan("450.86").divided_by(&wan("41670.92")).unwrap()), Meeting::Plain);
        assert_eq!(equal(percent("1.10"), wan("450.86").divided_by(&wan("41670.92")).unwrap()), Meeting::Never);
    }

    #[test]
    fn what_can_be_zero_divides_nothing() {
        assert_eq!(wan("1.00").divided_by(&wan("0.00")), Err(Impossible::DivisionByZero));
        assert_eq!(wan("1.00").divided_by(&Interval::ZERO), Err(Impossible::DivisionByZero));
        // From zero, which is left out, to one.
        let open = Interval::exact(5, 1_000).plus(&percent("0")).unwrap();
        assert_eq!(wan("1.00").divided_by(&open), Err(Impossible::DivisionByZero));
        assert_eq!(wan("1.00").divided_by(&open.negative()), Err(Impossible::DivisionByZero));
        let half = wan("1.00").divided_by(&yuan("-2.00")).unwrap();
        assert_eq!(half.compare(Relation::Equal, &Interval::exact(-5_000, 1)), Ok(Meeting::Plain));
    }

    #[test]
    fn what_does_not_fit_says_so() {
        let large = Interval::exact(i128::MAX / 2, 1);
        assert_eq!(large.times(&large), Err(Impossible::TooLarge));
        assert_eq!(large.plus(&large).and_then(|l| l.plus(&large)), Err(Impossible::TooLarge));
    }
}
