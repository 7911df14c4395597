//! Reckoning with the printed figures alone: whole numbers, and nothing noted.
//!
//! Nearly every line plainly holds, and then nothing is told of it but a count. So each is first asked this way, at a
//! fraction of what intervals and a note of every cell cost, and what this can't be sure of is asked again exactly.
//! It answers only what [`Interval`] would answer too; the laws below hold it to that. What it doesn't know — a fraction,
//! a division, whether rounding explains a difference — it says it doesn't.

use super::interval::{Impossible, Interval, Meeting, Relation, Roundings};
use super::look::Figure;
use super::world::Standing;
use crate::budget::money::Amount;
use crate::budget::number::Number;

/// A figure as it is printed, and what it stands for no farther away than that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Print {
    value: i64,
    /// No bound of what it stands for is farther from it; with one rounding, all that is nearer is part of it.
    reach: i64,
    roundings: Roundings,
}

/// What doesn't fit, or can't be known from prints.
const UNSURE: Impossible = Impossible::TooLarge;
/// No figure goes beyond it, so that any two can be held against each other.
const MOST: u64 = 1 << 61;

impl Print {
    #[inline]
    fn new(value: Option<i64>, reach: Option<i64>, roundings: Roundings) -> Result<Print, Impossible> {
        let (Some(value), Some(reach)) = (value, reach) else { return Err(UNSURE) };
        let fits = value.unsigned_abs() <= MOST && reach.unsigned_abs() <= MOST;
        if fits { Ok(Print { value, reach, roundings }) } else { Err(UNSURE) }
    }

    /// Whether one rounding of this figure explains how far another is from it.
    fn explains(self, apart: i64) -> bool {
        self.roundings == Roundings::One && apart.abs() < self.reach
    }
}

impl Print {
    pub(super) const fn exactly(value: i64) -> Print {
        Print { value, reach: 0, roundings: Roundings::None }
    }
}

impl Figure for Print {
    const ZERO: Print = Print::exactly(0);

    fn of(figure: &Interval) -> Option<Print> {
        let (value, reach, roundings) = figure.whole()?;
        Print::new(i64::try_from(value).ok(), i64::try_from(reach).ok(), roundings).ok()
    }

    #[inline]
    fn of_amount(amount: Amount) -> Option<Print> {
        let reach = amount.scale.half_quantum_fen();
        let roundings = if reach == 0 { Roundings::None } else { Roundings::One };
        Print::new(i64::try_from(amount.value.fen()).ok(), Some(reach), roundings).ok()
    }

    fn of_cell(standing: &Standing) -> Option<Print> {
        match standing {
            Standing::Amount(amount) => Print::of_amount(*amount),
            Standing::Count(Number { mantissa, decimals: 0 }) => {
                Print::new(Some(*mantissa), Some(0), Roundings::None).ok()
            }
            standing => Print::of(&standing.figure()?),
        }
    }

    #[inline]
    fn plus(&self, other: &Print) -> Result<Print, Impossible> {
        // Neither is anywhere near the largest number that there is.
        let (value, reach) = (self.value + other.value, self.reach + other.reach);
        Print::new(Some(value), Some(reach), self.roundings.and(other.roundings))
    }

    #[inline]
    fn minus(&self, other: &Print) -> Result<Print, Impossible> {
        self.plus(&other.negative())
    }

    fn negative(&self) -> Print {
        Print { value: -self.value, ..*self }
    }

    fn times(&self, other: &Print) -> Result<Print, Impossible> {
        let (factor, of) = if self.roundings == Roundings::None { (self, other) } else { (other, self) };
        if factor.roundings != Roundings::None {
            return Err(UNSURE);
        }
        let roundings = if of.roundings == Roundings::None { Roundings::None } else { Roundings::Several };
        Print::new(of.value.checked_mul(factor.value), of.reach.checked_mul(factor.value.abs()), roundings)
    }

    /// Prints don't divide.
    fn divided_by(&self, _: &Print) -> Result<Print, Impossible> {
        Err(UNSURE)
    }

