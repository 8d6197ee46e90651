//! The process that holds sockets, as the daemon talks to it.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use knarrd::keeper::holder::Holder;

const PROGRAM: &str = env!("CARGO_BIN_EXE_knarr-keeper");

fn home(dir: &tempfile::TempDir) -> PathBuf {
    let home = dir.path().join("held");
    std::fs::DirBuilder::new().mode(0o700).create(&home).unwrap();
    home
}

async fn start(home: &Path) -> Holder {
    Holder::start(Path::new(PROGRAM), home, None).await.unwrap()
}

/// A socket, and its other end.
fn socket() -> (OwnedFd, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    (near.into(), far)
}

/// What is sent to the far end comes out of a descriptor that was held.
fn is_the_same(fd: OwnedFd, far: &mut UnixStream) -> bool {
    far.write_all(b"x").unwrap();
    let mut one = [0];
    let mut near = UnixStream::from(fd);
    near.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    near.read_exact(&mut one).is_ok() && one == *b"x"
}

/// The process that has a directory in its command line after `--hold`.
fn process(home: &Path) -> u32 {
    let has = |pid: u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|b| *b == 0).collect();
        words.contains(&&b"--hold"[..]) && words.contains(&home.as_os_str().as_encoded_bytes())
    };
    let all =
        std::fs::read_dir("/proc").unwrap().filter_map(|e| e.unwrap().file_name().to_str()?.parse().ok());
    all.into_iter().find(|pid| has(*pid)).unwrap()
}

#[tokio::test]
async fn what_is_held_outlives_who_gave_it_and_ends_with_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let home = home(&dir);
    assert!(Holder::connect(&home).is_err());
    let holder = start(&home).await;
    assert!(holder.all().await.unwrap().is_empty());
    let ((a, mut far_a), (b, mut far_b), (c, mut far_c)) = (socket(), socket(), socket());
    for (name, fd) in [("b", &a), ("a", &b), ("b", &c)] {
        holder.put(name, fd).await.unwrap();
    }
    drop((holder, a, b, c));
    // The first under its name was replaced: nobody has it any more.
    assert_eq!(far_a.read(&mut [0]).unwrap(), 0);
    let holder = start(&home).await;
    let mut all = holder.all().await.unwrap().into_iter();
    let (Some((one, b)), Some((two, c)), None) = (all.next(), all.next(), all.next()) else { panic!() };
    assert_eq!((one.as_str(), two.as_str()), ("a", "b"));
    assert!(is_the_same(b, &mut far_b) && is_the_same(c, &mut far_c));
    holder.remove("a").await.unwrap();
    holder.remove("none").await.unwrap();
    assert_eq!(far_b.read(&mut [0]).unwrap(), 0);
    let gone = Holder::gone(&home).unwrap();
    holder.remove("b").await.unwrap();
    drop(holder);
    assert!(
        tokio::time::timeout(Duration::from_millis(100), gone.wait()).await.is_err(),
        "while somebody watches"
    );
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while Holder::connect(&home).is_ok() && std::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(Holder::connect(&home).is_err(), "it holds nothing and is still there");
}

#[tokio::test]
async fn its_end_is_seen_and_a_name_is_not_too_long() {
    let dir = tempfile::tempdir().unwrap();
    let home = home(&dir);
    let holder = start(&home).await;
    let gone = Holder::gone(&home).unwrap();
    let (fd, _far) = socket();
    let text = holder.put(&"x".repeat(1024), &fd).await.unwrap_err();
    assert_eq!(text.kind(), std::io::ErrorKind::InvalidInput);
    holder.put(&"x".repeat(1023), &fd).await.unwrap();
    assert_eq!(holder.all().await.unwrap()[0].0.len(), 1023);
    std::process::Command::new("kill").args(["-9", &process(&home).to_string()]).status().unwrap();
    tokio::time::timeout(Duration::from_secs(20), gone.wait()).await.unwrap();
    assert!(holder.put("y", &fd).await.is_err());
    let next = start(&home).await;
    assert!(next.all().await.unwrap().is_empty());
}
