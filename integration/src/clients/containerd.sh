# containerd with ctr and with its CRI plugin, which Kubernetes calls: shim v2, the runtime as `BinaryName`.
## env
c() { ctr --address /run/c.sock --namespace suite "$@"; }
# The plugin's own namespace.
k() { ctr --address /run/c.sock --namespace k8s.io "$@"; }
box="--snapshotter native --runc-binary $RUNTIME --runc-root /run/state"
systemd=false
[ "$MANAGER" = cgroupfs ] || systemd=true
[ $systemd = false ] || box="$box --runc-systemd-cgroup"
# place NAME: the cgroup of a task of ours, in the words of the manager.
place() { if [ $systemd = true ]; then echo "$PARENT:suite:$1"; else echo "$PARENT/$1"; fi; }
run() {
    name=$1
    shift
    c run $box --cgroup "$(place "$name")" "$@"
}
pid() { c task ls | sed -n "s/^$1 *\([0-9]*\) .*/\1/p"; }
status() { c task ls | sed -n "s/^$1 *[0-9]* *//p"; }
linger='while :; do sleep 0.2; done'
stay='trap "exit 0" TERM; echo >/tmp/ready; while :; do sleep 0.2; done'
resident() { run "$1" -d suite/box:1 "$1" /bin/sh -c "$stay"; }
# Rows that look at a container of this name share it.
shared() {
    touch "$DIR/shares"
    status one | grep -q . || resident one;
}

cri() { /usr/bin/python3 -IS "$DIR/cri.py" "$@"; }
# sandbox NAME [MORE]: a pod on the host's network; the id is printed. MORE goes into the Linux part.
config() {
    printf '{"metadata":{"name":"%s","uid":"%s","namespace":"suite"},"log_directory":"%s/pods","linux":{"cgroup_parent":"%s"%s}}' \
        "$1" "$1" "$DIR" "$PARENT" "$2"
}
on_host='{"network":2,"pid":1}'
host=',"security_context":{"namespace_options":'$on_host'}'
sandbox() {
    cri RunPodSandbox "{\"config\":$(config "$1" "${2-$host}"),\"runtime_handler\":\"knarr\"}" | jq -r .pod_sandbox_id
}
# container POD NAME COMMAND [MORE] [LINUX]: created and started; the id is printed. MORE and LINUX are JSON to put in.
container() {
    created=$(cri CreateContainer "{\"pod_sandbox_id\":\"$1\",\"sandbox_config\":$(config pod "$host"),
        \"config\":{\"metadata\":{\"name\":\"$2\"},\"image\":{\"image\":\"docker.io/suite/box:1\"},\"command\":[\"/bin/sh\",\"-c\",$(printf %s "$3" | jq -Rs .)],
        \"log_path\":\"$2.log\"${4-},\"linux\":{\"security_context\":{\"namespace_options\":$on_host}${5-}}}}" | jq -r .container_id)
    cri StartContainer "{\"container_id\":\"$created\"}" >/dev/null
    echo "$created"
}
state() { cri ContainerStatus "{\"container_id\":\"$1\"}" | jq -r '.status | "\(.state) \(.exit_code)"'; }
log() { cut -d' ' -f4- "$DIR/pods/$1.log"; }
first() { cri ContainerStatus "{\"container_id\":\"$1\",\"verbose\":true}" | jq -r .info.info | jq -r .pid; }
in_container() {
    id=$1
    shift
    cri ExecSync "{\"container_id\":\"$id\",\"cmd\":$(jq -nc '$ARGS.positional' --args -- "$@")}"
}
# spoken ID TTY COMMAND [SAY [AFTER]]: exec over a stream; everything on it as JSON.
spoken() {
    cri --stream Exec "{\"container_id\":\"$1\",\"tty\":$2,\"stdin\":true,\"stdout\":true,\"stderr\":$([ "$2" = true ] && echo false || echo true),
        \"cmd\":[\"/bin/sh\",\"-c\",$(printf %s "$3" | jq -Rs .)]}" "${4-}" "${5-}"
}
# The code that the status of a stream tells.
told_code() { jq -r '.status | fromjson | if .status == "Success" then 0 else .details.causes[] | select(.reason == "ExitCode").message end'; }
# The pod of the rows that only look, and a container in it.
pod() {
    touch "$DIR/shares"
    [ -s "$DIR/pod" ] || sandbox pod >"$DIR/pod"
    [ -s "$DIR/inner" ] || container "$(cat "$DIR/pod")" inner "$stay" >"$DIR/inner"
    POD=$(cat "$DIR/pod") INNER=$(cat "$DIR/inner")
}
wipe() {
    cri StopPodSandbox "{\"pod_sandbox_id\":\"$1\"}" >/dev/null
    cri RemovePodSandbox "{\"pod_sandbox_id\":\"$1\"}" >/dev/null
}
tidy() {
    for id in $(c task ls -q); do
        # On a slow machine ctr was seen to wait for an end that it was not told of: it is asked again.
        for _ in 1 2; do
            timeout $((4 * PATIENCE)) ctr --address /run/c.sock --namespace suite task rm -f "$id" >/dev/null 2>&1 && break || true
        done
    done
    for id in $(c container ls -q); do
        c container rm "$id" >/dev/null 2>&1 || true
    done
    for id in $(cri ListPodSandbox | jq -r '.items[].id'); do
        wipe "$id" || true
    done
    rm -f "$DIR/pod" "$DIR/inner"
}
daemon() {
    containerd --config "$DIR/containerd.toml" >>"$DIR/daemon.log" 2>&1 &
    echo $! >"$DIR/daemon.pid"
    until_ok 60 c version
}
## start
mkdir -p "$DIR/pods" "$DIR/net"
cat >"$DIR/containerd.toml" <<TOML
version = 2
root = "$DIR/containerd"
state = "/run/c"
[grpc]
address = "/run/c.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "docker.io/suite/box:1"
restrict_oom_score_adj = true
disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "$DIR/net"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
default_runtime_name = "knarr"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.knarr]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.knarr.options]
BinaryName = "$RUNTIME"
SystemdCgroup = $systemd
TOML
cat >"$DIR/net/10-suite.conf" <<NET
{"cniVersion":"0.4.0","name":"suite","type":"bridge","bridge":"suite0","isGateway":true,"ipMasq":false,
 "ipam":{"type":"host-local","dataDir":"$DIR/ipam","subnet":"10.99.0.0/24"}}
