dockerd --host "unix:///run/d.sock" --data-root "$DIR/data" --exec-root /run/d --pidfile /run/d.pid --bridge none \
    --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false --storage-driver vfs \
    --exec-opt native.cgroupdriver=cgroupfs --add-runtime "ours=$RUNTIME" >"$DIR/dockerd.log" 2>&1 &
daemon=$!
trap 'end $daemon; tail -n 15 "$DIR/dockerd.log" >&2' EXIT
d() { docker --host unix:///run/d.sock --config "$DIR/docker" "$@"; }
until_ok 60 d version
d import "$DIR/root.tar" probe:1 >/dev/null
run="--runtime ours --network none --cgroup-parent $PARENT --memory 64m"
