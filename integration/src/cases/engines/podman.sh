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
engine() { podman --root "$DIR/storage" --runroot /run/storage --storage-driver vfs --runtime "$RUNTIME" "$@"; }
p() { if [ "$1" = rm ]; then forget "$@"; else engine "$@"; fi; }
# Podman's own clean-up, which a container's end starts, and its rm meet at the mount of /dev/shm, whatever the runtime
# (podman issue 11594): the one that lost is asked again.
forget() {
    engine "$@" 2>/run/why && return 0
    cat /run/why >&2
    grep -q 'shm: device or resource busy' /run/why || return 1
    sleep 1
    engine "$@" --ignore
}
p import --quiet "$DIR/root.tar" probe:1 >/dev/null
# The default limits of the engine are above ours where the right to raise them is missing.
run="--network none --cgroup-parent $PARENT --memory 64m --log-driver none --ulimit nofile=1024:1024 --ulimit nproc=2000:2000"
