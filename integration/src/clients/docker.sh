# Docker's daemon with the runtime as its default, on a network namespace of its own.
## env
d() { docker --host unix:///run/d.sock --config "$DIR/docker" "$@"; }
at="--network none --cgroup-parent $PARENT"
run() { d run $at "$@"; }
pid() { d inspect --format '{{.State.Pid}}' "$1"; }
status() { d inspect --format '{{.State.Status}}' "$1"; }
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
    d container inspect one >/dev/null 2>&1 || resident one "$@";
}
tidy() {
    for id in $(d ps -aq); do
        d rm -f "$id" >/dev/null
    done
}
# A kernel without these tables has no network of the engine's.
bare=
iptables -t nat -L >/dev/null 2>&1 || bare='--bridge none --iptables=false'
daemon() {
    dockerd --host unix:///run/d.sock --data-root "$DIR/data" --exec-root /run/d --pidfile /run/d.pid \
        --storage-driver vfs --exec-opt "native.cgroupdriver=$MANAGER" --live-restore $bare \
        --add-runtime "$NAME-under-test=$RUNTIME" --default-runtime "$NAME-under-test" >>"$DIR/daemon.log" 2>&1 &
    until_ok 60 d version
}
## start
daemon
trap 'tidy || true; end "$(cat /run/d.pid)"' EXIT
d import --change 'CMD ["/pause"]' "$DIR/root.tar" box >/dev/null
## info.default: the daemon runs everything with the runtime
# want: under test
d info --format '{{.DefaultRuntime}}' | grep -q under-test && echo under test
## run.output: what the program prints arrives
# manager: any
# want: hello
# want: problem
run --rm box echo hello
run --rm box sh -c 'echo problem >&2' 2>&1
## run.exit-code: the program's exit code is the client's
# want: code 42
code run --rm box sh -c 'exit 42'
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
# want: 0
run --rm box /orphan || echo failed
d ps -aq | wc -l
## run.identity: host name, directory, environment, user and groups
# want: box
# want: /usr
# want: value
# want: uid=1000 gid=1000 groups=1000,2000
run --rm --hostname box --workdir /usr --env KEY=value box sh -c 'hostname; pwd; echo $KEY'
run --rm --user 1000:1000 --group-add 2000 box /probe id
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
d exec one touch /go
d wait one
d rm one >/dev/null
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
run --rm --ulimit nofile=77:77 box sh -c 'ulimit -n'
## limit.oom: too much memory ends the container and the engine knows why
# manager: any
# want: code 137
# want: true 137
# The engine's containerd hears of the memory and of the end on two ways, and drops the first when the group is gone before it
# has looked.
for _ in 1 2 3; do
    ended=$(code run --name one --memory 32m box /probe mem 200 | tail -n 1)
    told=$(d inspect --format '{{.State.OOMKilled}} {{.State.ExitCode}}' one)
    d rm one >/dev/null
    echo "$told" >&2
    [ "$told" != 'true 137' ] || break
