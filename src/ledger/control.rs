//! The control figures in force, per year and round.

use imbl::OrdMap;

use crate::budget::cell::CellAddress;
use crate::budget::control_figure::ControlFigure;
use crate::budget::submission::UnitCode;

/// The control figures of one year and round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlBook {
    /// Counts the issues.
    pub version: u32,
    figures: OrdMap<(UnitCode, CellAddress), ControlFigure>,
}

impl ControlBook {
    /// The figures of one unit, sorted by cell.
    pub fn of_unit<'b>(&'b self, unit: &str) -> impl Iterator<Item = &'b ControlFigure> + use<'b> {
        let unit = UnitCode::from(unit);
        // The empty address sorts before every other, so the range starts with the unit's first figure.
        let from = (unit.clone(), CellAddress::new("", "", ""));
        self.figures.range(from..).take_while(move |((of, _), _)| *of == unit).map(|(_, figure)| figure)
    }

    /// All figures, sorted by unit and cell.
    pub fn all(&self) -> impl Iterator<Item = &ControlFigure> {
        self.figures.values()
    }

    pub(super) fn issue(&mut self, version: u32, figures: &[ControlFigure]) {
        self.version = version;
        for figure in figures {
            self.figures.insert((figure.unit.clone(), figure.cell.clone()), figure.clone());
        }
    }
}
