//! A directory of one test, removed with it.

use std::ops::Deref;
use std::path::{Path, PathBuf};

pub(crate) struct TestDir(PathBuf);

impl TestDir {
    pub(crate) fn new(name: &str) -> TestDir {
        TestDir::at(&std::env::temp_dir(), name)
    }

    /// On a tmpfs, where secrets may lie.
    pub(crate) fn in_memory(name: &str) -> TestDir {
        TestDir::at(Path::new("/dev/shm"), name)
    }

    fn at(parent: &Path, name: &str) -> TestDir {
        let path = parent.join(format!("knarr-unit-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        TestDir(path)
    }
}

impl Deref for TestDir {
    type Target = Path;
    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
