//! The classes of synthetic scenes and their words.

use geoglot_core::{Class, Legend};

/// What a place is. The number is its id in label rasters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(super) enum Kind {
    Water = 1,
    Paved = 2,
    FlatRoof = 3,
    TiledRoof = 4,
    Grass = 5,
    Turf = 6,
    Soil = 7,
    Cereal = 8,
    Bushes = 9,
    Orchard = 10,
    Shrubs = 11,
    Woods = 12,
}

pub(super) const KINDS: [Kind; 12] = [
    Kind::Water,
    Kind::Paved,
    Kind::FlatRoof,
    Kind::TiledRoof,
    Kind::Grass,
    Kind::Turf,
    Kind::Soil,
    Kind::Cereal,
    Kind::Bushes,
    Kind::Orchard,
    Kind::Shrubs,
    Kind::Woods,
];

impl Kind {
    /// Name, map colour, prompts.
    fn entry(self) -> (&'static str, [u8; 3], &'static [&'static str]) {
        match self {
            Self::Water => ("water", [44, 110, 187], &["water", "a river or a pond", "dark, level open water"]),
            Self::Paved => (
                "road or car park",
                [120, 120, 120],
                &["an asphalt road or a car park", "grey paved ground", "asphalt at ground level"],
            ),
            Self::FlatRoof => (
                "flat-roofed building",
                [60, 60, 75],
                &["a flat-roofed building", "a tall hall with a grey bitumen roof", "a large industrial building"],
            ),
            Self::TiledRoof => (
                "tiled-roof house",
                [196, 78, 52],
                &["a house with a red tiled roof", "residential buildings with clay tiles", "a gabled house"],
            ),
            Self::Grass => ("meadow or lawn", [140, 200, 90], &["a meadow", "a lawn of short grass", "grassland"]),
            Self::Turf => (
                "artificial turf",
                [0, 158, 115],
                &["an artificial turf sports pitch", "a synthetic green playing field", "plastic grass"],
            ),
            Self::Soil => {
                ("bare soil", [150, 104, 66], &["bare soil", "a ploughed field without plants", "bare earth"])
            }
            Self::Cereal => (
                "cereal crop",
                [232, 200, 92],
                &["a ripening cereal field", "wheat or barley", "a yellow field of grain"],
            ),
            Self::Bushes => (
                "berry bushes",
                [170, 120, 190],
                &["rows of low berry bushes", "a plantation of low bushes", "bush rows as high as a person's hip"],
            ),
            Self::Orchard => (
                "orchard",
                [213, 120, 160],
                &["an orchard", "rows of fruit trees", "apple trees several metres high, planted in rows"],
            ),
            Self::Shrubs => ("shrubland", [120, 140, 40], &["low shrubs", "dense shrubland", "a low thicket"]),
            Self::Woods => {
                ("woodland", [28, 92, 44], &["woodland", "a forest of tall trees", "tall broad-leaved trees"])
            }
        }
    }
}

/// The legend of every synthetic scene: twelve classes, three prompts each.
pub fn legend() -> Legend {
    let class = |kind: Kind| {
        let (name, color, prompts) = kind.entry();
        Class {
            id: kind as u16,
            name: name.into(),
            color: Some(color),
            prompts: prompts.iter().map(|p| (*p).into()).collect(),
        }
    };
    Legend { unlabelled: 0, classes: KINDS.into_iter().map(class).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_legend_is_sound() {
        let legend = legend();
        legend.check().unwrap();
        assert_eq!(legend.len(), KINDS.len());
        assert!((0..legend.len()).all(|k| legend.words(k).len() == 3));
    }
}
