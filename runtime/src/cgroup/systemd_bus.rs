//! A D-Bus connection, as much of one as systemd needs (D-Bus specification 0.43): authentication, calls, answers,
//! and the one signal that says how a job ended. May use: `sys::sock`, `interrupt`, `error`, the environment.
#![forbid(unsafe_code)]

use super::systemd_value::{Value, put};
use crate::error::{Code, Error, Result, quoted};
use crate::interrupt;
use crate::sys::{OwnedFd, fs, process, sock};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Whose systemd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Which {
    /// The machine's.
    System,
    /// That of the user who calls.
    User,
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Which::System => "system bus",
            Which::User => "user bus",
        })
    }
}

impl Which {
    /// The manager that may change our cgroups: the machine's for the real root, else the user's. Root of a user
    /// namespace is whoever made it, unless it has no session and so may be in a container with a systemd of its own.
    pub fn ours() -> Which {
        let whole = || {
            let map = fs::read_regular("/proc/self/uid_map", 1 << 16).unwrap_or_default();
            String::from_utf8_lossy(&map).split_whitespace().eq(["0", "0", "4294967295"])
        };
        let session = || {
            std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_some()
                || std::env::var_os("XDG_RUNTIME_DIR").is_some_and(|d| Path::new(&d).join("bus").exists())
        };
        match process::euid() != 0 || (!whole() && session()) {
            true => Which::User,
            false => Which::System,
        }
    }

    /// Addresses in the order in which they are tried.
    fn addresses(self) -> Result<Vec<PathBuf>> {
        let (name, default) = match self {
            Which::System => ("DBUS_SYSTEM_BUS_ADDRESS", Some(PathBuf::from("/run/dbus/system_bus_socket"))),
            Which::User => {
                let dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
                let dir = dir.unwrap_or_else(|| format!("/run/user/{}", process::euid()).into());
                ("DBUS_SESSION_BUS_ADDRESS", Some(dir.join("bus")))
            }
        };
        match std::env::var(name) {
            Ok(text) if !text.is_empty() => parse_addresses(&text).ok_or_else(|| {
                Error::new(Code::Unsupported, format!("{name}: got {}, want unix:path=PATH", quoted(&text)))
            }),
            _ => Ok(default.into_iter().collect()),
        }
    }
}

/// The socket paths of a list of addresses (D-Bus specification, "Server Addresses"); `None` when it has none.
fn parse_addresses(text: &str) -> Option<Vec<PathBuf>> {
    let path = |address: &str| {
        let options = address.strip_prefix("unix:")?;
        let value = options.split(',').find_map(|o| o.strip_prefix("path="))?;
        unescape(value).map(PathBuf::from)
    };
    Some(text.split(';').filter_map(path).collect::<Vec<_>>()).filter(|p| !p.is_empty())
}

/// `%2f` for a byte.
fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::new();
    let mut rest = text.bytes();
    while let Some(b) = rest.next() {
        out.push(match b {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            b => b,
        });
    }
    String::from_utf8(out).ok()
}

/// A connection. Every wait on it ends at the same deadline.
pub(super) struct Bus {
    which: Which,
    sock: OwnedFd,
    until: Instant,
    patience: Duration,
    serial: u32,
    /// Received and not taken apart yet.
    input: Vec<u8>,
    /// Calls that wait to be sent, so that several cost one round trip.
    output: Vec<u8>,
    /// Answers to calls that nobody has asked for yet.
    answers: Vec<Message>,
    /// Jobs that have ended: object path and result.
    ended: Vec<(String, String)>,
}

/// A call: object, interface, method, arguments and the words that an error names it by.
pub(super) struct Call<'a> {
    pub path: &'a str,
    pub interface: &'a str,
    pub member: &'a str,
    pub args: &'a [Value],
    pub about: &'a str,
}

/// A call that was made and not answered yet.
pub(super) struct Pending {
    serial: u32,
    what: String,
}

