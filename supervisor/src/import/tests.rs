//! Samples of each kind, read again by the parser of service files.

use std::path::Path;

use super::*;
use crate::unit;
use crate::unit::service::Service;

const COMPOSE: &str = r#"
name: shop
x-common: &common
  restart: unless-stopped
  environment: { MODE: fast, PRICE: "$$5" }
services:
  web:
    <<: *common
    image: shop/web:2
    entrypoint: /bin/serve
    command: --port 8080 'two words'
    user: "1000:1000"
    ports: ["127.0.0.1:80:8080", "9000/udp"]
    volumes:
      - ./data:/data:ro
      - cache:/cache
      - { type: tmpfs, target: /scratch }
    tmpfs: /run:size=16m,mode=755
    depends_on: { db: { condition: service_healthy, restart: true } }
    deploy:
      replicas: 2
      resources: { limits: { cpus: "0.50", memory: 64M }, reservations: { memory: 32M } }
    healthcheck: { test: ["CMD", "/bin/check"], interval: 1m30s, retries: 5 }
    secrets: [key]
    cap_drop: [all]
    cap_add: [net_bind_service]
    security_opt: ["no-new-privileges:true", "label=disable"]
    container_name: shop-web
    stop_grace_period: 30s
    ulimits: { nofile: { soft: 1024, hard: 4096 }, core: 0 }
  db:
    image: shop/db
    environment: ["A=1", "TOKEN"]
    user: postgres
    pids_limit: 100
    hostname: "not a host name"
secrets:
  key: { file: ./key }
volumes:
  cache: {}
"#;

const QUADLET: &str = r#"
# A comment
[Unit]
Description=The shop's front
Requires=db.service
After=network-online.target

[Container]
Image=shop/web:2
Exec=/bin/serve --name "two words" \
  --more
Environment=MODE=fast "TEXT=a b"
Volume=/srv/data:/data:ro
Volume=cache.volume:/cache
PublishPort=80:8080
Network=host
User=1000
DropCapability=all
ReadOnly=yes
Notify=true
HealthCmd=/bin/check -q
HealthInterval=10s
StopTimeout=30
Pull=never

[Service]
Restart=on-failure
RestartSec=30
MemoryMax=64M
CPUQuota=150%
Slice=shop.slice

[Install]
WantedBy=default.target
"#;

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: shop, namespace: prod, labels: { team: shop } }
spec:
  restartPolicy: Always
  terminationGracePeriodSeconds: 20
  securityContext: { runAsUser: 1000, runAsGroup: 1000, fsGroup: 5 }
  initContainers:
    - { name: migrate, image: shop/db-tool, command: ["/bin/migrate"] }
    - { name: seed, image: shop/db-tool, command: ["/bin/seed"] }
  containers:
    - name: web
      image: shop/web:2
      args: ["--port", "8080"]
      env:
        - { name: MODE, value: fast }
        - { name: KEY, valueFrom: { secretKeyRef: { name: k, key: k } } }
      resources: { limits: { memory: 64Mi, cpu: 500m }, requests: { memory: 32Mi, cpu: 100m } }
      livenessProbe: { httpGet: { path: /healthz, port: 8080, scheme: HTTPS }, periodSeconds: 5, failureThreshold: 2 }
      readinessProbe: { tcpSocket: { port: web } }
      volumeMounts: [{ name: data, mountPath: /data, readOnly: true }, { name: tmp, mountPath: /tmp }, { name: conf, mountPath: /etc/conf }]
      ports: [{ containerPort: 8080, hostPort: 80 }]
    - { name: heartbeat, image: shop/beat, command: [/bin/beat], securityContext: { readOnlyRootFilesystem: true } }
  volumes:
    - { name: data, hostPath: { path: /srv/data } }
    - { name: tmp, emptyDir: { medium: Memory, sizeLimit: 16Mi } }
    - { name: conf, configMap: { name: conf } }
"#;

fn made(kind: Kind, text: &str) -> Imported {
    let drafts = match kind {
        Kind::Compose => compose::drafts(&yaml(text).unwrap(), Path::new("/srv/shop")).unwrap(),
        Kind::Quadlet => vec![quadlet::draft(text, "web").unwrap()],
        _ => pod::drafts(&yaml(text).unwrap()).unwrap(),
    };
    finish(drafts).unwrap()
}