NET
# An image archive by hand: one layer, one configuration, one manifest, one index.
blobs="$DIR/oci/blobs/sha256"
mkdir -p "$blobs"
# put FILE: moves a file to the blobs; sets `digest` and `size`.
put() {
    digest=$(sha256sum "$1" | cut -d' ' -f1)
    size=$(stat -c %s "$1")
    mv "$1" "$blobs/$digest"
}
cp "$DIR/root.tar" "$DIR/blob"
put "$DIR/blob"
layer="{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"sha256:$digest\",\"size\":$size}"
printf '{"architecture":"%s","os":"linux","config":{"Entrypoint":["/pause"],"Env":["PATH=/bin"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')" "$digest" >"$DIR/blob"
put "$DIR/blob"
printf '{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%s},"layers":[%s]}' \
    "$digest" "$size" "$layer" >"$DIR/blob"
put "$DIR/blob"
named() {
    printf '{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%s,"annotations":{"io.containerd.image.name":"%s"}}' \
        "$digest" "$size" "$1"
}
printf '{"schemaVersion":2,"manifests":[%s,%s]}' "$(named suite/box:1)" "$(named docker.io/suite/box:1)" >"$DIR/oci/index.json"
printf '{"imageLayoutVersion":"1.0.0"}' >"$DIR/oci/oci-layout"
tar -C "$DIR/oci" -cf "$DIR/image.tar" .
daemon
/usr/bin/python3 "$DIR/cri.py" --serve >>"$DIR/daemon.log" 2>&1 &
caller=$!
trap 'end "$caller"; end "$(cat "$DIR/daemon.pid")"' EXIT
c images import --snapshotter native "$DIR/image.tar" >/dev/null
k images import --snapshotter native "$DIR/image.tar" >/dev/null
# Without what it needs it ends, and the first row of the interface says so.
until_ok 20 test -S "$DIR/cri.sock" -o ! -e "/proc/$caller" || true
## ctr.output: what the program prints arrives
# manager: any
# want: hello
run a --rm suite/box:1 a /bin/sh -c "echo hello; sleep 0.5"
## ctr.exit-code: the program's exit code is the client's
# want: code 42
code run a --rm suite/box:1 a /bin/sh -c 'exit 42'
## ctr.not-found: a missing program is an error and leaves no container
# want: failed
# want: 0
run a --rm suite/box:1 a /no/such/program || echo failed
c container ls -q | wc -l
## ctr.identity: directory and environment
# want: /tmp value
run a --rm --cwd /tmp --env KEY=value suite/box:1 a /bin/sh -c 'echo $PWD $KEY; sleep 0.5'
## ctr.tty: a terminal of its own
# want: terminal
script -qec "ctr --address /run/c.sock --namespace suite run $box --cgroup $(place a) --rm --tty suite/box:1 a /bin/sh -c 'test -t 1 && echo terminal'" \
    /dev/null </dev/null | grep -o terminal