/// What came: the parts of the header that matter, and the body.
#[derive(Debug, Default, PartialEq, Eq)]
struct Message {
    kind: u8,
    answers: u32,
    member: String,
    error: String,
    signature: String,
    body: Vec<u8>,
}

/// The body of an answer.
#[derive(Debug)]
pub(super) struct Answer(Message);

const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;
/// Header fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;
/// Our byte order, which everybody on one machine has.
const ORDER: u8 = if cfg!(target_endian = "little") { b'l' } else { b'B' };
/// systemd's answers are short; the bus itself would take 128 MiB.
const LONGEST: usize = 1 << 20;
/// The bus, and the peer that matters on it.
const DAEMON: &str = "org.freedesktop.DBus";
const SYSTEMD: &str = "org.freedesktop.systemd1";

impl Bus {
    /// Connects and says hello.
    ///
    /// # Errors
    /// Nobody listens, or the bus does not want us; [`Code::Timeout`] when it does not answer.
    pub(super) fn connect(which: Which, patience: Duration) -> Result<Bus> {
        let mut first = None;
        for path in which.addresses()? {
            match sock::connect_stream(&path) {
                Ok(sock) => return Bus::begin(which, sock, patience),
                Err(e) => first = first.or(Some(e)),
            }
        }
        let e = first.unwrap_or_else(|| Error::new(Code::Unsupported, "no address"));
        Err(e.step(format!("connect to systemd over the {which}")).hint(match which {
            Which::System => "the systemd cgroup driver needs systemd and a D-Bus daemon that run",
            Which::User => "the systemd cgroup driver needs a systemd user session: DBUS_SESSION_BUS_ADDRESS or XDG_RUNTIME_DIR",
        }))
    }

