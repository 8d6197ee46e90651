//! The messages between a keeper and everybody else, version 1. Pure: bytes to values and back, no allocation on the
//! keeper's side. Frozen: a number is never given a second meaning, a payload only grows at its end.
//!
//! Transport: `SOCK_SEQPACKET` on `DIR/sock`, one message a packet: one byte of type, then the payload; numbers are little
//! endian. Who connects says first what it is: [`Order::Control`] or [`Order::Attach`]; the answer is a hello. A message that
//! a role may not send, or that is not understood, closes the connection.
//!
//! | type | to the keeper | payload | from whom |
//! |---|---|---|---|
//! | 1 | control: this connection replaces the controller | | first |
//! | 2 | attach | | first |
//! | 3 | signal the container's first process; while creating, the runtime's process group | i32 | controller |
//! | 4 | standard input | bytes | attach |
//! | 5 | end of standard input | | attach |
//! | 6 | size of the terminal | u16 rows, u16 columns | both |
//! | 7 | the end is journalled: remove the record, exit | | controller |
//! | 8 | go on in the next log file; for keepers whose hello says so | | controller |
//!
//! | type | from the keeper | payload | to whom |
//! |---|---|---|---|
//! | 64 | hello | u32 version, u8 flags, u8 phase, u32 pid, u64 start time, u8 length of the run, run, record | both |
//! | 65 | created | u32 pid, u64 start time | controller |
//! | 66 | rotated: this log file is now written; again after every 256 KiB of log | u32 number | controller |
//! | 67 | ended | record as JSON | both |
//! | 68 | output | u8 stream (1 or 2), bytes | attach |
#![forbid(unsafe_code)]

use super::record::VERSION;

/// No message is longer, in bytes.
pub const MESSAGE_MAX: usize = 64 * 1024;
/// No piece of standard input or output in one message is longer, in bytes.
pub const CHUNK_MAX: usize = 32 * 1024;
/// Bytes before the run in a hello.
const HELLO_FIXED: usize = 20;

/// What a keeper is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order<'a> {
    /// This connection is the controller from now on; an older one is closed.
    Control,
    /// This connection wants the output and may give input.
    Attach,
    /// Send this signal to the container's first process, or, while it is being made, to the runtime's process group.
    Signal(i32),
    /// Bytes for standard input, at most [`CHUNK_MAX`].
    Stdin(&'a [u8]),
    /// Close standard input (nothing happens with a terminal).
    StdinEof,
    /// The size of the terminal (nothing happens without one).
    Resize {
        /// Lines.
        rows: u16,
        /// Columns.
        cols: u16,
    },
    /// The record is in the journal: remove its file and exit.
    Ack,
    /// Go on in the next log file, unless nothing is in this one. Only for keepers that say [`ROTATES`].
    Rotate,
}

/// How far a keeper is. The record is JSON that `serde_json` reads as [`super::record::ExitRecord`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At<'a> {
    /// The runtime is making the container.
    Creating,
    /// The container is there.
    Created {
        /// Its first process.
        pid: u32,
        /// Field 22 of its `/proc/PID/stat`, in clock ticks since the boot.
        start_time: u64,
    },
    /// It has ended.
    Ended(&'a [u8]),
}

/// What a keeper says. Texts and records are borrowed from the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word<'a> {
    /// The first word on each connection.
    Hello {
        /// [`VERSION`] of the keeper.
        version: u32,
        /// See [`OOM_PROTECTED`] and its neighbours.
        flags: u8,
        /// Whose keeper it is.
        run: &'a str,
        /// How far it is.
        at: At<'a>,
    },
    /// The container is there.
    Created {
        /// Its first process.
        pid: u32,
        /// Field 22 of its `/proc/PID/stat`.
        start_time: u64,
    },
    /// This log file is written, and either it is new or the log has grown.
    Rotated(u32),
    /// The container has ended.
    Ended(&'a [u8]),
    /// Bytes that the container wrote.
    Output(Stream, &'a [u8]),
}

/// The keeper's `oom_score_adj` is -999; without it the host may not lower it (no CAP_SYS_RESOURCE).
pub const OOM_PROTECTED: u8 = 1;
/// The keeper is in its own cgroup.
pub const OWN_CGROUP: u8 = 2;
/// The keeper has given up the capabilities and system calls that it no longer needs.
pub const SEALED: u8 = 4;
/// The keeper knows [`Order::Rotate`].
pub const ROTATES: u8 = 8;

/// One of the two outputs. A terminal has only the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// The word in a log line; all three are equally long.
    pub fn word(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }

    fn number(self) -> u8 {
        match self {
            Stream::Stdout => 1,
            Stream::Stderr => 2,
        }
    }
}

