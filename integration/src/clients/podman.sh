# Podman without a daemon: storage, locks and networks are below DIR and a /run of our own.
## env
export CONTAINERS_CONF="$DIR/containers.conf"
engine() {
    podman --root "$DIR/storage" --runroot /run/storage --tmpdir /run/libpod --storage-driver vfs \
        --runtime "$NAME" --cgroup-manager "$MANAGER" "$@"
}
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
at="--cgroup-parent $PARENT"
run() { p run $at "$@"; }
pid() { p inspect --format '{{.State.Pid}}' "$1"; }
status() { p inspect --format '{{.State.Status}}' "$1"; }
# A container that stays until TERM comes.
stay='trap "exit 0" TERM; echo >/tmp/ready; while :; do sleep 0.2; done'
resident() {
    name=$1
    shift
    run -d --name "$name" "$@" box sh -c "$stay" >/dev/null
}
# Rows that look at a container of this name share it; the first of them says what it has besides.
shared() {
    touch "$DIR/shares"
    p container inspect one >/dev/null 2>&1 || resident one "$@";
}
tidy() { p rm -f -t 0 -a >/dev/null; }
## start
# The database backend and the network stack are not under test. The default limits of the engine are above ours where
# the right to raise them is missing.
cat >"$DIR/containers.conf" <<CONF
[containers]
netns = "none"
log_driver = "k8s-file"
default_ulimits = ["nofile=1024:1024", "nproc=2000:2000"]
init_path = "/usr/bin/docker-init"
[engine]
runtime_supports_json = ["$NAME"]
runtime_supports_nocgroup = ["$NAME"]
lock_type = "file"
events_logger = "file"
static_dir = "$DIR/libpod"
volume_path = "$DIR/volumes"
infra_image = "box"
[engine.runtimes]
$NAME = ["$RUNTIME"]
[network]
network_config_dir = "$DIR/net"
CONF
p import --quiet --change CMD=/pause "$DIR/root.tar" box >/dev/null
## info.runtime: the engine reports the runtime's version
# want: 0
p info --format '{{.Host.OCIRuntime.Version}}' | grep -q '^[a-z]* version [0-9]' && echo 0
## run.output: what the program prints arrives
# manager: any
# want: hello
# want: problem
run --rm box echo hello
run --rm box sh -c 'echo problem >&2' 2>&1
## run.exit-code: the program's exit code is the client's
# want: code 42
code run --rm box sh -c 'exit 42'
## run.killed-itself: a program that dies of a signal gives 128 and its number
# want: code 137
code run --rm --pid host box sh -c 'kill -KILL $$'
## run.not-found: a missing program gives 127
# want: code 127
code run --rm box /no/such/program
## run.not-executable: a file that cannot be executed gives 126
# want: code 126
code run --rm box /plain
## run.directory: a directory as the program gives 126
# want: code 126
code run --rm box /etc
## run.orphan: a script without its interpreter is an error and leaves no container
# want: failed
# want: none
run --rm --cidfile "$DIR/cid" box /orphan || echo failed
p container exists "$(cat "$DIR/cid")" || echo none
## run.identity: host name, directory, environment, user and groups
# want: box
# want: /usr
# want: value
# want: uid=1000 gid=1000 groups=1000,2000
run --rm --hostname box --workdir /usr --env KEY=value box sh -c 'hostname; pwd; echo $KEY'
run --rm --user 1000:1000 --group-add 2000 box /probe id
## run.umask-timezone: umask and time zone
# want: 0027
run --rm --umask 0027 box sh -c umask
## run.tty: a terminal of its own
# manager: any
# want: terminal
run --rm --tty box sh -c 'test -t 0 && test -t 1 && echo terminal' | tr -d '\r'
## run.stdin: standard input reaches the program
# want: typed
echo typed | run --rm --interactive box cat
## run.detached: starts, runs, is waited for
# want: running
# want: 3
run -d --name one box sh -c 'while ! [ -e /go ]; do sleep 0.1; done; exit 3' >/dev/null
status one
p exec one touch /go
p wait one
p rm one >/dev/null
## run.rootfs: a directory as the root
# want: from the directory
mkdir -p "$DIR/tree"
tar -C "$DIR/tree" -xf "$DIR/root.tar"
run --rm --rootfs "$DIR/tree" echo from the directory
## run.preserve-fds: descriptors of the caller reach the program
# want: through three
echo through three >"$DIR/three"
run --rm --preserve-fds 1 box sh -c 'cat <&3' 3<"$DIR/three"
## run.rm: nothing is left of a container that removes itself
# want: 0
run --rm box true
p ps -aq | wc -l
## limit.memory: memory, reservation and swap limits are in the host's files
# manager: any
# want: 67108864
# want: 33554432
resident one --memory 64m --memory-reservation 32m --memory-swap 128m
pid=$(pid one)
limit memory $pid memory.limit_in_bytes memory.max
limit memory $pid memory.soft_limit_in_bytes memory.low
tidy
## limit.cpu: quota, shares and processors
# manager: any
# want: 150000 100000
# want: 512
# want: 0
resident one --cpus 1.5 --cpu-shares 512 --cpuset-cpus 0
pid=$(pid one)
if [ -e "$(group cpu $pid)/cpu.max" ]; then
    limit cpu $pid none cpu.max
    # By the formula that runtimes had first, or by the one since 2025.
    limit cpu $pid none cpu.weight | grep -qx '20\|59' && echo 512
