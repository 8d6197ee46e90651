//! `knarr list`: all containers of a state root, as a table, as JSON or as bare ids. Reads only; a container
//! whose record cannot be read is shown as `damaged` and does not spoil the rest.

use super::state::Shown;
use super::store;
use crate::cli::{Format, Global, ListArgs};
use crate::error::{Code, Error, Result};
use crate::report;
use crate::state::Listed;
use crate::sys::fs;
use serde::Serialize;
use std::collections::HashMap;

/// The largest user table that is read, in bytes.
const PASSWD_LIMIT: usize = 4 << 20;

/// A container of which nothing but the id is known.
#[derive(Serialize)]
struct Damaged<'a> {
    id: &'a str,
    pid: i32,
    status: &'static str,
}

/// Prints the list.
pub fn run(global: &Global, args: &ListArgs) -> Result<i32> {
    let listed = store(global)?.list()?;
    for l in &listed {
        if let Err(e) = &l.seen {
            report::warn(e);
        }
    }
    let text = match (args.quiet, args.format) {
        (true, _) => listed.iter().map(|l| format!("{}\n", l.id)).collect(),
        (false, Format::Table) => table(&rows(&listed, &mut Users::new())),
        (false, Format::Json) => json(&listed, &mut Users::new())?,
    };
    report::print(&text)?;
    Ok(0)
}

fn json(listed: &[Listed], users: &mut Users) -> Result<String> {
    // Go's encoder writes a list without elements as null, and readers of runc's output know that.
    if listed.is_empty() {
        return Ok("null\n".into());
    }
    let objects: Vec<_> = listed
        .iter()
        .map(|l| match &l.seen {
            Ok((record, status)) => {
                serde_json::to_value(Shown::new(record, *status, users.name(record.owner)))
            }
            Err(_) => serde_json::to_value(Damaged { id: &l.id, pid: 0, status: "damaged" }),
        })
        .collect::<Result<_, _>>()
        .map_err(|e| Error::new(Code::Internal, e.to_string()))?;
    Ok(format!("{}\n", serde_json::Value::Array(objects)))
}

type Row = [String; 6];

fn rows(listed: &[Listed], users: &mut Users) -> Vec<Row> {
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(String::from);
    let row = |l: &Listed| match &l.seen {
        Ok((record, status)) => {
            let s = Shown::new(record, *status, users.name(record.owner));
            let bundle = crate::error::printable(&s.bundle.to_string_lossy());
            [s.id.into(), s.pid.to_string(), s.status, bundle, s.created.into(), s.owner]
        }
        Err(_) => [&l.id, "0", "damaged", "", "", ""].map(String::from),
    };
    std::iter::once(head).chain(listed.iter().map(row)).collect()
}

/// Columns as wide as their longest cell and three blanks, and at least 12: what Go's tabwriter makes of it.
fn table(rows: &[Row]) -> String {
    let width = |column: usize| {
        let longest = rows.iter().map(|r| r[column].chars().count()).max().unwrap_or(0);
        (longest + 3).max(12)
    };
    let widths: [usize; 5] = std::array::from_fn(width);
    let mut out = String::new();
    for row in rows {
        for (cell, width) in row.iter().zip(widths) {
            out.push_str(&format!("{cell:<width$}"));
        }
        out.push_str(&row[5]);
        out.push('\n');
    }
    out
}

/// Names of users, read from the host's /etc/passwd at the first question.
struct Users(Option<HashMap<u32, String>>);

impl Users {
    fn new() -> Users {
        Users(None)
    }

    /// A user's name, or `#uid` as runc writes it.
    fn name(&mut self, uid: u32) -> String {
        let names = self.0.get_or_insert_with(|| {
            let bytes = fs::read_regular("/etc/passwd", PASSWD_LIMIT).unwrap_or_default();
            parse_passwd(&String::from_utf8_lossy(&bytes))
        });
        names.get(&uid).cloned().unwrap_or_else(|| format!("#{uid}"))
    }
}

/// Lines of passwd(5). The first name of an id counts; lines of another form are nobody's.
pub(crate) fn parse_passwd(text: &str) -> HashMap<u32, String> {
    let mut out = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(_), Some(Ok(uid))) =
            (fields.next(), fields.next(), fields.next().map(str::parse::<u32>))
            && !name.is_empty()
        {
            out.entry(uid).or_insert_with(|| crate::error::printable(name));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_runcs() {
        let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(String::from);
        assert_eq!(
            table(std::slice::from_ref(&head)),
            "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
        );
        let row = ["c1", "15116", "created", "/tmp/cliw/b2", "2026-11-21T09:05:50.217507212Z", "root"];
        assert_eq!(
            table(&[head, row.map(String::from)]),
            "ID          PID         STATUS      BUNDLE         CREATED                          OWNER\n\
             c1          15116       created     /tmp/cliw/b2   2026-11-21T09:05:50.217507212Z   root\n"
        );
    }

    #[test]
    fn passwd_lines() {
        let names = parse_passwd(
            "root:x:0:0::/:/bin/sh\ntoor:x:0:0:::\n#\n::5:\nx:y\na:x:-1:\nb:x:4294967296:\nc\u{1b}:x:7:\n",
        );
        assert_eq!(names.len(), 2);
        assert_eq!(names[&0], "root");
        assert_eq!(names[&7], "c\\u{1b}");
        let mut users = Users(Some(names));
        assert_eq!((users.name(0), users.name(12)), ("root".into(), "#12".into()));
    }
}
