//! One line of the results: a figure with a cell for each runtime, in a form that is both written and read again.
//! Pure: numbers in, JSON out.

use serde_json::{Value, json};

use crate::call::Cost;

/// What one runtime got in one figure.
#[derive(Clone, Debug)]
pub enum Cell {
    /// Not measured, and not meant to be.
    Absent,
    /// It failed, hung or left something behind.
    Invalid(String),
    /// Calls, each with its time and processor time.
    Times(Vec<Cost>),
    /// Some numbers of one kind.
    Numbers(Vec<f64>),
    /// A number that is made of kinds, such as calls by name.
    Counted(f64, Vec<String>),
}

/// A figure.
#[derive(Clone, Debug)]
pub struct Row {
    /// The group that selects it, see `figures::GROUPS`.
    pub group: &'static str,
    pub title: String,
    /// `ms`, `KiB`, `calls`, `per second`.
    pub unit: &'static str,
    /// More is better.
    pub more: bool,
    /// One for each runtime, in their order.
    pub cells: Vec<Cell>,
}

impl Row {
    /// A figure of which less is better.
    pub fn new(group: &'static str, title: impl Into<String>, unit: &'static str, cells: Vec<Cell>) -> Row {
        Row { group, title: title.into(), unit, more: false, cells }
    }

    /// As it is written.
    pub fn to_json(&self, names: &[String]) -> Value {
        let cells = names.iter().cloned().zip(self.cells.iter().map(Cell::to_json));
        json!({
            "group": self.group, "figure": self.title, "unit": self.unit, "more_is_better": self.more,
            "runtimes": cells.collect::<serde_json::Map<_, _>>(),
        })
    }
}

impl Cell {
    /// Numbers, or why there are none.
    pub fn of_numbers(result: anyhow::Result<Vec<f64>>) -> Cell {
        match result {
            Ok(list) => Cell::Numbers(list),
            Err(e) => Cell::Invalid(format!("{e:#}")),
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Cell::Absent => Value::Null,
            Cell::Invalid(why) => json!({"invalid": why}),
            Cell::Times(costs) => {
                let wall = costs.iter().map(|c| c.wall.as_secs_f64() * 1000.0).collect();
                let cpu = costs.iter().map(|c| c.cpu.as_secs_f64() * 1000.0).collect();
                let mut out = spread(wall);
                out["cpu"] = spread(cpu);
                out
            }
            Cell::Numbers(list) => spread(list.clone()),
            Cell::Counted(number, kinds) => json!({"median": number, "kinds": kinds}),
        }
    }
}

fn spread(mut all: Vec<f64>) -> Value {
    all.sort_by(f64::total_cmp);
    json!({
        "count": all.len(), "p10": rank(&all, 10), "median": rank(&all, 50), "p90": rank(&all, 90),
    })
}

/// The value below which a percentage of a sorted list lies, to three digits behind the point.
fn rank(sorted: &[f64], percent: usize) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let value = sorted.get((last * percent + 50) / 100).copied().unwrap_or(0.0);
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_taken_from_the_sorted_list() {
        let list: Vec<f64> = (0..=10).map(f64::from).collect();
        assert_eq!((rank(&list, 10), rank(&list, 50), rank(&list, 90)), (1.0, 5.0, 9.0));
        assert_eq!(rank(&[], 50), 0.0);
    }

    #[test]
    fn what_was_not_measured_is_no_number() {
        let row = Row::new(
            "run",
            "x",
            "ms",
            vec![Cell::Absent, Cell::Invalid("why".into()), Cell::Numbers(vec![2.0])],
        );
        let json = row.to_json(&["a".into(), "b".into(), "c".into()]);
        assert!(json["runtimes"]["a"].is_null());
        assert_eq!(json["runtimes"]["b"]["invalid"], "why");
        assert_eq!(json["runtimes"]["c"]["median"], 2.0);
    }
}