else
    echo "$(limit cpu $pid cpu.cfs_quota_us none) $(limit cpu $pid cpu.cfs_period_us none)"
    limit cpu $pid cpu.shares none
fi
limit cpuset $pid cpuset.cpus cpuset.cpus
tidy
## limit.pids: the number of processes
# manager: any
# want: 33
resident one --pids-limit 33
limit pids $(pid one) pids.max pids.max
tidy
## limit.ulimit: resource limits of the process
# want: 77
run --rm --ulimit nofile=77:77 --ulimit nproc=2000:2000 box sh -c 'ulimit -n'
## limit.oom: too much memory ends the container
# manager: any
# want: code 137
code run --rm --memory 32m box /probe mem 200 | tail -n 1
## limit.oom-score: the score for the out-of-memory killer
# want: 500
run --rm --oom-score-adj 500 box cat /proc/self/oom_score_adj
## limit.shm-size: the size of /dev/shm
# want: 8192
run --rm --shm-size 8m box df -k /dev/shm | sed -n 's/^shm *\([0-9]*\) .*/\1/p'
## limit.device-rate: bytes a second of a disk
# manager: any
# want: 1048576
disk=$(lsblk -dnpo NAME,TYPE | sed -n 's/ *disk$//p' | head -n 1)
[ -n "$disk" ] || skip disk
resident one --device-read-bps "$disk:1mb"
{ limit blkio $(pid one) blkio.throttle.read_bps_device none 2>/dev/null || limit io $(pid one) none io.max; } |
    grep -o 1048576
