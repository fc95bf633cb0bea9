//! Scenes: binding, scales, co-registration, labels.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use geoglot_core::{Affine, Band, Crs, Grid, Legend, Registry, Window};
use geoglot_raster::{
    BandSource, Binding, Labels, OpenOptions, RasterSpec, RasterWriter, Resampled, Resampling, Result, SampleType,
    Scene, SceneArg, Tile, check_request,
};
use ndarray::{Array2, Array3, s};
use proptest::prelude::*;

/// A raster in memory; NaN is "no data".
#[derive(Debug)]
struct Memory {
    grid: Grid,
    bands: Vec<Band>,
    data: Array3<f32>,
    sample: SampleType,
}

impl Memory {
    fn new(grid: Grid, names: &[&str], sample: SampleType, f: impl Fn(usize, usize, usize) -> f32) -> Self {
        let data = Array3::from_shape_fn((names.len(), grid.height, grid.width), |(b, r, c)| f(b, r, c));
        Self { bands: names.iter().map(|n| Band::named(*n)).collect(), grid, data, sample }
    }
}

impl BandSource for Memory {
    fn path(&self) -> &Path {
        Path::new("memory.tif")
    }
    fn grid(&self) -> &Grid {
        &self.grid
    }
    fn bands(&self) -> &[Band] {
        &self.bands
    }
    fn sample_type(&self) -> SampleType {
        self.sample
    }
    fn read_stored(&self, bands: &[usize], w: Window) -> Result<Tile> {
        check_request(self, bands, w)?;
        let part = self.data.slice(s![.., w.row..w.row_end(), w.col..w.col_end()]);
        let data = part.select(ndarray::Axis(0), bands);
        let mask =
            Array2::from_shape_fn((w.height, w.width), |(r, c)| data.slice(s![.., r, c]).iter().all(|v| v.is_finite()));
        Ok(Tile { window: w, data, mask })
    }
}

fn grid(width: usize, height: usize, pixel: f64) -> Grid {
    let transform = Affine::north_up(500_000.0, 5_000_000.0, pixel, pixel);
    Grid { crs: Some(Crs::Epsg(32632)), transform, width, height }
}

fn numbered(count: usize) -> Vec<String> {
    (1..=count).map(|k| format!("band {k}")).collect()
}

fn scene_of(text: &str, names: &[&str], sample: SampleType, options: OpenOptions) -> Result<Scene> {
    let source = Arc::new(Memory::new(grid(6, 5, 10.0), names, sample, |b, r, c| (b * 1000 + r * 10 + c) as f32));
    Scene::from_sources(vec![(text.parse()?, source)], &registry(), options)
}

/// The built-in sensors and two small ones, so that these tests do not hang on how many layouts a real sensor has.
fn registry() -> Registry {
    let mut registry = Registry::builtin().clone();
    let text = r#"
        [[sensor]]
        id = "quad"
        name = "Four bands, one order"
        kind = "multispectral"
        unit = "reflectance"
        scale = 0.0001
        band = [
            { name = "B1", aliases = ["blue"], wavelength = 0.48 },
            { name = "B2", aliases = ["green"], wavelength = 0.56 },
            { name = "B3", aliases = ["red"], wavelength = 0.66 },
            { name = "B4", aliases = ["nir"], wavelength = 0.84 },
        ]
        layout = [{ name = "rgb", bands = ["B3", "B2", "B1"] }]
        [[sensor]]
        id = "twin"
        name = "Two bands, two orders"
        kind = "multispectral"
        band = [{ name = "X", wavelength = 0.5 }, { name = "Y", wavelength = 0.6 }]
        layout = [{ name = "usual", bands = ["X", "Y"] }, { name = "odd", bands = ["Y", "X"] }]
    "#;
    registry.add("test.toml", text).unwrap();
    registry
}

fn names_of(scene: &Scene) -> Vec<&str> {
    scene.inputs()[0].bands().iter().map(|b| b.name.as_str()).collect()
}

