//! Which numbers the instances of a service have: 1 to `replicas`, but for a service with one, whose instance changes places with
//! the one that `start-first` puts beside it. Pure.
#![forbid(unsafe_code)]

/// The numbers of a service's instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seats {
    replicas: u32,
    /// The number of the only one.
    single: u32,
}

impl Seats {
    /// Of so many instances; `single` = the number that a single one has, if it is not 1.
    pub fn new(replicas: u32, single: Option<u32>) -> Seats {
        Seats { replicas, single: single.unwrap_or(1) }
    }

    /// Whether it is one of them, and none that is beside them for a while.
    pub fn has(self, number: u32) -> bool {
        if self.replicas == 1 { number == self.single } else { (1..=self.replicas).contains(&number) }
    }

    /// The only one.
    pub fn single(self) -> Option<u32> {
        (self.replicas == 1).then_some(self.single)
    }

    /// Their numbers, and those of so many more beside them.
    pub fn numbers(self, beside: u32) -> Vec<u32> {
        match self.single() {
            Some(single) => {
                let others = (1..).filter(|n| *n != single).take(usize::try_from(beside).unwrap_or(0));
                std::iter::once(single).chain(others).collect()
            }
            None => (1..=self.replicas.saturating_add(beside)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_changes_places_and_several_do_not() {
        let numbers = |replicas, single, beside| Seats::new(replicas, single).numbers(beside);
        assert_eq!(numbers(0, Some(2), 0), [0; 0]);
        assert_eq!(numbers(1, None, 0), [1]);
        assert_eq!(numbers(1, None, 1), [1, 2]);
        assert_eq!(numbers(1, Some(2), 1), [2, 1]);
        assert_eq!(numbers(3, Some(2), 2), [1, 2, 3, 4, 5]);
        let seats = Seats::new(1, Some(2));
        assert!(seats.has(2) && !seats.has(1) && seats.single() == Some(2));
        let seats = Seats::new(2, Some(2));
        assert!(seats.has(1) && seats.has(2) && !seats.has(3) && !seats.has(0) && seats.single().is_none());
    }
}
