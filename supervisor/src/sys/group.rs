//! Names of groups.

/// The id of a group by its name, from /etc/group only: a static program loads no other source of names (nsswitch.conf).
///
/// # Errors
/// The file cannot be read.
pub fn id(name: &str) -> std::io::Result<Option<u32>> {
    let text = std::fs::read_to_string("/etc/group")?;
    let found = text.lines().map(|l| l.split(':')).find_map(|mut fields| {
        if fields.next()? != name {
            return None;
        }
        fields.nth(1)?.parse().ok()
    });
    Ok(found)
}