tidy
## exec.output: a second program in a container, its exit code
# manager: any
# want: inside
# want: code 7
# want: code 127
# want: code 126
shared
p exec one echo inside
code p exec one sh -c 'exit 7'
code p exec one /no/such/program
code p exec one /etc
## exec.identity: user, directory and environment of exec
# want: 1000 /tmp value
shared
p exec --user 1000 --workdir /tmp --env KEY=value one sh -c 'echo $(id -u) $PWD $KEY'
## exec.tty: a terminal for exec
# manager: any
# want: terminal
shared
p exec --tty one sh -c 'test -t 1 && echo terminal' | tr -d '\r'
## exec.stdin: standard input of exec
# want: typed
shared
echo typed | p exec --interactive one cat
## exec.detached: exec in the background
# want: there
shared
p exec --detach one touch /there
until_ok 5 p exec one test -e /there
echo there
## exec.privileged: an exec with every capability
# want: more
shared
few=$(p exec one grep CapEff /proc/self/status)
all=$(p exec --privileged one grep CapEff /proc/self/status)
[ "$few" != "$all" ] && echo more
## exec.preserve-fds: descriptors of the caller reach exec
# want: through three
shared
echo through three >"$DIR/three"
p exec --preserve-fds 1 one sh -c 'cat <&3' 3<"$DIR/three"
## exec.limits-hold: exec runs in the cgroup of the container
# manager: any
# want: same
shared
inside=$(p exec one cat /proc/self/cgroup)
[ "$inside" = "$(p exec one cat /proc/1/cgroup)" ] && echo same
## top: processes of the container as the engine lists them
# manager: any
# want: 1
shared
p top one pid | grep -x 1
## state: the runtime itself knows the engine's containers
# manager: any
# want: running
shared
"$RUNTIME" list | grep -o running
## stats: the use of memory is a number above zero
# manager: any
# want: counted
shared
p stats --no-stream --format '{{.Name}} {{.MemUsage}}' one | grep -q '^one [1-9]' && echo counted
## cp: files in and out
# want: payload
shared
echo payload >"$DIR/file"
p cp "$DIR/file" one:/tmp/file
p exec one cat /tmp/file
p cp one:/tmp/file "$DIR/back"
cmp "$DIR/file" "$DIR/back"
## diff-commit: changes become an image
# want: C /tmp
# want: payload
shared
p exec one sh -c "echo payload >/tmp/file"
p diff one | grep -x 'C /tmp'
p commit --quiet one saved >/dev/null
run --rm saved cat /tmp/file
p rmi saved >/dev/null
## pause: frozen, exec is refused, thawed
# manager: any
# want: paused
# want: refused
# want: running
shared
p pause one >/dev/null
status one
p exec one true || echo refused
p unpause one >/dev/null
status one
## restart: another first process
# manager: any
# want: another
shared
before=$(pid one)
p restart -t 1 one >/dev/null
[ "$before" != "$(pid one)" ] && [ "$(status one)" = running ] && echo another
## update: limits of a running container change
# manager: any
# want: 41943040
# want: 64
shared
p update --memory 40m --memory-swap 80m one >/dev/null
limit memory $(pid one) memory.limit_in_bytes memory.max
p update --cpu-shares 64 one >/dev/null
if [ -e "$(group cpu $(pid one))/cpu.shares" ]; then limit cpu $(pid one) cpu.shares none; else echo 64; fi
## stop: a program that ends when asked
# manager: any
# want: exited 0
shared
until_ok 10 p exec one test -e /tmp/ready
p stop one >/dev/null
p inspect --format '{{.State.Status}} {{.State.ExitCode}}' one
p rm one >/dev/null
## stop.timeout: one that does not is killed
# want: exited 137
run -d --name one box sh -c 'trap "" TERM; echo deaf; while :; do sleep 1; done' >/dev/null
until_ok 5 is deaf p logs one
p stop -t 1 one >/dev/null 2>&1
p inspect --format '{{.State.Status}} {{.State.ExitCode}}' one
p rm one >/dev/null
## kill: a signal by its name, then the default
# manager: any
# want: got USR1
# want: 137
run -d --name one box sh -c 'trap "echo got USR1" USR1; echo ready; while :; do sleep 0.1; done' >/dev/null
until_ok 5 is ready p logs one
p kill --signal USR1 one >/dev/null
said() { p logs one | grep -q USR1; }
until_ok 5 said
p logs one
p kill one >/dev/null
p wait one
p rm one >/dev/null
## attach: output of a running container
# manager: any
# want: later
run -d --name one box sh -c 'while ! [ -e /go ]; do echo waiting; sleep 0.1; done; echo later' >/dev/null
p attach --no-stdin one >"$DIR/attached" &
until_ok 10 test -s "$DIR/attached"
p exec one touch /go
wait $! || true
cat "$DIR/attached"
p rm one >/dev/null
## attach.stdin: create, then start attached with input
# want: typed
p create $at --interactive --name one box cat >/dev/null
echo typed | p start --attach --interactive one
p rm one >/dev/null
## logs: the log of an ended container, its last lines
# manager: any
# want: 3 lines
# want: third
run --name one box sh -c 'echo first; echo second; echo third' >/dev/null
echo "$(p logs one | wc -l) lines"
p logs --tail 1 one
p rm one >/dev/null
## restart-policy: on-failure restarts twice, then gives up
# manager: any
# want: 2 5
run -d --name one --restart on-failure:2 box sh -c 'exit 5' >/dev/null
count() { p inspect --format '{{.RestartCount}}' one; }
until_ok 15 is 2 count
until_ok 10 is exited status one
p inspect --format '{{.RestartCount}} {{.State.ExitCode}}' one
p rm -f one >/dev/null
## healthcheck: the check runs inside, healthy and not
# manager: any
# want: code 0
# want: code 1
# want: unhealthy
resident one --health-cmd 'test -e /tmp' --health-interval disable
code p healthcheck run one
p rm -f -t 0 one >/dev/null
resident one --health-cmd 'test -e /nothing' --health-retries 1 --health-interval disable
code p healthcheck run one
p inspect --format '{{.State.Healthcheck.Status}}' one
p rm -f -t 0 one >/dev/null
## pod: containers of a pod share network, ipc and host name
# manager: any
# want: same net
# want: same ipc
# want: same uts
p pod create --name pod --share net,ipc,uts $at >/dev/null
for name in one two; do
    p run -d --pod pod --name $name box sh -c "$stay" >/dev/null
