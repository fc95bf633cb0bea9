//! The dense evaluation against patches cut out one by one.

use std::error::Error;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor, TensorData};
use geoglot_core::{Seeds, Window};
use geoglot_models::mmlgnet::{
    Block, EncoderConfig, MapOptions, Mapper, Mmlgnet, MmlgnetConfig, MmlgnetError, Padding, SceneReader,
};
use ndarray::{Array2, Array3, s};
use rand::{Rng, RngExt};

struct Scene {
    hsi: Array3<f32>,
    lidar: Array3<f32>,
}

impl SceneReader for Scene {
    fn size(&self) -> (usize, usize) {
        (self.hsi.dim().1, self.hsi.dim().2)
    }

    fn read(&self, input: &str, w: Window) -> Result<Array3<f32>, Box<dyn Error + Send + Sync>> {
        let data = if input == "lidar" { &self.lidar } else { &self.hsi };
        Ok(data.slice(s![.., w.row..w.row_end(), w.col..w.col_end()]).to_owned())
    }
}

fn noise(shape: (usize, usize, usize), seed: u64) -> Array3<f32> {
    let mut rng = Seeds::new(seed).stream("scene");
    Array3::from_shape_simple_fn(shape, || rng.random::<f32>() * 4.0 - 2.0)
}

/// Gives every batch norm statistics and scales, negative ones too, that an evaluation must not ignore.
struct Unsettle<R: Rng>(R, String);

impl<R: Rng> ModuleMapper for Unsettle<R> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.1 = name.into();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (low, high) = match self.1.as_str() {
            "gamma" => (-0.5, 2.0),
            "beta" | "running_mean" => (-0.5, 0.5),
            "running_var" => (0.2, 2.0),
            _ => return param,
        };
        let tensor = param.val();
        let values: Vec<f32> = (0..tensor.shape().num_elements()).map(|_| self.0.random_range(low..high)).collect();
        let id = param.id;
        let fresh = Tensor::from_data(TensorData::new(values, tensor.shape()), &tensor.device());
        param.transform_for_load(fresh, id)
    }
}

fn network(config: &MmlgnetConfig) -> Mmlgnet {
    config.init(&Device::flex(), 5).unwrap().map(&mut Unsettle(Seeds::new(9).stream("bn"), String::new()))
}

fn config(patch: usize, padding: Padding) -> MmlgnetConfig {
    let encoder = |channels, filters: [usize; 3], width| EncoderConfig { channels, filters: filters.to_vec(), width };
    let encoders = [("hsi".to_owned(), encoder(7, [12, 20, 24], 30)), ("lidar".to_owned(), encoder(1, [4, 6, 8], 10))];
    MmlgnetConfig { patch, encoders: encoders.into_iter().collect(), embed: 18, padding }
}

fn text(classes: usize, width: usize) -> Array2<f32> {
    let mut rng = Seeds::new(2).stream("text");
    let mut text = Array2::from_shape_simple_fn((classes, width), || rng.random::<f32>() - 0.5);
    for mut row in text.rows_mut() {
        let norm = row.dot(&row).sqrt();
        row /= norm;
    }
    text
}

/// All blocks put together: embeddings [H, W, D] and classes [H, W].
fn whole(mapper: &Mapper, scene: &Scene, text: &Array2<f32>, options: &MapOptions) -> (Array3<f32>, Array2<u16>) {
    let (height, width) = scene.size();
    let mut embeddings = Array3::zeros((height, width, text.ncols()));
    let mut classes = Array2::zeros((height, width));
    let options = MapOptions { embeddings: true, ..options.clone() };
    let sink = |block: Block| {
        let w = block.window;
        let area = s![w.row..w.row_end(), w.col..w.col_end()];
        classes.slice_mut(area).assign(&block.classes);
        embeddings.slice_mut(s![w.row..w.row_end(), w.col..w.col_end(), ..]).assign(&block.embeddings.unwrap());
        assert!(block.confidence.iter().all(|c| (0.0..=1.0).contains(c)));
        Ok(())
    };
    mapper.map(scene, text.view(), &options, sink).unwrap();
    (embeddings, classes)
}

