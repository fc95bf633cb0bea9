//! Which axis of an array holds rows, columns, bands; which of several arrays is the image.

use crate::Axes;

/// Where rows, columns and bands are in an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AxisMap {
    /// Axes held at one index: those the user fixed, and those of length 1.
    pub fixed: Vec<(usize, usize)>,
    /// Axis of the bands; `None` for one band.
    pub band: Option<usize>,
    /// Axis of the rows.
    pub row: usize,
    /// Axis of the columns.
    pub col: usize,
    /// The rule that decided, in words.
    pub rule: String,
}

/// What a format's arrays usually look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Custom {
    /// MATLAB scenes are rows × columns × bands unless the shape says otherwise.
    Matlab,
    /// Both orders are common: the shape must decide.
    Open,
}

/// A two-dimensional array this many times longer than wide is a table (samples × features), not an image.
const TABLE_ASPECT: usize = 16;

/// True when a 2-D shape can be an image.
pub fn is_image(shape: &[usize]) -> bool {
    let [a, b] = shape else { return false };
    let (short, long) = (*a.min(b), *a.max(b));
    short > 1 && long < short.saturating_mul(TABLE_ASPECT)
}

/// The axes from `skip` on that are longer than 1; all of them where fewer than two are.
fn squeezed(shape: &[usize], skip: usize) -> Vec<usize> {
    let long: Vec<usize> = (skip..shape.len()).filter(|&a| shape[a] != 1).collect();
    if long.len() < 2 { (skip..shape.len()).collect() } else { long }
}

/// Number of axes that count: those longer than 1.
pub fn rank(shape: &[usize]) -> usize {
    shape.iter().filter(|&&n| n != 1).count()
}

/// Decides the axes of an array of `shape`, its first axes fixed at `fixed`.
///
/// The rules for three axes, in this order: what the user says; equal neighbours are rows and columns (100×100×193 → bands last, 5×300×300 → bands
/// first); an outer axis at most a quarter of both others holds the bands; MATLAB arrays are rows × columns × bands. Anything else is refused.
///
/// # Errors
/// In words, with the way to say it.
pub fn choose(shape: &[usize], fixed: &[usize], wanted: Option<Axes>, custom: Custom) -> Result<AxisMap, String> {
    if fixed.len() > shape.len() || fixed.iter().zip(shape).any(|(&i, &n)| i >= n) {
        return Err(format!("the index {fixed:?} lies outside its shape {}", times(shape)));
    }
    if shape.contains(&0) {
        return Err(format!("is empty ({})", times(shape)));
    }
    let free = match (wanted, shape.len() - fixed.len()) {
        // Said explicitly: axes of length 1 count.
        (Some(Axes::Hw), 2) => (fixed.len()..shape.len()).collect(),
        (Some(Axes::Hwc | Axes::Chw), 3) => (fixed.len()..shape.len()).collect(),
        _ => squeezed(shape, fixed.len()),
    };
    let mut held: Vec<(usize, usize)> = fixed.iter().copied().enumerate().collect();
    held.extend((fixed.len()..shape.len()).filter(|a| !free.contains(a)).map(|a| (a, 0)));
    let map = |band, row, col, rule: &str| Ok(AxisMap { fixed: held.clone(), band, row, col, rule: rule.into() });
    match (free.as_slice(), wanted) {
        (&[row, col], None | Some(Axes::Hw)) => {
            let (h, w) = (shape[row], shape[col]);
            if wanted.is_none() && !is_image(&[h, w]) {
                return Err(not_an_image(h, w));
            }
            map(None, row, col, if wanted.is_some() { "as requested" } else { "two axes are rows and columns" })
        }
        (&[row, col], Some(other)) => Err(format!(
            "has two axes ({}×{}) but axes={} asks for three; use axes=hw",
            shape[row],
            shape[col],
            name(other)
        )),
        (&[a, b, c], Some(Axes::Hwc)) => map(Some(c), a, b, "as requested"),
        (&[a, b, c], Some(Axes::Chw)) => map(Some(a), b, c, "as requested"),
        (&[a, b, c], Some(Axes::Hw)) => Err(format!(
            "has three axes ({}×{}×{}) but axes=hw asks for two; use axes=hwc or axes=chw",
            shape[a], shape[b], shape[c]
        )),
        (&[a, b, c], None) => {
            let (x, y, z) = (shape[a], shape[b], shape[c]);
            if x == y && y != z {
                map(Some(c), a, b, "the two equal axes are rows and columns")
            } else if y == z && x != y {
                map(Some(a), b, c, "the two equal axes are rows and columns")
            } else if x <= y / 4 && x <= z / 4 {
                map(Some(a), b, c, "the first axis is by far the smallest: bands")
            } else if z <= x / 4 && z <= y / 4 {
                map(Some(c), a, b, "the last axis is by far the smallest: bands")
            } else if custom == Custom::Matlab {
                map(Some(c), a, b, "MATLAB scenes are rows × columns × bands")
            } else {
                Err(format!(
                    "has the shape {x}×{y}×{z}, which can be {z} bands of {x}×{y} pixels (axes=hwc) or {x} bands of {y}×{z} pixels (axes=chw); say which"
                ))
            }
        }
        (axes, _) if axes.len() > 3 => Err(format!(
            "has {} axes ({}); choose one slice of the first ones, for example `NAME[0]`",
            axes.len(),
            times(shape)
        )),
        _ => Err(format!("has the shape {}, which is not an image", times(shape))),
    }
}

