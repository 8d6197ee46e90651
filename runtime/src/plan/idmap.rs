//! Whose ids the files of a bind mount appear with: `uidMappings`, `gidMappings`, options `idmap` and `ridmap`. Pure.

use super::launch::{Join, Launch, on_host};
use crate::error::{Code, Error, Result, quoted};
use crate::spec::{self, IdMapping};
use serde::Serialize;

/// The mapping of one mount.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IdMap {
    pub ids: Ids,
    /// Also of all mounts below its source.
    pub recursive: bool,
}

/// The user namespace that says which id stands for which, as mount_setattr(2) wants it: an id of the file system is one
/// inside, what everybody sees is its counterpart outside.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ids {
    /// One with these maps.
    Maps { uids: Vec<IdMapping>, gids: Vec<IdMapping> },
    /// The one that the container joins.
    Joined(Join),
}

/// The option that asked for it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Its place in the list.
    pub index: usize,
    pub recursive: bool,
    /// What stands behind `idmap=`.
    pub inline: Option<&'a str>,
}

/// What the container has to do with ids.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub launch: &'a Launch,
    /// We are not root.
    pub rootless: bool,
}

/// The mapping of a mount, `None` when it asks for none.
///
/// # Errors
/// runc's refusals, in its words: not a bind, rootless, no complete mapping.
pub fn plan(
    field: &str,
    m: &spec::Mount,
    option: Option<Asked<'_>>,
    bind: bool,
    of: Context<'_>,
) -> Result<Option<IdMap>> {
    let spec::Mount { uid_mappings, gid_mappings, .. } = m;
    let given = !uid_mappings.is_empty() || !gid_mappings.is_empty();
    let place = match option {
        Some(o) if !given => format!("{field}/options/{}", o.index),
        _ if given => format!("{field}/uidMappings"),
        _ => return Ok(None),
    };
    let wrong = |text: String| Err(Error::spec(place.clone(), text));
    if !bind {
        return wrong("id-mapped mounts are only supported for bind-mounts".to_string());
    }
    if of.rootless {
        return wrong("id-mapped mounts are not supported for rootless containers".to_string())
            .map_err(|e| e.code(Code::Unsupported));
    }
    let ids = match option.and_then(|o| o.inline) {
        Some(text) if given => {
            return wrong(format!(
                "got {} beside uidMappings and gidMappings, want one of them",
                quoted(text)
            ));
        }
        Some(text) => match inline(text, of.launch) {
            Some((uids, gids)) => Ids::Maps { uids, gids },
            None => {
                let rule = "want uids=FILES-SEEN-COUNT#...;gids=...";
                return wrong(format!("not an id mapping: got {}, {rule}", quoted(text)));
            }
        },
        None if given => Ids::Maps { uids: uid_mappings.clone(), gids: gid_mappings.clone() },
        None => of_container(of.launch),
    };
    if matches!(&ids, Ids::Maps { uids, gids } if uids.is_empty() || gids.is_empty()) {
        return wrong("id-mapped mounts must have both uid and gid mappings specified".to_string());
    }
    Ok(Some(IdMap { ids, recursive: option.is_some_and(|o| o.recursive) }))
}

fn of_container(launch: &Launch) -> Ids {
    match &launch.user {
        Some(join) => Ids::Joined(join.clone()),
        None => Ids::Maps { uids: launch.uid_maps.clone(), gids: launch.gid_maps.clone() },
    }
}

/// crun's form, which Podman hands through: `uids=0-1000-10#10-5000-1;gids=...`. The first number is the file system's id,
/// the second the one that is seen, behind `@` as the container's user namespace counts it.
fn inline(text: &str, launch: &Launch) -> Option<(Vec<IdMapping>, Vec<IdMapping>)> {
    let (mut uids, mut gids) = (Vec::new(), Vec::new());
    for part in text.split(';').filter(|p| !p.is_empty()) {
        let (list, maps, values) = match part.split_once('=')? {
            ("uids", values) => (&mut uids, &launch.uid_maps, values),
            ("gids", values) => (&mut gids, &launch.gid_maps, values),
            _ => return None,
        };
        for triple in values.split('#') {
            list.push(range(triple, maps)?);
        }
    }
    Some((uids, gids))
}