fn compare(config: &MmlgnetConfig, size: (usize, usize), options: &MapOptions) {
    let channels = |name: &str| config.encoders.get(name).map_or(1, |e| e.channels);
    let scene = Scene {
        hsi: noise((channels("hsi"), size.0, size.1), 1),
        lidar: noise((channels("lidar"), size.0, size.1), 2),
    };
    let network = network(config);
    let text = text(5, config.embed);
    let mapper = Mapper::new(&network, config);
    assert_eq!(mapper.is_dense(), config.patch == 11);
    let (dense, classes) = whole(&mapper, &scene, &text, options);
    let (patches, expected) = whole(&Mapper::patch_by_patch(&network, config), &scene, &text, &MapOptions::default());
    let worst = (&dense - &patches).iter().fold(0.0f32, |m, d| m.max(d.abs()));
    assert!(worst < 1e-4, "largest difference of embeddings {worst}");
    // Classes may differ at ties only.
    for ((y, x), class) in classes.indexed_iter() {
        let score = |k: u16| patches.slice(s![y, x, ..]).dot(&text.row(k.into()));
        assert!((score(*class) - score(expected[[y, x]])).abs() < 1e-4);
    }
}

#[test]
fn dense_equals_patch_by_patch() {
    let small = MapOptions { block_rows: 13, block_columns: 17, tile: 6, embeddings: true };
    for padding in [Padding::Reflect, Padding::Zero] {
        compare(&config(11, padding), (30, 37), &MapOptions::default());
        compare(&config(11, padding), (29, 40), &small);
    }
}

#[test]
fn scenes_smaller_than_a_patch_work() {
    for size in [(1, 1), (1, 9), (3, 2), (11, 11)] {
        for padding in [Padding::Reflect, Padding::Zero] {
            compare(&config(11, padding), size, &MapOptions::default());
        }
    }
}

#[test]
fn the_papers_widths_work() {
    let paper = MmlgnetConfig::paper([("hsi".to_owned(), 64), ("lidar".to_owned(), 2)], 384);
    compare(&paper, (20, 26), &MapOptions { tile: 12, ..MapOptions::default() });
}

#[test]
fn one_encoder_and_other_patch_sizes_work() {
    let mut single = config(11, Padding::Reflect);
    single.encoders.shift_remove("hsi");
    compare(&single, (14, 15), &MapOptions::default());
    for patch in [9, 13, 17] {
        compare(&config(patch, Padding::Reflect), (12, 14), &MapOptions { tile: 8, ..MapOptions::default() });
    }
}

#[test]
fn wrong_inputs_are_errors() {
    let config = config(11, Padding::Reflect);
    let mapper = Mapper::new(&network(&config), &config);
    let mut scene = Scene { hsi: noise((7, 20, 20), 1), lidar: noise((1, 20, 20), 2) };
    let run = |scene: &Scene, text: &Array2<f32>| {
        mapper.map(scene, text.view(), &MapOptions::default(), |_| Ok(())).unwrap_err().to_string()
    };
    assert!(run(&scene, &text(5, 17)).contains("width 18"));
    scene.hsi[[3, 4, 5]] = f32::NAN;
    let error = run(&scene, &text(5, 18));
    assert!(error.contains("channel 3") && error.contains("row 4, column 5"), "{error}");
    scene.hsi = noise((6, 20, 20), 1);
    assert!(run(&scene, &text(5, 18)).contains("`hsi`"));
    scene.hsi = noise((7, 20, 20), 1);
    let stop = mapper.map(&scene, text(5, 18).view(), &MapOptions::default(), |_| Err("disk full".into()));
    assert!(matches!(stop, Err(MmlgnetError::Other(e)) if e.to_string() == "disk full"));
}
