//! Makes image archives, right ones and others: OCI layouts and what `docker save` writes, member by member, so that a case
//! can put anything anywhere. Imports nothing from the supervisor.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// One member of an archive, written as it is, however wrong.
#[derive(Clone)]
pub struct Item {
    pub kind: u8,
    pub name: String,
    pub link: String,
    pub data: Vec<u8>,
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime: u64,
    pub device: (u32, u32),
    pub pax: Vec<(String, Vec<u8>)>,
    /// Written in place of the size of `data`.
    pub size: Option<u64>,
}

impl Item {
    fn new(kind: u8, name: &str, mode: u32) -> Item {
        Item {
            kind,
            name: name.into(),
            link: String::new(),
            data: Vec::new(),
            mode,
            owner: (0, 0),
            mtime: 1_000_000_000,
            device: (0, 0),
            pax: Vec::new(),
            size: None,
        }
    }
    pub fn file(name: &str, data: impl Into<Vec<u8>>) -> Item {
        Item { data: data.into(), ..Item::new(b'0', name, 0o644) }
    }
    pub fn dir(name: &str) -> Item {
        Item::new(b'5', name, 0o755)
    }
    pub fn symlink(name: &str, to: &str) -> Item {
        Item { link: to.into(), ..Item::new(b'2', name, 0o777) }
    }
    pub fn hard(name: &str, to: &str) -> Item {
        Item { link: to.into(), ..Item::new(b'1', name, 0o644) }
    }
    pub fn device(name: &str, kind: u8, device: (u32, u32)) -> Item {
        Item { device, ..Item::new(kind, name, 0o666) }
    }
    pub fn mode(mut self, mode: u32) -> Item {
        self.mode = mode;
        self
    }
    pub fn owner(mut self, uid: u32, gid: u32) -> Item {
        self.owner = (uid, gid);
        self
    }
    pub fn pax(mut self, key: &str, value: &[u8]) -> Item {
        self.pax.push((key.into(), value.to_vec()));
        self
    }

    fn write(&self, out: &mut Vec<u8>) {
        if !self.pax.is_empty() {
            let data = self.pax.iter().flat_map(|(k, v)| record(k, v)).collect::<Vec<u8>>();
            Item { data, ..Item::new(b'x', "PaxHeaders/x", 0o644) }.write(out);
        }
        if self.name.len() > 100 {
            let data = [self.name.as_bytes(), b"\0"].concat();
            Item { data, ..Item::new(b'L', "././@LongLink", 0) }.write(out);
        }
        let mut header = tar::Header::new_gnu();
        header.set_mode(self.mode);
        header.set_uid(self.owner.0.into());
        header.set_gid(self.owner.1.into());
        header.set_mtime(self.mtime);
        header.set_size(self.size.unwrap_or(self.data.len() as u64));
        header.set_entry_type(tar::EntryType::new(self.kind));
        let _ = header.set_device_major(self.device.0).and_then(|()| header.set_device_minor(self.device.1));
        let bytes = header.as_mut_bytes();
        // By hand: the library refuses what a hostile archive has.
        for (at, text) in [(0, &self.name), (157, &self.link)] {
            let text = &text.as_bytes()[..text.len().min(100)];
            bytes[at..at + text.len()].copy_from_slice(text);
        }
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(&self.data);
        out.resize(out.len().next_multiple_of(512), 0);
    }
}

/// `LENGTH KEY=VALUE\n`; the length counts itself.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key.as_bytes(), b"=", value, b"\n"].concat()
}

/// A tar archive of these members.
pub fn archive(items: &[Item]) -> Vec<u8> {
    let mut out = Vec::new();
    items.iter().for_each(|i| i.write(&mut out));
    out.resize(out.len() + 1024, 0);
    out
}

/// How a layer is compressed.
#[derive(Clone, Copy, PartialEq)]
pub enum Coding {
    Plain,
    Gzip,
    Zstd,
}

impl Coding {
    pub fn encode(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Coding::Plain => bytes.to_vec(),
            Coding::Gzip => {
                let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                coder.write_all(bytes).and_then(|()| coder.finish()).unwrap_or_default()
            }
            Coding::Zstd => {
                ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
            }
        }
    }
    fn suffix(self) -> &'static str {
        match self {
            Coding::Plain => "",
            Coding::Gzip => "+gzip",
            Coding::Zstd => "+zstd",
        }
    }
}

