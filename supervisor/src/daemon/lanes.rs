//! Which looks are under way: a bounded number of them, and those at targets that were slow last time among themselves, so
//! that a thousand targets that hang delay nobody else. Pure.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

/// Looks at targets that answered last time, or were never asked.
const QUICK: usize = 64;
/// Looks at targets whose last answer did not come in time.
const SLOW: usize = 32;

/// Where a look is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    Quick,
    Slow,
}

/// Looks that wait for a place.
#[derive(Debug)]
pub(super) struct Lanes<T> {
    free: [usize; 2],
    waiting: [VecDeque<T>; 2],
}

impl<T> Default for Lanes<T> {
    fn default() -> Lanes<T> {
        Lanes { free: [QUICK, SLOW], waiting: [VecDeque::new(), VecDeque::new()] }
    }
}

impl<T> Lanes<T> {
    /// Adds one.
    pub(super) fn push(&mut self, lane: Lane, look: T) {
        let [quick, slow] = &mut self.waiting;
        match lane {
            Lane::Quick => quick.push_back(look),
            Lane::Slow => slow.push_back(look),
        }
    }

    /// The next one that has a place, which is taken.
    pub(super) fn next(&mut self) -> Option<(Lane, T)> {
        let [quick, slow] = &mut self.waiting;
        for (lane, waiting) in [(Lane::Quick, quick), (Lane::Slow, slow)] {
            let free = places(&mut self.free, lane);
            if *free > 0
                && let Some(look) = waiting.pop_front()
            {
                *free -= 1;
                return Some((lane, look));
            }
        }
        None
    }

    /// One is over.
    pub(super) fn over(&mut self, lane: Lane) {
        *places(&mut self.free, lane) += 1;
    }
}

fn places(free: &mut [usize; 2], lane: Lane) -> &mut usize {
    let [quick, slow] = free;
    match lane {
        Lane::Quick => quick,
        Lane::Slow => slow,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_that_hang_leave_the_places_of_the_others_alone() {
        let mut lanes = Lanes::default();
        (0..1000).for_each(|n| lanes.push(Lane::Slow, n));
        let under_way = std::iter::from_fn(|| lanes.next()).count();
        assert_eq!(under_way, SLOW);
        (0..100).for_each(|n| lanes.push(Lane::Quick, 1000 + n));
        let quick: Vec<_> = std::iter::from_fn(|| lanes.next()).collect();
        assert!(quick.len() == QUICK && quick.iter().all(|(lane, _)| *lane == Lane::Quick));
        lanes.over(Lane::Slow);
        assert_eq!(lanes.next(), Some((Lane::Slow, SLOW)));
        lanes.over(Lane::Quick);
        assert_eq!(lanes.next(), Some((Lane::Quick, 1000 + QUICK)));
        assert_eq!(lanes.next(), None);
    }
}
