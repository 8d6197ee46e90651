//! Documents that are no good whatever they say: each must be refused with one line that names the place. And the
//! corpus of what engines write, which must pass, whole, and must survive any damage without a panic.

use knarr::error::Code;
use knarr::spec::shape::{Shape, Shaped};
use knarr::spec::{Spec, check, read};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Every config.json of the corpus: what engines and the command `spec` of runtimes have written, a pod's
/// container, and one that sets every field.
fn corpus() -> Vec<(String, Vec<u8>)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap())
        })
        .collect();
    files.sort();
    assert!(files.len() >= 10, "the corpus is there");
    files
}

fn refusal(bytes: &[u8]) -> String {
    match read::config(bytes) {
        Ok(_) => panic!("accepted: {}", String::from_utf8_lossy(bytes)),
        Err(e) => {
            assert_eq!(e.kind(), Code::Spec, "{e}");
            e.to_string()
        }
    }
}

#[test]
fn bad_documents() {
    let rows: &[(&str, &[u8], &str)] = &[
        ("B005", b"", "empty document"),
        ("B005", b" \n\t", "empty document"),
        ("B006", b"null", "must be an object, got null"),
        ("B007", b"[]", "must be an object, got an array"),
        ("B007", b"42", "must be an object, got 42"),
        ("B007", b"\"x\"", "must be an object, got the string \"x\""),
        ("B008", b"{\n \"process\": {", "/process: unexpected end of the document at line 2 column 14"),
        (
            "B008",
            b"{\"ociVersion\": \"1.0",
            "/ociVersion: unexpected end of the document at line 1 column 20",
        ),
        ("B008", b"{\"a\":\"\\", "unexpected end of the document at line 1 column 8"),
        ("B008", b"{\"a\":\"\\u00", "unexpected end of the document"),
        ("B008", b"{\"a\":-", "unexpected end of the document"),
        ("B008", b"{\"a\":tru", "unexpected end of the document"),
        ("B009", b"\xef\xbb\xbf{}", "byte order mark"),
        ("B009", b"\xff\xfe{\0}\0", "not UTF-8"),
        ("B009", b"{\0}\0", "not UTF-8"),
        ("B010", b"{\n\"hostname\": \"\xc3\x28\"}", "not UTF-8: invalid byte at line 2 column 14"),
        ("B010", br#"{"hostname":"\ud800"}"#, "/hostname: lone surrogate in a string at line 1 column 14"),
        ("B010", br#"{"hostname":"\udc00"}"#, "/hostname: lone surrogate"),
        ("B010", br#"{"hostname":"\ud800A"}"#, "/hostname: lone surrogate"),
        ("B011", b"{}{}", "data after the document at line 1 column 3"),
        ("B011", b"{}\n]", "data after the document at line 2 column 1"),
        ("B013", br#"{"process":{},"process":{}}"#, "/process: duplicate key"),
        ("B013", br#"{"process":{},"pr\u006fcess":{}}"#, "/process: duplicate key"),
        ("B013", br#"{"annotations":{"a":"","b":"","a":""}}"#, "/annotations/a: duplicate key"),
        ("B013", br#"{"unknown":{"x":1,"x":2}}"#, "/unknown/x: duplicate key"),
        ("B013", br#"{"unknown":1,"unknown":2}"#, "/unknown: duplicate key"),
        ("B015", br#"{"process":{"oomScoreAdj":NaN}}"#, "/process/oomScoreAdj: \"N\" is not JSON"),
        (
            "B015",
            br#"{"process":{"oomScoreAdj":1e400}}"#,
            "/process/oomScoreAdj: not a whole number: got 1e400",
        ),
        ("B015", br#"{"process":{"oomScoreAdj":1.5}}"#, "/process/oomScoreAdj: not a whole number: got 1.5"),
        ("B015", br#"{"process":{"user":{"uid":18446744073709551616}}}"#, "/process/user/uid: out of range"),
        ("B015", br#"{"process":{"user":{"uid":-0}}}"#, "/process/user/uid: not a whole number: got -0"),
        ("B015", br#"{"process":{"user":{"uid":012}}}"#, "/process/user: \"1\", want a comma"),
        ("B015", br#"{"process":{"user":{"uid":+1}}}"#, "/process/user/uid: \"+\" is not JSON"),
        ("B015", br#"{"windows":{"x":1e400}}"#, "/windows/x: out of range"),
        ("B016", br#"{"process":{"user":{"uid":"4"}}}"#, "got the string \"4\", want a whole number from 0"),
        ("B016", br#"{"hostname":4}"#, "/hostname: wrong type: got 4, want a string"),
        ("B016", br#"{"process":[]}"#, "/process: wrong type: got an array, want an object"),
        ("B016", br#"{"mounts":{}}"#, "/mounts: wrong type: got an object, want an array"),
        ("B016", br#"{"mounts":[null]}"#, "/mounts/0: wrong type: got null, want an object"),
        (
            "B016",
            br#"{"linux":{"sysctl":{"a/b":true}}}"#,
            "/linux/sysctl/a~1b: wrong type: got true, want a string",
        ),
        (
            "B016",
            br#"{"process":{"terminal":1}}"#,
            "/process/terminal: wrong type: got 1, want true or false",
        ),
        ("B017", br#"{"process":{"args":["a\u0000b"]}}"#, "/process/args/0: NUL character in a string"),
        ("B017", br#"{"annotations":{"a\u0000":""}}"#, "/annotations: NUL character in a string"),
        ("B017", b"{\"hostname\":\"a\0\"}", "/hostname: unescaped control character"),
        ("-", b"{\"hostname\":\"a\n\"}", "/hostname: unescaped control character"),
        ("-", br#"{"hostname":"\x41"}"#, "/hostname: unknown escape"),
        ("-", br#"{"hostname":"\u00g1"}"#, "/hostname: unknown escape"),
        ("-", br#"{hostname:1}"#, "\"h\", want a key in double quotes at line 1 column 2"),
        ("-", br#"{"hostname" "x"}"#, "/hostname: \"\\\"\", want a colon"),
        ("-", br#"{"mounts":[],}"#, "\"}\", want a key in double quotes"),
        ("-", br#"{"mounts":[1 2]}"#, "/mounts/0: wrong type"),
        ("-", br#"{"a":[1 2]}"#, "/a: \"2\", want a comma or \"]\""),
        ("-", br#"{"a":[1,]}"#, "/a/1: \"]\" is not JSON"),
        ("-", br#"{"a":1.}"#, "/a: \"}\" in a number is not JSON"),
        ("-", br#"{"a":'x'}"#, "/a: \"'\" is not JSON"),
        (
            "-",
            br#"{"a":// note
            1}"#,
            "/a: \"/\" is not JSON",
        ),
    ];
    for (row, bytes, says) in rows {
        let text = refusal(bytes);
        assert!(text.contains(says), "{row}: {text:?} does not say {says:?}");
        assert!(!text.contains('\n'), "{row}: {text:?}");
    }
}

#[test]
fn b012_depth() {
    let nested = |n: usize| format!("{{\"x\":{}1{}}}", "[".repeat(n), "]".repeat(n));
    assert!(read::config(nested(read::MAX_DEPTH - 1).as_bytes()).is_ok());
    assert!(refusal(nested(read::MAX_DEPTH).as_bytes()).contains("nested deeper than 64 levels"));
    assert!(refusal("[".repeat(200_000).as_bytes()).contains("must be an object"));
    let open = format!("{{\"x\":{}", "[".repeat(200_000));
    assert!(refusal(open.as_bytes()).contains("nested deeper than 64 levels"));
}

#[test]
fn b014_letter_case() {
    let (spec, warnings) =
        read::config(br#"{"Process":{"args":["x"]},"root":{"Path":"r","color":1}}"#).unwrap();
    assert_eq!(spec.process, None, "never used as process");
    assert_eq!(spec.root.unwrap().path, "");
    let told: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "/Process: unknown key, ignored (keys are case-sensitive: write \"process\")",
            "/root/Path: unknown key, ignored (keys are case-sensitive: write \"path\")",
            "/root/color: unknown key, ignored",
        ]
    );
}

#[test]
fn remarks_about_the_document_of_update() {
    let (_, warnings) = read::document::<knarr::spec::Resources>(br#"{"CPU":{"cpus":"0"}}"#).unwrap();
    let told: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["/CPU: unknown key, ignored (keys are case-sensitive: write \"cpu\")"]);
}

#[test]
fn b018_size() {
    let pad = |n: usize| format!("{{\"hostname\":\"{}\"}}", "x".repeat(n - 15));
    assert!(read::config(pad(read::MAX_BYTES).as_bytes()).is_ok());
    assert!(refusal(pad(read::MAX_BYTES + 1).as_bytes()).contains("larger than 8388608 bytes"));
    let many = format!("{{\"x\":[{}0]}}", "0,".repeat(1_000_000));
    assert!(refusal(many.as_bytes()).contains("more than 262144 values"));
}

/// A hostile document may be slow to read only in proportion to its size.
#[test]
fn the_largest_documents_take_no_longer_than_their_size() {
    let begin = std::time::Instant::now();
    let keys: String = (0..120_000).map(|i| format!("\"k{i}\":\"\",")).collect();
    let list = |item: &str| vec![item; 200_000].join(",");
    for doc in [
        format!("{{\"annotations\":{{{keys}\"z\":\"\"}}}}"),
        format!("{{\"x\":{{{keys}\"z\":\"\"}}}}"),
        format!("{{\"linux\":{{\"namespaces\":[{}]}}}}", list("{}")),
        format!("{{\"linux\":{{\"devices\":[{}]}}}}", list("{}")),
        format!("{{\"linux\":{{\"uidMappings\":[{}]}}}}", list("{}")),
        format!("{{\"process\":{{\"rlimits\":[{}]}}}}", list("{}")),
        format!("{{\"process\":{{\"env\":[{}]}}}}", list("\"A=b\"")),
        format!("{{\"process\":{{\"capabilities\":{{\"ambient\":[{}]}}}}}}", list("\"CAP_KILL\"")),
    ] {
        let (spec, _) = read::config(doc.as_bytes()).unwrap();
        assert!(!check::config(&spec).is_empty());
    }
    // Quadratic work would take minutes; the bound is loose because this is an unoptimised build on a busy machine.
    assert!(begin.elapsed().as_secs() < 60, "{:?}", begin.elapsed());
}

#[test]
fn what_go_writes_for_nothing_is_nothing() {
    let doc = br#"{"process":{"user":{"uid":null,"additionalGids":null},"args":null,"rlimits":null,
        "capabilities":null,"oomScoreAdj":null},"mounts":null,"hooks":null,"annotations":null,
        "linux":{"resources":{"pids":{"limit":null},"devices":null},"sysctl":null,"seccomp":null},"windows":null}"#;
    let (spec, warnings) = read::config(doc).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(spec.windows, None);
    assert_eq!(spec.linux.unwrap().resources.unwrap().pids.unwrap().limit, None);
    assert_eq!(spec.process.unwrap().user, Default::default());
}

#[test]
fn the_corpus_passes() {
    for (name, bytes) in corpus() {
        let (spec, warnings) = read::config(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(warnings, [], "{name}");
        let errors: Vec<String> = check::config(&spec).iter().map(ToString::to_string).collect();
        assert!(errors.is_empty(), "{name}: {errors:#?}");
    }
}

/// What a program wrote by our types must read as the same.
#[test]
fn the_corpus_survives_a_round_trip() {
    for (name, bytes) in corpus() {
        let (spec, _) = read::config(&bytes).unwrap();
        let (again, warnings) = read::config(&serde_json::to_vec(&spec).unwrap()).unwrap();
        assert_eq!(again, spec, "{name}");
        assert_eq!(warnings, []);
    }
}

/// B008: a file cut anywhere is refused, with the place where it ends.
#[test]
fn every_prefix_is_refused() {
    for (name, bytes) in corpus() {
        let text = std::str::from_utf8(&bytes).unwrap().trim_end();
        for end in (1..text.len()).step_by(7) {
            let error = refusal(&text.as_bytes()[..end]);
            assert!(error.contains("unexpected end of the document at line"), "{name} cut at {end}: {error}");
        }
    }
}

/// Collects the fields of `shape` that `value` does not set anywhere.
fn unset(at: &str, shape: &'static Shape, values: &[&Value], out: &mut BTreeMap<String, &'static Shape>) {
    match shape {
        Shape::Object(fields) => {
            for (name, inner) in *fields {
                let here = format!("{at}/{name}");
                let set: Vec<&Value> = values.iter().filter_map(|v| v.get(name)).collect();
                match set.is_empty() {
                    true => drop(out.insert(here, inner)),
                    false => unset(&here, inner, &set, out),
                }
            }
        }
        Shape::List(inner) => {
            let items: Vec<&Value> = values.iter().filter_map(|v| v.as_array()).flatten().collect();
            if matches!(inner, Shape::Object(_)) {
                unset(at, inner, &items, out);
            }
        }
        Shape::Map(inner) => {
            let items: Vec<&Value> =
                values.iter().filter_map(|v| v.as_object()).flat_map(|o| o.values()).collect();
            unset(at, inner, &items, out);
        }
        _ => {}
    }
}

#[test]
fn full_json_sets_every_field_there_is() {
    let full: Value =
        serde_json::from_slice(&corpus().into_iter().find(|(n, _)| n == "full.json").unwrap().1).unwrap();
    let mut missing = BTreeMap::new();
    unset("", Spec::SHAPE, &[&full], &mut missing);
    assert!(missing.is_empty(), "{:?}", missing.keys());
}

/// Reads and checks; whatever comes out is sound.
fn sound(bytes: &[u8]) {
    match read::config(bytes) {
        Ok((spec, warnings)) => {
            let found = check::findings(&spec);
            for line in found.errors.iter().map(ToString::to_string) {
                assert!(!line.contains('\n') && !line.is_empty(), "{line:?}");
            }
            for line in warnings.iter().chain(&found.warnings).map(ToString::to_string) {
                assert!(!line.contains('\n') && !line.is_empty(), "{line:?}");
            }
        }
        Err(e) => {
            let line = e.to_string();
            assert!(!line.contains('\n') && !line.is_empty(), "{line:?}");
            assert!(line.len() < 2000, "{} bytes", line.len());
            assert_eq!(e.kind(), Code::Spec, "the scan let something pass that the parser refused: {line}");
        }
    }
}

/// Values that have broken parsers and rules before.
fn odd_value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_string()),
        Just("{}".to_string()),
        Just("[]".to_string()),
        Just("[null]".to_string()),
        Just("\"\"".to_string()),
        Just("\"/\"".to_string()),
        Just("\"..\"".to_string()),
        Just("\"a\\u0000\"".to_string()),
        Just("\"\\ud83d\\ude00\\n\\u001b\"".to_string()),
        Just("-1".to_string()),
        Just("-0".to_string()),
        Just("1e2".to_string()),
        Just("4294967295".to_string()),
        Just("9223372036854775807".to_string()),
        Just("-9223372036854775808".to_string()),
        Just("18446744073709551615".to_string()),
        Just("18446744073709551616".to_string()),
        Just("true".to_string()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Random damage to the bytes.
    #[test]
    fn damaged_bytes_never_panic(
        file in 0usize..10,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..6),
    ) {
        let (_, mut bytes) = corpus().swap_remove(file);
        for (place, byte, how) in edits {
            let at = place.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        sound(&bytes);
    }

    /// A whole value replaced by one that does not belong there: the scan and the typed parser must agree.
    #[test]
    fn odd_values_never_panic(
        file in 0usize..10,
        place in any::<prop::sample::Index>(),
        value in odd_value(),
    ) {
        let (_, bytes) = corpus().swap_remove(file);
        let text = String::from_utf8(bytes).unwrap();
        let colons: Vec<usize> = text.match_indices("\": ").map(|(i, _)| i + 3).collect();
        let start = colons[place.index(colons.len())];
        let length = serde_json::Deserializer::from_str(&text[start..])
            .into_iter::<&serde_json::value::RawValue>().next().unwrap().unwrap().get().len();
        let mutant = format!("{}{value}{}", &text[..start], &text[start + length..]);
        sound(mutant.as_bytes());
    }
}
