//! How a figure is written for people.

use crate::scenarios::Scenario;

/// A figure of `scenario` with three digits that count: `15.3 M`, `251 k`, `391 B`, `18.2 ms`, `101 s`.
pub fn figure(scenario: Scenario, value: f64) -> String {
    match scenario.unit() {
        "bytes" => format!("{value:.0} B"),
        "ms" if value >= 1000.0 => format!("{} s", three_digits(value / 1000.0)),
        "ms" => format!("{} ms", three_digits(value)),
        _ if value >= 999_500.0 => format!("{} M", three_digits(value / 1e6)),
        _ if value >= 9_995.0 => format!("{} k", three_digits(value / 1e3)),
        _ => three_digits(value),
    }
}

/// A ratio: `12.5`, `4.07`, `0.93`, `5580`.
pub fn three_digits(value: f64) -> String {
    match value.abs() {
        x if x >= 99.95 => format!("{value:.0}"),
        x if x >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_that_count() {
        for (scenario, value, text) in [
            (Scenario::Tell1, 15_337_000.0, "15.3 M"),
            (Scenario::Tell1, 999_600.0, "1.00 M"),
            (Scenario::Spawn, 251_234.0, "251 k"),
            (Scenario::Compute2, 1987.4, "1987"),
            (Scenario::BytesIdle, 391.2, "391 B"),
            (Scenario::Waiting10k, 18.23, "18.2 ms"),
            (Scenario::Waiting10k, 113_400.0, "113 s"),
        ] {
            assert_eq!(figure(scenario, value), text);
        }
    }
}