/// The bytes before an order's payload.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    bytes: [u8; 16],
    len: usize,
}

impl Head {
    fn new(kind: u8, parts: &[&[u8]]) -> Head {
        let mut head = Head { bytes: [0; 16], len: 1 };
        head.bytes[0] = kind;
        for part in parts {
            head.bytes[head.len..head.len + part.len()].copy_from_slice(part);
            head.len += part.len();
        }
        head
    }

    /// Type and fixed payload.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl<'a> Order<'a> {
    /// The packet, in two parts to be sent as one.
    pub fn encode(&self) -> (Head, &'a [u8]) {
        match *self {
            Order::Control => (Head::new(1, &[]), &[]),
            Order::Attach => (Head::new(2, &[]), &[]),
            Order::Signal(n) => (Head::new(3, &[&n.to_le_bytes()]), &[]),
            Order::Stdin(bytes) => (Head::new(4, &[]), bytes),
            Order::StdinEof => (Head::new(5, &[]), &[]),
            Order::Resize { rows, cols } => (Head::new(6, &[&rows.to_le_bytes(), &cols.to_le_bytes()]), &[]),
            Order::Ack => (Head::new(7, &[]), &[]),
            Order::Rotate => (Head::new(8, &[]), &[]),
        }
    }

    /// Reads a packet; `None` = not a message of this version.
    pub fn decode(packet: &'a [u8]) -> Option<Order<'a>> {
        let (&kind, rest) = packet.split_first()?;
        Some(match kind {
            1 => Order::Control,
            2 => Order::Attach,
            3 => Order::Signal(i32::from_le_bytes(array(rest, 0)?)),
            4 if rest.len() <= CHUNK_MAX => Order::Stdin(rest),
            5 => Order::StdinEof,
            6 => Order::Resize {
                rows: u16::from_le_bytes(array(rest, 0)?),
                cols: u16::from_le_bytes(array(rest, 2)?),
            },
            7 => Order::Ack,
            8 => Order::Rotate,
            _ => return None,
        })
    }
}

impl<'a> Word<'a> {
    /// The packet in two parts to be sent as one; a hello needs `space` for what stands between its numbers and its record.
    pub fn encode<'b>(&self, space: &'b mut [u8; 300]) -> (&'b [u8], &'a [u8]) {
        let (head, body) = match *self {
            Word::Hello { version, flags, run, at } => return hello(space, version, flags, run, at),
            Word::Created { pid, start_time } => {
                (Head::new(65, &[&pid.to_le_bytes(), &start_time.to_le_bytes()]), &[][..])
            }
            Word::Rotated(file) => (Head::new(66, &[&file.to_le_bytes()]), &[][..]),
            Word::Ended(record) => (Head::new(67, &[]), record),
            Word::Output(stream, bytes) => (Head::new(68, &[&[stream.number()]]), bytes),
        };
        space[..head.len].copy_from_slice(head.as_bytes());
        (&space[..head.len], body)
    }

