//! Figures as text.

use crate::trial::{Cost, Side, Trial};

pub(crate) struct Row {
    pub(crate) side: Side,
    pub(crate) trial: Trial,
    pub(crate) cost: Cost,
}

pub(crate) fn print_head(title: &str) {
    println!("\n{title}");
    println!(
        "{:8} {:>8} {:>10} {:>12} {:>9} {:>10} {:>9}",
        "work", "bytes", "who", "messages/s", "MB/s", "cpu s/1M", "peak MiB"
    );
}

pub(crate) fn print_row(row: Row) {
    let Row { side, trial, cost } = row;
    println!(
        "{:8} {:>8} {:>10} {:>12.0} {:>9.1} {:>10.2} {:>9.1}",
        trial.work.name(),
        trial.size,
        side.name(),
        cost.rate,
        cost.rate * trial.size as f64 / 1e6,
        cost.cpu_of_million,
        cost.peak_mib
    );
}

/// The middle value; of an even number of values, the mean of the two in the middle.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        (values[middle - 1] + values[middle]) / 2.0
    }
}
