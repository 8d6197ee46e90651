cat > "$DIR/containerd.toml" <<EOF
version = 2
root = "$DIR/containerd"
state = "/run/c"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "/run/c.sock"
EOF
containerd --config "$DIR/containerd.toml" >"$DIR/containerd.log" 2>&1 &
daemon=$!
trap 'end $daemon; tail -n 15 "$DIR/containerd.log" >&2' EXIT
c() { ctr --address /run/c.sock --namespace suite "$@"; }
until_ok 60 c version

# An image archive by hand: one layer, one configuration, one manifest, one index.
blobs="$DIR/oci/blobs/sha256"
mkdir -p "$blobs"
sum() { sha256sum "$1" | cut -d' ' -f1; }
blob() { mv "$1" "$blobs/$2"; }
cp "$DIR/root.tar" "$DIR/layer"
layer=$(sum "$DIR/layer")
layer_size=$(stat -c %s "$DIR/layer")
blob "$DIR/layer" "$layer"
printf '{"architecture":"%s","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')" "$layer" >"$DIR/config"
config=$(sum "$DIR/config")
config_size=$(stat -c %s "$DIR/config")
blob "$DIR/config" "$config"
printf '{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%s},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:%s","size":%s}]}' \
    "$config" "$config_size" "$layer" "$layer_size" >"$DIR/manifest"
manifest=$(sum "$DIR/manifest")
manifest_size=$(stat -c %s "$DIR/manifest")
blob "$DIR/manifest" "$manifest"
printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%s,"annotations":{"io.containerd.image.name":"suite/probe:1"}}]}' \
    "$manifest" "$manifest_size" >"$DIR/oci/index.json"
printf '{"imageLayoutVersion":"1.0.0"}' >"$DIR/oci/oci-layout"
tar -C "$DIR/oci" -cf "$DIR/image.tar" .
c images import --snapshotter native "$DIR/image.tar" >/dev/null
run="--snapshotter native --runc-binary $RUNTIME --runc-root /run/state --memory-limit 67108864"