#[test]
fn bands_are_bound_by_name_layout_order_or_not_at_all() {
    let open = |text: &str, names: &[&str]| scene_of(text, names, SampleType::U16, OpenOptions::default());
    let numbers = |n| numbered(n).leak().iter().map(String::as_str).collect::<Vec<_>>();
    // By name, in the file's order, with the registry's spelling.
    let scene = open("a.tif:sensor=s2", &["B08A", "blue", "B4, central wavelength 665 nm"]).unwrap();
    assert_eq!((names_of(&scene), scene.inputs()[0].binding()), (vec!["B8A", "B02", "B04"], &Binding::ByName));
    assert_eq!(scene.inputs()[0].bands()[2].wavelength_um, Some(0.665));
    // By the only order with this number of bands.
    let scene = open("a.tif:sensor=quad", &numbers(4)).unwrap();
    assert_eq!(
        (names_of(&scene), scene.inputs()[0].binding()),
        (vec!["B1", "B2", "B3", "B4"], &Binding::BySensorOrder)
    );
    let scene = open("a.tif:sensor=quad", &numbers(3)).unwrap();
    assert_eq!(
        (names_of(&scene), scene.inputs()[0].binding()),
        (vec!["B3", "B2", "B1"], &Binding::ByLayout("rgb".into()))
    );
    let error = open("a.tif:sensor=twin", &numbers(2)).unwrap_err().to_string();
    assert!(error.contains("layout=usual (X Y)") && error.contains("layout=odd (Y X)"), "{error}");
    // Thirteen L1C bands come in two orders: nothing is guessed.
    let error = open("a.tif:sensor=s2-l1c", &numbers(13)).unwrap_err().to_string();
    assert!(
        error.contains("layout=standard") && error.contains("layout=eurosat") && error.contains("memory.tif"),
        "{error}"
    );
    let scene = open("a.tif:sensor=s2-l1c,layout=eurosat", &numbers(13)).unwrap();
    assert_eq!(names_of(&scene)[12], "B8A");
    // A list as long as the file names it; a shorter one selects.
    let scene = open("a.tif:sensor=s2,bands=B04+B03+B02", &numbers(3)).unwrap();
    assert_eq!((names_of(&scene), scene.inputs()[0].binding()), (vec!["B04", "B03", "B02"], &Binding::ByList));
    let scene = open("a.tif:sensor=s2,layout=standard,bands=red+B02", &numbers(12)).unwrap();
    assert_eq!(names_of(&scene), ["B04", "B02"]);
    assert_eq!(scene.read("a", &[0], Window::new(0, 0, 1, 1)).unwrap().data[[0, 0, 0]], 3000.0 * 0.0001);
    // Unnamed bands without a sensor keep their numbers.
    let scene = open("a.tif:2-3", &numbers(5)).unwrap();
    assert_eq!((names_of(&scene), scene.inputs()[0].binding()), (vec!["band 2", "band 3"], &Binding::Unnamed));
    for (text, names, expected) in [
        ("a.tif:sensor=s2", numbers(5), "5 unnamed bands"),
        ("a.tif:sensor=s2", vec!["B04", "red"], "both mean B04"),
        ("a.tif:sensor=s2", vec!["ndvi", "evi"], "none of its band names"),
        ("a.tif:sensor=s2,layout=standard", numbers(3), "layout `standard`"),
        ("a.tif:sensor=s2,layout=nope", numbers(3), "no band layout"),
        ("a.tif:layout=standard", numbers(12), "without the sensor"),
        ("a.tif:sensor=nope", numbers(12), "known sensors"),
        ("a.tif:7", numbers(5), "no band `7`"),
        ("a.tif:1+1", numbers(5), "twice"),
    ] {
        let error = open(text, &names).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    // The layout told contradicts a name in the file: followed, and said.
    let scene = open("a.tif:sensor=s2-l1c,layout=eurosat", &{
        let mut n = numbers(13);
        n[8] = "B8A";
        n
    })
    .unwrap();
    assert!(scene.warnings()[0].contains("B8A") && scene.warnings()[0].contains("B09"), "{:?}", scene.warnings());
}

#[test]
fn names_can_be_required() {
    let options = OpenOptions { require_names: true, ..Default::default() };
    let names = numbered(12);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let error = scene_of("hsi=scene.mat", &names, SampleType::U16, options).unwrap_err().to_string();
    for expected in ["--scene hsi=", ":sensor=", "sensors with 12 bands", "sentinel-2-l2a", "--sensors"] {
        assert!(error.contains(expected), "{expected}: {error}");
    }
    assert!(scene_of("hsi=scene.mat:sensor=s2,layout=standard", &names, SampleType::U16, options).is_ok());
}

#[test]
fn a_scale_is_applied_exactly_once() {
    let value = |text: &str, sample, own: f64| {
        let mut source = Memory::new(grid(3, 3, 10.0), &["B04"], sample, |_, _, _| 2000.0);
        source.bands[0].scale = own;
        let args = vec![(text.parse().unwrap(), Arc::new(source) as Arc<dyn BandSource>)];
        let scene = Scene::from_sources(args, Registry::builtin(), OpenOptions::default()).unwrap();
        let tile = scene.read("a", &[0], Window::new(0, 0, 1, 1)).unwrap();
        (tile.data[[0, 0, 0]], scene)
    };
    let near = |a: f32, b: f32| (a - b).abs() < 1e-6 * b.abs();
    assert!(near(value("a.tif:sensor=s2", SampleType::U16, 1.0).0, 0.2));
    assert!(near(value("a.tif", SampleType::U16, 1.0).0, 2000.0));
    assert!(near(value("a.tif:sensor=s2,scale=none", SampleType::U16, 1.0).0, 2000.0));
    assert!(near(value("a.tif:sensor=s2,scale=0.01,offset=1", SampleType::U16, 1.0).0, 21.0));
    let (own, scene) = value("a.tif:sensor=s2", SampleType::U16, 0.0005);
    assert!(near(own, 1.0) && scene.warnings()[0].contains("own scale"));
    let (float, scene) = value("a.tif:sensor=s2", SampleType::F32, 1.0);
    assert!(near(float, 2000.0) && scene.inputs()[0].scaling().contains("floats"));
    assert!(scene.suspicious_values().unwrap()[0].contains("reflectance cannot be"));
    assert!(near(value("a.tif:sensor=s2,scale=sensor", SampleType::F32, 1.0).0, 0.2));
    let dark = value("a.tif:sensor=s2,scale=0.0000001", SampleType::U16, 1.0).1;
    assert!(dark.suspicious_values().unwrap()[0].contains("twice"));
}

/// The value that a plane over the ground has at a map position.
fn plane(x: f64, y: f64) -> f32 {
    ((x - 500_000.0) * 0.5 + (y - 5_000_000.0) * 0.25) as f32
}

#[test]
fn half_pixels_are_right_and_masks_are_kept() {
    // A finer scene over a coarser input whose values are a plane: bilinear values are exact inside.
    let fine = grid(16, 12, 5.0);
    let coarse = Grid { transform: Affine::north_up(499_990.0, 5_000_010.0, 10.0, 10.0), ..grid(12, 10, 10.0) };
    let at = |g: &Grid, r: usize, c: usize| g.transform.apply(c as f64 + 0.5, r as f64 + 0.5);
    let source = Memory::new(coarse.clone(), &["a", "b"], SampleType::F32, |b, r, c| {
        let (x, y) = at(&coarse, r, c);
        if b == 1 && (r, c) == (3, 4) { f32::NAN } else { plane(x, y) + b as f32 }
    });
    let source: Arc<dyn BandSource> = Arc::new(source);
    let warped = Resampled::new(source.clone(), &fine, Resampling::Bilinear).unwrap();
    let tile = warped.read_stored(&[0], fine.window()).unwrap();
    for ((_, r, c), &v) in tile.data.indexed_iter() {
        let (x, y) = at(&fine, r, c);
        assert!((v - plane(x, y)).abs() < 1e-3, "row {r} col {c}: {v} {}", plane(x, y));
    }
    assert!(tile.mask.iter().all(|&m| m));
    // The hole: invalid where the covering pixel is missing, else from the valid neighbours alone.
    let both = warped.read_stored(&[0, 1], fine.window()).unwrap();
    let second = warped.read_stored(&[1], fine.window()).unwrap();
    for ((r, c), &valid) in second.mask.indexed_iter() {
        let (x, y) = at(&fine, r, c);
        let covering = (((5_000_010.0 - y) / 10.0) as usize, ((x - 499_990.0) / 10.0) as usize);
        assert_eq!(valid, covering != (3, 4), "row {r} col {c}");
        assert!(!valid || second.data[[0, r, c]].is_finite());
        // Which bands are read together does not change a value.
        assert_eq!(both.data[[0, r, c]], tile.data[[0, r, c]]);
        assert!(!valid || both.data[[1, r, c]] == second.data[[0, r, c]]);
    }
    // Nearest values are the covering pixel's, and windows are crops of the whole.
    let nearest = Resampled::new(source, &fine, Resampling::Nearest).unwrap();
    let all = nearest.read_stored(&[0], fine.window()).unwrap();
    let part = nearest.read_stored(&[0], Window::new(3, 2, 7, 9)).unwrap();
    assert_eq!(part.data, all.data.slice(s![.., 2..11, 3..10]));
    assert_eq!(all.data[[0, 0, 0]], plane(499_995.0 + 10.0, 5_000_005.0 - 10.0));
}

#[test]
fn inputs_of_other_reference_systems_are_reprojected() {
    // Around 9° E the UTM zone 32 grid is nearly parallel to latitude and longitude.
    let utm = Grid { transform: Affine::north_up(500_000.0, 5_000_000.0, 100.0, 100.0), ..grid(20, 20, 100.0) };
    let degrees = Grid {
        crs: Some(Crs::Epsg(4326)),
        transform: Affine::north_up(8.98, 45.17, 0.0005, 0.0005),
        width: 140,
        height: 100,
    };
    let d = degrees.clone();
    let source = Memory::new(degrees, &["lon", "lat"], SampleType::F64, |b, r, c| {
        let (lon, lat) = d.transform.apply(c as f64 + 0.5, r as f64 + 0.5);
        if b == 0 { (lon - 9.0) as f32 } else { (lat - 45.0) as f32 }
    });
    let warped = Resampled::new(Arc::new(source), &utm, Resampling::Bilinear).unwrap();
    let tile = warped.read_stored(&[0, 1], utm.window()).unwrap();
    assert!(tile.mask.iter().all(|&m| m));
    // PROJ: (500050, 4999950) in EPSG:32632 is 9.000636090° E, 45.153027097° N; (501950, 4998050) is 9.024800095° E, 45.135921180° N.
    for (r, c, lon, lat) in [(0, 0, 0.000_636_09, 0.153_027_1), (19, 19, 0.024_800_1, 0.135_921_18)] {
        assert!((tile.data[[0, r, c]] - lon).abs() < 2e-6, "{} {lon}", tile.data[[0, r, c]]);
        assert!((tile.data[[1, r, c]] - lat).abs() < 2e-6, "{} {lat}", tile.data[[1, r, c]]);
    }
    let far = Grid { transform: Affine::north_up(900_000.0, 5_000_000.0, 100.0, 100.0), ..utm };
    let outside = Resampled::new(warped.inner().clone(), &far, Resampling::Bilinear).unwrap();
    assert!(outside.read_stored(&[0], far.window()).unwrap().mask.iter().all(|&m| !m));
}

#[test]
fn grids_that_cannot_be_combined_say_why() {
    let input = |name: &str, grid: Grid| {
        let source = Memory::new(grid, &["h"], SampleType::F32, |_, _, _| 1.0);
        (SceneArg::named(name, format!("{name}.tif")), Arc::new(source) as Arc<dyn BandSource>)
    };
    let open = |inputs| Scene::from_sources(inputs, Registry::builtin(), OpenOptions::default());
    let error = open(vec![input("a", Grid::unreferenced(10, 10)), input("b", Grid::unreferenced(9, 10))])
        .unwrap_err()
        .to_string();
    assert!(error.contains("9 × 10") && error.contains("10 × 10") && error.contains("reference system"), "{error}");
    // The same size, one without reference system: allowed both ways round, and said.
    for inputs in [
        vec![input("a", grid(10, 10, 10.0)), input("b", Grid::unreferenced(10, 10))],
        vec![input("a", Grid::unreferenced(10, 10)), input("b", grid(10, 10, 10.0))],
    ] {
        let scene = open(inputs).unwrap();
        assert_eq!(scene.grid(), &grid(10, 10, 10.0));
        assert!(!scene.warnings().is_empty());
        assert!(scene.inputs().iter().all(|i| i.source().grid() == scene.grid()));
        assert!(scene.read("b", &[0], scene.grid().window()).unwrap().mask.iter().all(|&m| m));
    }
    assert!(open(vec![]).is_err());
    assert!(
        open(vec![input("a", grid(3, 3, 1.0)), input("a", grid(3, 3, 1.0))])
            .unwrap_err()
            .to_string()
            .contains("named `a`")
    );
    let custom = Grid { crs: Some(Crs::Wkt("PROJCS[\"x\"]".into())), ..grid(3, 3, 1.0) };
    let error = open(vec![input("a", grid(3, 3, 1.0)), input("b", custom)]).unwrap_err().to_string();
    assert!(error.contains("gdalwarp"), "{error}");
}

#[test]
fn masks_are_joined_and_empty_scenes_are_errors() {
    let hole = |left: bool| move |_: usize, _: usize, c: usize| if (c < 5) == left { f32::NAN } else { 1.0 };
    let input = |name: &str, f: &dyn Fn(usize, usize, usize) -> f32| {
        let source = Memory::new(grid(10, 10, 10.0), &["x", "y"], SampleType::F32, f);
        (SceneArg::named(name, format!("{name}.tif")), Arc::new(source) as Arc<dyn BandSource>)
    };
    let registry = Registry::builtin();
    let scene = Scene::from_sources(
        vec![input("a", &hole(true)), input("b", &|_, _, _| 1.0)],
        registry,
        OpenOptions::default(),
    )
    .unwrap();
    let mask = scene.valid_mask(scene.grid().window()).unwrap();
    assert!(mask.indexed_iter().all(|((_, c), &valid)| valid == (c >= 5)));
    scene.ensure_valid_data().unwrap();
    let scene =
        Scene::from_sources(vec![input("a", &hole(true)), input("b", &hole(false))], registry, OpenOptions::default())
            .unwrap();
    let error = scene.ensure_valid_data().unwrap_err().to_string();
    assert!(error.contains("a 50.0 %") && error.contains("b 50.0 %"), "{error}");
    assert!(scene.read("c", &[0], Window::new(0, 0, 1, 1)).unwrap_err().to_string().contains("a, b"));
}

fn write_ids(path: &Path, grid: &Grid, ids: &Array2<f32>) {
    let mut writer = RasterWriter::create(path, grid, RasterSpec::scores(["id"])).unwrap();
    writer.write(grid.window(), ids.clone().insert_axis(ndarray::Axis(0)).view(), None).unwrap();
    writer.finish().unwrap();
}

#[test]
fn labels_are_checked_and_never_interpolated() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gt.tif");
    let coarse = grid(5, 4, 20.0);
    let ids = Array2::from_shape_fn((4, 5), |(r, c)| ((r * 5 + c) % 3 * 4) as f32);
    write_ids(&path, &coarse, &ids);
    let registry = Registry::builtin();
    let labels = Labels::open(&SceneArg::new(&path), registry).unwrap();
    assert_eq!(labels.ids(), &ids.mapv(|v| v as u16));
    let fine = grid(12, 8, 10.0);
    let aligned = labels.align_to(&fine, 0).unwrap();
    for ((r, c), &id) in aligned.ids().indexed_iter() {
        assert_eq!(id, if c < 10 { ids[[r / 2, c / 2]] as u16 } else { 0 });
    }
    assert_eq!(&aligned, &Labels::open_on(&SceneArg::new(&path), registry, &fine).unwrap());
    let error = labels.align_to(&Grid::unreferenced(12, 8), 0).unwrap_err().to_string();
    assert!(error.contains("12 × 8"), "{error}");
    let legend = Legend::from_names(["a", "b", "c", "d"]).unwrap();
    assert_eq!(labels.outside(&legend), [(8, 6)]);
    assert!(labels.check(&legend).unwrap_err().to_string().contains("8 (6 pixels)"));
    let empty = Labels::new("x.tif", Array2::zeros((2, 2)), None);
    assert!(empty.check(&legend).unwrap_err().to_string().contains("no pixel is labelled"));
    for (bad, expected) in [(-1.0, "-1"), (0.5, "0.5"), (70_000.0, "70000")] {
        let mut ids = ids.clone();
        ids[[2, 3]] = bad;
        write_ids(&path, &coarse, &ids);
        let error = Labels::open(&SceneArg::new(&path), registry).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("col 3 row 2"), "{error}");
    }
    let arg = SceneArg { nodata: Some(70_000.0), ..SceneArg::new(&path) };
    assert_eq!(Labels::open(&arg, registry).unwrap().ids()[[2, 3]], 0);
}

