// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The table: for each row and figure the best of all rounds of each program, and adit's ratio to the best peer.

use crate::Row;
use crate::measure::Cost;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The figures of a row, in the order of the table.
const FIGURES: [&str; 4] = ["wall s", "cpu s", "memory MB", "stored MB"];

/// Best figures by row and program; adit is program 0.
#[derive(Debug, Default)]
pub(crate) struct Table {
    best: BTreeMap<(Row, usize), [f64; 4]>,
}

impl Table {
    /// Adds one measurement; the best of each figure stays.
    pub(crate) fn add(&mut self, program: usize, row: Row, cost: Cost, stored_bytes: u64) {
        let figures = [cost.wall_s, cost.cpu_s, megabytes(cost.memory_bytes), megabytes(stored_bytes)];
        let best = self.best.entry((row, program)).or_insert(figures);
        for (best, figure) in best.iter_mut().zip(figures) {
            *best = best.min(figure);
        }
    }

    fn figure(&self, row: Row, program: usize, figure: usize) -> Option<f64> {
        self.best.get(&(row, program)).map(|figures| figures[figure])
    }

    fn ratio(&self, row: Row, figure: usize, programs: usize) -> Option<f64> {
        let peers = (1..programs).filter_map(|program| self.figure(row, program, figure));
        let best = peers.fold(f64::INFINITY, f64::min);
        self.figure(row, 0, figure).map(|own| own / best)
    }

    /// The table as text.
    pub(crate) fn render(&self, names: &[&str]) -> String {
        let heads = names.iter().map(|name| format!(" {name:>14}"));
        let mut lines =
            vec![format!("\n{:<10} {:<10}{}   adit / best peer", "row", "figure", heads.collect::<String>())];
        for row in [Row::Initial, Row::Unchanged, Row::Changed, Row::Restore] {
            for (index, figure) in FIGURES.iter().enumerate() {
                let cells = (0..names.len()).map(|program| match self.figure(row, program, index) {
                    Some(value) => format!(" {value:>14.2}"),
                    None => format!(" {:>14}", "-"),
                });
                let cells: String = cells.collect();
                let ratio =
                    self.ratio(row, index, names.len()).map_or_else(String::new, |ratio| format!("   {ratio:.2}"));
                let row = format!("{row:?}").to_lowercase();
                lines.push(format!("{row:<10} {figure:<10}{cells}{ratio}"));
            }
        }
        lines.push(String::new());
        lines.join("\n")
    }

    /// The table for programs.
    pub(crate) fn json(&self, names: &[&str]) -> Value {
        let cells = self.best.iter().map(|((row, program), figures)| {
            json!({ "row": row, "program": names.get(*program), "wall_s": figures[0], "cpu_s": figures[1], "memory_mb": figures[2], "stored_mb": figures[3] })
        });
        cells.collect()
    }
}

fn megabytes(bytes: u64) -> f64 {
    Value::from(bytes).as_f64().unwrap_or(f64::NAN) / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_to_the_best_peer_and_the_best_round_counts() {
        let mut table = Table::default();
        let cost = |wall_s| Cost { wall_s, cpu_s: 1.0, memory_bytes: 1_000_000 };
        table.add(0, Row::Initial, cost(3.0), 10);
        table.add(0, Row::Initial, cost(2.0), 10);
        table.add(1, Row::Initial, cost(8.0), 10);
        table.add(2, Row::Initial, cost(4.0), 10);
        assert_eq!(table.ratio(Row::Initial, 0, 3), Some(0.5));
        assert!(table.render(&["adit", "a", "b"]).contains("0.50"));
    }
}