/// An image: its layers, and what its configuration has below `config`.
#[derive(Clone)]
pub struct Image {
    pub layers: Vec<(Vec<u8>, Coding)>,
    pub config: Value,
    pub architecture: String,
    pub name: String,
}

/// Names and contents of what an archive or a directory has.
pub type Files = BTreeMap<String, Vec<u8>>;

pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

impl Image {
    /// One with these members in one layer each.
    pub fn new(name: &str, layers: &[&[Item]], config: Value) -> Image {
        let codings = [Coding::Gzip, Coding::Zstd, Coding::Plain];
        let layers =
            layers.iter().zip(codings.into_iter().cycle()).map(|(items, c)| (archive(items), c)).collect();
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Image { layers, config, architecture: architecture.into(), name: name.into() }
    }

    /// One with the probe, as `/probe`, and a command.
    pub fn of_probe(name: &str, probe: &Path, config: Value, more: &[Item]) -> Result<Image> {
        let program = std::fs::read(probe).with_context(|| probe.display().to_string())?;
        let mut base = vec![
            Item::dir("./"),
            Item::file("probe", program).mode(0o755),
            Item::dir("etc/"),
            Item::file("etc/passwd", "root:x:0:0::/:/probe\nweb:x:101:102::/srv:/probe\n"),
            Item::file("etc/group", "web:x:102:\nlog:x:4:web\n"),
            Item::dir("tmp").mode(0o1777),
        ];
        base.extend_from_slice(more);
        Ok(Image::new(name, &[&base], config))
    }

    /// The configuration as it is written.
    pub fn configuration(&self) -> Vec<u8> {
        let ids: Vec<_> = self.layers.iter().map(|(tar, _)| format!("sha256:{}", digest(tar))).collect();
        json!({
            "created": "2026-01-02T03:04:05Z",
            "architecture": self.architecture,
            "os": "linux",
            "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": ids },
        })
        .to_string()
        .into_bytes()
    }

    /// As an OCI layout.
    pub fn oci(&self) -> Files {
        let mut files = Files::new();
        let mut blob = |kind: &str, bytes: Vec<u8>| {
            let (name, size) = (digest(&bytes), bytes.len());
            files.insert(format!("blobs/sha256/{name}"), bytes);
            json!({ "mediaType": kind, "digest": format!("sha256:{name}"), "size": size })
        };
        let layers: Vec<_> = self
            .layers
            .iter()
            .map(|(tar, c)| {
                blob(&format!("application/vnd.oci.image.layer.v1.tar{}", c.suffix()), c.encode(tar))
            })
            .collect();
        let config = blob("application/vnd.oci.image.config.v1+json", self.configuration());
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({ "schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers });
        let mut manifest = blob(kind, manifest.to_string().into_bytes());
        manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": self.name });
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        files.insert("index.json".into(), index.to_string().into_bytes());
        files.insert("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
        files
    }

    /// As `docker save` wrote it before version 25, and `podman save` does.
    pub fn docker(&self) -> Files {
        let mut files = Files::new();
        let mut names = Vec::new();
        for (tar, _) in &self.layers {
            let name = format!("{}/layer.tar", digest(tar));
            files.insert(name.clone(), tar.clone());
            names.push(name);
        }
        let config = self.configuration();
        let id = format!("{}.json", digest(&config));
        let manifest = json!([{ "Config": id, "RepoTags": [self.name], "Layers": names }]);
        files.insert(id, config);
        files.insert("manifest.json".into(), manifest.to_string().into_bytes());
        files
    }
}

/// As a directory.
pub fn write_dir(files: &Files, dir: &Path) -> Result<()> {
    for (name, bytes) in files {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().context("no parent")?)?;
        std::fs::write(path, bytes)?;
    }
    Ok(())
}

/// As an archive.
pub fn pack(files: &Files) -> Vec<u8> {
    archive(&files.iter().map(|(name, bytes)| Item::file(name, bytes.clone())).collect::<Vec<_>>())
}