fn data(relative: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("GEOGLOT_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let path = folder.join(relative);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not here (GEOGLOT_DATA)", path.display());
    None
}

#[test]
fn a_landsat_scene_and_a_dem_share_a_grid() {
    let (Some(landsat), Some(dem)) = (data("landsat-stars/L7_ETMs.tif"), data("landsat-stars/olinda_dem_utm25s.tif"))
    else {
        return;
    };
    let args =
        [format!("l7={}", landsat.display()).parse().unwrap(), format!("dem={}", dem.display()).parse().unwrap()];
    let scene = Scene::open(&args, Registry::builtin(), OpenOptions::default()).unwrap();
    assert!(scene.inputs()[1].original_grid().is_some());
    scene.ensure_valid_data().unwrap();
    assert!(scene.describe().contains("resampled"));
    assert_eq!(scene.band_use().len(), 2);
}

proptest! {
    #[test]
    fn resampling_onto_the_same_grid_changes_nothing(
        width in 1usize..40, height in 1usize..40, pixel in 0.1..100.0f64, angle in -0.3..0.3f64, nearest in any::<bool>(),
    ) {
        let mut own = grid(width, height, pixel);
        own.transform.rx = pixel * angle;
        own.transform.ry = -pixel * angle;
        let source = Memory::new(own.clone(), &["a"], SampleType::F32, |_, r, c| ((r * 37 + c * 11) % 23) as f32);
        let want = source.data.clone();
        let how = if nearest { Resampling::Nearest } else { Resampling::Bilinear };
        let tile = Resampled::new(Arc::new(source), &own, how).unwrap().read_stored(&[0], own.window()).unwrap();
        prop_assert!(tile.mask.iter().all(|&m| m));
        for (got, want) in tile.data.iter().zip(&want) {
            prop_assert!((got - want).abs() < 1e-4, "{} {}", got, want);
        }
    }

    #[test]
    fn a_window_of_a_resampled_raster_is_a_crop_of_the_whole(
        col in 0usize..30, row in 0usize..20, width in 1usize..30, height in 1usize..20, shift in -50.0..50.0f64, pixel in 3.0..30.0f64,
    ) {
        let target = grid(30, 20, 10.0);
        let own = Grid { transform: Affine::north_up(500_000.0 + shift, 5_000_000.0 - shift, pixel, pixel), ..grid(25, 25, pixel) };
        let source = Memory::new(own, &["a", "b"], SampleType::F32, |b, r, c| if (r * 7 + c + b) % 11 == 0 { f32::NAN } else { (r * c) as f32 });
        let warped = Resampled::new(Arc::new(source), &target, Resampling::Bilinear).unwrap();
        let w = Window::new(col, row, width.min(30 - col), height.min(20 - row));
        let whole = warped.read(&[0, 1], target.window()).unwrap();
        let part = warped.read(&[0, 1], w).unwrap();
        prop_assert_eq!(&part.mask, &whole.mask.slice(s![w.row..w.row_end(), w.col..w.col_end()]));
        for ((b, r, c), v) in part.data.indexed_iter() {
            prop_assert!((v - whole.data[[b, w.row + r, w.col + c]]).abs() < 1e-4);
        }
    }
}
