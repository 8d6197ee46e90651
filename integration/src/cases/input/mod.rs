//! Bad input, from one table: what is wrong, which field must be named, what must be said. Every row has a
//! twin that passes. The numbers are those of the project's catalogue of bad inputs.

mod documents;
mod hosts;
mod row;
mod rows;

use crate::case::Case;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all: Vec<Case> = rows::cases();
    all.extend(documents::cases());
    all.extend(hosts::cases());
    number(all)
}

/// Several rows have one catalogue number; a letter tells them apart.
fn number(cases: Vec<Case>) -> Vec<Case> {
    let mut count = std::collections::BTreeMap::new();
    cases
        .into_iter()
        .map(|mut c| {
            let n = count.entry(c.name.clone()).or_insert(0u8);
            *n += 1;
            if *n > 1 {
                c.name = format!("{}-{n}", c.name);
            }
            c
        })
        .collect()
}
