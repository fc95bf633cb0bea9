//! Reference systems written as well-known text.

use geoglot_core::Crs;

/// A reference system from well-known text: its own EPSG code if it states one, UTM on WGS 84 by name, else the text.
pub(crate) fn crs_of_wkt(text: &str) -> Crs {
    let plain = text.trim();
    if let Some(code) = plain.strip_prefix("EPSG:").and_then(|c| c.parse().ok()) {
        return Crs::Epsg(code);
    }
    // The last authority of the text is the whole system's.
    for opening in ["AUTHORITY[\"EPSG\",", "ID[\"EPSG\","] {
        if let Some(at) = plain.rfind(opening) {
            let rest = &plain[at + opening.len()..];
            let after = rest.split_once(']').map_or("", |(_, after)| after);
            let digits: String = rest.trim_start_matches('"').chars().take_while(char::is_ascii_digit).collect();
            // It belongs to the whole when only the whole's own bracket follows.
            if after.trim() == "]"
                && let Ok(code) = digits.parse()
            {
                return Crs::Epsg(code);
            }
        }
    }
    let name = plain.split('"').nth(1).unwrap_or_default().to_ascii_lowercase().replace(['_', ' '], "");
    if let Some(zone) = name.strip_prefix("wgs1984utmzone").or_else(|| name.strip_prefix("wgs84/utmzone"))
        && let Some(base) = match zone.chars().last() {
            Some('n') => Some(32600),
            Some('s') => Some(32700),
            _ => None,
        }
        && let Ok(number) = zone[..zone.len() - 1].parse::<u32>()
        && (1..=60).contains(&number)
    {
        return Crs::Epsg(base + number);
    }
    if matches!(name.as_str(), "gcswgs1984" | "wgs84") && plain.starts_with("GEOG") {
        return Crs::Epsg(4326);
    }
    Crs::Wkt(plain.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reference_systems() {
        let utm = "PROJCS[\"WGS_1984_UTM_Zone_33S\",GEOGCS[\"GCS_WGS_1984\",AUTHORITY[\"EPSG\",\"4326\"]],UNIT[\"Meter\",1.0]]";
        assert_eq!(crs_of_wkt(utm), Crs::Epsg(32733));
        assert_eq!(crs_of_wkt("PROJCS[\"x\",GEOGCS[\"y\"],AUTHORITY[\"EPSG\",\"25832\"]]"), Crs::Epsg(25832));
        assert_eq!(crs_of_wkt("GEOGCS[\"GCS_WGS_1984\",DATUM[\"D\"]]"), Crs::Epsg(4326));
        assert!(matches!(crs_of_wkt("LOCAL_CS[\"mine\"]"), Crs::Wkt(_)));
    }

    proptest! {
        #[test]
        fn any_text_is_taken(name in ".{0,20}", rest in ".{0,20}") {
            let _ = crs_of_wkt(&format!("PROJCS[\"{name}\",AUTHORITY[\"EPSG\",{rest}"));
            let _ = crs_of_wkt(&name);
        }
    }
}
