//! Footprints as WKB and GeoJSON.

use serde_json::{Value, json};

use crate::footprint::{Footprint, Polygon, Position};
use crate::{Error, Result};

impl Footprint {
    /// Well-known binary, little endian: a Polygon, or a MultiPolygon when there are several (OGC 06-103r4).
    pub fn to_wkb(&self) -> Vec<u8> {
        fn polygon(out: &mut Vec<u8>, polygon: &Polygon) {
            out.push(1);
            out.extend(3u32.to_le_bytes());
            out.extend((polygon.rings.len() as u32).to_le_bytes());
            for ring in &polygon.rings {
                out.extend((ring.len() as u32).to_le_bytes());
                for value in ring.iter().flatten() {
                    out.extend(value.to_le_bytes());
                }
            }
        }
        let mut out = Vec::new();
        let polygons = self.polygons();
        if polygons.len() > 1 {
            out.push(1);
            out.extend(6u32.to_le_bytes());
            out.extend((polygons.len() as u32).to_le_bytes());
        }
        polygons.iter().for_each(|p| polygon(&mut out, p));
        out
    }

    /// Reads WKB or EWKB of a Point, Polygon or MultiPolygon, either byte order; Z and M are dropped.
    ///
    /// # Errors
    /// [`Error::Format`] for other types and cut bytes, [`Error::Geometry`] for positions off the Earth.
    pub fn from_wkb(bytes: &[u8]) -> Result<Self> {
        let mut reader = Wkb { rest: bytes, little: true };
        let footprint = reader.geometry()?;
        if !reader.rest.is_empty() {
            return Err(Error::format("WKB", format!("{} bytes too many", reader.rest.len())));
        }
        Ok(footprint)
    }

    /// GeoJSON geometry (RFC 7946).
    pub fn to_geojson(&self) -> Value {
        match self.polygons() {
            [one] => json!({ "type": "Polygon", "coordinates": one.rings }),
            several => {
                let coordinates: Vec<_> = several.iter().map(|p| &p.rings).collect();
                json!({ "type": "MultiPolygon", "coordinates": coordinates })
            }
        }
    }

    /// Reads a GeoJSON Polygon or MultiPolygon, a Feature, or a FeatureCollection (all its areas).
    ///
    /// # Errors
    /// [`Error::Format`] for other content, [`Error::Geometry`] for positions off the Earth.
    pub fn from_geojson(text: &str) -> Result<Self> {
        let value: Value =
            serde_json::from_str(text).map_err(|e| Error::format("GeoJSON", format!("not JSON: {e}")))?;
        let mut polygons = Vec::new();
        collect(&value, &mut polygons)?;
        Self::new(polygons)
    }
}

fn collect(value: &Value, polygons: &mut Vec<Polygon>) -> Result<()> {
    type Rings = Vec<Vec<Vec<f64>>>;
    let refuse = |problem: String| Error::format("GeoJSON", problem);
    let polygon = |rings: Rings| -> Result<Polygon> {
        let position = |p: Vec<f64>| -> Result<Position> {
            p.get(..2).map(|p| [p[0], p[1]]).ok_or_else(|| refuse("a position needs longitude and latitude".into()))
        };
        let rings = rings.into_iter().map(|r| r.into_iter().map(position).collect()).collect::<Result<_>>()?;
        Ok(Polygon { rings })
    };
    let coordinates = || value["coordinates"].clone();
    match value["type"].as_str() {
        Some("FeatureCollection") => {
            value["features"].as_array().into_iter().flatten().try_for_each(|f| collect(f, polygons))
        }
        Some("Feature") => collect(&value["geometry"], polygons),
        Some("Polygon") => {
            let rings: Rings = serde_json::from_value(coordinates()).map_err(|e| refuse(format!("Polygon: {e}")))?;
            polygons.push(polygon(rings)?);
            Ok(())
        }
        Some("MultiPolygon") => {
            let parts: Vec<Rings> =
                serde_json::from_value(coordinates()).map_err(|e| refuse(format!("MultiPolygon: {e}")))?;
            parts.into_iter().try_for_each(|rings| polygon(rings).map(|p| polygons.push(p)))
        }
        other => Err(refuse(format!(
            "found {}, expected a Polygon, MultiPolygon, Feature or FeatureCollection",
            other.unwrap_or("no type")
        ))),
    }
}

struct Wkb<'a> {
    rest: &'a [u8],
    little: bool,
}