done
echo "$ended"
echo "$told"
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
# want: code 126
shared
d exec one echo inside
code d exec one sh -c 'exit 7'
code d exec one /etc
## exec.identity: user, directory and environment of exec
# want: 1000 /tmp value
shared
d exec --user 1000 --workdir /tmp --env KEY=value one sh -c 'echo $(id -u) $PWD $KEY'
## exec.tty: a terminal for exec
# manager: any
# want: terminal
shared
script -qec "docker --host unix:///run/d.sock exec --tty one sh -c 'test -t 1 && echo terminal'" /dev/null | tr -d '\r'
## exec.stdin: standard input of exec
# want: typed
shared
echo typed | d exec --interactive one cat
## exec.detached: exec in the background
# want: there
shared
d exec --detach one touch /there
until_ok 5 d exec one test -e /there
echo there
## exec.privileged: an exec with every capability
# manager: any
# want: more
shared
every_capability || skip cap-sys-resource
few=$(d exec one grep CapEff /proc/self/status)
all=$(d exec --privileged one grep CapEff /proc/self/status)
[ "$few" != "$all" ] && echo more
## top: processes of the container as the engine lists them
# want: listed
shared
d top one | grep -q 'sh -c trap' && echo listed
## state: the runtime itself knows the daemon's containers
# want: running
shared
"$RUNTIME" --root /run/d/runtime-runc/moby list | grep -o running
## stats: memory and processes are numbers above zero
# manager: any
# want: counted
shared
d stats --no-stream --format '{{.Name}} {{.MemUsage}} {{.PIDs}}' one | grep -q '^one [1-9].* [1-9]' && echo counted
## cp: files in and out
# want: payload
shared
echo payload >"$DIR/file"
d cp -q "$DIR/file" one:/tmp/file 2>/dev/null || d cp "$DIR/file" one:/tmp/file
d exec one cat /tmp/file
d cp one:/tmp/file "$DIR/back"
cmp "$DIR/file" "$DIR/back"
## diff-commit: changes become an image
# want: C /tmp
# want: payload
shared
d exec one sh -c "echo payload >/tmp/file"
d diff one | grep -x 'C /tmp'
d commit one saved >/dev/null
run --rm saved cat /tmp/file
d rmi saved >/dev/null
## pause: frozen, exec is refused, thawed
# manager: any
# want: paused
# want: refused
# want: running
shared
d pause one >/dev/null
status one
d exec one true || echo refused
d unpause one >/dev/null
status one
## restart: another first process
# manager: any
# want: another
shared
before=$(pid one)
d restart -t 1 one >/dev/null
[ "$before" != "$(pid one)" ] && [ "$(status one)" = running ] && echo another
## update: limits of a running container change
# manager: any
# want: 41943040
# want: 50000
# want: 44
shared
d update --memory 40m --memory-swap 80m one >/dev/null
limit memory $(pid one) memory.limit_in_bytes memory.max
d update --cpus 0.5 one >/dev/null
limit cpu $(pid one) cpu.cfs_quota_us cpu.max | cut -d' ' -f1
d update --pids-limit 44 one >/dev/null
limit pids $(pid one) pids.max pids.max
## live-restore: the daemon restarts and the container goes on
# manager: any
# want: same
# want: still inside
shared
before=$(pid one)
end "$(cat /run/d.pid)"
[ -e "/proc/$before" ]
daemon
[ "$before" = "$(pid one)" ] && echo same
d exec one echo still inside
## stop: a program that ends when asked
# manager: any
# want: exited 0
shared
until_ok 10 d exec one test -e /tmp/ready
d stop one >/dev/null
d inspect --format '{{.State.Status}} {{.State.ExitCode}}' one
d rm one >/dev/null
## stop.timeout: one that does not is killed
# want: exited 137
run -d --name one box sh -c 'trap "" TERM; echo deaf; while :; do sleep 1; done' >/dev/null
until_ok 5 is deaf d logs one
d stop -t 1 one >/dev/null
d inspect --format '{{.State.Status}} {{.State.ExitCode}}' one
d rm one >/dev/null
## kill: a signal by its name, then the default
# manager: any
# want: got USR1
# want: 137
run -d --name one box sh -c 'trap "echo got USR1" USR1; echo ready; while :; do sleep 0.1; done' >/dev/null
until_ok 5 is ready d logs one
d kill --signal USR1 one >/dev/null
said() { d logs one | grep -q USR1; }
until_ok 5 said
d logs one
d kill one >/dev/null
d wait one
d rm one >/dev/null
## attach: output of a running container
# manager: any
# want: later
run -d --name one box sh -c 'while ! [ -e /go ]; do echo waiting; sleep 0.1; done; echo later' >/dev/null
d attach --no-stdin one >"$DIR/attached" &
until_ok 10 test -s "$DIR/attached"
d exec one touch /go
wait $! || true
cat "$DIR/attached"
d rm one >/dev/null
## attach.stdin: create, then start attached with input
# want: typed
d create $at --interactive --name one box cat >/dev/null
echo typed | d start --attach --interactive one
d rm one >/dev/null
## logs: the log of an ended container, its last lines
# manager: any
# want: 3 lines
# want: third
run --name one box sh -c 'echo first; echo second; echo third' >/dev/null
echo "$(d logs one | wc -l) lines"
d logs --tail 1 one
d rm one >/dev/null
## restart-policy: on-failure restarts twice, then gives up
# manager: any
# want: 2 5
run -d --name one --restart on-failure:2 box sh -c 'exit 5' >/dev/null
count() { d inspect --format '{{.RestartCount}}' one; }
until_ok 15 is 2 count
until_ok 10 is exited status one
d inspect --format '{{.RestartCount}} {{.State.ExitCode}}' one
d rm -f one >/dev/null
## healthcheck: the check runs inside at its interval, healthy and not
# manager: any
# want: healthy
# want: unhealthy
health() { d inspect --format '{{.State.Health.Status}}' one; }
resident one --health-cmd 'test -e /tmp' --health-interval 500ms
until_ok 15 is healthy health
health
d exec one sh -c 'mv /tmp /other 2>/dev/null || true; chmod 0 /tmp' >/dev/null 2>&1 || true
d rm -f one >/dev/null
resident one --health-cmd 'test -e /nothing' --health-interval 500ms --health-retries 1
until_ok 15 is unhealthy health
health
d rm -f one >/dev/null
## container-namespaces: pid, ipc and network of another container, and of the host
# want: same net
# want: same pid
# want: same ipc
# want: host net
# want: host pid
# want: host uts
resident one --ipc shareable
for space in net pid ipc; do
    other='--network none'
    [ $space != net ] || other=
    [ "$(d run --rm --cgroup-parent $PARENT $other --$space container:one box stat -Lc %i /proc/self/ns/$space)" = \
        "$(stat -Lc %i /proc/$(pid one)/ns/$space)" ] && echo same $space
