//! The tables on stdout: medians, and ratios of million to each.

use std::fmt::Write as _;

use crate::figure::{figure, three_digits};
use crate::impls::Impl;
use crate::results::Results;
use crate::scenarios::Scenario;

/// What stands where nothing was measured.
const NOTHING: &str = "-";

/// Both tables, as Markdown that can also be read as it is. The second is left out if million was not measured.
pub fn tables(results: &Results) -> String {
    let medians = table(results, |implementation, scenario| {
        let cell = results.cell(implementation, scenario)?;
        Some(scaled(
            implementation,
            scenario,
            figure(scenario, cell.median),
        ))
    });
    let ours = results.impls.contains(&Impl::Million);
    if !ours || results.impls.len() < 2 {
        return format!("Medians\n\n{medians}");
    }
    let ratios = table(results, |implementation, scenario| {
        let ratio = results.ratio(implementation, scenario)?;
        Some(scaled(implementation, scenario, three_digits(ratio)))
    });
    format!("Medians\n\n{medians}\nHow many times better million is\n\n{ratios}")
}

fn scaled(implementation: Impl, scenario: Scenario, text: String) -> String {
    match implementation.is_scaled_up(scenario) {
        true => format!("~{text}"),
        false => text,
    }
}

fn table(results: &Results, text: impl Fn(Impl, Scenario) -> Option<String>) -> String {
    let mut rows = vec![vec![String::new(), "unit".to_owned()]];
    rows[0].extend(results.impls.iter().map(Impl::to_string));
    for scenario in &results.scenarios {
        let mut row = vec![scenario.to_string(), scenario.unit().to_owned()];
        row.extend(
            results
                .impls
                .iter()
                .map(|one| text(*one, *scenario).unwrap_or(NOTHING.to_owned())),
        );
        rows.push(row);
    }
    lay_out(&rows)
}

/// Columns as wide as their widest cell; the first two to the left, figures to the right.
fn lay_out(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // Writing to a String cannot fail.
            let _ = match column < 2 {
                true => write!(out, "| {cell:<width$} "),
                false => write!(out, "| {cell:>width$} "),
            };
        }
        out.push_str("|\n");
        if index == 0 {
            for (column, width) in widths.iter().enumerate() {
                let end = if column < 2 { "-" } else { ":" };
                let _ = write!(out, "|{}{end}", "-".repeat(width + 1));
            }
            out.push_str("|\n");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Cell;

    #[test]
    fn the_tables_show_medians_ratios_and_what_is_scaled_up() {
        let mut results = Results::new(
            vec![Impl::Million, Impl::Ractor],
            vec![Scenario::Tell1, Scenario::Waiting10k],
        );
        for (implementation, scenario, value) in [
            (Impl::Million, Scenario::Tell1, 10e6),
            (Impl::Ractor, Scenario::Tell1, 2e6),
            (Impl::Million, Scenario::Waiting10k, 20.0),
            (Impl::Ractor, Scenario::Waiting10k, 110_000.0),
        ] {
            let cell = Cell::of(&[value]).expect("there is a sample");
            results.add(implementation, scenario, cell);
        }
        assert_eq!(
            tables(&results),
            "\
Medians

|             | unit       | million | ractor |
|-------------|------------|--------:|-------:|
| tell_1      | messages/s |  10.0 M | 2.00 M |
| waiting_10k | ms         | 20.0 ms | ~110 s |

How many times better million is

|             | unit       | million | ractor |
|-------------|------------|--------:|-------:|
| tell_1      | messages/s |    1.00 |   5.00 |
| waiting_10k | ms         |    1.00 |  ~5500 |
"
        );
    }

    #[test]
    fn what_was_not_measured_is_a_dash() {
        let results = Results::new(vec![Impl::Kameo], vec![Scenario::Tell1]);
        assert!(tables(&results).ends_with("| tell_1 | messages/s |     - |\n"));
    }
}
