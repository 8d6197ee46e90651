//! Whether the host itself is why somebody does not answer in time. Pure: the kernel's words go in.
#![forbid(unsafe_code)]

use std::time::Duration;

/// Memory stalls of all processes at once, in percent of the last ten seconds, from which on the host is under pressure.
const MEMORY_FULL: f64 = 40.0;
/// Waits for a processor. `full` is always 0 for the whole host (Documentation/accounting/psi.rst).
const CPU_SOME: f64 = 80.0;
/// The daemon's own lateness.
const LAG: Duration = Duration::from_millis(500);

/// Why the host is under pressure, if it is: from the texts of /proc/pressure/memory and /proc/pressure/cpu, empty where
/// there are none, and from how late the daemon's own timers were lately.
pub fn pressure(memory: &str, cpu: &str, lag: Duration) -> Option<String> {
    let over = |share: Option<f64>, limit: f64| share.filter(|s| *s > limit);
    if let Some(share) = over(avg10(memory, "full"), MEMORY_FULL) {
        return Some(format!("memory stalls {share} %"));
    }
    if let Some(share) = over(avg10(cpu, "some"), CPU_SOME) {
        return Some(format!("processors are waited for {share} %"));
    }
    (lag > LAG).then(|| format!("the daemon itself is {} late", crate::policy::span(lag)))
}

/// `some avg10=0.12 avg60=...`: the number of the line.
pub fn avg10(text: &str, line: &str) -> Option<f64> {
    let rest = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(" avg10="))?;
    rest.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn psi(some: &str, full: &str) -> String {
        format!(
            "some avg10={some} avg60=0.00 avg300=0.00 total=1\nfull avg10={full} avg60=0.00 avg300=0.00 total=1\n"
        )
    }

    #[test]
    fn limits() {
        let calm = psi("79.99", "40.00");
        assert_eq!(pressure(&calm, &calm, LAG), None);
        assert_eq!(pressure("", "garbage\nsome avg10=x", Duration::ZERO), None);
        let why = |memory: &str, cpu: &str, lag| pressure(memory, cpu, lag).unwrap();
        assert_eq!(why(&psi("0", "40.01"), &calm, LAG), "memory stalls 40.01 %");
        assert_eq!(why(&calm, &psi("80.50", "0.00"), LAG), "processors are waited for 80.5 %");
        assert!(why(&calm, &calm, Duration::from_millis(501)).contains("late"));
    }
}