    #[inline]
    fn compare(&self, relation: Relation, other: &Print) -> Result<Meeting, Impossible> {
        let (apart, reach) = (self.value - other.value, self.reach + other.reach);
        let explained = || self.explains(apart) || other.explains(apart);
        let (plain, never) = match relation {
            Relation::Equal => (apart == 0 || explained(), apart.abs() > reach),
            Relation::Different => (apart != 0, apart == 0 && reach == 0),
            Relation::AtMost => (apart <= 0 || explained(), apart > reach),
            Relation::AtLeast => (apart >= 0 || explained(), apart < -reach),
            Relation::Below => (apart < 0, apart >= reach),
            Relation::Above => (apart > 0, apart <= -reach),
        };
        match (plain, never) {
            (true, _) => Ok(Meeting::Plain),
            (false, true) => Ok(Meeting::Never),
            (false, false) => Err(UNSURE),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::budget::money::{Denomination, Money, Scale};

    /// What can be done with figures, each both ways.
    #[derive(Clone, Debug)]
    enum Sum {
        Amount(Amount),
        Exactly(i128, i128),
        Summed(i128, i128),
        Plus(Box<[Sum; 2]>),
        Minus(Box<[Sum; 2]>),
        Times(Box<[Sum; 2]>),
        Over(Box<[Sum; 2]>),
        Negative(Box<Sum>),
    }

    impl Sum {
        fn exactly(&self) -> Result<Interval, Impossible> {
            let both = |two: &[Sum; 2]| Ok((two[0].exactly()?, two[1].exactly()?));
            match self {
                Sum::Amount(amount) => Ok(Interval::of_amount(*amount)),
                Sum::Exactly(value, over) => Ok(Interval::exact(*value, *over)),
                Sum::Summed(fen, slack) => Ok(Interval::of_sum(*fen, *slack)),
                Sum::Plus(two) => both(two).and_then(|(a, b)| a.plus(&b)),
                Sum::Minus(two) => both(two).and_then(|(a, b)| a.minus(&b)),
                Sum::Times(two) => both(two).and_then(|(a, b)| a.times(&b)),
                Sum::Over(two) => both(two).and_then(|(a, b)| a.divided_by(&b)),
                Sum::Negative(one) => one.exactly().map(|a| a.negative()),
            }
        }

        fn printed(&self) -> Result<Print, Impossible> {
            let both = |two: &[Sum; 2]| Ok((two[0].printed()?, two[1].printed()?));
            match self {
                Sum::Amount(amount) => Print::of_amount(*amount).ok_or(UNSURE),
                Sum::Exactly(value, over) => Print::of(&Interval::exact(*value, *over)).ok_or(UNSURE),
                Sum::Summed(fen, slack) => Print::of(&Interval::of_sum(*fen, *slack)).ok_or(UNSURE),
                Sum::Plus(two) => both(two).and_then(|(a, b)| a.plus(&b)),
                Sum::Minus(two) => both(two).and_then(|(a, b)| a.minus(&b)),
                Sum::Times(two) => both(two).and_then(|(a, b)| a.times(&b)),
                Sum::Over(two) => both(two).and_then(|(a, b)| a.divided_by(&b)),
                Sum::Negative(one) => one.printed().map(|a| a.negative()),
            }
        }
    }

    fn amount() -> impl Strategy<Value = Sum> {
        let digits = prop_oneof![-3_i64..=3, -99_999_999_i64..=99_999_999];
        (digits, any::<bool>(), 0_u8..=6).prop_map(|(digits, wan, decimals)| {
            let denomination = if wan { Denomination::Wan } else { Denomination::Yuan };
            let scale = Scale { denomination, decimals: decimals.min(denomination.decimals_max()) };
            let fen = digits * scale.quantum_fen();
            Sum::Amount(Amount { value: Money::from_fen(fen), scale })
        })
    }

    fn sum() -> impl Strategy<Value = Sum> {
        let near = -30_000_i128..=30_000;
        let one = prop_oneof![
            6 => amount(),
            2 => (near.clone(), prop_oneof![5 => Just(1_i128), 1 => 1..=4_i128]).prop_map(|(a, b)| Sum::Exactly(a, b)),
            1 => (near, 0..=20_000_i128).prop_map(|(fen, slack)| Sum::Summed(fen, slack)),
            1 => any::<i64>().prop_map(|value| Sum::Exactly(value.into(), 1)),
        ];
        one.prop_recursive(3, 12, 2, |part| {
            let two = (part.clone(), part.clone()).prop_map(|(a, b)| Box::new([a, b]));
            prop_oneof![
                4 => two.clone().prop_map(Sum::Plus),
                2 => two.clone().prop_map(Sum::Minus),
                2 => two.clone().prop_map(Sum::Times),
                1 => two.prop_map(Sum::Over),
                1 => part.prop_map(|part| Sum::Negative(Box::new(part))),
            ]
        })
    }

    const RELATIONS: [Relation; 6] =
        [Relation::Equal, Relation::Different, Relation::Below, Relation::AtMost, Relation::Above, Relation::AtLeast];

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

        #[test]
        fn law_what_prints_say_intervals_say_too(left in sum(), right in sum(), near in -20_000_i128..=20_000) {
            // Figures that have nothing to do with each other hardly ever lie near: hold each against its neighbours too.
            let neighbour = Sum::Plus(Box::new([left.clone(), Sum::Exactly(near, 1)]));
            for right in [&right, &left, &neighbour] {
                let (Ok(a), Ok(b)) = (left.printed(), right.printed()) else { continue };
                let (exact_a, exact_b) = (left.exactly(), right.exactly());
                let (Ok(exact_a), Ok(exact_b)) = (exact_a, exact_b) else {
                    return Err(TestCaseError::fail("prints have an answer where intervals have none"));
                };
                prop_assert_eq!(exact_a.nominal(), (a.value.into(), 1));
                for relation in RELATIONS {
                    if let Ok(said) = a.compare(relation, &b) {
                        prop_assert_eq!(exact_a.compare(relation, &exact_b), Ok(said), "{:?}", relation);
                    }
                }
            }
        }
    }
}