done
[ "$(d run --rm --cgroup-parent $PARENT --network host box stat -Lc %i /proc/self/ns/net)" = "$(stat -Lc %i /proc/self/ns/net)" ] &&
    echo host net
[ "$(run --rm --pid host box stat -Lc %i /proc/self/ns/pid)" = "$(stat -Lc %i /proc/self/ns/pid)" ] && echo host pid
[ "$(run --rm --uts host box stat -Lc %i /proc/self/ns/uts)" = "$(stat -Lc %i /proc/self/ns/uts)" ] && echo host uts
tidy
## network.bridge: two containers on the engine's own network
# want: answered
d network create inner >/dev/null || skip bridge
d run -d --name one --network inner --cgroup-parent $PARENT box nc -l -p 80 -e echo answered >/dev/null
address=$(d inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' one)
ask() { d run --rm --network inner --cgroup-parent $PARENT box nc -w 3 "$address" 80 </dev/null | grep answered; }
ask || ask
tidy
d network rm inner >/dev/null
## init: an init process is first and the program its child
# manager: any
# want: 1 docker-init
run --rm --init box sh -c 'echo 1 $(sed -n "s/^Name:.//p" /proc/1/status)'
## read-only: the root cannot be written to, a tmpfs can
# manager: any
# want: refused
# want: written
run --rm --read-only --tmpfs /tmp box sh -c 'touch /file 2>/dev/null || echo refused; touch /tmp/file && echo written'
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
## cgroups.namespace: a cgroup namespace hides the path
# manager: any
# want: hidden
run --rm --cgroupns private box cat /proc/self/cgroup | grep -q "$PARENT" || echo hidden
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
d volume rm vol >/dev/null
run --rm --mount type=tmpfs,destination=/data,tmpfs-size=1m box stat -f -c %T /data
## device-sysctl: a device of the host, a setting of a namespace
# want: c
# want: 4242
run --rm --device /dev/fuse:/dev/other:r box sh -c 'test -c /dev/other && echo c'
run --rm --sysctl kernel.msgmax=4242 box cat /proc/sys/kernel/msgmax
## build: RUN steps of a Dockerfile
# want: built
mkdir -p "$DIR/context"
printf 'FROM box\nRUN echo built >/file\nUSER 1000\nCMD ["cat","/file"]\n' >"$DIR/context/Dockerfile"
DOCKER_BUILDKIT=0 d build --quiet --network none --cgroup-parent $PARENT -t built "$DIR/context" >/dev/null 2>&1
run --rm built
d rmi -f built >/dev/null
## events: what happened, in order
# want: create attach start die destroy
since=$(date +%s)
run --rm --name told box true
echo $(d events --since $since --until $(($(date +%s) + 1)) --filter container=told --format '{{.Action}}')
## checkpoint: refused, the container goes on
# want: refused
# want: running
resident one
d checkpoint create one first 2>/dev/null || echo refused
status one
tidy
## rm.force: running and paused containers go at once
# manager: any
# want: 0
# want: gone
resident one
resident two
d pause two >/dev/null
dir=$(group pids $(pid one))
d rm -f one two >/dev/null
d ps -aq | wc -l
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
d exec one sh -c 'head -c 512 /dev/disk >/dev/null && echo read; true 2>/dev/null >/dev/disk || echo refused'
