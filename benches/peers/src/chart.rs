//! The chart for a README: an SVG with a panel a scenario and a bar an implementation.
//!
//! It has no script and no font of its own, and follows the reader's light or dark mode. Within a panel the lengths of bars are in
//! proportion to the figures, from zero; panels have scales of their own.

use std::fmt::Write as _;

use crate::figure::figure;
use crate::impls::Impl;
use crate::results::Results;
use crate::scenarios::Scenario;

/// Panels beside each other.
const COLUMNS: usize = 3;

/// All lengths in pixels of the undistorted drawing.
const MARGIN: usize = 24;
const PANEL: usize = 328;
const GAP: usize = 28;
const HEAD: usize = 74;
const TITLE: usize = 46;
const ROW: usize = 19;
const BAR: usize = 13;

/// Where bars begin in a panel, beside the names.
const BARS_AT: usize = 112;

/// The longest bar; the figures stand to the right of it.
const LONGEST: usize = 152;

const STYLE: &str = "\
<style>
  text { font: 12px system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif; fill: #24292f }
  .paper { fill: #ffffff }
  .head { font-size: 20px; font-weight: 600 }
  .title { font-size: 14px; font-weight: 600 }
  .note { fill: #57606a }
  .name { text-anchor: end }
  .bar { fill: #a8b3bf }
  .kin { fill: #e5ac80 }
  .ours { fill: #c2570c }
  .bold { font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .paper { fill: #0d1117 }
    .note { fill: #9198a1 }
    .bar { fill: #4b5561 }
    .kin { fill: #8a4a1c }
    .ours { fill: #f0883e }
  }
</style>
";

/// The chart. Scenarios without any figure have no panel.
pub fn svg(results: &Results) -> String {
    let scenarios = results.scenarios.iter();
    let panels: Vec<Panel> = scenarios
        .filter_map(|scenario| Panel::of(results, *scenario))
        .collect();
    let columns = panels.len().clamp(1, COLUMNS);
    let rows: Vec<&[Panel]> = panels.chunks(COLUMNS).collect();
    let width = 2 * MARGIN + columns * PANEL + (columns - 1) * GAP;
    let height = HEAD + rows.iter().map(|row| row_height(row) + GAP).sum::<usize>() + MARGIN - GAP;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" aria-label=\"million beside its peers\">\n{STYLE}\
         <rect class=\"paper\" width=\"{width}\" height=\"{height}\" rx=\"8\"/>\n\
         <text class=\"head\" x=\"{MARGIN}\" y=\"36\">million beside its peers</text>\n\
         <text class=\"note\" x=\"{MARGIN}\" y=\"57\">medians of one run on two workers; tokio and kanal are bare channels and \
         tasks; ~ is scaled up from fewer calls</text>\n"
    );
    let mut top = HEAD;
    for row in rows {
        for (column, panel) in row.iter().enumerate() {
            panel.draw(&mut out, MARGIN + column * (PANEL + GAP), top);
        }
        top += row_height(row) + GAP;
    }
    out.push_str("</svg>\n");
    out
}

fn row_height(row: &[Panel]) -> usize {
    let bars = row.iter().map(|panel| panel.bars.len()).max().unwrap_or(0);
    TITLE + bars * ROW
}

/// One scenario.
struct Panel {
    scenario: Scenario,
    bars: Vec<(Impl, f64)>,
}

impl Panel {
    fn of(results: &Results, scenario: Scenario) -> Option<Self> {
        let figures = results.impls.iter();
        let bars: Vec<_> = figures
            .filter_map(|one| Some((*one, results.cell(*one, scenario)?.median)))
            .collect();
        (!bars.is_empty()).then_some(Self { scenario, bars })
    }

    /// Appends to `out`; writing to a String cannot fail.
    fn draw(&self, out: &mut String, left: usize, top: usize) {
        let greatest = self.bars.iter().map(|bar| bar.1).fold(0.0, f64::max);
        let better = match self.scenario.lower_is_better() {
            true => "less is better",
            false => "more is better",
        };
        let _ = writeln!(
            out,
            "<g transform=\"translate({left} {top})\">\n\
             <text class=\"title\" y=\"14\">{}</text><text class=\"note\" y=\"32\">{}, {better}</text>",
            self.scenario.title(),
            self.scenario.unit(),
        );
        for (index, (implementation, value)) in self.bars.iter().enumerate() {
            let y = TITLE + index * ROW;
            let text_y = y + BAR - 2;
            // Half a pixel at least, so that the smallest can be seen.
            let length = (value / greatest.max(f64::MIN_POSITIVE) * LONGEST as f64).max(0.5);
            let (class, weight) = match implementation {
                Impl::Million => ("ours", " bold"),
                one if one.is_ours() => ("kin", ""),
                _ => ("bar", ""),
            };
            let approximate = match implementation.is_scaled_up(self.scenario) {
                true => "~",
                false => "",
            };
            let _ = writeln!(
                out,
                "<text class=\"name{weight}\" x=\"{}\" y=\"{text_y}\">{implementation}</text>\
                 <rect class=\"{class}\" x=\"{BARS_AT}\" y=\"{y}\" width=\"{length:.1}\" height=\"{BAR}\" rx=\"2\"/>\
                 <text class=\"figure{weight}\" x=\"{:.1}\" y=\"{text_y}\">{approximate}{}</text>",
                BARS_AT - 8,
                BARS_AT as f64 + length + 6.0,
                figure(self.scenario, *value),
            );
        }
        out.push_str("</g>\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Cell;

    fn results() -> Results {
        let mut results = Results::new(
            vec![Impl::Million, Impl::Ractor],
            vec![Scenario::Tell1, Scenario::Waiting10k, Scenario::Stop],
        );
        for (implementation, scenario, value) in [
            (Impl::Million, Scenario::Tell1, 10e6),
            (Impl::Ractor, Scenario::Tell1, 2.5e6),
            (Impl::Ractor, Scenario::Waiting10k, 110_000.0),
        ] {
            let cell = Cell::of(&[value]).expect("there is a sample");
            results.add(implementation, scenario, cell);
        }
        results
    }

    #[test]
    fn bars_are_in_proportion_to_the_figures() {
        let svg = svg(&results());
        assert!(svg.contains("class=\"ours\" x=\"112\" y=\"46\" width=\"152.0\""));
        assert!(svg.contains("class=\"bar\" x=\"112\" y=\"65\" width=\"38.0\""));
    }

    #[test]
    fn only_what_was_measured_is_drawn_and_what_is_scaled_up_is_marked() {
        let svg = svg(&results());
        assert_eq!(svg.matches("<g ").count(), 2, "tell_1 and waiting_10k");
        assert!(svg.contains(">~110 s<"));
        assert!(!svg.contains(Scenario::Stop.title()));
    }

    #[test]
    fn every_element_is_closed() {
        let svg = svg(&results());
        for element in ["svg", "g", "text", "style"] {
            let opened = svg.matches(&format!("<{element}>")).count()
                + svg.matches(&format!("<{element} ")).count();
            assert_eq!(opened, svg.matches(&format!("</{element}>")).count());
        }
    }
}
