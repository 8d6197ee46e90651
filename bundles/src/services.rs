//! Sample service files for the supervisor: templates that are part of the program, filled with the place of the bundles.
//! Writes only below the directory it is given.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;

/// What stands in the templates for the directory of the sample bundles.
const PLACE: &str = "@BUNDLES@";

/// File name and template.
pub const SERVICES: [(&str, &str); 13] = [
    ("web.toml", include_str!("../services/web.toml")),
    ("worker.toml", include_str!("../services/worker.toml")),
    ("activated.toml", include_str!("../services/activated.toml")),
    ("crasher.toml", include_str!("../services/crasher.toml")),
    ("migrate.toml", include_str!("../services/migrate.toml")),
    ("heartbeat.toml", include_str!("../services/heartbeat.toml")),
    ("report.toml", include_str!("../services/report.toml")),
    ("front.toml", include_str!("../services/front.toml")),
    ("checked.toml", include_str!("../services/checked.toml")),
    ("told.toml", include_str!("../services/told.toml")),
    ("composed.toml", include_str!("../services/composed.toml")),
    ("greeter.toml", include_str!("../services/greeter.toml")),
    ("rolled.toml", include_str!("../services/rolled.toml")),
];

/// Writes the service files into a directory, which is made when it is missing.
pub fn write(bundles: &Path, out: &Path) -> Result<()> {
    let bundles = fs::canonicalize(bundles).with_context(|| bundles.display().to_string())?;
    let bundles = bundles.to_str().context("the path of the bundles is not UTF-8")?;
    let plain = !bundles.contains(['"', '\\']) && !bundles.chars().any(char::is_control);
    ensure!(plain, "{bundles:?} cannot stand in a service file without an escape");
    fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    for (name, template) in SERVICES {
        // Aside and renamed: a supervisor may be watching.
        let (file, aside) = (out.join(name), out.join(format!(".{name}.new")));
        fs::write(&aside, template.replace(PLACE, bundles)).with_context(|| aside.display().to_string())?;
        fs::rename(&aside, &file).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::SAMPLES;

    #[test]
    fn every_template_is_listed_and_names_a_sample_that_exists() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("services");
        assert_eq!(fs::read_dir(dir).unwrap().count(), SERVICES.len());
        for (name, template) in SERVICES {
            let path = template.split(PLACE).nth(1).and_then(|rest| rest.split(['/', '"']).nth(1)).unwrap();
            assert!(SAMPLES.iter().any(|s| s.name == path), "{name}: {path}");
        }
    }

    #[test]
    fn files_are_written_with_the_place_of_the_bundles() {
        let dir = std::env::temp_dir().join(format!("knarr-bundles-services-{}", std::process::id()));
        fs::create_dir_all(dir.join("b")).unwrap();
        write(&dir.join("b/../b"), &dir.join("out")).unwrap();
        let text = fs::read_to_string(dir.join("out/worker.toml")).unwrap();
        let written = fs::read_dir(dir.join("out")).unwrap().count();
        let place = fs::canonicalize(&dir).unwrap().join("b/hello/rootfs");
        fs::remove_dir_all(&dir).unwrap();
        assert!(text.contains(&format!("root = \"{}\"", place.display())), "{text}");
        assert_eq!(written, SERVICES.len());
    }
}