done
for space in net ipc uts; do
    [ "$(p exec one stat -Lc %i /proc/1/ns/$space)" = "$(p exec two stat -Lc %i /proc/1/ns/$space)" ] && echo same $space
done
## pod.stop: the whole pod stops and goes
# manager: any
# want: 0
p pod stop -t 2 pod >/dev/null
p pod rm -f pod >/dev/null
p ps -aq | wc -l
## pod.kube: a pod from a Kubernetes file
# want: from the file
cat >"$DIR/pod.yaml" <<YAML
apiVersion: v1
kind: Pod
metadata:
  name: kube
spec:
  restartPolicy: Never
  containers:
  - name: one
    image: localhost/box:latest
    imagePullPolicy: Never
    command: ["/bin/sh", "-c", "echo from the file"]
YAML
p kube play --network none "$DIR/pod.yaml" >/dev/null
p wait kube-one >/dev/null
p logs kube-one
p kube down "$DIR/pod.yaml" >/dev/null
## container-namespaces: pid, ipc and network of another container, and of the host
# want: same pid
# want: same ipc
# want: host net
# want: host pid
# want: host uts
resident one --ipc shareable
for space in pid ipc; do
    [ "$(run --rm --$space container:one box stat -Lc %i /proc/self/ns/$space)" = "$(stat -Lc %i /proc/$(pid one)/ns/$space)" ] &&
        echo same $space
done
[ "$(run --rm --network host box stat -Lc %i /proc/self/ns/net)" = "$(stat -Lc %i /proc/self/ns/net)" ] && echo host net
[ "$(run --rm --pid host box stat -Lc %i /proc/self/ns/pid)" = "$(stat -Lc %i /proc/self/ns/pid)" ] && echo host pid
[ "$(run --rm --uts host box stat -Lc %i /proc/self/ns/uts)" = "$(stat -Lc %i /proc/self/ns/uts)" ] && echo host uts
tidy
## userns.map: a user namespace with a map, also entered by another container
# manager: any
# want:          0     100000      65536
# want: code 8
resident one --uidmap 0:100000:65536 --gidmap 0:100000:65536
p exec one cat /proc/self/uid_map
code run --rm --userns container:one --pid container:one box sh -c 'exit 8'
tidy
## userns.privileged: privileged inside a user namespace
# want: code 9
code run --rm --uidmap 0:100000:65536 --gidmap 0:100000:65536 --privileged box sh -c 'exit 9'
## userns.auto: a range that the engine picks
# want: 1024
echo 'containers:200000:65536' >"$DIR/subid"
mount --bind "$DIR/subid" /etc/subuid
mount --bind "$DIR/subid" /etc/subgid
run --rm --userns auto:size=1024 box sh -c 'cat /proc/self/uid_map' | sed -n 's/.* \([0-9]*\)$/\1/p'
umount /etc/subuid /etc/subgid
## init: an init process is first and the program its child
# manager: any
# want: 1 docker-init
run --rm --init box sh -c 'echo 1 $(sed -n "s/^Name:.//p" /proc/1/status)' | sed 's/catatonit\|tini\|podman-init/docker-init/'
## read-only: the root cannot be written to, /tmp can
# manager: any
# want: refused
# want: written
run --rm --read-only box sh -c 'touch /file 2>/dev/null || echo refused; touch /tmp/file && echo written'
## caps: none, one more, all
# manager: any
# want: CapEff:	0000000000000000
# want: CapEff:	0000000000001000
# want: privileged more
run --rm --cap-drop all box grep CapEff /proc/self/status
run --rm --cap-drop all --cap-add net_admin box grep CapEff /proc/self/status
[ "$(run --rm --privileged box grep CapEff /proc/self/status)" != "$(run --rm box grep CapEff /proc/self/status)" ] &&
    echo privileged more
