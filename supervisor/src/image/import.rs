//! From a file or directory to an image in the store. Killed at any point, it leaves what the next command removes, or the
//! whole image.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use super::config::{Config, Record};
use super::store::{Store, check_name};
use super::{Error, Limits, Result, layer, layout, sha256};
use crate::image::source::Source;
use crate::image::unpack::Tree;
use crate::sys::tree;

/// What is wanted.
#[derive(Debug, Clone)]
pub struct Wish<'a> {
    /// A file or directory.
    pub from: &'a Path,
    /// The name that it gets; `None` = as it is called there.
    pub name: Option<&'a str>,
    /// Which one of several.
    pub reference: Option<&'a str>,
    /// What it may cost.
    pub limits: Limits,
}

/// What was done.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The name.
    pub name: String,
    /// The image.
    pub record: Record,
    /// Its layers were there already.
    pub shared: bool,
    /// The id that had the name before.
    pub before: Option<String>,
}

/// Imports an image.
///
/// # Errors
/// See [`super::Kind`]; nothing of it is left then.
pub fn import(store: &Store, wish: &Wish<'_>) -> Result<Imported> {
    let locked = store.lock()?;
    let scratch = locked.scratch()?;
    let source = Source::open(wish.from, &scratch.path(), wish.limits)?;
    let mut found = layout::find(&source, wish.reference)?;
    let name = wish.name.map(str::to_owned).or_else(|| found.name.take());
    let name = name.ok_or_else(|| Error::refused("it has no name; give one with --name"))?;
    check_name(&name).map_err(|e| Error::refused(format!("{e}; give one with --name")))?;
    let config = Config::parse(&found.config)?;
    let diff_ids = config.diff_ids()?;
    if diff_ids.len() != found.layers.len() {
        let (layers, ids) = (found.layers.len(), diff_ids.len());
        return Err(Error::refused(format!("{layers} layers, the configuration has {ids}")));
    }
    // Layers in this order and no other: the same ones make the same tree.
    let chain = sha256(diff_ids.join("\n").as_bytes());
    for (layer, diff_id) in found.layers.iter_mut().zip(diff_ids) {
        layer.diff_id = diff_id;
    }
    let place = store.trees().join(&chain);
    let shared = place.exists();
    let (mut bytes, mut dropped) = (0, BTreeMap::new());
    if !shared {
        let fresh = scratch.path().join("tree");
        std::fs::create_dir(&fresh).map_err(|e| Error::at(&fresh, e))?;
        let mut tree = Tree::new(&fresh, wish.limits)?;
        for one in &found.layers {
            layer::read(&source, one, |reader| tree.add(reader))?;
        }
        (bytes, dropped) = (tree.bytes, std::mem::take(&mut tree.dropped));
        tree::sync_all(tree.root()).map_err(|e| Error::at(&fresh, e))?;
        std::fs::rename(&fresh, &place).map_err(|e| Error::at(&place, e))?;
        File::open(store.trees()).and_then(|d| d.sync_all()).map_err(|e| Error::at(&place, e))?;
    } else if let Some(same) = same_tree(store, &chain)? {
        (bytes, dropped) = (same.bytes, same.dropped);
    }
    let root = tree::open_root(&place).map_err(|e| Error::at(&place, e))?;
    let mut record = config.record(found.id, chain, &root)?;
    (record.bytes, record.dropped) = (bytes, dropped);
    locked.keep(&record)?;
    let before = locked.name(&name, &record.id)?;
    Ok(Imported { name, record, shared, before })
}

fn same_tree(store: &Store, chain: &str) -> Result<Option<Record>> {
    for id in store.ids()? {
        let record = store.record(&id)?;
        if record.chain == chain {
            return Ok(Some(record));
        }
    }
    Ok(None)
}
