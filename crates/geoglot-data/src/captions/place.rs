//! Where in an image something lies.

use serde::{Deserialize, Serialize};

/// A part of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// The inner quarter of the area.
    Center,
    /// A quadrant.
    UpperLeft,
    /// A quadrant.
    UpperRight,
    /// A quadrant.
    LowerLeft,
    /// A quadrant.
    LowerRight,
    /// A half.
    Top,
    /// A half.
    Bottom,
    /// A half.
    Left,
    /// A half.
    Right,
    /// No part of the image holds it.
    Throughout,
}

const PARTS: [Place; 9] = [
    Place::Center,
    Place::UpperLeft,
    Place::UpperRight,
    Place::LowerLeft,
    Place::LowerRight,
    Place::Top,
    Place::Bottom,
    Place::Left,
    Place::Right,
];

impl Place {
    /// Whether a cell of the 4 × 4 grid belongs to the part.
    fn holds(self, row: usize, col: usize) -> bool {
        let (top, left) = (row < 2, col < 2);
        match self {
            Self::Center => (1..3).contains(&row) && (1..3).contains(&col),
            Self::UpperLeft => top && left,
            Self::UpperRight => top && !left,
            Self::LowerLeft => !top && left,
            Self::LowerRight => !top && !left,
            Self::Top => top,
            Self::Bottom => !top,
            Self::Left => left,
            Self::Right => !left,
            Self::Throughout => true,
        }
    }

    /// `upper left`, `left half`, `center`; `whole image` for [`Place::Throughout`].
    pub fn words(self) -> &'static str {
        match self {
            Self::Center => "center",
            Self::UpperLeft => "upper left",
            Self::UpperRight => "upper right",
            Self::LowerLeft => "lower left",
            Self::LowerRight => "lower right",
            Self::Top => "upper half",
            Self::Bottom => "lower half",
            Self::Left => "left half",
            Self::Right => "right half",
            Self::Throughout => "whole image",
        }
    }
}

/// Least share of something that must lie in a part before it is said to lie there, in percent.
const MOST: f64 = 75.0;

/// Where something mainly lies.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The smallest part that holds at least three quarters of it.
    pub place: Place,
    /// How much of it lies there, in percent.
    pub percent: f64,
}

impl Position {
    /// The centre, quadrant or half that holds at least three quarters of `mass`.
    pub fn of(mass: &Mass) -> Self {
        let total = mass.total().max(1) as f64;
        let share = |place: Place| 100.0 * mass.within(place) as f64 / total;
        // Quadrants and the centre before halves: the smaller part says more.
        let (small, large) = PARTS.split_at(5);
        let best = |parts: &[Place]| {
            let best = parts.iter().copied().max_by(|a, b| share(*a).total_cmp(&share(*b)).then(b.cmp(a)));
            best.map(|place| Self { place, percent: share(place) }).filter(|p| p.percent >= MOST)
        };
        best(small).or_else(|| best(large)).unwrap_or(Self { place: Place::Throughout, percent: 100.0 })
    }

    /// Whether it is to be found in one part of the image.
    pub fn is_local(&self) -> bool {
        self.place != Place::Throughout
    }

    /// `in the upper left`, `mainly in the left half`; `across the whole image` where no part holds it.
    pub fn phrase(&self) -> String {
        match self.place {
            Place::Throughout => "across the whole image".into(),
            place if self.percent >= 97.0 => format!("in the {}", place.words()),
            place => format!("mainly in the {}", place.words()),
        }
    }
}

/// Amounts in the cells of a 4 × 4 grid over an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mass([[usize; 4]; 4]);

impl Mass {
    /// Adds one at a pixel of an image of `height` × `width` pixels.
    pub fn add(&mut self, row: usize, col: usize, (height, width): (usize, usize)) {
        let cell = |at: usize, n: usize| (4 * at / n.max(1)).min(3);
        self.0[cell(row, height)][cell(col, width)] += 1;
    }

    /// The sum.
    pub fn total(&self) -> usize {
        self.within(Place::Throughout)
    }

    /// The sum over a part of the image.
    pub fn within(&self, place: Place) -> usize {
        let cells = self.0.iter().enumerate().flat_map(|(r, row)| row.iter().enumerate().map(move |(c, n)| (r, c, n)));
        cells.filter(|(r, c, _)| place.holds(*r, *c)).map(|(_, _, n)| n).sum()
    }
}

impl std::ops::AddAssign for Mass {
    fn add_assign(&mut self, other: Self) {
        for (own, more) in self.0.iter_mut().flatten().zip(other.0.iter().flatten()) {
            *own += more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(points: &[(usize, usize)]) -> Position {
        let mut mass = Mass::default();
        points.iter().for_each(|(r, c)| mass.add(*r, *c, (100, 200)));
        Position::of(&mass)
    }

    #[test]
    fn the_smallest_part_is_named() {
        assert_eq!(position(&[(10, 10)]).place, Place::UpperLeft);
        assert_eq!(position(&[(50, 100)]).place, Place::Center);
        assert_eq!(position(&[(10, 10), (90, 20)]).place, Place::Left);
        assert_eq!(position(&[(10, 10), (90, 190)]).place, Place::Throughout);
        let mainly = position(&[(90, 190), (90, 150), (80, 199), (1, 1)]);
        assert_eq!((mainly.place, mainly.percent), (Place::LowerRight, 75.0));
        assert_eq!(mainly.phrase(), "mainly in the lower right");
        assert_eq!(Position::of(&Mass::default()).place, Place::Throughout);
    }
}