/// What the daemon would read.
fn service(of: &Imported, name: &str) -> Service {
    let written = of.services.iter().find(|s| s.name == name).unwrap();
    unit::parse(&name.parse().unwrap(), Path::new("it"), &written.text).unwrap()
}

fn holds(of: &Imported, name: &str, lines: &[&str]) {
    service(of, name);
    let text = &of.services.iter().find(|s| s.name == name).unwrap().text;
    for line in lines {
        assert!(text.lines().any(|l| l == *line), "no line {line} in\n{text}");
    }
}

fn leaves(of: &Imported, want: &[(&str, &str)]) {
    let left: Vec<_> = of.left_out.iter().map(|l| (l.service.as_str(), l.key.as_str())).collect();
    for one in want {
        assert!(left.contains(one), "{one:?} is not in {left:#?}");
    }
    assert_eq!(left.len(), want.len(), "{left:#?}");
}

#[test]
fn a_compose_file() {
    let made = made(Kind::Compose, COMPOSE);
    holds(
        &made,
        "web",
        &[
            "image = \"shop/web:2\"",
            "command = [\"/bin/serve\", \"--port\", \"8080\", \"two words\"]",
            "MODE = \"fast\"",
            "PRICE = \"$5\"",
            "user = \"1000:1000\"",
            "replicas = 2",
            "ports = [\"8080/tcp\", \"9000/udp\"]",
            "source = \"/srv/shop/data\"",
            "memory = \"64MiB\"",
            "memory_request = \"32MiB\"",
            "cpus = 0.5",
            "nofile = 4096",
            "condition = \"healthy\"",
            "interval = \"90s\"",
            "target = \"/run/secrets/key\"",
            "policy = \"unless-stopped\"",
            "grace = \"30s\"",
            "capabilities_add = [\"NET_BIND_SERVICE\"]",
            "no_new_privileges = true",
            "size = \"16MiB\"",
        ],
    );
    holds(&made, "db", &["A = \"1\"", "pids = 100"]);
    leaves(
        &made,
        &[
            ("web", "ports"),
            ("web", "volumes /cache"),
            ("web", "security_opt label=disable"),
            ("web", "container_name"),
            ("web", "ulimits core"),
            ("db", "volumes (of the whole file)"),
            ("db", "environment TOKEN"),
            ("db", "user"),
            ("db", "hostname"),
        ],
    );
}

#[test]
fn a_quadlet() {
    let made = made(Kind::Quadlet, QUADLET);
    holds(
        &made,
        "web",
        &[
            "description = \"The shop's front\"",
            "command = [\"/bin/serve\", \"--name\", \"two words\", \"--more\"]",
            "TEXT = \"a b\"",
            "network = \"host\"",
            "user = \"1000:0\"",
            "root_read_only = true",
            "push = true",
            "policy = \"on-failure\"",
            "delay = \"30s\"",
            "memory = \"64MiB\"",
            "cpus = 1.5",
            "grace = \"30s\"",
            "service = \"db\"",
        ],
    );
    let left: Vec<_> = made.left_out.iter().map(|l| l.key.as_str()).collect();
    for key in [
        "[Unit] After network-online.target",
        "[Container] Volume cache.volume:/cache",
        "[Container] PublishPort",
        "[Container] Pull",
        "[Container] Exec",
        "[Service] Slice",
        "[Install] WantedBy",
    ] {
        assert!(left.contains(&key), "{key} is not in {left:?}");
    }
}

#[test]
fn a_static_pod() {
    let made = made(Kind::StaticPod, POD);
    holds(
        &made,
        "shop",
        &[
            "image = \"shop/web:2\"",
            "user = \"1000:1000\"",
            "MODE = \"fast\"",
            "memory = \"64MiB\"",
            "cpus = 0.5",
            "path = \"/healthz\"",
            "verify = false",
            "period = \"5s\"",
            "grace = \"20s\"",
            "source = \"/srv/data\"",
            "team = \"shop\"",
        ],
    );
    holds(&made, "shop-heartbeat", &["part_of = \"shop\"", "root_read_only = true"]);
    holds(&made, "shop-migrate", &["part_of = \"shop\"", "attempts = 1000"]);
    holds(&made, "shop-seed", &["service = \"shop-migrate\"", "condition = \"succeeded\""]);
    let of_shop: Vec<_> =
        made.left_out.iter().filter(|l| l.service == "shop").map(|l| l.key.as_str()).collect();
    for key in [
        "metadata.namespace",
        "args",
        "env KEY",
        "resources.requests.cpu",
        "readinessProbe.tcpSocket.port",
        "volumeMounts /etc/conf",
        "ports hostPort",
        "securityContext.fsGroup",
    ] {
        assert!(of_shop.contains(&key), "{key} is not in {of_shop:?}");
    }
}