    fn begin(which: Which, sock: OwnedFd, patience: Duration) -> Result<Bus> {
        let mut bus = Bus {
            which,
            sock,
            until: Instant::now() + patience,
            patience,
            serial: 0,
            input: Vec::new(),
            output: Vec::new(),
            answers: Vec::new(),
            ended: Vec::new(),
        };
        // No identity: the socket tells who we are, also from inside a user namespace whose numbers mean nothing
        // outside. All lines at once, as they have only one good answer.
        bus.output.extend_from_slice(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n");
        let hello =
            Call { path: "/org/freedesktop/DBus", interface: DAEMON, member: "Hello", args: &[], about: "" };
        let hello = bus.post_to(DAEMON, &hello);
        bus.authenticated().map_err(|e| e.step(format!("connect to systemd over the {which}")))?;
        bus.answer(hello)?;
        Ok(bus)
    }

    fn authenticated(&mut self) -> Result<()> {
        self.flush()?;
        loop {
            let mut lines = self.input.split_inclusive(|b| *b == b'\n').filter(|l| l.ends_with(b"\n"));
            if let (Some(first), Some(second)) = (lines.next(), lines.next()) {
                if first.starts_with(b"DATA") && second.starts_with(b"OK ") {
                    let used = first.len() + second.len();
                    self.input.drain(..used);
                    return Ok(());
                }
                let said = String::from_utf8_lossy(&self.input[..first.len()]).trim().to_string();
                return Err(Error::new(Code::Unsupported, format!("the bus refuses us: {}", quoted(&said))));
            }
            if self.input.starts_with(b"REJECTED") {
                return Err(Error::new(Code::Unsupported, "the bus refuses us"));
            }
            self.receive("the bus to accept us")?;
        }
    }

    /// Makes a call of systemd; it is sent with the next wait.
    pub(super) fn post(&mut self, call: &Call<'_>) -> Pending {
        self.post_to(SYSTEMD, call)
    }

    fn post_to(&mut self, to: &str, call: &Call<'_>) -> Pending {
        self.serial += 1;
        self.output.extend_from_slice(&encode(self.serial, to, call));
        let about = if call.about.is_empty() { String::new() } else { format!(" {}", call.about) };
        Pending { serial: self.serial, what: format!("{}{about}", call.member) }
    }

    /// Asks the bus for the signals that say how jobs of this unit ended. They come only after systemd's `Subscribe`.
    pub(super) fn watch_jobs(&mut self, unit: &str) -> Pending {
        let rule = format!(
            "type='signal',sender='{SYSTEMD}',interface='{SYSTEMD}.Manager',member='JobRemoved',arg2='{unit}'"
        );
        let args = [Value::Str(rule)];
        let call = Call {
            path: "/org/freedesktop/DBus",
            interface: DAEMON,
            member: "AddMatch",
            args: &args,
            about: "",
        };
        self.post_to(DAEMON, &call)
    }

    /// Waits for an answer.
    ///
    /// # Errors
    /// The error that was answered: its name stands in front of its text, and the call and the bus before both.
    pub(super) fn answer(&mut self, pending: Pending) -> Result<Answer> {
        self.flush()?;
        loop {
            if let Some(at) = self.answers.iter().position(|m| m.answers == pending.serial) {
                let message = self.answers.swap_remove(at);
                return match message.kind {
                    ERROR => Err(self.refused(&pending.what, &message)),
                    _ => Ok(Answer(message)),
                };
            }
            self.wait_message(&format!("an answer to {}", pending.what))?;
        }
    }

    fn refused(&self, what: &str, message: &Message) -> Error {
        let text = Reader::of(message).text().unwrap_or_default();
        let code = match message.error.rsplit('.').next() {
            Some("UnitExists") => Code::Exists,
            Some("NoSuchUnit") => Code::NotFound,
            Some("NoReply" | "Timeout" | "TimedOut") => Code::Timeout,
            _ => Code::Unsupported,
        };
        let error = quoted(&text).to_string();
        let e = Error::new(code, format!("{}: {error}", message.error)).step(self.step(what));
        match message.error.rsplit('.').next() {
            Some("ServiceUnknown") => e.hint("systemd is not on this bus"),
            _ => e,
        }
    }

    fn step(&self, what: &str) -> String {
        format!("systemd over the {}: {what}", self.which)
    }

    /// Waits until the job has ended and gives its result, `done` when it went well.
    pub(super) fn job(&mut self, job: &str, what: &str) -> Result<String> {
        loop {
            if let Some((_, result)) = self.ended.iter().find(|(path, _)| path == job) {
                return Ok(result.clone());
            }
            self.wait_message(&format!("the end of the job {what}"))?;
        }
    }

    fn flush(&mut self) -> Result<()> {
        match self.output.is_empty() {
            true => Ok(()),
            false => sock::send(&self.sock, &std::mem::take(&mut self.output), &[]),
        }
    }

    fn wait_message(&mut self, what: &str) -> Result<()> {
        loop {
            if let Some((message, used)) = decode(&self.input).map_err(|e| e.step(self.step(what)))? {
                self.input.drain(..used);
                self.sort(message);
                return Ok(());
            }
            self.receive(what)?;
        }
    }

    fn sort(&mut self, message: Message) {
        match message.kind {
            RETURN | ERROR => self.answers.push(message),
            SIGNAL if message.member == "JobRemoved" => {
                let mut body = Reader::of(&message);
                if let (Some(_), Some(job), Some(_), Some(result)) =
                    (body.u32(), body.text(), body.text(), body.text())
                {
                    self.ended.push((job, result));
                }
            }
            // NameAcquired, and what other versions of systemd may say.
            _ => {}
        }
    }

    fn receive(&mut self, what: &str) -> Result<()> {
        let left = self.until.saturating_duration_since(Instant::now());
        if !interrupt::wait_readable(&self.sock, Some(left))? {
            let text =
                format!("gave up after {:?} waiting for {what} over the {}", self.patience, self.which);
            return Err(Error::new(Code::Timeout, text).step("systemd"));
        }
        let (bytes, _) = sock::recv(&self.sock)?;
        if bytes.is_empty() {
            let text = format!("the {} closed the connection, waiting for {what}", self.which);
            return Err(Error::new(Code::Unsupported, text).step("systemd"));
        }
        self.input.extend_from_slice(&bytes);
        Ok(())
    }
}

impl Answer {
    /// The object path or string that the body begins with, also inside a variant.
    pub(super) fn text(&self) -> Result<String> {
        let mut body = Reader::of(&self.0);
        let is_text = |s: &str| matches!(s, "s" | "o");
        let text = match self.0.signature.as_str() {
            "v" => body.signature().filter(|s| is_text(s)).and_then(|_| body.text()),
            s if s.starts_with(['s', 'o']) => body.text(),
            _ => None,
        };
        text.ok_or_else(|| {
            let got = quoted(&self.0.signature).to_string();
            Error::new(Code::Unsupported, format!("systemd answers with a {got}, want a string"))
        })
    }
}

/// One call as it is sent (D-Bus specification, "Message Format").
fn encode(serial: u32, to: &str, call: &Call<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    let mut signature = String::new();
    for arg in call.args {
        signature.push_str(&arg.signature());
        put(&mut body, arg);
    }
    let text = |s: &str| Value::Str(s.to_string());
    let mut fields = vec![
        (PATH, Value::Path(call.path.to_string())),
        (INTERFACE, text(call.interface)),
        (MEMBER, text(call.member)),
        (DESTINATION, text(to)),
    ];
    if !signature.is_empty() {
        fields.push((SIGNATURE, Value::Sig(signature)));
    }
    let field = |(code, v): (u8, Value)| Value::Struct(vec![Value::Byte(code), Value::Variant(Box::new(v))]);
    let mut out = vec![ORDER, CALL, 0, 1];
    put(&mut out, &Value::U32(body.len() as u32));
    put(&mut out, &Value::U32(serial));
    put(&mut out, &Value::Array("(yv)".into(), fields.into_iter().map(field).collect()));
    out.resize(out.len().next_multiple_of(8), 0);
    out.extend_from_slice(&body);
    out
}

/// The first message of `input` and its length; `None` when it has not come whole.
fn decode(input: &[u8]) -> Result<Option<(Message, usize)>> {
    let bad = |why: &str| Error::new(Code::Unsupported, format!("not a D-Bus message: {why}"));
    let Some(head) = input.get(..16) else { return Ok(None) };
    if head[0] != ORDER {
        return Err(bad("foreign byte order"));
    }
    let number = |at: usize| Reader { bytes: head, at }.u32().unwrap_or(u32::MAX) as usize;
    let (body, fields) = (number(4), number(12));
    if body > LONGEST || fields > LONGEST {
        return Err(bad("too long"));
    }
    let begin = (16 + fields).next_multiple_of(8);
    let Some(whole) = input.get(..begin + body) else { return Ok(None) };
    let mut message = Message { kind: head[1], body: whole[begin..].to_vec(), ..Message::default() };
    let mut reader = Reader { bytes: &whole[..16 + fields], at: 16 };
    while reader.at < reader.bytes.len() {
        reader.field(&mut message).ok_or_else(|| bad("header"))?;
    }
    Ok(Some((message, whole.len())))
}

/// Takes apart what came. Everything is `None` where the bytes do not fit.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn of(message: &'a Message) -> Reader<'a> {
        Reader { bytes: &message.body, at: 0 }
    }

    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(n)?)?;
        self.at += n;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    fn u32(&mut self) -> Option<u32> {
        self.at = self.at.next_multiple_of(4);
        Some(u32::from_ne_bytes(self.take(4)?.try_into().ok()?))
    }

    /// A string or an object path.
    fn text(&mut self) -> Option<String> {
        let n = self.u32()? as usize;
        self.ended_by_zero(n)
    }

    fn signature(&mut self) -> Option<String> {
        let n = self.byte()?.into();
        self.ended_by_zero(n)
    }

    fn ended_by_zero(&mut self, n: usize) -> Option<String> {
        let text = std::str::from_utf8(self.take(n)?).ok()?.to_string();
        (self.byte()? == 0).then_some(text)
    }

    /// One header field: its code and a variant.
    fn field(&mut self, message: &mut Message) -> Option<()> {
        self.at = self.at.next_multiple_of(8);
        let code = self.byte()?;
        let signature = self.signature()?;
        match (signature.as_str(), code) {
            ("u", REPLY_SERIAL) => message.answers = self.u32()?,
            ("u", _) => drop(self.u32()?),
            ("g", SIGNATURE) => message.signature = self.signature()?,
            ("s", MEMBER) => message.member = self.text()?,
            ("s", ERROR_NAME) => message.error = self.text()?,
            ("s" | "o", _) => drop(self.text()?),
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As another implementation writes it: the method call of the specification's example, little endian.
    #[test]
    fn a_call_is_laid_out_as_specified() {
        let args = [Value::Str("a".into())];
        let call = Call { path: "/o", interface: "i.f", member: "M", args: &args, about: "" };
        let bytes = encode(7, "d.e", &call);
        let want: &[u8] = b"l\x01\x00\x01\x06\x00\x00\x00\x07\x00\x00\x00\x47\x00\x00\x00\
            \x01\x01o\x00\x02\x00\x00\x00/o\x00\x00\x00\x00\x00\x00\
            \x02\x01s\x00\x03\x00\x00\x00i.f\x00\x00\x00\x00\x00\
            \x03\x01s\x00\x01\x00\x00\x00M\x00\x00\x00\x00\x00\x00\x00\
            \x06\x01s\x00\x03\x00\x00\x00d.e\x00\x00\x00\x00\x00\
            \x08\x01g\x00\x01s\x00";
        let (head, body) = bytes.split_at(want.len().next_multiple_of(8));
        assert_eq!(&head[16..want.len()], &want[16..]);
        assert_eq!(head[..16], want[..16]);
        assert_eq!(body, b"\x01\x00\x00\x00a\0");
    }

    #[test]
    fn answers_come_whole_or_not_yet() {
        let args = [Value::Path("/job/1".into())];
        let call = Call { path: "/o", interface: "i.f", member: "M", args: &args, about: "" };
        let mut bytes = encode(7, "d.e", &call);
        for n in 0..bytes.len() {
            assert_eq!(decode(&bytes[..n]).unwrap(), None, "{n}");
        }
        let n = bytes.len();
        bytes.extend_from_slice(b"more");
        let (message, used) = decode(&bytes).unwrap().unwrap();
        assert_eq!((used, message.member.as_str(), message.signature.as_str()), (n, "M", "o"));
        assert_eq!(Answer(message).text().unwrap(), "/job/1");
    }

    #[test]
    fn nonsense_is_refused() {
        let call = Call { path: "/o", interface: "i.f", member: "M", args: &[], about: "" };
        let good = encode(1, "d", &call);
        for at in 0..good.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut bad = good.clone();
                bad[at] = byte;
                // Never a panic; a length that is too great is not waited for.
                let _ = decode(&bad);
            }
        }
        assert!(decode(b"B\x01\0\x01\0\0\0\0\0\0\0\0\0\0\0\0").is_err());
        assert!(decode(b"l\x01\0\x01\xff\xff\xff\xff\0\0\0\0\0\0\0\0").is_err());
    }

    #[test]
    fn addresses() {
        let list = |t: &str| parse_addresses(t);
        assert_eq!(list("unix:path=/run/user/0/bus").unwrap(), [PathBuf::from("/run/user/0/bus")]);
        assert_eq!(
            list("tcp:host=a;unix:guid=7,path=/a%20b;unix:path=/c").unwrap(),
            [PathBuf::from("/a b"), PathBuf::from("/c")]
        );
        for bad in ["", "unix:", "unix:abstract=/x", "unix:path=/a%2", "tcp:host=a"] {
            assert_eq!(list(bad), None, "{bad}");
        }
    }
}
