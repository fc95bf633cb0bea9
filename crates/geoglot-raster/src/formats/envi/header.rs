//! The text header of an ENVI raster.

use std::collections::HashMap;

use geoglot_core::{Affine, Crs};

use crate::SampleType;
use crate::formats::wkt::crs_of_wkt;

/// Order of the numbers in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interleave {
    /// Band sequential: all rows of band 1, then band 2.
    Bsq,
    /// Band interleaved by line: row 1 of every band, then row 2.
    Bil,
    /// Band interleaved by pixel: every band of pixel 1, then pixel 2.
    Bip,
}

/// What an ENVI header says.
#[derive(Debug, Clone, PartialEq)]
pub struct EnviHeader {
    /// Columns.
    pub samples: usize,
    /// Rows.
    pub lines: usize,
    /// Bands.
    pub bands: usize,
    /// Order of the numbers.
    pub interleave: Interleave,
    /// Type of the numbers.
    pub sample: SampleType,
    /// Most significant byte first.
    pub big_endian: bool,
    /// Bytes before the first number.
    pub offset: u64,
    /// Centre wavelengths in µm.
    pub wavelengths: Option<Vec<f32>>,
    /// Full widths at half maximum in µm.
    pub fwhm: Option<Vec<f32>>,
    /// Names of the bands.
    pub names: Option<Vec<String>>,
    /// Stored value that means "no data".
    pub nodata: Option<f64>,
    /// Reflectance = stored value / this.
    pub reflectance_scale: Option<f64>,
    /// Factor of each band.
    pub gains: Option<Vec<f64>>,
    /// Added to each band after the factor.
    pub offsets: Option<Vec<f64>>,
    /// Pixel → map transform.
    pub transform: Option<Affine>,
    /// Reference system.
    pub crs: Option<Crs>,
}

/// Splits a header into lower-case keys and values; values in braces may run over lines.
fn fields(text: &str) -> Result<HashMap<String, String>, String> {
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    if first.trim_start_matches('\u{feff}').trim() != "ENVI" {
        return Err("is not an ENVI header: its first line is not `ENVI`".into());
    }
    let mut fields = HashMap::new();
    while let Some(line) = lines.next() {
        let Some((key, value)) = line.split_once('=') else { continue };
        if line.trim_start().starts_with(';') {
            continue;
        }
        let mut value = value.trim().to_owned();
        if value.starts_with('{') {
            while !value.contains('}') {
                let next =
                    lines.next().ok_or_else(|| format!("has a list `{}` without its closing brace", key.trim()))?;
                value.push(' ');
                value.push_str(next.trim());
            }
            value = value[1..].split('}').next().unwrap_or_default().trim().to_owned();
        }
        fields.insert(key.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase(), value);
    }
    Ok(fields)
}

fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|s| !s.is_empty())
}

