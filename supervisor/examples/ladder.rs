//! How long one decision of the memory ladder takes, for hosts of several sizes: `cargo run --release --example ladder`.

use std::time::{Duration, Instant};

use knarrd::memory::ladder::sim::{Made, Sim};
use knarrd::memory::ladder::{Ladder, Thresholds};

fn main() {
    println!("services   decisions   median ms   longest ms");
    for services in [10u32, 100, 1000, 5000] {
        let made = Made { total: 64 << 30, services, hogs: 4, seconds: 300, seed: 11, step_ms: 1000 };
        let mut sim = Sim::make(&made);
        let mut ladder = Ladder::new(Thresholds::default());
        let mut times = Vec::new();
        for _ in 0..made.seconds {
            sim.pass(Duration::from_secs(1));
            let (host, views) = (sim.host(), sim.views());
            let begun = Instant::now();
            let actions = ladder.step(sim.now, &host, &views);
            times.push(begun.elapsed().as_secs_f64() * 1000.0);
            actions.iter().for_each(|a| sim.obey(a));
        }
        times.sort_by(f64::total_cmp);
        let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
        println!("{services:8}   {:9}   {median:9.3}   {longest:10.3}", times.len());
    }
}
