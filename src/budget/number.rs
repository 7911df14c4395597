//! Counts, years and percentages: small exact numbers that are not money.
//!
//! Next: `money.rs` for amounts, `cell.rs` for what can stand in a cell.

use std::fmt;

use super::money::{AmountError, Decimals, Digits};

/// An exact number with the decimals it was written with: `12.64` is 1264 with 2 decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Number {
    /// The digits without the point.
    pub mantissa: i64,
    /// How many of them stand behind the point.
    pub decimals: u8,
}

impl Number {
    /// Reads a number by the same strict grammar as an amount; filled up to fixed decimals.
    pub fn parse(text: &str, decimals: Decimals) -> Result<Number, AmountError> {
        let digits = Digits::parse(text)?;
        let decimals = match decimals {
            Decimals::Fixed(fixed) if digits.decimals > fixed => {
                return Err(AmountError::TooManyDecimals { written: digits.decimals, allowed: fixed });
            }
            Decimals::Fixed(fixed) => fixed,
            Decimals::AsWritten => digits.decimals,
        };
        let fill = 10_i64.pow(u32::from(decimals - digits.decimals));
        let mantissa = digits.mantissa.checked_mul(fill).ok_or(AmountError::TooLarge)?;
        Ok(Number { mantissa, decimals })
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.decimals == 0 {
            return write!(f, "{}", self.mantissa);
        }
        let divisor = 10_u64.pow(u32::from(self.decimals));
        let magnitude = self.mantissa.unsigned_abs();
        let sign = if self.mantissa < 0 { "-" } else { "" };
        write!(f, "{sign}{}.{:0width$}", magnitude / divisor, magnitude % divisor, width = usize::from(self.decimals))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_as_written_at_their_decimals() {
        for (text, decimals, print) in
            [("12.64", 2, "12.64"), ("100", 2, "100.00"), ("-0.05", 2, "-0.05"), ("37", 0, "37")]
        {
            assert_eq!(Number::parse(text, Decimals::Fixed(decimals)).unwrap().to_string(), print);
        }
        assert_eq!(Number::parse("100", Decimals::AsWritten).unwrap().to_string(), "100");
        assert!(Number::parse("1.5", Decimals::Fixed(0)).is_err());
    }
}