/// Parses the text of an ENVI header.
///
/// # Errors
/// In words: missing sizes, unknown types, lists of another length than the number of bands.
pub fn parse_envi_header(text: &str) -> Result<EnviHeader, String> {
    let fields = fields(text)?;
    let get = |key: &str| fields.get(key).map(String::as_str).filter(|v| !v.is_empty());
    let size = |key: &str| {
        let value = get(key).ok_or_else(|| format!("lacks `{key}`"))?;
        let n: usize = value.parse().map_err(|_| format!("has `{key} = {value}`, which is not a size"))?;
        if n == 0 { Err(format!("has `{key} = 0`")) } else { Ok(n) }
    };
    let (samples, lines) = (size("samples")?, size("lines")?);
    let bands = if get("bands").is_some() { size("bands")? } else { 1 };
    // Each band takes at least a name in memory; more are a typing error.
    if bands > 1 << 20 {
        return Err(format!("declares {bands} bands"));
    }
    let sample = match get("data type").ok_or("lacks `data type`")? {
        "1" => SampleType::U8,
        "2" => SampleType::I16,
        "3" => SampleType::I32,
        "4" => SampleType::F32,
        "5" => SampleType::F64,
        "12" => SampleType::U16,
        "13" => SampleType::U32,
        "14" => SampleType::I64,
        "15" => SampleType::U64,
        "6" | "9" => return Err("holds complex numbers (data type 6 or 9); convert it to real bands first".into()),
        other => return Err(format!("has the unknown data type {other}; known: 1, 2, 3, 4, 5, 12, 13, 14, 15")),
    };
    let interleave = match get("interleave").unwrap_or("bsq").to_ascii_lowercase().as_str() {
        "bsq" => Interleave::Bsq,
        "bil" => Interleave::Bil,
        "bip" => Interleave::Bip,
        other => return Err(format!("has the unknown interleave `{other}`; known: bsq, bil, bip")),
    };
    let big_endian = match get("byte order").unwrap_or("0") {
        "0" => false,
        "1" => true,
        other => return Err(format!("has the unknown byte order {other}; 0 is little-endian, 1 big-endian")),
    };
    if get("file compression").is_some_and(|v| v != "0") {
        return Err("is gzip compressed (file compression = 1); unpack it first".into());
    }
    let offset = match get("header offset") {
        Some(value) => {
            value.parse().map_err(|_| format!("has `header offset = {value}`, which is not a number of bytes"))?
        }
        None => 0,
    };
    let number = |key: &str| -> Result<Option<f64>, String> {
        get(key).map(|v| v.parse::<f64>().map_err(|_| format!("has `{key} = {v}`, which is not a number"))).transpose()
    };
    let numbers = |key: &str| -> Result<Option<Vec<f64>>, String> {
        let Some(value) = get(key) else { return Ok(None) };
        let parsed: Vec<f64> = list(value)
            .map(|n| n.parse().map_err(|_| format!("has `{n}` in its list `{key}`, which is not a number")))
            .collect::<Result<_, _>>()?;
        match parsed.len() {
            0 => Ok(None),
            n if n == bands => Ok(Some(parsed)),
            n => Err(format!("has {n} values in `{key}` for {bands} bands")),
        }
    };
    let units = get("wavelength units").unwrap_or_default().to_ascii_lowercase();
    let micrometres = |list: Option<Vec<f64>>, key: &str| -> Result<Option<Vec<f32>>, String> {
        let Some(list) = list else { return Ok(None) };
        let factor = match units.as_str() {
            "nanometers" | "nanometres" | "nm" => 1e-3,
            "micrometers" | "micrometres" | "microns" | "um" | "µm" => 1.0,
            // Index, GHz, unknown: not a wavelength. Without a unit the size tells: optics lie between 0.2 and 20 µm.
            "" | "unknown" if key == "wavelength" && list.iter().all(|&w| (0.2..=20.0).contains(&w)) => 1.0,
            "" | "unknown" if key == "wavelength" && list.iter().all(|&w| (200.0..=20000.0).contains(&w)) => 1e-3,
            _ => return Ok(None),
        };
        let um: Vec<f32> = list.iter().map(|w| (w * factor) as f32).collect();
        let top = if key == "fwhm" { 0.0..=20.0 } else { 0.2..=20.0 };
        match um.iter().find(|w| !top.contains(*w)) {
            Some(w) => {
                Err(format!("has the {key} {w} µm (units: {units}), outside 0.2–20 µm; correct `wavelength units`"))
            }
            None => Ok(Some(um)),
        }
    };
    let names: Option<Vec<String>> = match get("band names") {
        Some(value) => {
            let names: Vec<String> = list(value).map(str::to_owned).collect();
            // Names may hold commas: a list of another length is no list of names.
            (names.len() == bands).then_some(names)
        }
        None => None,
    };
    let (transform, mut crs) = match get("map info") {
        Some(value) => map_info(value)?,
        None => (None, None),
    };
    if let Some(wkt) = get("coordinate system string") {
        // A code from the map info is more useful than text.
        if crs.is_none() {
            crs = Some(crs_of_wkt(wkt));
        }
    }
    Ok(EnviHeader {
        samples,
        lines,
        bands,
        interleave,
        sample,
        big_endian,
        offset,
        wavelengths: micrometres(numbers("wavelength")?, "wavelength")?,
        fwhm: micrometres(numbers("fwhm")?, "fwhm")?,
        names,
        nodata: number("data ignore value")?,
        reflectance_scale: number("reflectance scale factor")?.filter(|&s| s > 0.0),
        gains: numbers("data gain values")?,
        offsets: numbers("data offset values")?,
        transform,
        crs,
    })
}