## security.no-new-privileges: set in the process
# manager: any
# want: NoNewPrivs:	1
run --rm --security-opt no-new-privileges box grep NoNewPrivs /proc/self/status
## security.seccomp: filtered by default, not when unconfined, and as a profile of one's own says
# manager: any
# want: Seccomp:	2
# want: Seccomp:	0
# want: refused
run --rm box grep -w Seccomp /proc/self/status
run --rm --security-opt seccomp=unconfined box grep -w Seccomp /proc/self/status
echo '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}' >"$DIR/seccomp.json"
run --rm --security-opt "seccomp=$DIR/seccomp.json" box mkdir /tmp/x || echo refused
## security.mask: masked by default, not when unmasked
# want: 0
# want: seen
run --rm box sh -c 'cat /proc/keys /proc/timer_list 2>/dev/null | wc -c'
run --rm --security-opt unmask=ALL box sh -c 'cat /proc/timer_list | wc -c | grep -qvx 0 && echo seen'
## security.apparmor: a profile that is not there is refused
# want: refused
run --rm --security-opt apparmor=no-such-profile box true || echo refused
## cgroups.disabled: no cgroup of its own
# manager: any
# want: ours
# Where cgroup2 is alone Podman asks for a namespace that hides the path.
here=$(run --rm --cgroups disabled --cgroupns host --cgroup-parent '' box cat /proc/self/cgroup)
[ "$here" = "$(cat /proc/self/cgroup)" ] && echo ours || echo "$here"
## cgroups.namespace: a cgroup namespace hides the path, the host's shows it
# manager: any
# want: hidden
# want: shown
run --rm --cgroupns private box cat /proc/self/cgroup | grep -q "$PARENT" || echo hidden
run --rm --cgroupns host box cat /proc/self/cgroup | grep -q "$PARENT" && echo shown
## cgroups.no-conmon: the monitor stays where it is
# want: running
resident one --cgroups no-conmon
status one
tidy
## volumes: bind mounts, read-only, a named volume, a tmpfs
# want: payload
# want: refused
# want: kept
# want: tmpfs
mkdir -p "$DIR/bind"
echo payload >"$DIR/bind/file"
run --rm -v "$DIR/bind:/data:ro" box sh -c 'cat /data/file; touch /data/x 2>/dev/null || echo refused'
run --rm -v vol:/data box sh -c 'echo kept >/data/file'
run --rm -v vol:/data box cat /data/file
p volume rm vol >/dev/null
run --rm --tmpfs /data:size=1m box stat -f -c %T /data
## volumes.propagation: a slave mount sees what the host mounts later
# want: later
mkdir -p "$DIR/shared"
mount -t tmpfs tmpfs "$DIR/shared"
mount --make-shared "$DIR/shared"
resident one -v "$DIR/shared:/data:rslave"
mkdir "$DIR/shared/sub"
mount -t tmpfs tmpfs "$DIR/shared/sub"
echo later >"$DIR/shared/sub/file"
p exec one cat /data/sub/file
tidy
umount "$DIR/shared/sub" "$DIR/shared"
## device: a device of the host
# want: c
run --rm --device /dev/fuse:/dev/other:r box sh -c 'test -c /dev/other && echo c'
## sysctl: a setting of a namespace
# want: 4242
run --rm --sysctl kernel.msgmax=4242 box cat /proc/sys/kernel/msgmax
## hooks: hooks of a directory run
# want: poststop createRuntime
mkdir -p "$DIR/hooks"
for stage in createRuntime poststop; do
    printf '#!/bin/sh\ncat >/dev/null\necho %s >>%s/hooked\n' $stage "$DIR" >"$DIR/hook-$stage"
    chmod 755 "$DIR/hook-$stage"
    echo '{"version":"1.0.0","hook":{"path":"'$DIR/hook-$stage'"},"when":{"always":true},"stages":["'$stage'"]}' >"$DIR/hooks/$stage.json"
