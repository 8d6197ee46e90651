//! From a source to one image: its configuration, verified, and where its layers are. Knows OCI layouts and what
//! `docker save` and `podman save` write.

use oci_spec::image::{Arch, Descriptor, ImageIndex, ImageManifest, Os};
use serde::Deserialize;

use super::layer::Layer;
use super::source::Source;
use super::{Error, Result, digits, sha256};

/// The largest index, manifest or configuration.
const JSON_MAX: u64 = 8 << 20;
/// More layers than this no engine makes.
const LAYERS_MAX: usize = 512;
/// An index that names an index that names an index.
const DEPTH: u32 = 3;
const INDEXES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
const MANIFESTS: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
const CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
const LAYERS: [&str; 6] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
];
/// How a reference is written beside a manifest; what engines write first.
const NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// One image of a source.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// How the source calls it.
    pub(super) name: Option<String>,
    /// Its configuration, as it is.
    pub(super) config: Vec<u8>,
    /// Digits of the configuration's digest.
    pub(super) id: String,
    /// Its layers, lowest first; their diff ids are for the caller to fill in.
    pub(super) layers: Vec<Layer>,
}

/// An entry of `manifest.json` of docker save.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Finds the image of this name, or the only one.
///
/// # Errors
/// There is none, or there are several; or something is not as its digest says.
pub(super) fn find(source: &Source, wanted: Option<&str>) -> Result<Found> {
    if source.has("index.json") && source.has("oci-layout") {
        return from_layout(source, wanted);
    }
    if source.has("manifest.json") {
        return from_saved(source, wanted);
    }
    Err(Error::refused(
        "no image: want index.json and oci-layout of an OCI layout, or manifest.json of docker save",
    ))
}

fn json<T: for<'a> Deserialize<'a>>(name: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| Error::refused(format!("{name}: {e}")))
}

fn blob_file(descriptor: &Descriptor) -> Result<(String, String)> {
    let digits = digits(descriptor.digest().as_ref())?.to_owned();
    Ok((format!("blobs/sha256/{digits}"), digits))
}

/// A small blob, which is what its descriptor says.
fn blob(source: &Source, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let (file, want) = blob_file(descriptor)?;
    let bytes = source.read(&file, JSON_MAX)?;
    let found = sha256(&bytes);
    if found != want || bytes.len() as u64 != descriptor.size() {
        return Err(Error::refused(format!(
            "{file}: its digest is sha256:{found}, or its size is another one"
        )));
    }
    Ok(bytes)
}

fn from_layout(source: &Source, wanted: Option<&str>) -> Result<Found> {
    let index: ImageIndex = json("index.json", &source.read("index.json", JSON_MAX)?)?;
    let mut found = Vec::new();
    collect(source, &index, None, DEPTH, &mut found)?;
    let names = found.iter().map(|(name, _)| name.clone()).collect();
    let chosen = choose(names, wanted)?;
    let (name, descriptor) = found.swap_remove(chosen);
    let manifest: ImageManifest = json("the manifest", &blob(source, &descriptor)?)?;
    let kind = manifest.config().media_type().to_string();
    if !CONFIGS.contains(&kind.as_str()) {
        return Err(Error::refused(format!("a configuration of media type {kind:?} is not supported")));
    }
    let config = blob(source, manifest.config())?;
    let (_, id) = blob_file(manifest.config())?;
    let mut layers = Vec::new();
    for layer in manifest.layers() {
        let kind = layer.media_type().to_string();
        if !LAYERS.contains(&kind.as_str()) {
            return Err(Error::refused(format!("a layer of media type {kind:?} is not supported")));
        }
        let (file, digest) = blob_file(layer)?;
        layers.push(Layer { file, blob: Some((digest, layer.size())), diff_id: String::new() });
    }
    bounded(Found { name, config, id, layers })
}

/// The manifests for this platform, those of nested indexes as well.
fn collect(
    source: &Source,
    index: &ImageIndex,
    outer: Option<&String>,
    depth: u32,
    found: &mut Vec<(Option<String>, Descriptor)>,
) -> Result<()> {
    let mut others = Vec::new();
    let before = found.len();
    for descriptor in index.manifests() {
        let notes = descriptor.annotations().as_ref();
        let name = NAMES.iter().find_map(|n| notes.and_then(|a| a.get(*n))).or(outer);
        let kind = descriptor.media_type().to_string();
        if let Some(platform) = descriptor.platform()
            && (*platform.os() != Os::Linux || *platform.architecture() != Arch::default())
        {
            others.push(format!("{}/{}", platform.os(), platform.architecture()));
            continue;
        }
        if MANIFESTS.contains(&kind.as_str()) {
            found.push((name.cloned(), descriptor.clone()));
        } else if INDEXES.contains(&kind.as_str()) {
            let Some(depth) = depth.checked_sub(1) else {
                return Err(Error::refused("an index in an index in an index"));
            };
            let inner: ImageIndex = json("an index", &blob(source, descriptor)?)?;
            collect(source, &inner, name, depth, found)?;
        } else {
            return Err(Error::refused(format!("a manifest of media type {kind:?} is not supported")));
        }
    }
    if found.len() == before && !others.is_empty() {
        let (want, others) = (Arch::default(), others.join(", "));
        return Err(Error::refused(format!("nothing for linux/{want}, only for {others}")));
    }
    Ok(())
}

fn from_saved(source: &Source, wanted: Option<&str>) -> Result<Found> {
    let mut all: Vec<Saved> = json("manifest.json", &source.read("manifest.json", JSON_MAX)?)?;
    let tags = |s: &Saved| s.repo_tags.clone().unwrap_or_default();
    let tagged = wanted.and_then(|w| all.iter().position(|s| tags(s).iter().any(|t| t == w)));
    let chosen = match tagged {
        Some(i) => i,
        None => choose(all.iter().map(|s| tags(s).into_iter().next()).collect(), wanted)?,
    };
    let saved = all.swap_remove(chosen);
    let config = source.read(&saved.config, JSON_MAX)?;
    let id = sha256(&config);
    // The file is called by its digest: HEX.json, or blobs/sha256/HEX.
    let stem = saved.config.rsplit('/').next().unwrap_or_default();
    let stem = stem.strip_suffix(".json").unwrap_or(stem);
    if digits(&format!("sha256:{stem}")).is_ok() && stem != id {
        return Err(Error::refused(format!("{}: its digest is sha256:{id}", saved.config)));
    }
    let name = wanted.map(str::to_owned).or_else(|| saved.repo_tags.unwrap_or_default().into_iter().next());
    let layers = saved.layers.into_iter().map(|file| Layer { file, blob: None, diff_id: String::new() });
    bounded(Found { name, config, id, layers: layers.collect() })
}

fn bounded(found: Found) -> Result<Found> {
    match found.layers.len() {
        0..=LAYERS_MAX => Ok(found),
        n => Err(Error::refused(format!("{n} layers, want at most {LAYERS_MAX}"))),
    }
}

/// Which one is meant.
fn choose(names: Vec<Option<String>>, wanted: Option<&str>) -> Result<usize> {
    let list = || names.iter().map(|n| n.as_deref().unwrap_or("(no name)")).collect::<Vec<_>>().join(", ");
    match wanted {
        Some(w) => names
            .iter()
            .position(|n| n.as_deref() == Some(w))
            .ok_or_else(|| Error::refused(format!("no image {w} in it, there is: {}", list()))),
        None if names.len() == 1 => Ok(0),
        None if names.is_empty() => Err(Error::refused("no image in it")),
        None => Err(Error::refused(format!("several images in it, choose with --ref: {}", list()))),
    }
}
