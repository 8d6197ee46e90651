//! A service whose file names an image, and what the image says: the id that the name has now goes into the text and the
//! service, so that a version of it is one image for good; stop signal and health check of the image stand in for what the
//! file does not give. Its process is read when a bundle is made.

use toml_edit::{DocumentMut, Item, Value};

use super::store::Store;
use super::{Error, Result};
use crate::unit::service::{Image, Service};
use crate::unit::{locate, signal};

/// Completes a service and its text. One without an image stays as it is. `kept` = the id that a name without one means.
///
/// # Errors
/// There is no such image, or it cannot be used without a key that the file does not have.
pub fn bind(store: &Store, service: &mut Service, text: &mut String, kept: Option<&str>) -> Result<()> {
    let Image::Stored { name, id, .. } = &mut service.image else { return Ok(()) };
    let record = match id.as_deref().or(kept) {
        Some(id) => store.record(id)?,
        None => store.find(name)?,
    };
    if id.is_none() {
        *text = pinned(text, &format!("{name}@sha256:{}", record.id))?;
        *id = Some(record.id.clone());
    }
    let given = |key: &str| locate(text, key).is_some();
    if service.process.command.is_none() && record.command.is_empty() {
        return Err(Error::refused(format!("image {name} has no command, and the file gives none")));
    }
    if let (Err(why), None) = (&record.ids, &service.process.user) {
        let text = format!("image {name} runs as {:?}: {why}; give user as numbers", record.user);
        return Err(Error::refused(text));
    }
    if let Some(word) = record.stop_signal.as_ref().filter(|_| !given("stop.signal")) {
        service.stop.signal =
            signal(word).map_err(|e| Error::refused(format!("image {name}, its stop signal: {e}")))?;
    }
    if !given("probes")
        && !given("healthcheck")
        && let Some(health) = &record.health
        && let Some((startup, liveness)) = health.probes().map_err(Error::refused)?
    {
        service.probes.startup = Some(startup);
        service.probes.liveness = Some(liveness);
    }
    Ok(())
}

/// The text with this value of `image`; everything else stays as it was written.
fn pinned(text: &str, value: &str) -> Result<String> {
    let bad = |e: String| Error::failed(format!("the service file: {e}"));
    let mut document: DocumentMut =
        text.parse().map_err(|e: toml_edit::TomlError| bad(e.message().to_owned()))?;
    let item =
        document.get_mut("image").and_then(Item::as_value_mut).ok_or_else(|| bad("no image".into()))?;
    let mut value = Value::from(value);
    *value.decor_mut() = item.decor().clone();
    *item = value;
    Ok(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_image_changes() {
        let text = "# a\nimage = 'web' # the shop\n[env]\nA = '1'\n";
        let want = "# a\nimage = \"web@sha256:00\" # the shop\n[env]\nA = '1'\n";
        assert_eq!(pinned(text, "web@sha256:00").unwrap(), want);
    }
}
