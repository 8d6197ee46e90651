//! The status page of the loopback address: one document, whose style and script are in it and known to its policy by their
//! digests. It has no data: its script asks for that, with the token.
#![forbid(unsafe_code)]

use std::sync::LazyLock;

use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use sha2::{Digest, Sha256};

const DOCUMENT: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

struct Page {
    text: String,
    policy: String,
}

static PAGE: LazyLock<Page> = LazyLock::new(|| Page {
    text: DOCUMENT.replace("{{style}}", STYLE).replace("{{script}}", SCRIPT),
    policy: policy(),
});

/// `GET /`.
pub(super) async fn get() -> Response {
    let mut answer = Html(PAGE.text.as_str()).into_response();
    // Digests and words, all of them ASCII.
    if let Ok(policy) = HeaderValue::from_str(&PAGE.policy) {
        answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    answer
}

/// What the page may do (W3C Content Security Policy 3 and Trusted Types): run the script and the style that are in it, ask
/// where it came from, and never turn text into markup.
fn policy() -> String {
    let allowed = [
        "default-src 'none'".to_owned(),
        format!("script-src 'sha256-{}'", base64(&Sha256::digest(SCRIPT))),
        format!("style-src 'sha256-{}'", base64(&Sha256::digest(STYLE))),
        "connect-src 'self'".to_owned(),
        "base-uri 'none'".to_owned(),
        "form-action 'none'".to_owned(),
        "frame-ancestors 'none'".to_owned(),
        "require-trusted-types-for 'script'".to_owned(),
        "trusted-types 'none'".to_owned(),
    ];
    allowed.join("; ")
}

/// RFC 4648, with padding, as policies want digests.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, b| bits << 8 | u32::from(*b)) << (8 * (3 - three.len()));
        for n in 0..4 {
            let six = (bits >> (18 - 6 * n)) & 63;
            out.push(if n <= three.len() { char::from(ALPHABET[six as usize]) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_rfc_4648() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn the_page_has_what_its_policy_allows_and_nothing_of_elsewhere() {
        let text = &PAGE.text;
        let between = |from: &str, to: &str| text.split_once(from).unwrap().1.split_once(to).unwrap().0;
        for (name, inner) in
            [("style", between("<style>", "</style>")), ("script", between("<script>", "</script>"))]
        {
            let digest = format!("{name}-src 'sha256-{}'", base64(&Sha256::digest(inner)));
            assert!(PAGE.policy.contains(&digest), "{digest} is not in {}", PAGE.policy);
        }
        assert!(!text.contains("{{") && text.matches("<script").count() == 1);
        assert!(HeaderValue::from_str(&PAGE.policy).is_ok());
        for foreign in [" src=", " href=", "@import", "url(", " style=", "https://"] {
            assert!(!text.contains(foreign), "{foreign}");
        }
        // Text of others never becomes markup or code.
        for way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("] {
            assert!(!SCRIPT.contains(way), "{way}");
        }
        let handler = text
            .split(" on")
            .skip(1)
            .any(|rest| rest.trim_start_matches(|c: char| c.is_ascii_lowercase()).starts_with("=\""));
        assert!(!handler, "a handler in the markup");
    }
}