    /// Reads a packet; `None` = not a message of this version.
    pub fn decode(packet: &'a [u8]) -> Option<Word<'a>> {
        let (&kind, rest) = packet.split_first()?;
        Some(match kind {
            64 => {
                let version = u32::from_le_bytes(array(rest, 0)?);
                let [flags, phase] = array(rest, 4)?;
                let (pid, start_time) = who(rest.get(6..)?)?;
                let len = usize::from(*rest.get(18)?);
                let run = std::str::from_utf8(rest.get(19..19 + len)?).ok()?;
                let at = match phase {
                    0 => At::Creating,
                    1 => At::Created { pid, start_time },
                    2 => At::Ended(rest.get(19 + len..)?),
                    _ => return None,
                };
                Word::Hello { version, flags, run, at }
            }
            65 => {
                let (pid, start_time) = who(rest)?;
                Word::Created { pid, start_time }
            }
            66 => Word::Rotated(u32::from_le_bytes(array(rest, 0)?)),
            67 => Word::Ended(rest),
            68 => {
                let (&stream, bytes) = rest.split_first()?;
                let stream = match stream {
                    1 => Stream::Stdout,
                    2 => Stream::Stderr,
                    _ => return None,
                };
                Word::Output(stream, bytes)
            }
            _ => return None,
        })
    }
}

fn hello<'a, 'b>(
    space: &'b mut [u8; 300],
    version: u32,
    flags: u8,
    run: &str,
    at: At<'a>,
) -> (&'b [u8], &'a [u8]) {
    let (phase, pid, start_time, record) = match at {
        At::Creating => (0, 0, 0, &[][..]),
        At::Created { pid, start_time } => (1, pid, start_time, &[][..]),
        At::Ended(record) => (2, 0, 0, record),
    };
    let run = &run.as_bytes()[..run.len().min(255)];
    space[0] = 64;
    space[1..5].copy_from_slice(&version.to_le_bytes());
    space[5] = flags;
    space[6] = phase;
    space[7..11].copy_from_slice(&u32::to_le_bytes(pid));
    space[11..19].copy_from_slice(&u64::to_le_bytes(start_time));
    space[19] = u8::try_from(run.len()).unwrap_or(u8::MAX);
    let len = HELLO_FIXED + run.len();
    space[HELLO_FIXED..len].copy_from_slice(run);
    (&space[..len], record)
}

fn who(rest: &[u8]) -> Option<(u32, u64)> {
    Some((u32::from_le_bytes(array(rest, 0)?), u64::from_le_bytes(array(rest, 4)?)))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// The version a hello of this program carries.
pub const fn version() -> u32 {
    VERSION
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(head: &[u8], body: &[u8]) -> Vec<u8> {
        [head, body].concat()
    }

    #[test]
    fn orders_come_back_and_are_the_frozen_bytes() {
        for (order, bytes) in [
            (Order::Control, &b"\x01"[..]),
            (Order::Attach, b"\x02"),
            (Order::Signal(15), b"\x03\x0f\0\0\0"),
            (Order::Stdin(b"hi\0"), b"\x04hi\0"),
            (Order::Stdin(b""), b"\x04"),
            (Order::StdinEof, b"\x05"),
            (Order::Resize { rows: 24, cols: 0x150 }, b"\x06\x18\0\x50\x01"),
            (Order::Ack, b"\x07"),
            (Order::Rotate, b"\x08"),
        ] {
            let (head, body) = order.encode();
            assert_eq!(packet(head.as_bytes(), body), bytes, "{order:?}");
            assert_eq!(Order::decode(bytes), Some(order));
        }
    }

    #[test]
    fn words_come_back_and_are_the_frozen_bytes() {
        let hello = |at| Word::Hello { version: 1, flags: 3, run: "a.1.2", at };
        for (word, bytes) in [
            (hello(At::Creating), &b"\x40\x01\0\0\0\x03\x00\0\0\0\0\0\0\0\0\0\0\0\0\x05a.1.2"[..]),
            (
                hello(At::Created { pid: 7, start_time: 0x102 }),
                b"\x40\x01\0\0\0\x03\x01\x07\0\0\0\x02\x01\0\0\0\0\0\0\x05a.1.2",
            ),
            (hello(At::Ended(b"{}")), b"\x40\x01\0\0\0\x03\x02\0\0\0\0\0\0\0\0\0\0\0\0\x05a.1.2{}"),
            (Word::Created { pid: 7, start_time: 9 }, b"\x41\x07\0\0\0\x09\0\0\0\0\0\0\0"),
            (Word::Rotated(3), b"\x42\x03\0\0\0"),
            (Word::Ended(b"{}"), b"\x43{}"),
            (Word::Output(Stream::Stderr, b"x"), b"\x44\x02x"),
        ] {
            let mut space = [0; 300];
            let (head, body) = word.encode(&mut space);
            assert_eq!(packet(head, body), bytes, "{word:?}");
            assert_eq!(Word::decode(bytes), Some(word));
        }
    }

    #[test]
    fn cut_and_foreign_packets_are_no_messages() {
        let long = [4; CHUNK_MAX + 2];
        for bytes in [&b""[..], b"\x00", b"\x03\x01", b"\x06\x01\0\x02", b"\x09", b"\xff", &long] {
            assert_eq!(Order::decode(bytes), None);
        }
        let hello = b"\x40\x01\0\0\0\x03\x01\x07\0\0\0\x02\x01\0\0\0\0\0\0\x05a.1.2";
        for n in 0..hello.len() {
            assert_eq!(Word::decode(&hello[..n]), None, "{n}");
        }
        for bytes in [&b"\x44\x03x"[..], b"\x44", b"\x42\0", b"\x41\0\0\0\0", b"\x63"] {
            assert_eq!(Word::decode(bytes), None);
        }
    }
}