#[test]
fn a_bundle() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().join("My.Shop");
    std::fs::create_dir(&bundle).unwrap();
    let refused = import(Kind::Bundle, &bundle).unwrap_err();
    assert!(refused.contains("config.json"), "{refused}");
    let config = bundle.join("config.json");
    std::fs::write(&config, "{\"process\":{}}").unwrap();
    assert!(import(Kind::Bundle, &bundle).unwrap_err().contains("ociVersion"));
    std::fs::write(&config, "{\"ociVersion\":\"1.0.2\",\"linux\":{\"cgroupsPath\":\"/a\"}}").unwrap();
    let made = import(Kind::Bundle, &bundle).unwrap();
    holds(
        &made,
        "my-shop",
        &[&format!("bundle = \"{}\"", std::fs::canonicalize(&bundle).unwrap().display())],
    );
    leaves(&made, &[("my-shop", "name"), ("my-shop", "linux.cgroupsPath")]);
}

#[test]
fn what_is_none_is_refused_with_the_reason() {
    let of_compose =
        |text: &str| yaml(text).and_then(|y| compose::drafts(&y, Path::new("/"))).map(drop).unwrap_err();
    assert!(of_compose("a: 1").contains("services"));
    assert!(of_compose("services: { web: { build: . } }").contains("no image"));
    assert!(of_compose("services: [").contains("line"), "{}", of_compose("services: ["));
    assert!(pod::drafts(&yaml("kind: Deployment").unwrap()).map(drop).unwrap_err().contains("kind: Pod"));
    assert!(quadlet::draft("[Unit]\nA=b\n", "a").map(drop).unwrap_err().contains("[Container]"));
    assert!(quadlet::draft("[Container]\nUser=1\n", "a").map(drop).unwrap_err().contains("Image"));
    assert!(quadlet::draft("[Container]\nnothing\n", "a").map(drop).unwrap_err().contains("line 2"));
    // Aliases of aliases, a short file that would be a large tree.
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..12 {
        let all = vec![format!("*a{}", n - 1); 10].join(", ");
        bomb.push_str(&format!("a{n}: &a{n} [{all}]\n"));
    }
    assert!(yaml(&bomb).is_err(), "it was unfolded");
}

#[test]
fn times_sizes_and_words() {
    use super::values::{cpus, quantity, seconds, size, words};
    let of = |v: Option<serde_json::Value>| v.map(|v| v.to_string()).unwrap_or_default();
    for (text, want) in
        [("64m", "\"64MiB\""), ("1.5g", "\"1536MiB\""), ("1000", "1000"), ("2kb", "\"2KiB\""), ("x", "")]
    {
        assert_eq!(of(size(text)), want, "{text}");
    }
    for (text, want) in [("64Mi", "\"64MiB\""), ("1M", "1000000"), ("1", "1"), ("1x", "")] {
        assert_eq!(of(quantity(text)), want, "{text}");
    }
    for (text, want) in [("500m", "0.5"), ("1.5", "1.5"), ("2", "2.0"), ("a", "")] {
        assert_eq!(of(cpus(text)), want, "{text}");
    }
    for (text, want) in
        [("90", "90s"), ("1min 30s", "90s"), ("100ms", "100ms"), ("1m30s", "90s"), ("1.5s", "1500ms")]
    {
        assert_eq!(seconds(text).as_deref(), Some(want), "{text}");
    }
    assert_eq!((seconds(""), seconds("infinity")), (None, None));
    assert_eq!(words(r#"a 'b c' "d \" e" f\ g ''"#).unwrap(), ["a", "b c", "d \" e", "f g", ""]);
    assert_eq!(words("a 'b"), None);
}
