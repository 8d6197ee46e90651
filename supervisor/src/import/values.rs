//! Words of other formats as those of a service file. Pure.

use serde_json::Value;

/// A scalar as text; lists and tables have none.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(s) => Some(s.clone()),
        Value::Bool(b) => Some(b.to_string()),
        Value::Number(n) => Some(n.to_string()),
        _ => None,
    }
}

/// A list of scalars, or one scalar.
pub(super) fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(list) => list.iter().filter_map(text).collect(),
        other => text(other).into_iter().collect(),
    }
}

/// Bytes of `64m`, `1g`, `512MiB`, `1Gi`, `100` in the words that a service file takes: Compose and Podman mean powers of 1024 by
/// all of them.
pub(super) fn size(text: &str) -> Option<Value> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let power = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "ki" | "kib" => 1,
        "m" | "mb" | "mi" | "mib" => 2,
        "g" | "gb" | "gi" | "gib" => 3,
        "t" | "tb" | "ti" | "tib" => 4,
        _ => return None,
    };
    let bytes = number.parse::<f64>().ok()? * 1024f64.powi(power);
    bytes_of(bytes.round() as u64)
}

/// The same of a Kubernetes quantity, where `M` is a power of 1000 and `Mi` one of 1024.
pub(super) fn quantity(text: &str) -> Option<Value> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let factor = match unit {
        "" => 1.0,
        "Ki" => 1024.0,
        "Mi" => 1024f64.powi(2),
        "Gi" => 1024f64.powi(3),
        "Ti" => 1024f64.powi(4),
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        _ => return None,
    };
    bytes_of((number.parse::<f64>().ok()? * factor).round() as u64)
}

fn bytes_of(bytes: u64) -> Option<Value> {
    for (unit, name) in [(1u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
        if bytes > 0 && bytes.is_multiple_of(unit) {
            return Some(format!("{}{name}", bytes / unit).into());
        }
    }
    i64::try_from(bytes).ok().map(Value::from)
}

/// Processors of `0.5`, `2`, `500m`.
pub(super) fn cpus(text: &str) -> Option<Value> {
    let text = text.trim();
    let number = match text.strip_suffix('m') {
        Some(milli) => milli.parse::<f64>().ok()? / 1000.0,
        None => text.parse::<f64>().ok()?,
    };
    // At most three decimals.
    Some(Value::from((number * 1000.0).ceil() / 1000.0))
}

/// A time in seconds, with or without a unit, as systemd and others write it: `90`, `1.5s`, `1min 30s`, `100ms`.
pub(super) fn seconds(text: &str) -> Option<String> {
    let mut rest = text.trim();
    let mut millis = 0f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at_checked(end)?;
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(end)?;
        let factor = match unit.trim() {
            "" | "s" | "sec" | "second" | "seconds" => 1000.0,
            "ms" | "msec" => 1.0,
            "us" | "usec" => 0.001,
            "m" | "min" | "minute" | "minutes" => 60_000.0,
            "h" | "hr" | "hour" | "hours" => 3_600_000.0,
            "d" | "day" | "days" => 86_400_000.0,
            _ => return None,
        };
        millis += number.parse::<f64>().ok()? * factor;
        rest = after.trim_start();
    }
    let millis = millis.round() as u64;
    Some(if millis.is_multiple_of(1000) { format!("{}s", millis / 1000) } else { format!("{millis}ms") })
}

/// Words as a shell divides them: blanks, single and double quotes, backslashes. `None` = a quote is not closed.
pub(super) fn words(line: &str) -> Option<Vec<String>> {
    let (mut all, mut word, mut there) = (Vec::new(), String::new(), false);
    let mut chars = line.chars();
    let mut quote = None;
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\'' | '"', None) => (quote, there) = (Some(c), true),
            (c, Some(q)) if c == q => quote = None,
            ('\\', None | Some('"')) => {
                word.push(chars.next()?);
                there = true;
            }
            (c, None) if c.is_whitespace() => {
                if there {
                    all.push(std::mem::take(&mut word));
                }
                there = false;
            }
            (c, _) => {
                word.push(c);
                there = true;
            }
        }
    }
    if there {
        all.push(word);
    }
    quote.is_none().then_some(all)
}

/// `UID:GID` of a user as numbers; without a group it is 0, as with engines where the image knows no other. `None` = a name.
pub(super) fn user(text: &str) -> Option<String> {
    let (uid, gid) = text.split_once(':').unwrap_or((text, "0"));
    let number = |t: &str| !t.is_empty() && t.len() <= 10 && t.bytes().all(|b| b.is_ascii_digit());
    (number(uid) && number(gid)).then(|| format!("{uid}:{gid}"))
}
