//! Pressure stall information, of a cgroup or of the host (Documentation/accounting/psi.rst). Pure.
#![forbid(unsafe_code)]

/// One line of a pressure file.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Stall {
    /// The share of the last ten seconds, from 0 to 1.
    pub avg10: f64,
    /// All of it, in seconds.
    pub total: f64,
}

/// A whole pressure file: some of the processes stalled, all of them did.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Psi {
    /// The line `some`.
    pub some: Option<Stall>,
    /// The line `full`.
    pub full: Option<Stall>,
}

impl Psi {
    /// Both lines, with their labels.
    pub fn stalls(&self) -> impl Iterator<Item = (&'static str, Stall)> {
        [("some", self.some), ("full", self.full)]
            .into_iter()
            .filter_map(|(word, stall)| Some((word, stall?)))
    }
}

/// Reads the text of a pressure file; `None` = it has no such line.
pub fn parse(text: &str) -> Psi {
    let line = |name: &str| {
        let rest = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '))?;
        let field = |key: &str| rest.split(' ').find_map(|f| f.strip_prefix(key)?.strip_prefix('='));
        // The file has percent and microseconds.
        let avg10 = field("avg10")?.parse::<f64>().ok()? / 100.0;
        let total = field("total")?.parse::<u64>().ok()? as f64 / 1e6;
        Some(Stall { avg10, total })
    };
    Psi { some: line("some"), full: line("full") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_and_microseconds() {
        let psi = parse(
            "some avg10=12.50 avg60=0.10 avg300=0.00 total=2500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n",
        );
        assert_eq!(psi.some, Some(Stall { avg10: 0.125, total: 2.5 }));
        assert_eq!(psi.full, Some(Stall { avg10: 0.0, total: 0.000007 }));
        assert_eq!(parse("some avg10=x total=1\n"), Psi::default());
        assert_eq!(parse("").stalls().count(), 0);
    }
}
