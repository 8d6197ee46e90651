//! Signals by name.

/// The number of a signal from its name without `SIG`, in the words of kill(1): `TERM`, `RTMIN`, `RTMIN+3`, `RTMAX-1`.
pub fn by_name(name: &str) -> Option<i32> {
    let real_time = |rest: &str, from: i32, sign: i32| {
        let n = if rest.is_empty() { 0 } else { rest.strip_prefix(['+', '-'])?.parse::<i32>().ok()? };
        let got = from + sign * n;
        (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&got).then_some(got)
    };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return real_time(rest, libc::SIGRTMIN(), 1).filter(|_| !rest.starts_with('-'));
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return real_time(rest, libc::SIGRTMAX(), -1).filter(|_| !rest.starts_with('+'));
    }
    format!("SIG{name}").parse::<nix::sys::signal::Signal>().ok().map(|s| s as i32)
}