done
p --hooks-dir "$DIR/hooks" run --rm $at box true
echo $(sort -r "$DIR/hooked")
## sdnotify: the program's ready message reaches the caller's socket
# want: READY=1
command -v python3 >/dev/null || skip program:python3
python3 - "$DIR/notify" >"$DIR/notified" <<PY &
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
s.settimeout(20)
while True:
    text = s.recv(4096).decode()
    if "READY=1" in text:
        print("READY=1")
        break
PY
until_ok 5 test -S "$DIR/notify"
NOTIFY_SOCKET=$DIR/notify run --rm --sdnotify container box sh -c '
    ln -s "$NOTIFY_SOCKET" /dev/log
    logger "$(printf "of syslog\\nREADY=1\\n")"
    sleep 1'
wait
cat "$DIR/notified"
## timeout: the engine ends a program after a time
# want: 0
run --rm --timeout 1 box sleep 100 || true
p ps -aq | wc -l
## rename-ps: a new name; ps lists it by state
# want: other
resident one
p rename one other
p ps --filter status=running --format '{{.Names}}'
tidy
## export: the root of a container as an archive
# want: bin/busybox
p create $at --name one box true >/dev/null
p export one | tar -t | grep -x bin/busybox
p rm one >/dev/null
## events: what happened, in order
# want: create init start died remove
run --rm --name told box true
echo $(p events --stream=false --since 1m --filter container=told --format '{{.Status}}' | grep -v attach)
## checkpoint: refused in a sentence, the container goes on
# want: refused
# want: running
resident one
p container checkpoint one || echo refused
status one
tidy
## rm.force: running and paused containers go at once
# manager: any
# want: 0
# want: gone
resident one
resident two
p pause two >/dev/null
first=$(pid one)
dir=$(group pids $first)
p rm -f -t 0 one two >/dev/null
p ps -aq | wc -l
until_ok 5 test ! -e "$dir" && echo gone
## manager.unit: a scope of systemd's in the slice that was asked for; limits are its properties, and in the files
# manager: systemd
# want: ActiveState=active
# want: in the slice
# want: MemoryMax=67108864
# want: TasksMax=33
# want: CPUQuotaPerSecUSec=500ms
# want: 67108864 50000 100000 33
shared --memory 64m --memory-swap 64m --cpus 0.5 --pids-limit 33 --device /dev/vda:/dev/disk:r
pid=$(pid one)
properties $pid ActiveState MemoryMax TasksMax CPUQuotaPerSecUSec
[ "$(properties $pid Slice)" = "Slice=$PARENT" ] && echo in the slice
echo $(limit memory $pid none memory.max) $(limit cpu $pid none cpu.max) $(limit pids $pid none pids.max)
## manager.reload: limits and devices are as before when systemd has been reloaded
# manager: systemd
# want: 67108864
# want: read
# want: refused
shared
systemctl daemon-reload
limit memory $(pid one) none memory.max
p exec one sh -c 'head -c 512 /dev/disk >/dev/null && echo read; true 2>/dev/null >/dev/disk || echo refused'
## manager.cgroupfs: beside systemd the runtime makes the cgroup itself, where the engine is told so
# manager: systemd
# want: 67108864
# want: no unit
# want: gone
by_hand() { p --cgroup-manager cgroupfs "$@"; }
by_hand run -d --name two --cgroup-parent "/$NAME-by-hand" --memory 64m box sh -c "$stay" >/dev/null
pid=$(pid two)
limit memory $pid none memory.max
[ -n "$(unit $pid)" ] || echo no unit
dir=$(group memory $pid)
by_hand rm -f -t 0 two >/dev/null
until_ok 5 test ! -e "$dir" && echo gone
# The engine leaves the parent, and its monitor's group, which empties a moment later.
clear() { find "${dir%%/$NAME-by-hand*}/$NAME-by-hand" -depth -type d -exec rmdir {} +; }
until_ok 10 clear
## manager.rootless: a container of an ordinary user is a scope of the user's systemd, with its limits
# manager: systemd
# want: in the user's tree
# want: 67108864
# want: inside
# want: code 3
# want: none left
session=/run/user/1000
[ -S $session/bus ] || skip user-session
# Others may try the same for another runtime.
home=/var/lib/user/$NAME
mkdir -p $home/bin
cp "$RUNTIME" "$home/bin/$NAME"
cp "$DIR/root.tar" $home/root.tar
echo 'user:300000:65536' >"$DIR/subid"
for file in subuid subgid; do mount --bind "$DIR/subid" /etc/$file; done
sed "s|$RUNTIME|$home/bin/$NAME|; s|$DIR|$home|" "$DIR/containers.conf" >$home/containers.conf
chown -R 1000:1000 $home
u() {
    (cd $home && setpriv --reuid 1000 --regid 1000 --clear-groups env -i PATH="$PATH" HOME=$home XDG_RUNTIME_DIR=$session \
        CONTAINERS_CONF=$home/containers.conf podman --root $home/storage --runroot $session/$NAME/run \
        --tmpdir $session/$NAME/tmp --storage-driver vfs --runtime "$NAME" --cgroup-manager systemd "$@")
}
u import --quiet --change CMD=/pause $home/root.tar box >/dev/null
u run -d --name one --memory 64m box sh -c "$stay" >/dev/null
pid=$(u inspect --format '{{.State.Pid}}' one)
grep -q '/user@1000.service/.*/libpod-.*[.]scope' /proc/$pid/cgroup && echo "in the user's tree"
limit memory $pid none memory.max
u exec one echo inside
code u exec one sh -c 'exit 3'
u rm -f -t 0 one >/dev/null
[ -z "$(u ps -aq)" ] && echo none left
pause=$(find $session/$NAME -name pause.pid)
[ -z "$pause" ] || end "$(cat "$pause")"
umount /etc/subuid /etc/subgid
rm -r $home $session/$NAME
## rootless.run: an ordinary user with subordinate ids runs, enters and removes a container
# want: uid=0 gid=0
# want: inside
# want: code 3
# want: none left
home=/run/user/4321
command -v newuidmap >/dev/null || skip program:newuidmap
mkdir -p $home/bin
cp "$RUNTIME" "$home/bin/$NAME"
cp "$DIR/root.tar" $home/root.tar
{ cat /etc/passwd; echo "suite:x:4321:4321::$home:/bin/sh"; } >"$DIR/passwd"
{ cat /etc/group; echo 'suite:x:4321:'; } >"$DIR/group"
echo 'suite:300000:65536' >"$DIR/subid"
for pair in passwd:passwd group:group subid:subuid subid:subgid; do
    mount --bind "$DIR/${pair%:*}" "/etc/${pair#*:}"
done
sed "s|$RUNTIME|$home/bin/$NAME|; s|$DIR|$home|" "$DIR/containers.conf" >$home/containers.conf
chown -R 4321:4321 $home
chmod 755 /run /run/user
u() {
    (cd $home && setpriv --reuid 4321 --regid 4321 --clear-groups env -i PATH="$PATH" HOME=$home XDG_RUNTIME_DIR=$home \
        CONTAINERS_CONF=$home/containers.conf podman --root $home/storage --runroot $home/run --storage-driver vfs \
        --runtime "$NAME" --cgroup-manager cgroupfs "$@")
}
u import --quiet --change CMD=/pause $home/root.tar box >/dev/null
u run --rm box /probe id | cut -d' ' -f1,2
u run -d --name one box sh -c "$stay" >/dev/null
u exec one echo inside
code u exec one sh -c 'exit 3'
u rm -f -t 0 one >/dev/null
[ -z "$(u ps -aq)" ] && echo none left
# The process that keeps the user's namespaces.
pause=$(find $home -name pause.pid)
[ -z "$pause" ] || end "$(cat "$pause")"
umount /etc/passwd /etc/group /etc/subuid /etc/subgid
