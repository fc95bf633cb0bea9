//! Boxes as COCO's JSON keeps them.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use super::error::{Error, Result};
use super::objects::ObjectBox;

/// Boxes of a set of images.
#[derive(Debug, Clone, PartialEq)]
pub struct CocoBoxes {
    /// Names of the categories, in the file's order.
    pub categories: Vec<String>,
    /// The images, in the file's order.
    pub images: Vec<CocoImage>,
}

/// One image with its boxes.
#[derive(Debug, Clone, PartialEq)]
pub struct CocoImage {
    /// File name, relative to the images' folder.
    pub file: String,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Boxes, in the file's order.
    pub boxes: Vec<ObjectBox>,
    /// What is wrong with the image's boxes, with their place in the file; such an image is not to be captioned.
    pub faults: Vec<String>,
}

/// Some sets write `annotation` and `filename`.
#[derive(Deserialize)]
struct File {
    images: Vec<Image>,
    #[serde(alias = "annotation")]
    annotations: Vec<Annotation>,
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct Image {
    id: u64,
    #[serde(alias = "filename")]
    file_name: String,
    width: usize,
    height: usize,
}

#[derive(Deserialize)]
struct Annotation {
    image_id: u64,
    category_id: i64,
    bbox: Vec<f64>,
}

#[derive(Deserialize)]
struct Category {
    id: i64,
    name: String,
}

impl CocoBoxes {
    /// Reads the boxes; with `clip`, boxes that reach over the edge of their image are cut at it.
    ///
    /// # Errors
    /// [`Error::Record`] for JSON that is not COCO's, repeated ids, boxes of images or categories that the file lacks.
    pub fn read(path: &Path, clip: bool) -> Result<Self> {
        let wrong = |problem: String| Error::record(path, "boxes", problem);
        let bytes = std::fs::read(path).map_err(|e| geoglot_core::Error::io(path, "read", e))?;
        let file: File = serde_json::from_slice(&bytes).map_err(|e| {
            wrong(format!(
                "is not a COCO file ({e}); expected {{\"images\": […], \"annotations\": […], \"categories\": […]}}"
            ))
        })?;
        if file.images.is_empty() || file.categories.is_empty() {
            return Err(wrong("names no image or no category".into()));
        }
        let mut places = HashMap::new();
        let mut images = Vec::new();
        for (k, image) in file.images.into_iter().enumerate() {
            if image.width == 0 || image.height == 0 || image.file_name.trim().is_empty() {
                return Err(wrong(format!("image {} (`{}`) has no size or no name", image.id, image.file_name)));
            }
            if places.insert(image.id, k).is_some() {
                return Err(wrong(format!("image id {} occurs twice", image.id)));
            }
            let Image { file_name: file, width, height, .. } = image;
            images.push(CocoImage { file, width, height, boxes: Vec::new(), faults: Vec::new() });
        }
        let mut names = HashMap::new();
        for category in &file.categories {
            if category.name.trim().is_empty() || names.insert(category.id, category.name.clone()).is_some() {
                return Err(wrong(format!("category {} has no name or occurs twice", category.id)));
            }
        }
        for (k, annotation) in file.annotations.iter().enumerate() {
            let place = format!("annotation {}", k + 1);
            let Some(&index) = places.get(&annotation.image_id) else {
                let problem = format!("belongs to image {}, which the file lacks", annotation.image_id);
                return Err(Error::record(path, place, problem));
            };
            let Some(category) = names.get(&annotation.category_id) else {
                let problem = format!("has category {}, which the file lacks", annotation.category_id);
                return Err(Error::record(path, place, problem));
            };
            let image = &mut images[index];
            match object(&annotation.bbox, (image.width, image.height), clip) {
                Ok([x, y, width, height]) => {
                    image.boxes.push(ObjectBox { category: category.clone(), x, y, width, height });
                }
                Err(problem) => image.faults.push(format!("{place} ({category}): {problem}")),
            }
        }
        Ok(Self { categories: file.categories.into_iter().map(|c| c.name).collect(), images })
    }
}

/// A box inside an image of `size` (width, height), or what is wrong with it.
fn object(bbox: &[f64], size: (usize, usize), clip: bool) -> std::result::Result<[f64; 4], String> {
    let &[x, y, w, h] = bbox else {
        return Err(format!("the box has {} numbers; expected x, y, width, height", bbox.len()));
    };
    let (width, height) = (size.0 as f64, size.1 as f64);
    if ![x, y, w, h].iter().all(|v| v.is_finite()) || w <= 0.0 || h <= 0.0 {
        return Err(format!("the box {bbox:?} has no area"));
    }
    let (left, top, right, bottom) = (x.max(0.0), y.max(0.0), (x + w).min(width), (y + h).min(height));
    if left >= right || top >= bottom {
        return Err(format!("the box {bbox:?} lies outside the image of {width}×{height} pixels"));
    }
    // Boxes are drawn to whole pixels; half a pixel over the edge is rounding.
    let over = (left - x).max(top - y).max(x + w - right).max(y + h - bottom);
    if over > 0.5 && !clip {
        return Err(format!(
            "the box {bbox:?} reaches over the edge of the image of {width}×{height} pixels; clip = true cuts such boxes"
        ));
    }
    Ok([left, top, right - left, bottom - top])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(annotations: &str, clip: bool) -> Result<CocoBoxes> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("boxes.json");
        let text = format!(
            r#"{{"images":[{{"id":7,"filename":"a.png","width":100,"height":50}}],"annotation":[{annotations}],"categories":[{{"id":0,"name":"Car"}}]}}"#
        );
        std::fs::write(&path, text).unwrap();
        CocoBoxes::read(&path, clip)
    }

    #[test]
    fn boxes_are_checked() {
        let of = |bbox: &str| format!(r#"{{"image_id":7,"category_id":0,"bbox":[{bbox}]}}"#);
        let good = read(&of("1,2,3,4"), false).unwrap();
        assert_eq!(good.images[0].boxes[0].category, "Car");
        for (bbox, expected) in [
            ("200,0,5,5", "outside the image of 100×50"),
            ("95,0,10,5", "over the edge"),
            ("5,5,0,5", "no area"),
            ("1,2,3", "3 numbers"),
        ] {
            let faults = read(&of(bbox), false).unwrap().images[0].faults.clone();
            assert!(faults.len() == 1 && faults[0].contains(expected), "{faults:?}");
        }
        assert_eq!(read(&of("95,0,10,5"), true).unwrap().images[0].boxes[0].width, 5.0);
        for (text, expected) in [
            (r#"{"image_id":9,"category_id":0,"bbox":[1,2,3,4]}"#, "image 9"),
            (r#"{"image_id":7,"category_id":4,"bbox":[1,2,3,4]}"#, "category 4"),
            (r#"{"image_id":7}"#, "not a COCO file"),
        ] {
            let error = read(text, false).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("boxes.json"), "{error}");
        }
    }
}
