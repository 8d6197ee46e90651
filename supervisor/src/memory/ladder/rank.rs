//! Who pays first. Pure.

use std::cmp::{Ordering, Reverse};

use super::{Track, View};
use crate::unit::pressure::Priority;

/// One that may be shed, with what decides its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) view: &'a View,
    /// Bytes beyond its request.
    pub(super) excess: u64,
    /// The same in requests; without a request there is no end to it.
    ratio: f64,
    pub(super) growth: f64,
}

/// Those that are not protected and whose excess is worth something, who pays first in front.
pub(super) fn rank<'a, 't>(
    views: &'a [View],
    track: impl Fn(&View) -> Option<&'t Track>,
    worth: u64,
) -> Vec<Candidate<'a>> {
    let mut all: Vec<_> = views
        .iter()
        .filter(|v| v.terms.priority != Priority::Protected)
        .filter_map(|view| {
            let excess = view.current.checked_sub(view.request).filter(|n| *n >= worth.max(1))?;
            let growth = track(view).map_or(0.0, |t| t.growth);
            let ratio = match view.request {
                0 => f64::INFINITY,
                // Bytes of any machine are exact in a double.
                request => excess as f64 / request as f64,
            };
            Some(Candidate { view, excess, ratio, growth })
        })
        .collect();
    all.sort_by(order);
    all
}

fn order(a: &Candidate<'_>, b: &Candidate<'_>) -> Ordering {
    let (x, y) = (a.view, b.view);
    x.terms
        .priority
        .cmp(&y.terms.priority)
        .then_with(|| b.ratio.total_cmp(&a.ratio))
        .then_with(|| b.growth.total_cmp(&a.growth))
        .then_with(|| Reverse(x.current).cmp(&Reverse(y.current)))
        .then_with(|| x.instance.cmp(&y.instance))
}
