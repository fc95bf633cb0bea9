use geoglot_core::Registry;
use geoglot_data::shards::{Image, Modality, OnFault, ReadOptions, Sample, ShardFolder, ShardWriter, WriteOptions};
use geoglot_raster::SampleType;
use ndarray::{Array3, ArrayD, IxDyn, array};
use proptest::prelude::*;

use crate::{bands, sample, write};

#[test]
fn everything_of_a_sample_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut rich = sample(1, 3);
    rich.texts = ["Река и лес зимой", "農地と川 🌾", "غابة ونهر"].map(str::to_owned).to_vec();
    rich.classes = vec!["river".into(), "Forêt".into()];
    rich.class = Some(4);
    rich.geoloc = Some("[11.5, 48.1]".into());
    rich.teachers
        .insert("siglip-b16".into(), ArrayD::from_shape_fn(IxDyn(&[4, 3, 2]), |i| i[0] as f32 - 0.5 * i[2] as f32));
    let samples = [rich, Sample { key: "очень/длинное/имя".repeat(9), ..sample(1, 4) }];
    let mut writer = ShardWriter::create(dir.path(), "test", WriteOptions::default()).unwrap();
    samples.iter().for_each(|s| writer.write(s, &bands(1)).unwrap());
    writer.finish().unwrap();

    let folder = ShardFolder::open(dir.path()).unwrap();
    let catalogue = folder.catalogue(&ReadOptions::default(), OnFault::Fail).unwrap();
    let waves: Vec<Option<f32>> = bands(1).iter().map(|b| b.wavelength_um).collect();
    for (i, wanted) in samples.iter().enumerate() {
        let found = catalogue.read(i).unwrap();
        assert_eq!((&found.wavelengths, found.bands.len()), (&waves, 4));
        assert_eq!(Sample { wavelengths: Vec::new(), bands: Vec::new(), ..found }, *wanted);
    }
    assert_eq!(catalogue.entries()[0].texts, samples[0].texts);
    assert_eq!(folder.bands(&catalogue.modalities()[0], Registry::builtin(), None, None).unwrap(), bands(1));
    assert!(catalogue.read(2).unwrap_err().to_string().contains("there are 2"));
}

#[test]
fn mixed_modalities_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let samples: Vec<(usize, usize)> = (0..12).map(|i| (i % 3, i)).collect();
    let index = write(dir.path(), &samples, 5);
    assert_eq!(index.modalities.iter().map(|m| m.samples).collect::<Vec<_>>(), [4, 4, 4]);
    assert_eq!(index.shards[1].modalities, [2, 1, 2]);
    let folder = ShardFolder::open(dir.path()).unwrap();
    let catalogue = folder.catalogue(&ReadOptions::default(), OnFault::Fail).unwrap();
    assert_eq!(catalogue.modalities(), index.modalities.iter().map(|m| m.modality()).collect::<Vec<_>>());
    for (i, entry) in catalogue.entries().iter().enumerate() {
        assert_eq!(
            (entry.modality, catalogue.read(i).unwrap().modality()),
            (i % 3, catalogue.modalities()[i % 3].clone())
        );
    }
}

#[test]
fn physical_values_are_scaled_once_and_without_data_nan() {
    let band = |scale, offset, nodata| geoglot_core::Band { scale, offset, nodata, ..geoglot_core::Band::named("b") };
    let image = Image::U16(array![[[1000, 0], [2000, 5]], [[0, 7], [3000, 9]]]);
    let values = image.physical(&[band(1e-4, -0.1, Some(0.0)), band(1.0, 0.0, None)]);
    assert_eq!(values.dim(), (2, 2, 2));
    assert!((values[(0, 0, 1)] - 0.1).abs() < 1e-6 && values[(1, 0, 1)] == 5.0 && values[(1, 0, 0)] == 0.0);
    assert!(values[(0, 1, 0)].is_nan() && values[(1, 1, 0)].is_nan());
}

#[test]
fn bands_without_an_index_come_from_names_wavelengths_or_the_told_sensor() {
    let registry = Registry::builtin();
    let bind = |m: &Modality, sensor: Option<&str>| m.bind("x".as_ref(), registry, sensor, None).unwrap();
    let label = |s: &str| s.to_owned();
    let named = Modality::new(SampleType::U16, 2, &[], &[label("sentinel-2-l2a/B04"), label("sentinel-2-l2a/B08")]);
    let found = bind(&named, None);
    assert_eq!((found[0].scale, found[0].wavelength_um), (1e-4, Some(0.665)));
    // Floats are physical already.
    assert_eq!(bind(&Modality { sample: SampleType::F32, ..named }, None)[0].scale, 1.0);
    let waves = Modality::new(SampleType::F32, 2, &[Some(0.665), Some(10.9)], &[]);
    assert_eq!(bind(&waves, None)[1].wavelength_um, Some(10.9));
    assert_eq!(bind(&Modality::new(SampleType::U8, 3, &[], &[]), None), bands(0));
    let all = registry.sensor("sentinel-1").unwrap().bands.len();
    let told = bind(&Modality::new(SampleType::F32, all, &[], &[]), Some("sentinel-1"));
    assert_eq!(told[0].label(), "sentinel-1-rtc/VV");
    assert!(Modality::new(SampleType::U8, 7, &[], &[]).bind("x".as_ref(), registry, Some("sentinel-1"), None).is_err());
}

fn images() -> impl Strategy<Value = Image> {
    (1usize..6, 1usize..6, 1usize..5, 0u8..3, any::<u32>()).prop_map(|(h, w, c, kind, seed)| {
        let value = |(r, x, b): (usize, usize, usize)| {
            (seed as usize).wrapping_mul(31).wrapping_add(r * 7919 + x * 104_729 + b * 1_299_709)
        };
        match kind {
            0 => Image::U8(Array3::from_shape_fn((h, w, c), |i| value(i) as u8)),
            1 => Image::U16(Array3::from_shape_fn((h, w, c), |i| value(i) as u16)),
            _ => Image::F32(Array3::from_shape_fn((h, w, c), |i| value(i) as f32 * 1e-3)),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn any_samples_come_back(
        all in proptest::collection::vec((images(), "[^\\p{C}\\p{Z}][^\\p{C}]{0,60}", "[^\\p{C}./\\\\]{1,40}"), 1..8), size in 1u64..4,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = ShardWriter::create(dir.path(), "any", WriteOptions { samples: size, ..WriteOptions::default() }).unwrap();
        let mut written = Vec::new();
        for (i, (image, text, name)) in all.into_iter().enumerate() {
            let own: Vec<_> = (0..image.dim().2).map(|k| geoglot_core::Band::named(format!("b{k}"))).collect();
            let sample = Sample::new(format!("{i}-{name}"), image, vec![text.trim().to_owned()]);
            writer.write(&sample, &own).unwrap();
            written.push(sample);
        }
        writer.finish().unwrap();
        let options = ReadOptions { need_text: false, ..ReadOptions::default() };
        let catalogue = ShardFolder::open(dir.path()).unwrap().catalogue(&options, OnFault::Fail).unwrap();
        prop_assert_eq!(catalogue.entries().len(), written.len());
        for (i, sample) in written.iter().enumerate() {
            let found = catalogue.read(i).unwrap();
            prop_assert_eq!((&found.key, &found.image, &found.texts), (&sample.key, &sample.image, &sample.texts));
        }
    }
}
