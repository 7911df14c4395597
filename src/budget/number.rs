//! Counts, years and percentages: small exact numbers that are not money.
//!
//! Next: `money.rs` for amounts, `cell.rs` for what can stand in a cell.

use std::fmt;

use compact_str::CompactString;

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

impl Number {
    /// As it prints, without the machinery of formatting: a view has thousands of figures.
    pub fn to_text(self) -> CompactString {
        let (text, at) = self.spelled();
        std::str::from_utf8(&text[at..]).unwrap_or_default().into()
    }

    /// Its text, which begins at that place: made from the last digit to the first.
    fn spelled(self) -> ([u8; 40], usize) {
        let (mut text, mut at) = ([b'0'; 40], 40);
        let decimals = self.decimals.min(36);
        let (mut rest, mut written) = (self.mantissa.unsigned_abs(), 0);
        while rest > 0 || written <= decimals {
            if written == decimals && written > 0 {
                at -= 1;
                text[at] = b'.';
            }
            at -= 1;
            text[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
            written += 1;
        }
        if self.mantissa < 0 {
            at -= 1;
            text[at] = b'-';
        }
        (text, at)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, at) = self.spelled();
        f.write_str(std::str::from_utf8(&text[at..]).unwrap_or_default())
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
            let number = Number::parse(text, Decimals::Fixed(decimals)).unwrap();
            assert_eq!((number.to_string().as_str(), number.to_text().as_str()), (print, print));
        }
        assert_eq!(Number::parse("100", Decimals::AsWritten).unwrap().to_string(), "100");
        assert!(Number::parse("1.5", Decimals::Fixed(0)).is_err());
    }
}
