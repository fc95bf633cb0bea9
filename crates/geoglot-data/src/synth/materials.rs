//! Reflectance spectra of pure materials, 0.35–2.6 µm, as smooth curves with the absorption features that tell them apart.
//!
//! Shapes follow well-known laboratory spectra: chlorophyll absorbs around 0.45 and 0.67 µm; the red edge of leaves lies near 0.715 µm; liquid water
//! absorbs at 0.97, 1.20, 1.45 and 1.94 µm; cellulose at 2.10 µm; clay at 2.20 µm; carbonate at 2.34 µm; hydrocarbons (asphalt, plastic) at 1.73
//! and 2.31 µm; ferric iron below 0.55 and at 0.87 µm.

/// A pure material.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Material {
    Leaf,
    PaleLeaf,
    Grass,
    DryPlant,
    SoilDry,
    SoilWet,
    AsphaltNew,
    AsphaltOld,
    Gravel,
    TileFresh,
    TileOld,
    Turf,
    WaterClear,
    WaterTurbid,
    Bark,
    Paint,
}

pub(super) const MATERIALS: [Material; 16] = [
    Material::Leaf,
    Material::PaleLeaf,
    Material::Grass,
    Material::DryPlant,
    Material::SoilDry,
    Material::SoilWet,
    Material::AsphaltNew,
    Material::AsphaltOld,
    Material::Gravel,
    Material::TileFresh,
    Material::TileOld,
    Material::Turf,
    Material::WaterClear,
    Material::WaterTurbid,
    Material::Bark,
    Material::Paint,
];

fn bell(w: f32, center: f32, width: f32) -> f32 {
    (-((w - center) / width).powi(2)).exp()
}

fn step(w: f32, center: f32, width: f32) -> f32 {
    1.0 / (1.0 + (-(w - center) / width).exp())
}

/// Straight lines between (wavelength, reflectance) points.
fn line(w: f32, points: &[(f32, f32)]) -> f32 {
    let k = points.partition_point(|p| p.0 <= w).clamp(1, points.len() - 1);
    let ((w0, r0), (w1, r1)) = (points[k - 1], points[k]);
    r0 + (r1 - r0) * ((w - w0) / (w1 - w0)).clamp(0.0, 1.0)
}

/// Absorption coefficient of liquid water, in units in which leaves hold 0.02–0.04.
fn liquid_water(w: f32) -> f32 {
    0.4 * bell(w, 0.97, 0.03)
        + 1.6 * bell(w, 1.2, 0.045)
        + 22.0 * bell(w, 1.45, 0.06)
        + 9.0 * step(w, 1.38, 0.03)
        + 60.0 * bell(w, 1.94, 0.07)
        + 18.0 * step(w, 1.98, 0.06)
        + 45.0 * step(w, 2.45, 0.08)
}

/// A green leaf canopy: chlorophyll below the red edge, plateau in the near infrared, water beyond.
fn leaf(w: f32, visible: f32, green: f32, edge: f32, plateau: f32, water: f32) -> f32 {
    let pigments = visible + green * bell(w, 0.553, 0.038) + 0.25 * green * step(w, 0.6, 0.02);
    let red = 1.0 - 0.45 * bell(w, 0.672, 0.02);
    let infrared = plateau * (-water * liquid_water(w)).exp() * (1.0 - 0.12 * step(w, 1.6, 0.3));
    let t = step(w, edge, 0.0115);
    pigments * red * (1.0 - t) + infrared * t
}

/// Iron-bearing mineral curve: rises through the visible, dips at 0.87 µm.
fn iron(w: f32, points: &[(f32, f32)], dip: f32) -> f32 {
    line(w, points) * (1.0 - dip * bell(w, 0.87, 0.06))
}