fn range(triple: &str, container: &[IdMapping]) -> Option<IdMapping> {
    let (relative, numbers) = match triple.strip_prefix('@') {
        Some(rest) => (true, rest),
        None => (false, triple),
    };
    let mut numbers = numbers.split('-').map(|n| n.parse::<u32>().ok());
    let (container_id, seen, size) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let host_id = if relative { on_host(container, seen)? } else { seen };
    let room = container_id.checked_add(size).is_some() && host_id.checked_add(size).is_some();
    (numbers.next().is_none() && size > 0 && room).then_some(IdMapping { container_id, host_id, size })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(container_id: u32, host_id: u32, size: u32) -> IdMapping {
        IdMapping { container_id, host_id, size }
    }

    fn launch() -> Launch {
        Launch {
            uid_maps: vec![map(0, 100_000, 1000)],
            gid_maps: vec![map(0, 200_000, 1000)],
            ..Default::default()
        }
    }

    fn option(inline: Option<&str>) -> Option<Asked<'_>> {
        Some(Asked { index: 1, recursive: false, inline })
    }

    #[test]
    fn without_maps_of_its_own_a_mount_has_the_containers() {
        let launch = launch();
        let of = Context { launch: &launch, rootless: false };
        let got = plan("/mounts/0", &spec::Mount::default(), option(None), true, of).unwrap().unwrap();
        assert_eq!(got.ids, Ids::Maps { uids: launch.uid_maps.clone(), gids: launch.gid_maps.clone() });
        let own = spec::Mount {
            uid_mappings: vec![map(0, 1, 2)],
            gid_mappings: vec![map(0, 3, 4)],
            ..Default::default()
        };
        let got = plan("/mounts/0", &own, None, true, of).unwrap().unwrap();
        assert_eq!(got.ids, Ids::Maps { uids: vec![map(0, 1, 2)], gids: vec![map(0, 3, 4)] });
        assert_eq!(plan("/mounts/0", &spec::Mount::default(), None, true, of).unwrap(), None);
    }

    #[test]
    fn refusals_name_the_place() {
        let (launch, none) = (launch(), Launch::default());
        let of = |launch, rootless| Context { launch, rootless };
        let refused = |option, bind, of| {
            let e = plan("/mounts/0", &spec::Mount::default(), option, bind, of).unwrap_err();
            assert_eq!(e.field_path(), Some("/mounts/0/options/1"), "{e}");
            e.to_string()
        };
        assert!(refused(option(None), false, of(&launch, false)).contains("only supported for bind-mounts"));
        assert!(refused(option(None), true, of(&launch, true)).contains("rootless"));
        assert!(refused(option(None), true, of(&none, false)).contains("both uid and gid mappings"));
        assert!(refused(option(Some("uids=0-1")), true, of(&launch, false)).contains("not an id mapping"));
        assert!(refused(option(Some("uids=0-1-1")), true, of(&launch, false)).contains("both uid and gid"));
    }

    #[test]
    fn inline_maps() {
        let launch = launch();
        let (uids, gids) = inline("uids=0-5-1#7-9-2;gids=@0-3-4", &launch).unwrap();
        assert_eq!((uids, gids), (vec![map(0, 5, 1), map(7, 9, 2)], vec![map(0, 200_003, 4)]));
        for bad in [
            "uids",
            "uids=",
            "uids=1-2",
            "uids=1-2-3-4",
            "uids=0-0-0",
            "x=0-0-1",
            "uids=@0-1000-1",
            "uids=0-4294967295-2",
        ] {
            assert!(inline(bad, &launch).is_none(), "{bad}");
        }
    }
}
