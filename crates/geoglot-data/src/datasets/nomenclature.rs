//! BigEarthNet's classes: the 43 of CORINE Land Cover level 3 and the 19 of Sumbul et al. 2020 (arXiv:2001.06372).

use serde::{Deserialize, Serialize};

/// Which classes BigEarthNet v1 is scored on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nomenclature {
    /// The 19 classes in use since 2020; eleven small or time-bound ones are left out.
    #[default]
    Nineteen,
    /// The 43 original classes.
    FortyThree,
}

/// The 19 classes, each with the original ones it unites.
const NINETEEN: [(&str, &[&str]); 19] = [
    ("Urban fabric", &["Continuous urban fabric", "Discontinuous urban fabric"]),
    ("Industrial or commercial units", &["Industrial or commercial units"]),
    ("Arable land", &["Non-irrigated arable land", "Permanently irrigated land", "Rice fields"]),
    (
        "Permanent crops",
        &[
            "Vineyards",
            "Fruit trees and berry plantations",
            "Olive groves",
            "Annual crops associated with permanent crops",
        ],
    ),
    ("Pastures", &["Pastures"]),
    ("Complex cultivation patterns", &["Complex cultivation patterns"]),
    (
        "Land principally occupied by agriculture, with significant areas of natural vegetation",
        &["Land principally occupied by agriculture, with significant areas of natural vegetation"],
    ),
    ("Agro-forestry areas", &["Agro-forestry areas"]),
    ("Broad-leaved forest", &["Broad-leaved forest"]),
    ("Coniferous forest", &["Coniferous forest"]),
    ("Mixed forest", &["Mixed forest"]),
    ("Natural grassland and sparsely vegetated areas", &["Natural grassland", "Sparsely vegetated areas"]),
    ("Moors, heathland and sclerophyllous vegetation", &["Moors and heathland", "Sclerophyllous vegetation"]),
    ("Transitional woodland, shrub", &["Transitional woodland/shrub"]),
    ("Beaches, dunes, sands", &["Beaches, dunes, sands"]),
    ("Inland wetlands", &["Inland marshes", "Peatbogs"]),
    ("Coastal wetlands", &["Salt marshes", "Salines"]),
    ("Inland waters", &["Water courses", "Water bodies"]),
    ("Marine waters", &["Coastal lagoons", "Estuaries", "Sea and ocean"]),
];

/// Original classes that none of the 19 holds.
const LEFT_OUT: [&str; 11] = [
    "Road and rail networks and associated land",
    "Port areas",
    "Airports",
    "Mineral extraction sites",
    "Dump sites",
    "Construction sites",
    "Green urban areas",
    "Sport and leisure facilities",
    "Bare rock",
    "Burnt areas",
    "Intertidal flats",
];

impl Nomenclature {
    /// The classes in order: the 19 as published; the 43 as the 19 unite them, then the eleven others.
    pub fn classes(self) -> Vec<&'static str> {
        match self {
            Self::Nineteen => NINETEEN.iter().map(|(name, _)| *name).collect(),
            Self::FortyThree => NINETEEN.iter().flat_map(|(_, own)| own.iter().copied()).chain(LEFT_OUT).collect(),
        }
    }

    /// What an original label is here: `Ok(None)` for one that is left out, `Err` for one that BigEarthNet does not have.
    pub(super) fn convert(self, label: &str) -> Result<Option<&'static str>, String> {
        if let Some(name) = LEFT_OUT.iter().find(|n| **n == label) {
            return Ok((self == Self::FortyThree).then_some(*name));
        }
        let united = NINETEEN.iter().find_map(|(name, own)| Some((*name, *own.iter().find(|o| **o == label)?)));
        match (united, self) {
            (Some((name, _)), Self::Nineteen) => Ok(Some(name)),
            (Some((_, own)), Self::FortyThree) => Ok(Some(own)),
            (None, _) => Err(format!("`{label}` is none of BigEarthNet's 43 labels")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The 43 in the order of CORINE's codes (111 to 523, without 335 glaciers), each with the position of its class among the 19, −1 for
    /// none: the numbers of TorchGeo's `BigEarthNet.label_converter`, which repeats the authors' `label_indices.json`. Typed in order of
    /// code, where the table above is in order of class, so that a slip in one of them shows.
    #[rustfmt::skip]
    const BY_CODE: [(&str, i8); 43] = [
        ("Continuous urban fabric", 0), ("Discontinuous urban fabric", 0), ("Industrial or commercial units", 1),
        ("Road and rail networks and associated land", -1), ("Port areas", -1), ("Airports", -1),
        ("Mineral extraction sites", -1), ("Dump sites", -1), ("Construction sites", -1), ("Green urban areas", -1),
        ("Sport and leisure facilities", -1), ("Non-irrigated arable land", 2), ("Permanently irrigated land", 2),
        ("Rice fields", 2), ("Vineyards", 3), ("Fruit trees and berry plantations", 3), ("Olive groves", 3), ("Pastures", 4),
        ("Annual crops associated with permanent crops", 3), ("Complex cultivation patterns", 5),
        ("Land principally occupied by agriculture, with significant areas of natural vegetation", 6),
        ("Agro-forestry areas", 7), ("Broad-leaved forest", 8), ("Coniferous forest", 9), ("Mixed forest", 10),
        ("Natural grassland", 11), ("Moors and heathland", 12), ("Sclerophyllous vegetation", 12),
        ("Transitional woodland/shrub", 13), ("Beaches, dunes, sands", 14), ("Bare rock", -1),
        ("Sparsely vegetated areas", 11), ("Burnt areas", -1), ("Inland marshes", 15), ("Peatbogs", 15), ("Salt marshes", 16),
        ("Salines", 16), ("Intertidal flats", -1), ("Water courses", 17), ("Water bodies", 17), ("Coastal lagoons", 18),
        ("Estuaries", 18), ("Sea and ocean", 18),
    ];

    #[test]
    fn every_pair_is_that_of_torchgeo() {
        let nineteen = Nomenclature::Nineteen.classes();
        for (label, k) in BY_CODE {
            let expected = usize::try_from(k).ok().map(|k| nineteen[k]);
            assert_eq!(Nomenclature::Nineteen.convert(label), Ok(expected), "{label}");
            assert_eq!(Nomenclature::FortyThree.convert(label), Ok(Some(label)));
        }
    }

    #[test]
    fn forty_three_become_nineteen() {
        let all = Nomenclature::FortyThree.classes();
        assert_eq!((all.len(), Nomenclature::Nineteen.classes().len()), (43, 19));
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), 43);
        let kept = all.iter().filter(|l| Nomenclature::Nineteen.convert(l).unwrap().is_some()).count();
        assert_eq!(kept, 32);
        assert_eq!(Nomenclature::Nineteen.convert("Peatbogs"), Ok(Some("Inland wetlands")));
        assert_eq!(Nomenclature::FortyThree.convert("Airports"), Ok(Some("Airports")));
        assert!(Nomenclature::Nineteen.convert("Glaciers and perpetual snow").is_err());
    }
}
