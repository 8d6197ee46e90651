//! How services, their instances and their runs are called. Pure.
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest name of a service, in bytes: with replica and run it stays a valid cgroup name, host name and file name.
pub const NAME_MAX: usize = 63;

/// The name of a service: lower case letters, digits, `-` and `_`, beginning and ending with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceName(String);

impl ServiceName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServiceName {
    type Err = String;

    fn from_str(s: &str) -> Result<ServiceName, String> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = s.as_bytes();
        match (bytes.first(), bytes.last()) {
            (Some(&a), Some(&z)) if plain(a) && plain(z) => {}
            (None, _) => return Err("a service name must not be empty".into()),
            _ => {
                return Err(format!(
                    "service name {s:?} must begin and end with a lower case letter or a digit"
                ));
            }
        }
        if let Some(c) =
            s.chars().find(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(*c)))
        {
            return Err(format!("service name {s:?} has {c:?}; allowed are a-z, 0-9, '-' and '_'"));
        }
        if s.len() > NAME_MAX {
            return Err(format!("service name of {} bytes is longer than {NAME_MAX}", s.len()));
        }
        Ok(ServiceName(s.to_owned()))
    }
}

impl TryFrom<String> for ServiceName {
    type Error = String;
    fn try_from(s: String) -> Result<ServiceName, String> {
        s.parse()
    }
}

impl From<ServiceName> for String {
    fn from(n: ServiceName) -> String {
        n.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One replica of a service, `web.1`. Replicas count from 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Instance {
    /// Of which service.
    pub service: ServiceName,
    /// Which one, from 1.
    pub replica: u32,
}

impl Instance {
    /// Why a single instance will not do.
    pub fn only_whole(&self) -> String {
        format!("{self} is one instance, want the service, {}", self.service)
    }
}

impl FromStr for Instance {
    type Err = String;

    fn from_str(s: &str) -> Result<Instance, String> {
        let (service, replica) = s.split_once('.').ok_or_else(|| format!("{s:?} is not NAME.REPLICA"))?;
        let replica = number(replica).ok_or_else(|| format!("{s:?}: the replica must be a number from 1"))?;
        Ok(Instance { service: service.parse()?, replica })
    }
}

impl TryFrom<String> for Instance {
    type Error = String;
    fn try_from(s: String) -> Result<Instance, String> {
        s.parse()
    }
}

impl From<Instance> for String {
    fn from(i: Instance) -> String {
        i.to_string()
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.service, self.replica)
    }
}

/// One life of an instance, `web.1.17`: the container id that the runtime sees. Never used twice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId {
    /// Whose life.
    pub instance: Instance,
    /// Which one, from 1, one more at each start.
    pub run: u32,
}

impl FromStr for RunId {
    type Err = String;

    fn from_str(s: &str) -> Result<RunId, String> {
        let (instance, run) = s.rsplit_once('.').ok_or_else(|| format!("{s:?} is not NAME.REPLICA.RUN"))?;
        let run = number(run).ok_or_else(|| format!("{s:?}: the run must be a number from 1"))?;
        Ok(RunId { instance: instance.parse()?, run })
    }
}

impl TryFrom<String> for RunId {
    type Error = String;
    fn try_from(s: String) -> Result<RunId, String> {
        s.parse()
    }
}

impl From<RunId> for String {
    fn from(r: RunId) -> String {
        r.to_string()
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.instance, self.run)
    }
}

/// A number from 1 in its only spelling: no sign, no leading zero.
fn number(s: &str) -> Option<u32> {
    s.parse().ok().filter(|n: &u32| *n > 0 && n.to_string() == s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ids_come_back() {
        for s in ["a", "web", "a-b_c", "0", "x1", &"a".repeat(63)] {
            assert_eq!(s.parse::<ServiceName>().unwrap().to_string(), s);
        }
        assert_eq!("web.2.17".parse::<RunId>().unwrap().to_string(), "web.2.17");
    }

    #[test]
    fn bad_names_are_refused_with_their_reason() {
        for (s, why) in [
            ("", "empty"),
            ("-a", "begin"),
            ("a-", "end"),
            ("Web", "begin"),
            ("wEb", "'E'"),
            ("a/b", "'/'"),
            ("a.b", "'.'"),
            ("a\nb", "'\\n'"),
            (&"a".repeat(64), "longer"),
        ] {
            let e = s.parse::<ServiceName>().unwrap_err();
            assert!(e.contains(why), "{s:?}: {e}");
        }
        for s in ["web", "web.0", "web.01", "web.+1", "web.x", "web.1."] {
            assert!(s.parse::<Instance>().is_err(), "{s}");
        }
        for s in ["web.1", "web.1.0", "web.1.x", "a.b.1.1"] {
            assert!(s.parse::<RunId>().is_err(), "{s}");
        }
    }
}
