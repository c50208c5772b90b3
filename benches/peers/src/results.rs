//! What was measured: the median, the least and the most of each cell, and its JSON.

use serde_json::{Value, json};

use crate::impls::Impl;
use crate::scenarios::Scenario;

/// All samples of one implementation in one scenario, summed up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// The middle one; of an even number the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Cell {
    /// `None` if there is no sample.
    pub fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            1 => sorted[middle],
            _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
        };
        Some(Self { median, min, max })
    }
}

/// The cells of a run.
#[derive(Clone, Debug)]
pub struct Results {
    /// The columns.
    pub impls: Vec<Impl>,
    /// The rows.
    pub scenarios: Vec<Scenario>,
    cells: Vec<(Impl, Scenario, Cell)>,
}

impl Results {
    /// Results of what was asked for, without any yet.
    pub fn new(impls: Vec<Impl>, scenarios: Vec<Scenario>) -> Self {
        Self {
            impls,
            scenarios,
            cells: Vec::new(),
        }
    }

    /// Adds what was measured.
    pub fn add(&mut self, implementation: Impl, scenario: Scenario, cell: Cell) {
        self.cells.push((implementation, scenario, cell));
    }

    /// What was measured, if it was.
    pub fn cell(&self, implementation: Impl, scenario: Scenario) -> Option<Cell> {
        self.cells
            .iter()
            .find(|(one, what, _)| (*one, *what) == (implementation, scenario))
            .map(|(_, _, cell)| *cell)
    }

    /// How many times better million is than `other`: above 1 it is better, whatever the unit.
    pub fn ratio(&self, other: Impl, scenario: Scenario) -> Option<f64> {
        let ours = self.cell(Impl::Million, scenario)?.median;
        let theirs = self.cell(other, scenario)?.median;
        Some(match scenario.lower_is_better() {
            true => theirs / ours,
            false => ours / theirs,
        })
    }

    /// `{"rows":[{"impl":…,"scenario":…,"unit":…,"median":…,"min":…,"max":…}]}`
    pub fn json(&self) -> String {
        let rows: Vec<Value> = self
            .cells
            .iter()
            .map(|(implementation, scenario, cell)| {
                json!({
                    "impl": implementation.name(),
                    "scenario": scenario.name(),
                    "unit": scenario.unit(),
                    "median": cell.median,
                    "min": cell.min,
                    "max": cell.max,
                })
            })
            .collect();
        format!("{:#}\n", json!({ "rows": rows }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(median: f64) -> Cell {
        Cell::of(&[median]).expect("there is a sample")
    }

    #[test]
    fn the_median_is_the_middle_of_any_order() {
        let odd = Cell::of(&[9.0, 1.0, 5.0]).expect("there are samples");
        assert_eq!((odd.median, odd.min, odd.max), (5.0, 1.0, 9.0));
        let even = Cell::of(&[4.0, 1.0, 2.0, 100.0]).expect("there are samples");
        assert_eq!((even.median, even.min, even.max), (3.0, 1.0, 100.0));
        assert_eq!(Cell::of(&[]), None);
    }

    #[test]
    fn a_ratio_above_one_means_that_million_is_better_whatever_the_unit() {
        let mut results = Results::new(
            vec![Impl::Million, Impl::Xtra],
            vec![Scenario::Tell1, Scenario::BytesIdle],
        );
        results.add(Impl::Million, Scenario::Tell1, cell(20.0));
        results.add(Impl::Xtra, Scenario::Tell1, cell(5.0));
        results.add(Impl::Million, Scenario::BytesIdle, cell(400.0));
        results.add(Impl::Xtra, Scenario::BytesIdle, cell(800.0));
        assert_eq!(results.ratio(Impl::Xtra, Scenario::Tell1), Some(4.0));
        assert_eq!(results.ratio(Impl::Xtra, Scenario::BytesIdle), Some(2.0));
        assert_eq!(results.ratio(Impl::Kameo, Scenario::Tell1), None);
    }

    #[test]
    fn the_json_has_a_row_for_each_cell() {
        let mut results = Results::new(vec![Impl::Actix1], vec![Scenario::Tell4]);
        let samples = [3.0, 1.5, 2.0];
        let cell = Cell::of(&samples).expect("there are samples");
        results.add(Impl::Actix1, Scenario::Tell4, cell);
        let parsed: Value = serde_json::from_str(&results.json()).expect("it is JSON");
        let row = json!({
            "impl": "actix@1", "scenario": "tell_4", "unit": "messages/s",
            "median": 2.0, "min": 1.5, "max": 3.0,
        });
        assert_eq!(parsed, json!({ "rows": [row] }));
    }
}
