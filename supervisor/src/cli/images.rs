//! image: archives in, and what becomes of them. Works on the state directory itself, also without a daemon.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, ValueHint, value_parser};
use serde_json::{Value, json};

use super::args::{flag, json, value};
use super::failure::{CONFLICT, FAILED, Failure, NOT_FOUND, Result};
use super::table::{Cell, Column, render};
use super::text::{clean, size};
use super::{Ctx, out, out_json};
use crate::dirs::Dirs;
use crate::image::config::Record;
use crate::image::import::{Imported, Wish, import};
use crate::image::store::Store;
use crate::image::{self, Kind, Limits};

impl From<image::Error> for Failure {
    fn from(e: image::Error) -> Failure {
        let code = match e.kind {
            Kind::Missing => NOT_FOUND,
            Kind::InUse => CONFLICT,
            Kind::Refused | Kind::Failed => FAILED,
        };
        Failure::new(code, e.text)
    }
}

/// The command line.
pub(super) fn command() -> Command {
    let name = |many: bool| {
        let arg = Arg::new("name").value_name("IMAGE").required(true).help("A name, or the begin of an id");
        if many { arg.num_args(1..) } else { arg }
    };
    let dir = |name: &'static str, default: &'static str, help: &'static str| {
        value(name, None, "DIR", help)
            .global(true)
            .value_parser(value_parser!(PathBuf))
            .default_value(default)
    };
    let number = |name: &'static str, help: &'static str| {
        value(name, None, "N", help).value_parser(value_parser!(u64))
    };
    Command::new("image")
        .about("Images from files: in, out, and what they say; nothing is pulled from anywhere")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .arg(dir("state", "/var/lib/knarrd", "The daemon's --state"))
        .arg(dir("run", "/run/knarrd", "The daemon's --run"))
        .subcommands([
            Command::new("import")
                .about("Takes an OCI layout, an OCI archive, or what docker save and podman save write")
                .arg(
                    Arg::new("from")
                        .value_name("FILE|DIR")
                        .required(true)
                        .value_parser(value_parser!(PathBuf))
                        .value_hint(ValueHint::AnyPath)
                        .help("The archive, which may be compressed, or the directory of a layout"),
                )
                .arg(value("name", None, "NAME", "What service files call it [default: its name there]"))
                .arg(value("ref", None, "NAME", "Which one of several images in it"))
                .arg(number("max-bytes", "Refuse more bytes unpacked [default: 16 GiB]"))
                .arg(number("max-entries", "Refuse more files, directories and links [default: 1000000]"))
                .arg(json()),
            Command::new("ls").about("All images").arg(json()),
            Command::new("inspect").about("What an image says, and who uses it, as JSON").arg(name(false)),
            Command::new("rm").about("Removes images that nobody uses").arg(name(true)).arg(json()),
            Command::new("prune")
                .about("Removes images that have no name any more and that nobody uses")
                .arg(flag("dry-run", None, "Only say which"))
                .arg(json()),
        ])
}

/// `image`.
pub(super) fn image(ctx: &Ctx, m: &ArgMatches) -> Result<u8> {
    let Some((verb, m)) = m.subcommand() else { return Err(Failure::usage("no command")) };
    let path = |name: &str| m.get_one::<PathBuf>(name).cloned().unwrap_or_default();
    let absolute = |name: &str| {
        std::path::absolute(path(name)).map_err(|e| Failure::new(FAILED, format!("--{name}: {e}")))
    };
    let dirs = Dirs { state: absolute("state")?, run: absolute("run")?, ..Dirs::default() };
    let store = Store::of(&dirs);
    match verb {
        "import" => take(&store, m),
        "ls" => list(ctx, &store, m),
        "inspect" => inspect(&store, &dirs, m),
        "rm" => remove(&store, m),
        "prune" => prune(&store, m),
        other => Err(Failure::usage(format!("no such command: {other}"))),
    }
}

fn take(store: &Store, m: &ArgMatches) -> Result<u8> {
    let Some(from) = m.get_one::<PathBuf>("from") else { return Err(Failure::usage("which file?")) };
    let text = |name: &str| m.get_one::<String>(name).map(String::as_str);
    let number = |name: &str, usual: u64| m.get_one::<u64>(name).copied().unwrap_or(usual);
    let usual = Limits::default();
    let limits =
        Limits { bytes: number("max-bytes", usual.bytes), entries: number("max-entries", usual.entries) };
    let wish = Wish { from, name: text("name"), reference: text("ref"), limits };
    let done = import(store, &wish)
        .map_err(|e| Failure { text: format!("{}: {}", from.display(), e.text), ..Failure::from(e) })?;
    if m.get_flag("json") {
        out_json(
            &json!({ "name": done.name, "id": done.record.id, "shared": done.shared, "before": done.before,
            "dropped": done.record.dropped }),
        )?;
    } else {
        out(&told(&done))?;
    }
    Ok(0)
}