impl Material {
    /// Reflectance at `w` µm.
    pub fn reflectance(self, w: f32) -> f32 {
        let clay = 1.0 - 0.10 * bell(w, 2.205, 0.025) - 0.08 * bell(w, 1.41, 0.02) - 0.12 * bell(w, 1.92, 0.04);
        let oil = 1.0 - 0.05 * bell(w, 1.73, 0.03) - 0.10 * bell(w, 2.31, 0.04);
        match self {
            Self::Leaf => leaf(w, 0.035, 0.055, 0.716, 0.46, 0.034),
            Self::PaleLeaf => leaf(w, 0.055, 0.085, 0.706, 0.44, 0.026),
            Self::Grass => leaf(w, 0.045, 0.065, 0.712, 0.42, 0.023),
            Self::DryPlant => {
                let base = line(
                    w,
                    &[(0.35, 0.05), (0.5, 0.11), (0.7, 0.24), (0.9, 0.34), (1.3, 0.43), (1.7, 0.42), (2.6, 0.25)],
                );
                base * (1.0 - 0.18 * bell(w, 2.1, 0.06) - 0.15 * bell(w, 2.32, 0.05) - 0.1 * bell(w, 1.93, 0.05))
            }
            Self::SoilDry => {
                let points = [
                    (0.35, 0.06),
                    (0.5, 0.11),
                    (0.6, 0.19),
                    (0.8, 0.26),
                    (1.3, 0.36),
                    (1.8, 0.41),
                    (2.1, 0.40),
                    (2.6, 0.34),
                ];
                iron(w, &points, 0.05) * clay
            }
            Self::SoilWet => {
                let points = [(0.35, 0.03), (0.6, 0.08), (0.8, 0.12), (1.3, 0.19), (1.8, 0.19), (2.6, 0.13)];
                iron(w, &points, 0.03) * (-0.012 * liquid_water(w)).exp() * clay
            }
            Self::AsphaltNew => line(w, &[(0.35, 0.05), (0.8, 0.075), (1.6, 0.10), (2.6, 0.10)]) * oil,
            Self::AsphaltOld => line(w, &[(0.35, 0.09), (0.6, 0.15), (0.9, 0.18), (1.6, 0.22), (2.6, 0.20)]) * oil,
            Self::Gravel => {
                let base = line(w, &[(0.35, 0.16), (0.6, 0.27), (1.0, 0.32), (1.7, 0.36), (2.6, 0.30)]);
                base * (1.0 - 0.1 * bell(w, 2.34, 0.04) - 0.06 * bell(w, 1.92, 0.04))
            }
            Self::TileFresh => {
                let points =
                    [(0.35, 0.05), (0.52, 0.08), (0.62, 0.23), (0.75, 0.31), (1.2, 0.42), (1.8, 0.47), (2.6, 0.42)];
                iron(w, &points, 0.09) * (1.0 - 0.03 * bell(w, 2.2, 0.03))
            }
            Self::TileOld => {
                let points =
                    [(0.35, 0.05), (0.52, 0.075), (0.65, 0.15), (0.8, 0.19), (1.2, 0.26), (1.8, 0.30), (2.6, 0.26)];
                iron(w, &points, 0.05)
            }
            Self::Turf => {
                let color = 0.045 + 0.075 * bell(w, 0.535, 0.035);
                let plastic = line(w, &[(0.65, 0.06), (0.75, 0.17), (1.0, 0.25), (1.6, 0.28), (2.6, 0.18)]);
                let bonds = 1.0
                    - 0.12 * bell(w, 1.21, 0.03)
                    - 0.15 * bell(w, 1.41, 0.03)
                    - 0.25 * bell(w, 1.73, 0.04)
                    - 0.35 * bell(w, 2.31, 0.05);
                let t = step(w, 0.7, 0.02);
                (color * (1.0 - t) + plastic * t) * bonds
            }
            Self::WaterClear => line(
                w,
                &[(0.35, 0.035), (0.48, 0.045), (0.56, 0.035), (0.7, 0.012), (0.8, 0.006), (1.0, 0.004), (2.6, 0.002)],
            ),
            Self::WaterTurbid => line(
                w,
                &[
                    (0.35, 0.04),
                    (0.48, 0.065),
                    (0.57, 0.105),
                    (0.7, 0.075),
                    (0.8, 0.035),
                    (1.0, 0.012),
                    (1.2, 0.003),
                    (2.6, 0.002),
                ],
            ),
            Self::Bark => line(w, &[(0.35, 0.02), (0.7, 0.06), (1.3, 0.13), (1.7, 0.13), (2.6, 0.07)]),
            Self::Paint => line(w, &[(0.35, 0.30), (0.45, 0.55), (1.2, 0.58), (2.6, 0.42)]),
        }
    }
}

/// How strongly the atmosphere's water vapour absorbs at `w` µm, 0 to 1.
pub(super) fn vapour(w: f32) -> f32 {
    (0.35 * bell(w, 0.94, 0.025) + 0.4 * bell(w, 1.13, 0.03) + 1.2 * bell(w, 1.38, 0.035) + 1.2 * bell(w, 1.88, 0.05))
        .min(1.0)
}

/// Mean of `spectrum` over a Gaussian band response.
pub(super) fn through_band(center: f32, fwhm: f32, spectrum: impl Fn(f32) -> f32) -> f32 {
    let sigma = fwhm / 2.354_82;
    let (mut sum, mut total) = (0.0, 0.0);
    for k in -12..=12 {
        let z = k as f32 / 4.0;
        let weight = (-z * z / 2.0).exp();
        sum += weight * spectrum(center + z * sigma);
        total += weight;
    }
    sum / total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spectra_are_physical() {
        for material in MATERIALS {
            for k in 0..450 {
                let r = material.reflectance(0.35 + 0.005 * k as f32);
                assert!((0.0..0.9).contains(&r), "{material:?} at {k}: {r}");
            }
        }
    }

    #[test]
    fn vegetation_has_its_red_edge_and_water_features() {
        let index = |m: Material| {
            let (red, nir) = (m.reflectance(0.67), m.reflectance(0.85));
            (nir - red) / (nir + red)
        };
        assert!(index(Material::Leaf) > 0.75 && index(Material::Grass) > 0.7);
        assert!(index(Material::AsphaltOld).abs() < 0.15 && index(Material::WaterClear) < 0.0);
        // Plastic grass is green to the eye and has no vegetation's red edge.
        let turf = Material::Turf;
        assert!(turf.reflectance(0.535) > turf.reflectance(0.45) && turf.reflectance(0.535) > turf.reflectance(0.66));
        assert!(index(turf) < 0.68);
        let leaf = |w| Material::Leaf.reflectance(w);
        assert!(leaf(1.45) < 0.6 * leaf(1.65) && leaf(1.94) < leaf(2.2) && leaf(0.97) < leaf(0.88));
    }

    #[test]
    fn wide_bands_smooth() {
        let edge = |fwhm| through_band(0.715, fwhm, |w| f32::from(w > 0.72));
        assert!(edge(0.001) < 0.01 && edge(0.1) > 0.3);
        assert!((through_band(1.0, 0.3, |_| 0.25) - 0.25).abs() < 1e-6);
    }
}