/// Why an h × w array is not taken for an image, and what it may be.
fn not_an_image(h: usize, w: usize) -> String {
    let (short, long) = (h.min(w), h.max(w));
    let side = (long as f64).sqrt().round() as usize;
    let square = if side * side == long { format!(" ({side}×{side} pixels?)") } else { String::new() };
    format!(
        "is a {h}×{w} matrix, not an image: it looks like {short} bands of {long} pixels{square} or a table of samples; reshape it to rows × columns × bands first, or force one band with axes=hw"
    )
}

fn name(axes: Axes) -> &'static str {
    match axes {
        Axes::Hwc => "hwc",
        Axes::Chw => "chw",
        Axes::Hw => "hw",
    }
}

/// A shape in words: `3×4×5`.
pub fn times(shape: &[usize]) -> String {
    if shape.is_empty() {
        return "scalar".into();
    }
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join("×")
}

/// Splits `name[3,0]` into the name and the indices of its first axes.
///
/// # Errors
/// In words, when the brackets hold no numbers.
pub fn parse_selector(text: &str) -> Result<(&str, Vec<usize>), String> {
    let text = text.trim();
    let Some((name, rest)) = text.split_once('[') else { return Ok((text, Vec::new())) };
    let inner = rest
        .strip_suffix(']')
        .ok_or_else(|| format!("`{text}` opens a bracket and does not close it; write name[0] or name[0,2]"))?;
    let index: Result<Vec<usize>, _> = inner.split(',').map(|n| n.trim().parse()).collect();
    index
        .map(|i| (name.trim(), i))
        .map_err(|_| format!("`{inner}` in `{text}` is not an index; write name[0] or name[0,2]"))
}

/// Splits a list of selectors at the commas outside brackets.
pub fn split_list(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0usize, 0);
    for (at, c) in text.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layout(shape: &[usize], custom: Custom) -> Result<(Option<usize>, usize, usize), String> {
        choose(shape, &[], None, custom).map(|m| (m.band, m.row, m.col))
    }

    #[test]
    fn shapes_of_published_scenes() {
        for custom in [Custom::Matlab, Custom::Open] {
            assert_eq!(layout(&[100, 100, 193], custom), Ok((Some(2), 0, 1)));
            assert_eq!(layout(&[166, 600, 2], custom), Ok((Some(2), 0, 1)));
            assert_eq!(layout(&[5, 300, 300], custom), Ok((Some(0), 1, 2)));
            assert_eq!(layout(&[349, 1905], custom), Ok((None, 0, 1)));
            assert_eq!(layout(&[1, 64, 64], custom), Ok((None, 1, 2)));
        }
        assert_eq!(layout(&[80, 100, 162], Custom::Matlab), Ok((Some(2), 0, 1)));
        assert!(layout(&[80, 100, 162], Custom::Open).unwrap_err().contains("axes=chw"));
        assert!(layout(&[156, 9025], Custom::Matlab).unwrap_err().contains("95×95"));
        assert!(layout(&[146, 10, 6, 6], Custom::Open).unwrap_err().contains("NAME[0]"));
        assert_eq!(choose(&[146, 10, 6, 6], &[3], None, Custom::Open).unwrap().band, Some(1));
        assert!(choose(&[146, 10, 6, 6], &[146], None, Custom::Open).unwrap_err().contains("outside"));
        assert!(layout(&[0, 4, 4], Custom::Open).unwrap_err().contains("empty"));
    }

    #[test]
    fn the_user_decides() {
        let map = choose(&[80, 100, 162], &[], Some(Axes::Chw), Custom::Matlab).unwrap();
        assert_eq!((map.band, map.row, map.col), (Some(0), 1, 2));
        let map = choose(&[156, 9025], &[], Some(Axes::Hw), Custom::Matlab).unwrap();
        assert_eq!((map.band, map.row, map.col), (None, 0, 1));
        assert!(choose(&[3, 4], &[], Some(Axes::Hwc), Custom::Open).unwrap_err().contains("axes=hw"));
        let map = choose(&[1, 7, 3], &[], Some(Axes::Hwc), Custom::Open).unwrap();
        assert_eq!((map.band, map.row, map.col), (Some(2), 0, 1));
    }

    #[test]
    fn selectors() {
        assert_eq!(parse_selector("a/b[3, 0]"), Ok(("a/b", vec![3, 0])));
        assert_eq!(parse_selector("plain"), Ok(("plain", vec![])));
        assert!(parse_selector("a[x]").unwrap_err().contains("not an index"));
        assert!(parse_selector("a[1").is_err());
        assert_eq!(split_list("a[1,2], b,c[0]"), ["a[1,2]", "b", "c[0]"]);
    }

    proptest! {
        #[test]
        fn any_shape_gives_a_map_or_words(shape in proptest::collection::vec(0usize..2000, 0..6), fixed in proptest::collection::vec(0usize..4, 0..4), text in ".*") {
            for custom in [Custom::Matlab, Custom::Open] {
                for wanted in [None, Some(Axes::Hw), Some(Axes::Hwc), Some(Axes::Chw)] {
                    if let Ok(map) = choose(&shape, &fixed, wanted, custom) {
                        let mut axes: Vec<usize> = map.fixed.iter().map(|f| f.0).chain([map.row, map.col]).chain(map.band).collect();
                        axes.sort_unstable();
                        prop_assert_eq!(axes, (0..shape.len()).collect::<Vec<_>>());
                    }
                }
            }
            let _ = parse_selector(&text);
            let _ = split_list(&text);
        }
    }
}
