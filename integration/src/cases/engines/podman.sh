# The database backend and network are not under test: no network, files below DIR.
cat > "$DIR/containers.conf" <<EOF
[engine]
lock_type = "file"
events_logger = "none"
cgroup_manager = "cgroupfs"
static_dir = "$DIR/libpod"
tmp_dir = "/run/libpod"
[network]
network_config_dir = "$DIR/net"
EOF
export CONTAINERS_CONF="$DIR/containers.conf"
p() { podman --root "$DIR/storage" --runroot /run/storage --storage-driver vfs --runtime "$RUNTIME" "$@"; }
p import --quiet "$DIR/root.tar" probe:1 >/dev/null
# The default limits of the engine are above ours where the right to raise them is missing.
run="--network none --cgroup-parent $PARENT --memory 64m --log-driver none --ulimit nofile=1024:1024 --ulimit nproc=2000:2000"
