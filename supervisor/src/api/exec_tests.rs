//! exec over a real socket, with a script in the runtime's place.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::model::{Control, ExecRequest};
use super::tests::Fake;

/// Takes the runtime's arguments apart, says some of them, and becomes the command.
const RUNTIME: &str = r#"#!/bin/sh
[ "$1" = --root ] && [ "$3" = --log ] && [ "$5 $6 $7" = "--log-format json exec" ] || exit 99
log=$4
shift 7
while :; do
    case "$1" in
    --env) export "$2"; shift 2 ;;
    --cwd) cd "$2" || exit 98; shift 2 ;;
    --user) export WHO="$2"; shift 2 ;;
    --tty) shift ;;
    *) break ;;
    esac
done
[ "$1" = web.1.7 ] || exit 97
shift
if [ "$1" = missing ]; then
    echo '{"level":"warning","msg":"no matter","time":"x"}' >> "$log"
    echo '{"level":"error","msg":"exec failed: executable file not found in $PATH","time":"x"}' >> "$log"
    exit 255
fi
exec "$@"
"#;

struct Session {
    stream: UnixStream,
}

/// What came back: outputs, and the last word.
#[derive(Debug, Default)]
struct Said {
    out: Vec<u8>,
    err: Vec<u8>,
    last: Option<Control>,
}

impl Session {
    fn begin(d: &Fake, request: &ExecRequest) -> Session {
        let mut stream = d.connect();
        let body = serde_json::to_string(request).unwrap();
        let head = format!(
            "POST /v1/exec/web.1 HTTP/1.1\r\nhost: k\r\nconnection: upgrade\r\nupgrade: knarr-stream/1\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut got = Vec::new();
        let mut byte = [0];
        while !got.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            got.push(byte[0]);
        }
        let got = String::from_utf8(got).unwrap().to_lowercase();
        assert!(got.starts_with("http/1.1 101"), "{got}");
        assert!(
            got.contains("upgrade: knarr-stream/1") && got.contains(&format!("knarr-tty: {}", request.tty)),
            "{got}"
        );
        Session { stream }
    }

    /// `false` = the other side has said its last word already, or takes no more.
    fn send(&mut self, channel: u8, bytes: &[u8]) -> bool {
        let mut all = vec![channel];
        all.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        all.extend_from_slice(bytes);
        self.stream.write_all(&all).is_ok()
    }

    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head).ok()?;
        let mut bytes = vec![0; u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize];
        self.stream.read_exact(&mut bytes).ok()?;
        Some((head[0], bytes))
    }

    fn end(mut self) -> Said {
        let mut said = Said::default();
        while let Some((channel, bytes)) = self.frame() {
            assert!(said.last.is_none(), "something follows the last word");
            match channel {
                1 => said.out.extend(bytes),
                2 => said.err.extend(bytes),
                3 => said.last = Some(serde_json::from_slice(&bytes).unwrap()),
                n => panic!("channel {n}"),
            }
        }
        said
    }
}

fn command(words: &[&str]) -> ExecRequest {
    ExecRequest { command: words.iter().map(|w| (*w).to_owned()).collect(), ..ExecRequest::default() }
}

fn fake() -> Fake {
    let d = Fake::start();
    runtime(&d);
    d
}