## ctr.limits: memory and processor limits are in the host's files
# manager: any
# want: 67108864
# want: 150000
run a -d --memory-limit 67108864 --cpus 1.5 suite/box:1 a /bin/sh -c "$stay"
limit memory $(pid a) memory.limit_in_bytes memory.max
limit cpu $(pid a) cpu.cfs_quota_us cpu.max | cut -d' ' -f1
tidy
## ctr.security: no new privileges, a profile, a read-only root, capabilities
# want: NoNewPrivs:	1
# want: Seccomp:	2
# want: refused
# want: CapEff:	0000000000001000
# ctr may lose the last words of a program that ends at once.
show='; sleep 0.5'
run a --rm suite/box:1 a /bin/sh -c "grep NoNewPrivs /proc/self/status$show"
run a --rm --seccomp suite/box:1 a /bin/sh -c "grep -w Seccomp /proc/self/status$show"
run a --rm --read-only suite/box:1 a /bin/sh -c "touch /file 2>/dev/null || echo refused$show"
drop=$(for cap in CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE; do
    echo "--cap-drop CAP_$cap"
done)
run a --rm $drop --cap-add CAP_NET_ADMIN suite/box:1 a /bin/sh -c "grep CapEff /proc/self/status$show"
## ctr.net-host: the network of the host
# want: host net
[ "$(run a --rm --net-host suite/box:1 a /bin/sh -c 'stat -Lc %i /proc/self/ns/net; sleep 0.5')" = "$(stat -Lc %i /proc/self/ns/net)" ] && echo host net
## ctr.exec: a second program and its exit code
# manager: any
# want: inside
# want: code 7
shared
c task exec --exec-id x one /bin/echo inside
code c task exec --exec-id y one /bin/sh -c 'exit 7'
## ctr.ps: processes of a task
# want: listed
shared
c task ps one | grep -q "^$(pid one) " && echo listed
## ctr.metrics: counters of the task
# want: counted
shared
c task metrics one | grep -q 'memory\.usage[a-z_]* *[1-9]' && echo counted
## ctr.pause: frozen and thawed
# manager: any
# want: PAUSED
# want: RUNNING
shared
c task pause one
status one
c task resume one
status one
## ctr.checkpoint: refused, the task goes on
# want: refused
# want: RUNNING
shared
c task checkpoint one >/dev/null 2>&1 || echo refused
status one
## ctr.restart-daemon: the daemon restarts and the task goes on
# want: same
# want: inside
shared
before=$(pid one)
end "$(cat "$DIR/daemon.pid")"
[ -e "/proc/$before" ]
daemon
[ "$before" = "$(pid one)" ] && echo same
c task exec --exec-id z one /bin/echo inside
## ctr.kill: a signal ends the task; it and its container are removed
# want: STOPPED
# want: 0
shared
until_ok 10 c task exec --exec-id ready one /bin/test -e /tmp/ready
c task kill --signal TERM one
until_ok 20 is STOPPED status one
status one
c task rm one >/dev/null 2>&1 || true
c container rm one
c container ls -q | wc -l
## ctr.rm-force: a paused task goes at once, with its cgroup
# manager: any
# want: gone
resident two
dir=$(group pids $(pid two))
c task pause two
c task rm -f two >/dev/null 2>&1 || true
c container rm two
until_ok 5 test ! -e "$dir" && echo gone
## cri.status: the plugin is ready, and so is the network
# want: RuntimeReady true
# want: NetworkReady true
/usr/bin/python3 -c 'import grpc, google.protobuf' 2>/dev/null || skip program:python3-grpcio
cri Status | jq -r '.status.conditions[] | "\(.type) \(.status)"'
cri Version | jq -e '.runtime_name == "containerd"' >/dev/null
## cri.sandbox: a pod with the runtime's handler
# manager: any
# want: knarr 0
pod
cri PodSandboxStatus "{\"pod_sandbox_id\":\"$POD\"}" | jq -r '.status | "\(.runtime_handler) \(.state)"'
## cri.container: a container runs in the pod and its output is in the log
# manager: any
# want: from the container
# want: 2 3
pod
id=$(container "$POD" short 'echo from the container; exit 3')
ended() { [ "$(state $id)" = '2 3' ]; }
until_ok 10 ended
log short
state $id
cri RemoveContainer "{\"container_id\":\"$id\"}" >/dev/null
## cri.not-found: a missing program is an error that says so
# want: says so
pod
id=$(cri CreateContainer "{\"pod_sandbox_id\":\"$POD\",\"sandbox_config\":$(config pod "$host"),
    \"config\":{\"metadata\":{\"name\":\"none\"},\"image\":{\"image\":\"docker.io/suite/box:1\"},\"command\":[\"/no/such\"],
    \"linux\":{\"security_context\":{\"namespace_options\":$on_host}}}}" | jq -r .container_id)