fn told(done: &Imported) -> String {
    let Imported { name, record, shared, before } = done;
    let mut text = format!("{}  sha256:{}\n", clean(name), record.id);
    if *shared {
        text.push_str("its layers were there already\n");
    }
    for (what, times) in &record.dropped {
        text.push_str(&format!("left out: {} ({times})\n", clean(what)));
    }
    if let Err(why) = &record.ids {
        text.push_str(&format!("a service file has to give user: {}\n", clean(why)));
    }
    if let Some(id) = before {
        text.push_str(&format!("before it was sha256:{id}; services change with their next apply\n"));
    }
    text
}

/// Every id with its names; one without a name is in it once, with none.
fn all(store: &Store) -> Result<Vec<(Option<String>, Record)>> {
    let names = store.names()?;
    let mut all = Vec::new();
    for id in store.ids()? {
        let record = store.record(&id)?;
        let of_this: Vec<_> = names.iter().filter(|(_, i)| **i == id).map(|(n, _)| Some(n.clone())).collect();
        let of_this = if of_this.is_empty() { vec![None] } else { of_this };
        all.extend(of_this.into_iter().map(|name| (name, record.clone())));
    }
    all.sort_by(|a, b| (a.0.is_none(), &a.0).cmp(&(b.0.is_none(), &b.0)));
    Ok(all)
}

fn list(ctx: &Ctx, store: &Store, m: &ArgMatches) -> Result<u8> {
    let all = all(store)?;
    if m.get_flag("json") {
        let list: Result<Vec<Value>> = all
            .iter()
            .map(|(name, r)| {
                let users = store.users(&r.id)?;
                Ok(json!({ "name": name, "id": r.id, "bytes": r.bytes, "imported": r.imported,
                    "created": r.created, "used_by": users }))
            })
            .collect();
        return out_json(&list?).map(|()| 0);
    }
    let columns = [
        Column::text("NAME", 0),
        Column::word("ID"),
        Column::figure("SIZE", 3),
        Column::note("IMPORTED", 2),
        Column::text("USED-BY", 1),
    ];
    let mut rows = Vec::new();
    for (name, record) in &all {
        rows.push(vec![
            Cell::new(name.as_deref().unwrap_or("-")),
            Cell::new(record.id.get(..12).unwrap_or_default()),
            Cell::new(&size(record.bytes)),
            Cell::new(record.imported.get(..16).unwrap_or(&record.imported)),
            Cell::new(&store.users(&record.id)?.join(", ")),
        ]);
    }
    out(&render(&columns, &rows, ctx.width, ctx.style)).map(|()| 0)
}

fn inspect(store: &Store, dirs: &Dirs, m: &ArgMatches) -> Result<u8> {
    let name = m.get_one::<String>("name").map(String::as_str).unwrap_or_default();
    let record = store.find(name)?;
    let names: Vec<_> =
        store.names()?.into_iter().filter(|(_, id)| *id == record.id).map(|(name, _)| name).collect();
    let roots: Vec<_> = image::root::list(dirs)
        .into_iter()
        .filter(|(_, id, _)| *id == record.id)
        .map(|(instance, _, how)| json!({ "instance": instance, "root": how }))
        .collect();
    let users = store.users(&record.id)?;
    let mut shown = serde_json::to_value(&record).unwrap_or_default();
    if let Some(shown) = shown.as_object_mut() {
        // As a value or a reason, not as the record has it.
        shown.insert("ids".into(), json!(record.ids.as_ref().ok()));
        shown.insert("ids_unknown".into(), json!(record.ids.as_ref().err()));
        shown.insert("names".into(), json!(names));
        shown.insert("used_by".into(), json!(users));
        shown.insert("instances".into(), json!(roots));
        shown.insert("tree".into(), json!(store.tree(&record)));
    }
    out_json(&shown).map(|()| 0)
}

fn remove(store: &Store, m: &ArgMatches) -> Result<u8> {
    let locked = store.lock()?;
    let as_json = m.get_flag("json");
    let mut gone = Vec::new();
    for name in m.get_many::<String>("name").into_iter().flatten() {
        let record = locked.remove(name)?;
        if !as_json {
            out(&format!("removed {}  sha256:{}\n", clean(name), record.id))?;
        }
        gone.push(json!({ "name": name, "id": record.id }));
    }
    if as_json { out_json(&gone).map(|()| 0) } else { Ok(0) }
}

fn prune(store: &Store, m: &ArgMatches) -> Result<u8> {
    let locked = store.lock()?;
    let gone = if m.get_flag("dry-run") { locked.unused()? } else { locked.prune()? };
    if m.get_flag("json") {
        let ids: Vec<_> = gone.iter().map(|r| &r.id).collect();
        return out_json(&ids).map(|()| 0);
    }
    for record in &gone {
        out(&format!("sha256:{}  {}\n", record.id, size(record.bytes)))?;
    }
    Ok(0)
}