/// `{UTM, ref col, ref row, easting, northing, dx, dy, zone, North, WGS-84, units=Meters, rotation=…}`; reference pixels count from 1 at the corner.
fn map_info(value: &str) -> Result<(Option<Affine>, Option<Crs>), String> {
    let parts: Vec<&str> = value.split(',').map(str::trim).collect();
    let projection = parts[0].to_ascii_lowercase();
    let number = |k: usize| -> Result<f64, String> {
        parts
            .get(k)
            .and_then(|p| p.parse::<f64>().ok())
            .filter(|v| v.is_finite())
            .ok_or_else(|| format!("has a `map info` without a number in place {}", k + 1))
    };
    let (col, row, x, y, dx, dy) = (number(1)?, number(2)?, number(3)?, number(4)?, number(5)?, number(6)?);
    if dx == 0.0 || dy == 0.0 {
        return Err("has a `map info` with pixels of size 0".into());
    }
    let option = |name: &str| {
        parts
            .iter()
            .filter_map(|p| p.split_once('='))
            .find(|(k, _)| k.trim().eq_ignore_ascii_case(name))
            .map(|(_, v)| v.trim())
    };
    let angle = match option("rotation") {
        Some(v) => v.parse::<f64>().map_err(|_| format!("has `rotation={v}` in its `map info`"))?.to_radians(),
        None => 0.0,
    };
    let (sin, cos) = angle.sin_cos();
    // Rotation is counter-clockwise, as GDAL's driver reads it.
    let mut transform = Affine { x0: 0.0, dx: dx * cos, rx: dy * sin, y0: 0.0, ry: dx * sin, dy: -dy * cos };
    if angle == 0.0 {
        transform = Affine::north_up(0.0, 0.0, dx, dy);
    }
    let (shift_x, shift_y) = transform.apply(col - 1.0, row - 1.0);
    (transform.x0, transform.y0) = (x - shift_x, y - shift_y);
    let wgs84 = |from: usize| {
        let datum = parts.get(from).map(|d| d.to_ascii_lowercase().replace([' ', '-', '_'], "")).unwrap_or_default();
        datum.is_empty() || datum.contains('=') || datum == "wgs84"
    };
    let crs = match projection.as_str() {
        "utm" => {
            let zone = number(7)? as i64;
            let south = parts.get(8).is_some_and(|h| h.eq_ignore_ascii_case("south"));
            if !(1..=60).contains(&zone) {
                return Err(format!("has the UTM zone {zone} in its `map info`; zones are 1 to 60"));
            }
            wgs84(9).then_some(Crs::Epsg((if south { 32700 } else { 32600 }) + zone as u32))
        }
        "geographic lat/lon" if wgs84(7) => Some(Crs::Epsg(4326)),
        _ => None,
    };
    Ok((Some(transform), crs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: &str = "ENVI\ndescription = {\n a = b }\nsamples = 3\nlines = 2\nbands = 2\nheader offset = 0\ndata type = 12\ninterleave = bil\nbyte order = 1\n\
        map info = {UTM, 1.000, 1.000, 500000.0, 5000000.0, 10.0, 10.0, 32, North, WGS-84, units=Meters}\nwavelength units = Nanometers\n\
        wavelength = {\n 450.0,\n 650.5}\nfwhm = {10, 10}\nband names = {blue, red}\ndata ignore value = 65535\nreflectance scale factor = 10000\n";

    #[test]
    fn a_whole_header() {
        let h = parse_envi_header(HEADER).unwrap();
        assert_eq!((h.samples, h.lines, h.bands, h.interleave, h.big_endian), (3, 2, 2, Interleave::Bil, true));
        assert_eq!(h.wavelengths, Some(vec![0.45, 0.6505]));
        assert_eq!(h.crs, Some(Crs::Epsg(32632)));
        assert_eq!(h.transform, Some(Affine::north_up(500_000.0, 5_000_000.0, 10.0, 10.0)));
        assert_eq!(h.names.unwrap()[1], "red");
    }

    #[test]
    fn faults_are_named() {
        for (from, to, expected) in [
            ("ENVI\n", "ENV\n", "first line"),
            ("samples = 3", "samples = x", "samples"),
            ("lines = 2", "lines = 0", "lines"),
            ("data type = 12", "data type = 6", "complex"),
            ("data type = 12", "data type = 7", "data type"),
            ("interleave = bil", "interleave = tiled", "tiled"),
            ("byte order = 1", "byte order = 2", "byte order"),
            ("650.5", "650.5, 700", "wavelength"),
            ("650.5", "sixhundred", "sixhundred"),
            ("Nanometers", "Micrometers", "µm"),
            ("{blue, red}", "{blue, red", "closing"),
            ("10.0, 10.0, 32", "0.0, 10.0, 32", "size 0"),
            ("10.0, 32", "10.0, 99", "zone"),
        ] {
            let error = parse_envi_header(&HEADER.replacen(from, to, 1)).map(|_| ()).unwrap_err();
            assert!(error.contains(expected), "{to}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_a_header_or_words(text in "(ENVI\n)?(.{0,30}\n){0,5}", value in ".{0,40}", line in 0usize..16) {
            let _ = parse_envi_header(&text);
            let mangled: Vec<String> = HEADER.lines().enumerate().map(|(k, l)| if k == line { format!("{}={value}", l.split('=').next().unwrap()) } else { l.into() }).collect();
            let _ = parse_envi_header(&mangled.join("\n"));
        }
    }
}
