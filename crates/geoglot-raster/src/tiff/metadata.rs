//! The XML of the `GDAL_METADATA` tag: band descriptions, scales, offsets, wavelengths.

use geoglot_core::Band;

/// TIFF tag of GDAL's XML metadata.
pub(super) const TAG: u16 = 42112;
/// Item of the data set that names the sensor of all bands by its id in the registry.
pub const SENSOR_ITEM: &str = "GEOGLOT_SENSOR";

/// Puts what the XML says into `bands`; XML of another form is ignored, as GDAL does.
pub(super) fn apply(xml: &str, bands: &mut [Band]) {
    let Ok(document) = roxmltree::Document::parse(xml.trim_matches(['\0', ' ', '\n', '\r', '\t'])) else {
        tracing::warn!("the GDAL_METADATA tag is not well-formed XML and was not used");
        return;
    };
    let of_all =
        |node: &roxmltree::Node| node.attribute("name") == Some(SENSOR_ITEM) && node.attribute("sample").is_none();
    if let Some(sensor) = document.descendants().find(of_all).and_then(|node| node.text()) {
        let sensor = unescape(sensor.trim());
        bands.iter_mut().for_each(|band| band.sensor = Some(sensor.clone()));
    }
    for item in document.descendants().filter(|node| node.has_tag_name("Item")) {
        let Some(band) = item
            .attribute("sample")
            .and_then(|s| s.trim().parse::<usize>().ok())
            .and_then(|sample| bands.get_mut(sample))
        else {
            continue;
        };
        let text = unescape(item.text().unwrap_or_default().trim());
        let number = text.parse::<f64>().ok().filter(|v| v.is_finite());
        let name = item.attribute("name").unwrap_or_default().to_ascii_lowercase();
        match (item.attribute("role").unwrap_or_default(), name.as_str(), number) {
            ("description", _, _) if !text.is_empty() => band.name = text,
            ("scale", _, Some(v)) if v != 0.0 => band.scale = v,
            ("offset", _, Some(v)) => band.offset = v,
            (_, "central_wavelength_um" | "wavelength_um", Some(v)) => band.wavelength_um = micrometres(v),
            (_, "wavelength", Some(v)) => band.wavelength_um = micrometres(v),
            (_, "fwhm_um", Some(v)) => band.fwhm_um = micrometres(v),
            _ => {}
        }
    }
}

/// Wavelengths are written in µm or in nm; no optical band lies where the two could be confused.
fn micrometres(value: f64) -> Option<f32> {
    match value {
        v if (0.2..=20.0).contains(&v) => Some(v as f32),
        v if (200.0..=20_000.0).contains(&v) => Some((v / 1000.0) as f32),
        _ => None,
    }
}

/// GDAL escapes the text of items twice.
fn unescape(text: &str) -> String {
    ["&lt;<", "&gt;>", "&quot;\"", "&apos;'", "&amp;&"].iter().fold(text.to_string(), |text, entity| {
        let (name, sign) = entity.split_at(entity.len() - 1);
        text.replace(name, sign)
    })
}

/// The XML that gives each band its description, and the data set further items.
pub(super) fn compose(descriptions: &[String], items: &[(String, String)]) -> String {
    let mut xml = String::from("<GDALMetadata>\n");
    for (name, value) in items {
        xml += &format!("  <Item name=\"{}\">{}</Item>\n", escape(name), escape(&escape(value)));
    }
    for (sample, name) in descriptions.iter().enumerate() {
        let name = escape(&escape(name));
        xml += &format!("  <Item name=\"DESCRIPTION\" sample=\"{sample}\" role=\"description\">{name}</Item>\n");
    }
    xml + "</GDALMetadata>\n"
}

/// Text safe inside XML elements and attributes; control characters, which XML 1.0 has no way to write, are left out.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn composed_descriptions_are_read_back() {
        let names: Vec<String> = ["red & <hot>", "Ä \"b\""].map(Into::into).into();
        let mut bands = vec![Band::named("band 1"), Band::named("band 2")];
        apply(&compose(&names, &[("k".into(), "v".into())]), &mut bands);
        assert_eq!(bands.iter().map(|b| b.name.clone()).collect::<Vec<_>>(), names);
    }

    #[test]
    fn scale_offset_and_wavelength_are_taken() {
        let xml = r#"<GDALMetadata><Item name="SCALE" sample="0" role="scale">0.0001</Item>
            <Item name="OFFSET" sample="0" role="offset">-0.1</Item>
            <Item name="CENTRAL_WAVELENGTH_UM" sample="0" domain="IMAGERY">0.665</Item>
            <Item name="wavelength" sample="1">842.0</Item><Item name="SCALE" sample="9" role="scale">7</Item></GDALMetadata>"#;
        let mut bands = vec![Band::named("a"), Band::named("b")];
        apply(xml, &mut bands);
        assert_eq!((bands[0].scale, bands[0].offset, bands[0].wavelength_um), (0.0001, -0.1, Some(0.665)));
        assert_eq!(bands[1].wavelength_um, Some(0.842));
        apply("<not xml", &mut bands);
    }
}
