//! `grpc.health.v1.Health/Check`: one call over HTTP/2 without TLS. Its two messages are so small that they are written and
//! read here.

use std::future::pending;

use h2::RecvStream;
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Bytes;

use super::net::Way;
use super::{Answer, OUTPUT_MAX};

/// Most bytes of an answer's headers.
const HEAD_MAX: u32 = 16 * 1024;
/// The status of a server that is well.
const SERVING: u64 = 1;

/// Connects and asks for a service; empty = the server as a whole.
pub(super) async fn ask(way: Way, service: &str) -> Answer {
    let (stream, address) = match way.connect().await {
        Ok(connected) => connected,
        Err(text) => return Answer::fail(text),
    };
    let no = |e: h2::Error| format!("no gRPC answer: {e}");
    let talk = async {
        let (client, connection) = h2::client::Builder::new()
            .max_header_list_size(HEAD_MAX)
            .initial_window_size(64 * 1024)
            .enable_push(false)
            .handshake::<_, Bytes>(stream)
            .await
            .map_err(no)?;
        let asking = async {
            let mut client = client.ready().await.map_err(no)?;
            let request = request(&format!("http://{address}/grpc.health.v1.Health/Check"))?;
            let (response, mut body) = client.send_request(request, false).map_err(no)?;
            body.send_data(question(service).into(), true).map_err(no)?;
            judge(response.await.map_err(no)?).await
        };
        // Its errors come out of the request, too.
        let carried = async {
            drop(connection.await);
            pending().await
        };
        tokio::select! {
            answer = asking => answer,
            never = carried => never,
        }
    };
    talk.await.unwrap_or_else(Answer::fail)
}

fn request(uri: &str) -> Result<Request<()>, String> {
    Request::builder()
        .method(Method::POST)
        .uri(uri)
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .body(())
        .map_err(|e| e.to_string())
}

async fn judge(response: Response<RecvStream>) -> Result<Answer, String> {
    let (head, mut body) = response.into_parts();
    let grpc = head.headers.get(CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"application/grpc"));
    if head.status != StatusCode::OK || !grpc {
        return Err(format!(
            "not a gRPC server: HTTP status {} without its content type",
            head.status.as_u16()
        ));
    }
    let mut data = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.map_err(|e| format!("the gRPC answer broke off: {e}"))?;
        // More than this is no answer of this service.
        if data.len() + chunk.len() > OUTPUT_MAX {
            return Err(format!("the gRPC answer is longer than {OUTPUT_MAX} bytes"));
        }
        data.extend_from_slice(&chunk);
        body.flow_control().release_capacity(chunk.len()).map_err(|e| e.to_string())?;
    }
    let trailers = body.trailers().await.map_err(|e| format!("the gRPC answer broke off: {e}"))?;
    // An answer without a message has them among its headers.
    called(trailers.as_ref().unwrap_or(&head.headers))?;
    Ok(match status(&data)? {
        SERVING => Answer::pass("SERVING"),
        0 => Answer::fail("gRPC health UNKNOWN, want SERVING"),
        2 => Answer::fail("gRPC health NOT_SERVING, want SERVING"),
        3 => Answer::fail("gRPC health SERVICE_UNKNOWN, want SERVING"),
        other => Answer::fail(format!("gRPC health {other}, want SERVING")),
    })
}

/// Whether the call itself succeeded: `grpc-status` 0.
fn called(trailers: &HeaderMap) -> Result<(), String> {
    let text = |name: &str| trailers.get(name).map(HeaderValue::as_bytes).map(String::from_utf8_lossy);
    let message = text("grpc-message").unwrap_or_default();
    let message: String = message.chars().filter(|c| !c.is_control()).take(200).collect();
    match text("grpc-status").as_deref() {
        Some("0") => Ok(()),
        Some("5") => Err("gRPC status 5: the server does not know this service".into()),
        Some("12") => Err("gRPC status 12: the server has no health service".into()),
        Some(code) => {
            Err(format!("gRPC status {:?}: {message:?}", code.chars().take(20).collect::<String>()))
        }
        None => Err("the gRPC answer has no status".into()),
    }
}

/// `HealthCheckRequest` in its frame: flags, length, then field 1, the service.
fn question(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut len = service.len();
        while len >= 0x80 {
            message.push((len & 0x7f) as u8 | 0x80);
            len >>= 7;
        }
        message.push(len as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let len = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], &len.to_be_bytes()[..], &message].concat()
}

/// Field 1 of `HealthCheckResponse` in its frame; 0 when it is not there, as Protocol Buffers have it.
fn status(frame: &[u8]) -> Result<u64, String> {
    let (head, mut message) = frame.split_at_checked(5).ok_or("the gRPC answer has no message")?;
    if head.first() != Some(&0) {
        return Err("the gRPC answer is compressed, which nobody asked for".into());
    }
    let len = head.iter().skip(1).fold(0usize, |n, b| n << 8 | usize::from(*b));
    if len != message.len() {
        return Err(format!("the gRPC message has {} bytes, want {len}", message.len()));
    }
    let mut status = 0;
    while !message.is_empty() {
        status = field(&mut message).ok_or("the gRPC message is no HealthCheckResponse")?.unwrap_or(status);
    }
    Ok(status)
}

/// Takes one field off; the value when it is the status. `None` = it is no field.
fn field(message: &mut &[u8]) -> Option<Option<u64>> {
    let key = varint(message)?;
    let skip = match key & 7 {
        0 => {
            let value = varint(message)?;
            return Some((key >> 3 == 1).then_some(value));
        }
        1 => 8,
        2 => usize::try_from(varint(message)?).ok()?,
        5 => 4,
        _ => return None,
    };
    *message = message.get(skip..)?;
    Some(None)
}

/// Takes a number off: seven bits a byte, the lowest first, at most ten bytes.
fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages() {
        assert_eq!(question(""), [0, 0, 0, 0, 0]);
        assert_eq!(question("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(question(&"x".repeat(300))[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 2]);
        assert_eq!(status(&[0, 0, 0, 0, 2, 8, 1]), Ok(1));
        assert_eq!(status(&[0, 0, 0, 0, 0]), Ok(0));
        // Fields that nobody knows, and the last one counts.
        assert_eq!(status(&[0, 0, 0, 0, 9, 8, 1, 0x12, 1, 9, 0x18, 5, 8, 2]), Ok(2));
        for bad in [
            &[][..],
            &[0, 0, 0, 0],
            &[1, 0, 0, 0, 2, 8, 1],
            &[0, 0, 0, 0, 3, 8, 1],
            &[0, 0, 0, 0, 1, 8],
            &[0, 0, 0, 0, 2, 0x12, 9],
            &[0, 0, 0, 0, 2, 0x0b, 1],
            &[0, 0, 0, 0, 11, 8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255],
        ] {
            assert!(status(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let framed = [&[0], &u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat();
            drop((status(&bytes), status(&framed)));
        }

        #[test]
        fn what_is_written_is_read(service in ".{1,300}") {
            // The question has the same form as an answer with an unknown field 1 of bytes: it is skipped.
            prop_assert_eq!(status(&question(&service)), Ok(0));
        }
    }
}