impl Wkb<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or_else(|| Error::format("WKB", "ends in the middle of a geometry"))?;
        self.rest = rest;
        Ok(*head)
    }

    fn u32(&mut self) -> Result<u32> {
        let bytes = self.take()?;
        Ok(if self.little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    fn f64(&mut self) -> Result<f64> {
        let bytes = self.take()?;
        Ok(if self.little { f64::from_le_bytes(bytes) } else { f64::from_be_bytes(bytes) })
    }

    /// Byte order, type and number of values in a position.
    fn head(&mut self) -> Result<(u32, usize)> {
        self.little = self.take::<1>()?[0] == 1;
        let code = self.u32()?;
        // EWKB flags Z, M and SRID in the high bits; ISO WKB adds 1000, 2000 or 3000.
        if code & 0x2000_0000 != 0 {
            self.u32()?;
        }
        let extra = [0x8000_0000, 0x4000_0000].iter().filter(|&&flag| code & flag != 0).count();
        let code = code & 0x0FFF_FFFF;
        let extra = extra + [0, 1, 1, 2].get((code / 1000) as usize).copied().unwrap_or(0);
        Ok((code % 1000, 2 + extra))
    }

    fn position(&mut self, values: usize) -> Result<Position> {
        let position = [self.f64()?, self.f64()?];
        for _ in 2..values {
            self.f64()?;
        }
        Ok(position)
    }

    /// A count, checked against what is left so that a wrong one cannot reserve memory.
    fn count(&mut self, bytes_each: usize) -> Result<usize> {
        let count = self.u32()? as usize;
        if count.saturating_mul(bytes_each) > self.rest.len() {
            return Err(Error::format(
                "WKB",
                format!("announces {count} parts, but only {} bytes follow", self.rest.len()),
            ));
        }
        Ok(count)
    }

    fn polygon(&mut self, values: usize) -> Result<Polygon> {
        let rings = (0..self.count(4)?)
            .map(|_| (0..self.count(8 * values)?).map(|_| self.position(values)).collect())
            .collect::<Result<_>>()?;
        Ok(Polygon { rings })
    }

    fn geometry(&mut self) -> Result<Footprint> {
        let (code, values) = self.head()?;
        match code {
            1 => self.position(values).and_then(|[lon, lat]| Footprint::from_point(lon, lat)),
            3 => Footprint::new(vec![self.polygon(values)?]),
            6 => {
                let mut polygons = Vec::new();
                for _ in 0..self.count(9)? {
                    match self.head()? {
                        (3, values) => polygons.push(self.polygon(values)?),
                        (code, _) => return Err(Error::format("WKB", format!("type {code} inside a MultiPolygon"))),
                    }
                }
                Footprint::new(polygons)
            }
            code => Err(Error::format(
                "WKB",
                format!("geometry type {code}; footprints are Polygon (3), MultiPolygon (6) or Point (1)"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_polygon_survives_wkb_and_geojson() {
        let ring = Footprint::from_ring(&[[179.0, 1.0], [-179.0, 1.0], [-179.0, 2.0], [179.0, 2.0]]).unwrap();
        for f in [ring, Footprint::from_point(1.0, 2.0).unwrap()] {
            assert_eq!(Footprint::from_wkb(&f.to_wkb()).unwrap(), f);
            assert_eq!(Footprint::from_geojson(&f.to_geojson().to_string()).unwrap(), f);
        }
    }

    #[test]
    fn big_endian_with_height_is_read() {
        let mut bytes = vec![0];
        bytes.extend(1003u32.to_be_bytes());
        bytes.extend(1u32.to_be_bytes());
        bytes.extend(4u32.to_be_bytes());
        for v in [0.0, 0.0, 9.0, 1.0, 0.0, 9.0, 1.0, 1.0, 9.0, 0.0, 0.0, 9.0f64] {
            bytes.extend(v.to_be_bytes());
        }
        assert_eq!(Footprint::from_wkb(&bytes).unwrap().polygons()[0].rings[0][2], [1.0, 1.0]);
    }

    #[test]
    fn a_line_or_a_huge_count_is_refused() {
        let line = [&[1u8][..], &2u32.to_le_bytes(), &0u32.to_le_bytes()].concat();
        assert!(Footprint::from_wkb(&line).unwrap_err().to_string().contains("type 2"));
        let huge = [&[1u8][..], &3u32.to_le_bytes(), &u32::MAX.to_le_bytes()].concat();
        assert!(Footprint::from_wkb(&huge).is_err());
        assert!(Footprint::from_geojson("{\"type\":\"Point\",\"coordinates\":[1,2]}").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Footprint::from_wkb(&bytes);
        }
    }
}
