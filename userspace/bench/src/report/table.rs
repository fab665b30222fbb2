//! Rows and columns for a terminal or a page.

use super::{Report, gates::Gate};
use crate::{
    figure::{Figure, Kind},
    mode::ModeName,
};

/// A table of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Above it.
    pub title: String,
    /// Of each column.
    pub headings: Vec<String>,
    /// As many cells as headings.
    pub rows: Vec<Vec<String>>,
}

/// One for each size, then the gates.
pub fn all(report: &Report) -> Vec<Table> {
    let mut tables: Vec<_> =
        report.sizes().into_iter().map(|services| of_size(report, services)).collect();
    tables.push(of_gates(&report.gates));
    tables
}

fn of_size(report: &Report, services: usize) -> Table {
    let has = |mode: &ModeName| report.figures.iter().any(|figure| figure.mode == *mode);
    let modes: Vec<_> = ModeName::ALL.into_iter().filter(has).collect();
    let mut headings = vec!["FIGURE".to_owned(), "UNIT".to_owned()];
    headings.extend(modes.iter().map(|mode| mode.name().to_owned()));
    let row = |kind: Kind| {
        let figures: Vec<_> = modes.iter().map(|mode| report.find(kind, *mode, services)).collect();
        if figures.iter().all(Option::is_none) {
            return None;
        }
        let mut row = vec![kind.title().to_owned(), kind.unit().to_owned()];
        row.extend(figures.into_iter().map(|figure| figure.map_or_else(String::new, cell)));
        Some(row)
    };
    let rows = Kind::ALL.into_iter().filter_map(row).collect();
    Table { title: so_many(services), headings, rows }
}

fn cell(figure: &Figure) -> String {
    format!("{} ({}..{})", number(figure.median), number(figure.min), number(figure.max))
}

fn of_gates(gates: &[Gate]) -> Table {
    let headings = ["GOAL", "WANTED", "MEDIAN", "BOUND", "OUTCOME", "SERVICES"];
    let optional = |value: Option<f64>| value.map_or_else(String::new, number);
    let row = |gate: &Gate| {
        let outcome = match gate.reached {
            Some(true) => "reached".to_owned(),
            Some(false) => "missed".to_owned(),
            None if gate.services.is_some() => "within the noise".to_owned(),
            None => "not measured".to_owned(),
        };
        let services = gate.services.map_or_else(String::new, grouped);
        let (median, bound) = (optional(gate.median), optional(gate.bound));
        vec![gate.what.clone(), gate.wanted.clone(), median, bound, outcome, services]
    };
    Table {
        title: "Goals: the bound, at the worse end of the spread, decides".to_owned(),
        headings: headings.map(str::to_owned).to_vec(),
        rows: gates.iter().map(row).collect(),
    }
}

/// Three digits, more for what is larger than a thousand.
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 99.95 || !size.is_finite() => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        size if size >= 0.9995 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// `1 Service`, `10,000 Services`.
pub fn so_many(services: usize) -> String {
    let plural = if services == 1 { "" } else { "s" };
    format!("{} Service{plural}", grouped(services))
}

/// `10,000`.
pub fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{grouped, number, so_many};

    #[test]
    fn numbers_are_short() {
        assert_eq!(so_many(1), "1 Service");
        assert_eq!(so_many(1000), "1,000 Services");
        assert_eq!(grouped(200_000), "200,000");
        assert_eq!(
            [0.1234, 1.234, 12.34, 123_456.7].map(number),
            ["0.123", "1.23", "12.3", "123457"]
        );
    }
}
