//! Whose turn it is to start: a few at a time, and restarts at a bounded rate for the whole host. Pure.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::clock::Boot;

/// A token bucket and a number of places.
#[derive(Debug, Clone)]
pub struct Turns {
    places: u32,
    rate: f64,
    burst: f64,
    tokens: f64,
    filled: Boot,
}

impl Turns {
    /// `rate` in tokens a second, at most `burst` of them at once.
    pub fn new(places: u32, rate: f64, burst: u32, now: Boot) -> Turns {
        let burst = f64::from(burst.max(1));
        Turns { places: places.max(1), rate: rate.max(0.001), burst, tokens: burst, filled: now }
    }

    /// Whether one more may start while `starting` are.
    pub fn place(&self, starting: usize) -> bool {
        starting < self.places as usize
    }

    /// Takes the token of a restart; `Err` = when there will be one.
    pub fn restart(&mut self, now: Boot) -> Result<(), Boot> {
        let gained = now.since(self.filled).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + gained).min(self.burst);
        self.filled = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(now.after(Duration::from_secs_f64((1.0 - self.tokens) / self.rate)))
    }

    /// So long after the next token there is another one, and so on.
    pub fn apart(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.rate)
    }

    /// For people: `1 a second, 10 at once`.
    pub fn text(&self) -> String {
        format!("{} a second, {} at once", self.rate, self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_slowed_and_a_single_restart_is_not() {
        let at = |ms| Boot(Duration::from_millis(ms));
        let mut turns = Turns::new(4, 1.0, 10, at(0));
        for _ in 0..10 {
            assert_eq!(turns.restart(at(0)), Ok(()));
        }
        assert_eq!(turns.restart(at(0)), Err(at(1000)));
        assert_eq!(turns.restart(at(500)), Err(at(1000)));
        assert_eq!(turns.restart(at(1000)), Ok(()));
        assert!(turns.restart(at(1000)).is_err());
        assert_eq!(turns.restart(at(100_000)), Ok(()));
        assert!(turns.place(3) && !turns.place(4));
        assert_eq!(
            (turns.apart(), turns.text().as_str()),
            (Duration::from_secs(1), "1 a second, 10 at once")
        );
    }
}
