//! The token of the loopback address: made once, kept in a file of the daemon, compared without telling how much of it was right.
#![forbid(unsafe_code)]

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A shorter one could be guessed.
const SHORTEST: usize = 16;
/// A longer one is none.
const LONGEST: u64 = 4096;

/// What one has to say.
#[derive(Clone)]
pub struct Token(
    /// Its digest: as long as that of anything else.
    [u8; 32],
);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// Without white space around it.
    ///
    /// # Errors
    /// It is too short, or cannot stand in a header.
    pub fn from_text(text: &str) -> Result<Token, String> {
        let text = text.trim();
        if text.len() < SHORTEST {
            return Err(format!("a token of {} characters, want at least {SHORTEST}", text.len()));
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("a token with characters that no header can have".into());
        }
        Ok(Token(Sha256::digest(text).into()))
    }

    /// Whether this is it. Takes as long for a wrong one.
    pub fn is(&self, given: &[u8]) -> bool {
        let given: [u8; 32] = Sha256::digest(given).into();
        self.0.ct_eq(&given).into()
    }

    /// From a file that others cannot read; `made` = it is made when it is not there.
    ///
    /// # Errors
    /// It is not there or cannot be made, others can read it, or there is no token in it.
    pub fn from_file(path: &Path, made: bool) -> io::Result<Token> {
        let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        if made {
            make(path).map_err(named)?;
        }
        read(path).map_err(named)
    }
}

/// Unless it is there.
fn make(path: &Path) -> io::Result<()> {
    let aside = path.with_extension("new");
    if path.exists() {
        return Ok(());
    }
    let text: String = crate::sys::random::bytes::<32>()?.iter().map(|b| format!("{b:02x}")).collect();
    // What an earlier daemon left half written.
    match fs::remove_file(&aside) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    fs::rename(aside, path)
}

fn read(path: &Path) -> io::Result<Token> {
    let bad = |text: String| io::Error::new(ErrorKind::InvalidData, text);
    let meta = fs::metadata(path)?;
    if !meta.is_file() || meta.len() > LONGEST {
        return Err(bad("no file with a token".into()));
    }
    if meta.mode() & 0o077 != 0 {
        return Err(bad(format!("its mode is {:o}, want 600: others could use it", meta.mode() & 0o777)));
    }
    Token::from_text(&fs::read_to_string(path)?).map_err(bad)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::unit::test_dir::TestDir;

    #[test]
    fn one_that_is_made_stays_and_is_nobody_elses() {
        let dir = TestDir::in_memory("token");
        let path = dir.join("web-token");
        Token::from_file(&path, true).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.trim().len(), 64);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let again = Token::from_file(&path, true).unwrap();
        assert!(again.is(text.trim().as_bytes()) && !again.is(&text.as_bytes()[..63]) && !again.is(b""));
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert!(!format!("{again:?}").contains(text.trim()));
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        let dir = TestDir::in_memory("token-bad");
        let path = dir.join("t");
        assert_eq!(Token::from_file(&path, false).unwrap_err().kind(), ErrorKind::NotFound);
        let refused = |text: &str, mode: u32| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            Token::from_file(&path, false).map_err(|e| e.to_string())
        };
        assert!(refused("0123456789abcdef\n", 0o600).is_ok());
        assert!(refused("0123456789abcdef\n", 0o640).unwrap_err().contains("its mode is 640, want 600"));
        assert!(refused("short\n", 0o600).unwrap_err().contains("of 5 characters, want at least 16"));
        assert!(refused("0123456789 abcdefgh\n", 0o600).unwrap_err().contains("no header"));
        assert!(refused(&"a".repeat(5000), 0o600).unwrap_err().contains("no file with a token"));
    }
}
