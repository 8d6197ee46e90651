//! `listen`: the sockets that the daemon holds for a service.

use super::read::{Reader, Value};
use crate::unit::listen::{Address, Listen, MODE};

/// The most sockets of one service.
const SOCKETS_MAX: usize = 32;
/// The longest name in `LISTEN_FDNAMES`, sd_listen_fds_with_names(3).
const NAME_MAX: usize = 255;

pub(super) fn listen(r: &mut Reader, v: &Value) -> Vec<Listen> {
    let elements = v.list(r);
    if elements.len() > SOCKETS_MAX {
        v.say(r, format!("too long a list, got {}, want at most {SOCKETS_MAX}", elements.len()));
        return Vec::new();
    }
    let mut all: Vec<Listen> = Vec::new();
    for element in elements {
        let Some(listen) = one(r, &element) else { continue };
        if all.iter().any(|other| other.address == listen.address) {
            element.say(r, format!("an address twice, got {:?}", listen.address.to_string()));
        }
        all.push(listen);
    }
    all
}

fn one(r: &mut Reader, v: &Value) -> Option<Listen> {
    if !v.is_table() {
        return address(r, v).map(Listen::at);
    }
    let t = v.table(r)?;
    let address = t.need(r, "address").and_then(|v| address(r, &v));
    let name = t.get(r, "name").and_then(|v| v.parsed(r, name));
    let mode = t.get(r, "mode");
    if let (Some(v), Some(Address::Tcp(..) | Address::Udp(..))) = (&mode, &address) {
        v.say(r, "mode is about a unix socket");
    }
    let mode = mode.and_then(|v| v.mode(r)).unwrap_or(MODE);
    Some(Listen { address: address?, name, mode })
}

fn address(r: &mut Reader, v: &Value) -> Option<Address> {
    v.parsed(r, |text| {
        let want =
            "want such as \"tcp:8080\", \"tcp:127.0.0.1:8080\", \"udp:[::1]:53\" or \"unix:/run/web.sock\"";
        Address::parse(text).map_err(|why| format!("{why}, got {text:?}, {want}"))
    })
}

fn name(text: &str) -> Result<String, String> {
    let plain = text.bytes().all(|b| b.is_ascii_graphic() && b != b':');
    match plain && text.len() <= NAME_MAX {
        true => Ok(text.to_owned()),
        false => {
            Err(format!("not a name of a descriptor, got {text:?}, want letters and signs without \":\""))
        }
    }
}