/// Gives the fake daemon its runtime.
pub(crate) fn runtime(d: &Fake) {
    let path = d.dirs.run.join("runtime.sh");
    std::fs::write(&path, RUNTIME).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn soon(what: &str, mut is: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is() {
        assert!(begin.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_command_has_its_streams_its_environment_and_its_code() {
    let d = fake();
    let request = ExecRequest {
        env: vec!["A=b c".into()],
        cwd: Some("/dev".into()),
        user: Some("7:8".into()),
        ..command(&["sh", "-c", "cat; echo \"$A $WHO $PWD\" >&2; exit 7"])
    };
    let mut s = Session::begin(&d, &request);
    s.send(0, b"hello ");
    s.send(0, b"there");
    s.send(3, br#"{"type":"eof"}"#);
    let said = s.end();
    assert_eq!(said.out, b"hello there");
    assert_eq!(String::from_utf8_lossy(&said.err), "b c 7:8 /dev\n");
    assert_eq!(said.last, Some(Control::Exit { code: 7 }));

    let said = Session::begin(&d, &command(&["sh", "-c", "kill -9 $$"])).end();
    assert_eq!(said.last, Some(Control::Exit { code: 137 }));

    let said = Session::begin(&d, &command(&["missing"])).end();
    let message = "exec failed: executable file not found in $PATH".to_owned();
    assert_eq!(said.last, Some(Control::Error { code: 127, message }));
    soon("files of exec calls stay", || std::fs::read_dir(d.dirs.exec()).unwrap().next().is_none());
}

#[test]
fn all_output_arrives_whatever_the_client_s_pace() {
    let d = fake();
    let mut s = Session::begin(&d, &command(&["head", "-c", "3000000", "/dev/zero"]));
    let mut n = 0;
    let mut last = None;
    let mut frames = 0;
    while let Some((channel, bytes)) = s.frame() {
        frames += 1;
        if frames % 20 == 0 {
            std::thread::sleep(Duration::from_millis(20));
        }
        if channel == 1 { n += bytes.len() } else { last = Some(bytes) }
    }
    assert_eq!(n, 3_000_000);
    assert_eq!(last.unwrap(), br#"{"type":"exit","code":0}"#);
    // A child that keeps the output open does not keep the client.
    let begin = Instant::now();
    let said = Session::begin(&d, &command(&["sh", "-c", "sleep 5 & echo done"])).end();
    assert_eq!((said.out, said.last), (b"done\n".to_vec(), Some(Control::Exit { code: 0 })));
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
}

#[test]
fn a_client_that_goes_away_closes_the_input_and_all_is_reaped() {
    let d = fake();
    let marker = d.dirs.run.join("marker");
    let script = format!("cat > /dev/null; touch {}", marker.display());
    let mut s = Session::begin(&d, &command(&["sh", "-c", &script]));
    s.send(0, b"some input");
    assert!(!marker.exists());
    drop(s);
    soon("the input is not closed", || marker.exists());
    soon("not reaped", || std::fs::read_dir(d.dirs.exec()).unwrap().next().is_none());
    // With more input under way than the program takes.
    let marker = d.dirs.run.join("another");
    let script = format!(
        "echo $$; read x; trap 'touch {}; exit' PIPE; while :; do echo x; sleep 0.1; done",
        marker.display()
    );
    let mut s = Session::begin(&d, &command(&["sh", "-c", &script]));
    s.stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    s.send(0, b"\n");
    while s.send(0, &[b'y'; 60_000]) {}
    drop(s);
    soon("the output is not closed", || marker.exists());
}

#[test]
fn frames_that_make_no_sense_end_the_session() {
    let d = fake();
    for (channel, bytes, text) in [
        (9, &b"x"[..], "channel 9"),
        (1, b"x", "not for a client"),
        (3, b"{", "control: "),
        (3, br#"{"type":"exit","code":0}"#, "not for a client"),
        (3, br#"{"type":"resize","rows":70000,"cols":1}"#, "control: "),
    ] {
        let mut s = Session::begin(&d, &command(&["cat"]));
        s.send(channel, bytes);
        let said = s.end();
        let Some(Control::Error { code: 125, message }) = said.last else { panic!("{said:?}") };
        assert!(message.contains(text), "{message}");
    }
    let mut s = Session::begin(&d, &command(&["cat"]));
    s.stream.write_all(&[0, 0xff, 0xff, 0xff, 0xff]).unwrap();
    assert!(matches!(s.end().last, Some(Control::Error { .. })));
}

#[test]
fn what_cannot_be_run_is_refused_before_it_is_tried() {
    let d = fake();
    let ask = |path: &str, body: &str| {
        let mut s = d.connect();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: k\r\nconnection: upgrade\r\nupgrade: knarr-stream/1\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        s.write_all(head.as_bytes()).unwrap();
        let mut buf = [0; 2048];
        let n = s.read(&mut buf).unwrap();
        String::from_utf8_lossy(&buf[..n]).into_owned()
    };
    for (path, body, status, text) in [
        ("/v1/exec/web.1", r#"{"command":[]}"#, 400, "command: got none"),
        ("/v1/exec/web.1", r#"{"command":[""]}"#, 400, "command: got none"),
        ("/v1/exec/web.1", r#"{"command":["a\u0000"]}"#, 400, "NUL"),
        ("/v1/exec/web.1", r#"{"command":["a"],"env":["=x"]}"#, 400, "NAME=value"),
        ("/v1/exec/web.1", r#"{"command":["a"],"cwd":"x"}"#, 400, "absolute"),
        ("/v1/exec/web.1", r#"{"command":["a"],"user":"root"}"#, 400, "UID"),
        ("/v1/exec/web.1", r#"{"command":["a"],"user":"-1"}"#, 400, "UID"),
        ("/v1/exec/web.1", r#"{"command":["a"],"size":{"rows":1,"cols":1}}"#, 400, "tty"),
        ("/v1/exec/web.1", r#"{"command":["a"],"privileged":true}"#, 400, "unknown field"),
        ("/v1/exec/web.2", r#"{"command":["a"]}"#, 409, "does not run"),
        ("/v1/exec/web", r#"{"command":["a"]}"#, 409, "2 instances"),
        ("/v1/exec/nope", r#"{"command":["a"]}"#, 404, "nope"),
        ("/v1/attach/web.1", "{}", 400, "no body"),
        ("/v1/attach/web.1", "", 409, "has ended"),
    ] {
        let reply = ask(path, body);
        assert!(
            reply.starts_with(&format!("HTTP/1.1 {status}")) && reply.contains(text),
            "{path} {body}: {reply}"
        );
    }
}

#[test]
fn a_terminal_has_a_size_and_hangs_up() {
    let d = fake();
    let mut request = command(&["sh", "-c", "stty size; read x; stty size; test -t 0 && echo \"got $x\""]);
    (request.tty, request.size) = (true, Some(super::model::TerminalSize { rows: 7, cols: 33 }));
    let mut s = Session::begin(&d, &request);
    let mut text = String::new();
    while !text.contains("7 33") {
        text.push_str(&String::from_utf8_lossy(&s.frame().unwrap().1));
    }
    s.send(3, br#"{"type":"resize","rows":9,"cols":44}"#);
    s.send(0, b"word\r");
    let said = s.end();
    let text = String::from_utf8_lossy(&said.out);
    assert!(text.contains("9 44") && text.contains("got word"), "{text}");
    assert_eq!(said.last, Some(Control::Exit { code: 0 }));

    let marker = d.dirs.run.join("hung-up");
    let script =
        format!("trap 'touch {}; exit' HUP; echo ready; while :; do sleep 0.1; done", marker.display());
    let mut request = command(&["sh", "-c", &script]);
    request.tty = true;
    let mut s = Session::begin(&d, &request);
    let mut text = String::new();
    while !text.contains("ready") {
        text.push_str(&String::from_utf8_lossy(&s.frame().unwrap().1));
    }
    drop(s);
    soon("not hung up", || marker.exists());
    soon("not reaped", || std::fs::read_dir(d.dirs.exec()).unwrap().next().is_none());
}
