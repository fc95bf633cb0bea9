//! What is searched for: one vector, a weighted sum of several, or the mean of a place.

use crate::archive::Archive;
use crate::filter::Filter;
use crate::{Error, Result, Space};

/// A direction in a space.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    space: Space,
    vector: Vec<f32>,
}

impl Query {
    /// A query with one vector, e.g. that of a text or an image.
    ///
    /// # Errors
    /// [`Error::Vector`] for a wrong width, values that are not finite, or zero.
    pub fn new(space: &Space, vector: &[f32]) -> Result<Self> {
        Self::sum(space).plus(vector, 1.0)?.build()
    }

    /// Starts a weighted sum: "A − B", the mean of several texts, an image and a text.
    pub fn sum(space: &Space) -> QuerySum {
        QuerySum { space: space.clone(), sum: vec![0.0; space.dim], weight: 0.0 }
    }

    /// "More of this place": the mean direction of the records that pass `filter` (usually a box, an area or a point).
    ///
    /// # Errors
    /// [`Error::Query`] when no record passes or their directions cancel out; [`Error::Filter`].
    pub fn place(archive: &Archive, filter: &Filter) -> Result<Self> {
        let mut sum = vec![0f64; archive.space().dim];
        let rows = archive.filtered(filter)?;
        for &row in &rows {
            sum.iter_mut().zip(archive.vector(row)).for_each(|(s, v)| *s += f64::from(v));
        }
        if rows.is_empty() {
            let around = match archive.info().bbox {
                Some([w, s, e, n]) => format!("the archive lies within {w:.4},{s:.4},{e:.4},{n:.4} (W,S,E,N)"),
                None => "no record of the archive has a place".into(),
            };
            return Err(Error::Query(format!("no record is at the place asked for; {around}")));
        }
        let vector: Vec<f32> = sum.iter().map(|s| (s / rows.len() as f64) as f32).collect();
        Self::new(archive.space(), &vector)
    }

    /// Its space.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// Its vector, `[D]`, of length 1.
    pub fn vector(&self) -> &[f32] {
        &self.vector
    }
}

/// A weighted sum under way; see [`Query::sum`]. Every part counts by its direction only: it is brought to length 1 first.
#[derive(Debug, Clone)]
pub struct QuerySum {
    space: Space,
    sum: Vec<f64>,
    weight: f64,
}

impl QuerySum {
    /// Adds `weight` × `vector`; a negative weight takes away.
    ///
    /// # Errors
    /// [`Error::Vector`] as for [`Query::new`], or for a weight that is not finite.
    pub fn plus(mut self, vector: &[f32], weight: f32) -> Result<Self> {
        if !weight.is_finite() {
            return Err(Error::Vector { what: "query".into(), problem: format!("weight {weight}") });
        }
        let mut vector = vector.to_vec();
        self.space.normalise(&mut vector, || "query".into())?;
        self.sum.iter_mut().zip(&vector).for_each(|(s, v)| *s += f64::from(*v) * f64::from(weight));
        self.weight += f64::from(weight.abs());
        Ok(self)
    }

    /// Takes `weight` × `vector` away.
    ///
    /// # Errors
    /// As [`QuerySum::plus`].
    pub fn minus(self, vector: &[f32], weight: f32) -> Result<Self> {
        self.plus(vector, -weight)
    }

    /// Adds another query.
    ///
    /// # Errors
    /// [`Error::SpaceMismatch`]; as [`QuerySum::plus`].
    pub fn plus_query(self, query: &Query, weight: f32) -> Result<Self> {
        self.space.check(&query.space)?;
        self.plus(&query.vector, weight)
    }

    /// The sum as a query.
    ///
    /// # Errors
    /// [`Error::Query`] when there is no part or the parts cancel out.
    pub fn build(self) -> Result<Query> {
        let norm = self.sum.iter().map(|v| v * v).sum::<f64>().sqrt();
        if norm <= 1e-5 * self.weight || self.weight == 0.0 {
            return Err(Error::Query("its parts cancel out, no direction is left (A − A finds nothing)".into()));
        }
        let vector = self.sum.iter().map(|v| (v / norm) as f32).collect();
        Ok(Query { space: self.space, vector })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_count_by_direction_and_weight() {
        let space = Space::new("s", 2, "m", None);
        let query = Query::sum(&space).plus(&[5.0, 0.0], 1.0).unwrap().plus(&[0.0, 0.1], 1.0).unwrap().build().unwrap();
        assert!((query.vector()[0] - query.vector()[1]).abs() < 1e-6);
        let query =
            Query::sum(&space).plus(&[1.0, 0.0], 1.0).unwrap().minus(&[0.0, 1.0], 1.0).unwrap().build().unwrap();
        assert!(query.vector()[1] < -0.7);
        let none = Query::sum(&space).plus(&[1.0, 2.0], 1.0).unwrap().minus(&[2.0, 4.0], 1.0).unwrap().build();
        assert!(none.unwrap_err().to_string().contains("cancel"));
        assert!(Query::sum(&space).build().is_err());
        assert!(Query::new(&space, &[f32::NAN, 1.0]).is_err());
        assert!(Query::sum(&space).plus(&[1.0, 0.0], f32::INFINITY).is_err());
    }
}