cri StartContainer "{\"container_id\":\"$id\"}" 2>&1 | grep -q 'no such file or directory' && echo says so
cri RemoveContainer "{\"container_id\":\"$id\"}" >/dev/null
## cri.state: the runtime itself knows the pods of the node, its sandbox and its container
# want: 2
pod
"$RUNTIME" --root /run/containerd/runc/k8s.io list -q | wc -l
## cri.exec-sync: output, errors and exit code of exec; a deadline
# manager: any
# want: inside+problem+5
# want: deadline
pod
in_container "$INNER" /bin/sh -c 'printf inside; printf problem >&2; exit 5' | jq -r '"\(.stdout)+\(.stderr)+\(.exit_code)"'
cri ExecSync "{\"container_id\":\"$INNER\",\"cmd\":[\"/bin/sleep\",\"100\"],\"timeout\":1}" 2>&1 | grep -qi 'deadline\|timeout' && echo deadline
## cri.exec-sync-ended: what runs past its deadline is ended
# want: was there
# want: ended
pod
cri ExecSync "{\"container_id\":\"$INNER\",\"cmd\":[\"/bin/sleep\",\"100\"],\"timeout\":3}" >/dev/null 2>&1 &
alone() { ! in_container "$INNER" /bin/sh -c 'cat /proc/[0-9]*/cmdline' | jq -r .stdout | tr '\000' ' ' | grep -q 'sleep 100'; }
beside() { ! alone; }
until_ok 10 beside && echo was there
wait
until_ok 10 alone && echo ended
## cri.exec-stream: exec over the streaming server: both outputs, the exit code, a missing program
# want: inside problem 5
# want: 0
# want: says so
pod
spoken "$INNER" false 'echo inside; echo problem >&2; exit 5' >"$DIR/heard"
echo $(jq -r '.stdout, .stderr' "$DIR/heard") $(told_code <"$DIR/heard")
spoken "$INNER" false true | told_code
cri --stream Exec "{\"container_id\":\"$INNER\",\"stdout\":true,\"cmd\":[\"/no/such\"]}" | jq -r .status | grep -q 'no such file or directory' && echo says so
## cri.exec-stream-stdin: what is typed on the way reaches the program
# want: ready got words 3
pod
spoken "$INNER" false 'echo ready; read line; echo got $line; exit 3' 'words
' ready >"$DIR/heard"
echo $(jq -r .stdout "$DIR/heard") $(told_code <"$DIR/heard")
## cri.exec-stream-tty: a terminal, its size, what is typed
# want: terminal
# want: 41 97
# want: got words
pod
spoken "$INNER" true 'test -t 0 && test -t 1 && echo terminal; until [ "$(stty size)" = "41 97" ]; do sleep 0.1; done; stty size; read line; echo got $line' 'words
' 97 | jq -r .stdout | tr -d '\r' | grep -v '^words$'
## cri.attach: a running container that reads: output and input over a stream
# want: got words
# want: 2 4
pod
# The plugin connects input before output, and closes both when the container ends, with what is on its way: words are said when
# some were heard, and the end is asked for when the answer was.
id=$(container "$POD" reads '(while :; do echo waits; sleep 0.2; done) &
while read line; do echo got $line; [ "$line" = end ] && exit 4; done' ',"stdin":true')
cri --stream Attach "{\"container_id\":\"$id\",\"stdin\":true,\"stdout\":true,\"stderr\":true}" 'words
' waits 'end
' 'got words' | jq -r .stdout
ended() { [ "$(state $id)" = '2 4' ]; }
until_ok 10 ended
state $id
## cri.debug: an ephemeral container in the pid namespace of another one
# want: sees the other
pod
on_host="{\"network\":2,\"pid\":3,\"target_id\":\"$INNER\"}"
id=$(container "$POD" debugger "$stay")
[ "$(stat -Lc %i /proc/$(first "$id")/ns/pid)" = "$(stat -Lc %i /proc/$(first "$INNER")/ns/pid)" ] &&
    [ "$(in_container "$id" /bin/sh -c 'cat /proc/1/cmdline' | jq -r .stdout | tr '\000' ' ')" = "$(tr '\000' ' ' <"/proc/$(first "$INNER")/cmdline")" ] && echo sees the other
cri StopContainer "{\"container_id\":\"$id\",\"timeout\":1}" >/dev/null
cri RemoveContainer "{\"container_id\":\"$id\"}" >/dev/null
## cri.namespaces: containers of a pod share network, ipc and host name; a shared pid namespace when asked
# want: same net
# want: same ipc
# want: same uts
pod
other=$(container "$POD" other "$stay")
for space in net ipc uts; do
    [ "$(stat -Lc %i /proc/$(first "$INNER")/ns/$space)" = "$(stat -Lc %i /proc/$(first "$other")/ns/$space)" ] && echo same $space
done
cri StopContainer "{\"container_id\":\"$other\",\"timeout\":1}" >/dev/null
cri RemoveContainer "{\"container_id\":\"$other\"}" >/dev/null
## cri.limits: memory, processor and score are in the host's files
# manager: any
# want: 67108864
# want: 50000
# want: 900
pod
id=$(container "$POD" limited "$stay" '' ',"resources":{"memory_limit_in_bytes":67108864,"cpu_period":100000,"cpu_quota":50000,"oom_score_adj":900}')
limit memory $(first $id) memory.limit_in_bytes memory.max
limit cpu $(first $id) cpu.cfs_quota_us cpu.max | cut -d' ' -f1
cat /proc/$(first $id)/oom_score_adj
echo "$id" >"$DIR/limited"
## manager.unit: scopes of systemd's in the slice that was asked for; limits of a container are its properties, and in the files
# manager: systemd
# want: ActiveState=active
# want: in the slice
# want: MemoryMax=67108864
# want: CPUQuotaPerSecUSec=500ms
# want: 67108864 50000 100000
pod
pid=$(first $(cat "$DIR/limited"))
properties $pid ActiveState MemoryMax CPUQuotaPerSecUSec
[ "$(properties $pid Slice)" = "Slice=$PARENT" ] && echo in the slice
echo $(limit memory $pid none memory.max) $(limit cpu $pid none cpu.max)
## cri.update: limits of a running container change
# manager: any
# want: 41943040
# want: 25000
pod
id=$(cat "$DIR/limited")
cri UpdateContainerResources "{\"container_id\":\"$id\",\"linux\":{\"memory_limit_in_bytes\":41943040,\"cpu_period\":100000,\"cpu_quota\":25000}}" >/dev/null
limit memory $(first $id) memory.limit_in_bytes memory.max
limit cpu $(first $id) cpu.cfs_quota_us cpu.max | cut -d' ' -f1
## cri.stats: the use of memory is above zero
# manager: any
# want: counted
pod
cri ContainerStats "{\"container_id\":\"$INNER\"}" | jq -e '.stats.memory.working_set_bytes.value | tonumber > 0' >/dev/null && echo counted
## cri.stats-list: processor time of all containers at once
# want: counted
pod
cri ListContainerStats '{}' | jq -e '[.stats[].cpu | select(.).usage_core_nano_seconds.value | tonumber] | length > 0 and all(. > 0)' >/dev/null && echo counted
## cri.oom: the reason of an end by memory is told
# manager: any
# want: OOMKilled 137
pod
# containerd hears of the memory and of the end on two ways, and drops the first when the group is gone before it has looked.
ended() { state $id | grep -q '^2 '; }
for _ in 1 2 3; do
    id=$(container "$POD" hog '/probe mem 200' '' ',"resources":{"memory_limit_in_bytes":33554432}')
    until_ok 15 ended
    told=$(cri ContainerStatus "{\"container_id\":\"$id\"}" | jq -r '.status | "\(.reason) \(.exit_code)"')
    cri RemoveContainer "{\"container_id\":\"$id\"}" >/dev/null
    [ "$told" != 'OOMKilled 137' ] || break
done
echo "$told"
## cri.security: user, groups, capabilities, read-only root, no new privileges, default profile
# want: uid=1000 gid=1000 groups=1000,2000
# want: CapEff:	0000000000001000
# want: refused
# want: NoNewPrivs:	1
# want: Seccomp:	2
pod
id=$(cri CreateContainer "{\"pod_sandbox_id\":\"$POD\",\"sandbox_config\":$(config pod "$host"),
    \"config\":{\"metadata\":{\"name\":\"user\"},\"image\":{\"image\":\"docker.io/suite/box:1\"},\"command\":[\"/probe\",\"id\"],\"log_path\":\"user.log\",
    \"linux\":{\"security_context\":{\"namespace_options\":$on_host,\"run_as_user\":{\"value\":1000},\"run_as_group\":{\"value\":1000},\"supplemental_groups\":[2000]}}}}" | jq -r .container_id)
cri StartContainer "{\"container_id\":\"$id\"}" >/dev/null
until_ok 5 test -s "$DIR/pods/user.log"
log user
id=$(cri CreateContainer "{\"pod_sandbox_id\":\"$POD\",\"sandbox_config\":$(config pod "$host"),
    \"config\":{\"metadata\":{\"name\":\"safe\"},\"image\":{\"image\":\"docker.io/suite/box:1\"},
    \"command\":[\"/bin/sh\",\"-c\",\"grep -w -e CapEff -e NoNewPrivs -e Seccomp /proc/self/status; touch /file || echo refused; echo end\"],\"log_path\":\"safe.log\",
    \"linux\":{\"security_context\":{\"namespace_options\":$on_host,\"readonly_rootfs\":true,\"no_new_privs\":true,\"seccomp\":{\"profile_type\":0},
        \"capabilities\":{\"drop_capabilities\":[\"ALL\"],\"add_capabilities\":[\"NET_ADMIN\"]}}}}}" | jq -r .container_id)
cri StartContainer "{\"container_id\":\"$id\"}" >/dev/null
until_ok 5 grep -q end "$DIR/pods/safe.log"
log safe
## cri.seccomp: the default profile, none, and one of the node's own
# want: 2
# want: 0
# want: 2 refused
pod
echo '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}' >"$DIR/profile.json"
# profile NAME JSON: what a container says of itself under a profile.
profile() {
    id=$(cri CreateContainer "{\"pod_sandbox_id\":\"$POD\",\"sandbox_config\":$(config pod "$host"),
        \"config\":{\"metadata\":{\"name\":\"$1\"},\"image\":{\"image\":\"docker.io/suite/box:1\"},
        \"command\":[\"/bin/sh\",\"-c\",\"sed -n 's/^Seccomp:.//p' /proc/self/status; mkdir /tmp/new 2>/dev/null || echo refused; echo end\"],
        \"log_path\":\"$1.log\",\"linux\":{\"security_context\":{\"namespace_options\":$on_host,\"seccomp\":$2}}}}" | jq -r .container_id)
    cri StartContainer "{\"container_id\":\"$id\"}" >/dev/null
    until_ok 10 grep -q end "$DIR/pods/$1.log"
    echo $(log "$1" | grep -v '^end$')
}
profile default '{"profile_type":0}'
profile none '{"profile_type":1}'
profile own "{\"profile_type\":2,\"localhost_ref\":\"$DIR/profile.json\"}"
## cri.sysctls: settings of the pod's namespaces
# want: 1
set_on=',"sysctls":{"kernel.shm_rmid_forced":"1"},"security_context":{"namespace_options":{"network":2,"pid":1}}'
[ "$(cat /proc/sys/kernel/shm_rmid_forced)" = 0 ]
id=$(sandbox sysctl "$set_on")
in_container "$(container "$id" reader "$stay")" /bin/cat /proc/sys/kernel/shm_rmid_forced | jq -r .stdout
wipe "$id"
## cri.device: a device of the node under another name, for reading only
# want: opened
# want: refused
pod
# Not one of those that every container may use.
id=$(container "$POD" device '(: </dev/thing) 2>/dev/null && echo opened; (: >/dev/thing) 2>/dev/null || echo refused; echo end' \
    ',"devices":[{"container_path":"/dev/thing","host_path":"/dev/loop-control","permissions":"r"}]')
until_ok 10 grep -q end "$DIR/pods/device.log"
log device | grep -v '^end$'
## cri.reopen-log: the log goes on in a new file
# want: before
# want: after
pod
id=$(container "$POD" talks 'echo before; until test -e /tmp/go; do sleep 0.1; done; echo after; while :; do sleep 1; done')
until_ok 10 is before log talks
mv "$DIR/pods/talks.log" "$DIR/pods/old.log"
cri ReopenContainerLog "{\"container_id\":\"$id\"}" >/dev/null
in_container "$id" /bin/touch /tmp/go >/dev/null
until_ok 10 is after log talks
log old
log talks
cri StopContainer "{\"container_id\":\"$id\",\"timeout\":1}" >/dev/null
cri RemoveContainer "{\"container_id\":\"$id\"}" >/dev/null
## cri.privileged: every capability and device, no profile
# manager: any
# want: Seccomp:	0
# want: device
# want: every capability
every_capability || skip cap-sys-resource
privileged=',"security_context":{"privileged":true,"namespace_options":{"network":2,"pid":1}}'
big=$(sandbox big "$privileged")
id=$(cri CreateContainer "{\"pod_sandbox_id\":\"$big\",\"sandbox_config\":$(config big "$privileged"),
    \"config\":{\"metadata\":{\"name\":\"all\"},\"image\":{\"image\":\"docker.io/suite/box:1\"},\"command\":[\"/bin/sh\",\"-c\",\"$linger\"],
    \"linux\":{\"security_context\":{\"privileged\":true,\"namespace_options\":$on_host}}}}" | jq -r .container_id)
cri StartContainer "{\"container_id\":\"$id\"}" >/dev/null
in_container "$id" /bin/sh -c 'grep -w -e Seccomp -e CapEff /proc/self/status; test -e /dev/loop-control && echo device' |
    jq -r .stdout | sed "s/^CapEff:.$(sed -n 's/^CapBnd:.//p' /proc/self/status)\$/every capability/"
wipe "$big"
## cri.mounts: a host directory, read-only
# want: payload
# want: refused
pod
mkdir -p "$DIR/bind"
echo payload >"$DIR/bind/file"
id=$(container "$POD" mounts 'cat /data/file; touch /data/x || echo refused; echo end' ",\"mounts\":[{\"container_path\":\"/data\",\"host_path\":\"$DIR/bind\",\"readonly\":true}]")
until_ok 5 grep -q end "$DIR/pods/mounts.log"
log mounts
## cri.propagation: mounts of the node arrive later; where asked for, those of the container on the node, too
# want: arrived
# want: not before
# want: on the node
pod
mkdir -p "$DIR/shared"
mount --bind "$DIR/shared" "$DIR/shared"
mount --make-shared "$DIR/shared"
mkdir -p "$DIR/shared/in" "$DIR/shared/out"
id=$(container "$POD" slave "$stay" ",\"mounts\":[{\"container_path\":\"/data\",\"host_path\":\"$DIR/shared\",\"propagation\":1}]")
none=$(container "$POD" private "$stay" ",\"mounts\":[{\"container_path\":\"/data\",\"host_path\":\"$DIR/shared\",\"propagation\":0}]")
mount -t tmpfs tmpfs "$DIR/shared/in"
touch "$DIR/shared/in/file"
in_container "$id" /bin/test -e /data/in/file | jq -e '.exit_code == 0' >/dev/null && echo arrived
in_container "$none" /bin/test -e /data/in/file | jq -e '.exit_code == 1' >/dev/null && echo not before
both=$(cri CreateContainer "{\"pod_sandbox_id\":\"$POD\",\"sandbox_config\":$(config pod "$host"),
    \"config\":{\"metadata\":{\"name\":\"both\"},\"image\":{\"image\":\"docker.io/suite/box:1\"},
    \"command\":[\"/bin/sh\",\"-c\",\"mount -t tmpfs tmpfs /data/out && touch /data/out/file; $linger\"],
    \"mounts\":[{\"container_path\":\"/data\",\"host_path\":\"$DIR/shared\",\"propagation\":2}],
    \"linux\":{\"security_context\":{\"namespace_options\":$on_host,\"seccomp\":{\"profile_type\":1},\"capabilities\":{\"add_capabilities\":[\"SYS_ADMIN\"]}}}}}" | jq -r .container_id)
cri StartContainer "{\"container_id\":\"$both\"}" >/dev/null
until_ok 10 test -e "$DIR/shared/out/file" && echo on the node
for one in "$id" "$none" "$both"; do
    cri StopContainer "{\"container_id\":\"$one\",\"timeout\":0}" >/dev/null
    cri RemoveContainer "{\"container_id\":\"$one\"}" >/dev/null
done
umount "$DIR/shared/out" "$DIR/shared/in" "$DIR/shared"
## cri.network: pods with a network of their own reach each other, and their ports the node
# want: answered
# want: forwarded
plain=',"security_context":{"namespace_options":{"network":0,"pid":1}},"sysctls":{"net.ipv4.ip_unprivileged_port_start":"0"}'
a=$(sandbox net-a "$plain")
b=$(sandbox net-b "$plain")
address=$(cri PodSandboxStatus "{\"pod_sandbox_id\":\"$a\"}" | jq -r .status.network.ip)
on_host='{"network":0,"pid":1}'
container "$a" server 'nc -l -p 80 -e echo answered' >/dev/null
id=$(container "$b" client "for i in 1 2 3 4 5 6 7 8; do nc -w 1 $address 80 </dev/null && break; sleep 0.3; done; echo end")
until_ok 10 grep -q end "$DIR/pods/client.log"
log client
container "$a" port 'nc -l -p 8080 -e echo forwarded' >/dev/null
listens() { in_container "$other" /bin/sh -c 'grep -q :1F90 /proc/net/tcp*' | jq -e '.exit_code == 0' >/dev/null; }
other=$(container "$a" looker "$stay")
until_ok 10 listens
cri --stream PortForward "{\"pod_sandbox_id\":\"$a\",\"port\":[8080]}" | jq -r .data
wipe "$a"
wipe "$b"
## cri.shared-pid: containers of a pod see each other's processes
# want: seen
together=',"security_context":{"namespace_options":{"network":2,"pid":0}}'
id=$(sandbox together "$together")
on_host='{"network":2,"pid":0}'
container "$id" one "exec -a marker /bin/sleep 1000" >/dev/null 2>&1 || container "$id" other '/bin/sleep 1000' >/dev/null
looker=$(container "$id" two "$stay")
in_container "$looker" /bin/sh -c 'cat /proc/[0-9]*/cmdline' | jq -r .stdout | tr '\000' ' ' | grep -q 'sleep' && echo seen
wipe "$id"
## cri.stop: asked to end, then killed
# manager: any
# want: 2 0
# want: 2 137
pod
in_container "$INNER" /bin/sh -c 'until test -e /tmp/ready; do sleep 0.1; done' >/dev/null
cri StopContainer "{\"container_id\":\"$INNER\",\"timeout\":10}" >/dev/null
state "$INNER"
id=$(container "$POD" deaf 'trap "" TERM; echo deaf; while :; do sleep 1; done')
until_ok 10 is deaf log deaf
cri StopContainer "{\"container_id\":\"$id\",\"timeout\":1}" >/dev/null
state "$id"
## cri.remove: pod and containers are gone
# manager: any
# want: 0 0
pod
wipe "$POD"
rm -f "$DIR/pod" "$DIR/inner"
echo "$(cri ListContainers | jq '.containers | length') $(cri ListPodSandbox | jq '.items | length')"
