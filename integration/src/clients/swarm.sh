# Swarm in a Docker daemon of its own with the runtime as its default: one node, services on the host network.
## env
d() { docker --host unix:///run/d.sock --config "$DIR/docker" "$@"; }
service() { d service create --quiet --detach --network host --no-resolve-image "$@" >/dev/null; }
# Tasks of a service that run, and what each prints of itself.
tasks() { d ps -q --filter "label=com.docker.swarm.service.name=$1" --filter status=running; }
count() { tasks "$1" | wc -l; }
version() { d inspect --format '{{range .Config.Env}}{{println .}}{{end}}' $(tasks "$1") | grep '^VERSION=' | sort | uniq -c | sed 's/^ *//'; }
tidy() { :; }
## start
dockerd --host unix:///run/d.sock --data-root "$DIR/data" --exec-root /run/d --pidfile /run/d.pid --bridge none \
    --iptables=false --storage-driver vfs --exec-opt "native.cgroupdriver=$MANAGER" --cgroup-parent "$PARENT" \
    --add-runtime "$NAME-under-test=$RUNTIME" --default-runtime "$NAME-under-test" >>"$DIR/daemon.log" 2>&1 &
trap 'd swarm leave --force >/dev/null 2>&1 || true; end "$(cat /run/d.pid)"' EXIT
until_ok 60 d version
d import --change 'CMD ["/pause"]' "$DIR/root.tar" box >/dev/null
## init: the daemon becomes a manager
# manager: any
# want: active
d swarm init --advertise-addr 127.0.0.1 --listen-addr 127.0.0.1 >/dev/null
d info --format '{{.Swarm.LocalNodeState}}'
## service: two replicas on the host network, with limits
# manager: any
# want: 2
# want: 67108864
# want: host net
service --name web --replicas 2 --env VERSION=1 --limit-memory 64m --stop-grace-period 1s \
    --update-delay 0s --update-order start-first --rollback-delay 0s \
    --update-monitor 1s --rollback-monitor 1s --rollback-order start-first --restart-delay 0s box
until_ok 40 is 2 count web
count web
pid=$(d inspect --format '{{.State.Pid}}' "$(tasks web | head -n 1)")
limit memory $pid memory.limit_in_bytes memory.max
[ "$(stat -Lc %i /proc/$pid/ns/net)" = "$(stat -Lc %i /proc/self/ns/net)" ] && echo host net
## runtime: the tasks run with the runtime under test
# want: under test
d inspect --format '{{.HostConfig.Runtime}}' $(tasks web) | grep -vc under-test | sed 's/^0$/under test/'
## scale-up: from two to four
# manager: any
# want: 4
d service scale --detach web=4 >/dev/null
until_ok 40 is 4 count web
count web
## replaced: a task that is killed is replaced by another
# manager: any
# want: replaced
victim=$(tasks web | head -n 1)
kill -KILL "$(d inspect --format '{{.State.Pid}}' "$victim")"
fresh() { [ "$(count web)" = 4 ] && ! tasks web | grep -q "$victim"; }
until_ok 40 fresh
echo replaced
## exec: a program in a task
# want: inside
d exec "$(tasks web | head -n 1)" echo inside
## scale-down: from four to two
# manager: any
# want: 2
d service scale --detach web=2 >/dev/null
until_ok 40 is 2 count web
count web
## update: every task gets the new version, one after another
# manager: any
# want: 2 VERSION=2
d service update --quiet --detach --env-add VERSION=2 web >/dev/null
until_ok 60 is '2 VERSION=2' version web
version web
## rollback: every task gets the old version back
# manager: any
# want: 2 VERSION=1
d service rollback --quiet --detach web >/dev/null
until_ok 60 is '2 VERSION=1' version web
version web
## secret: a secret is a file of the task
# want: hush
printf hush | d secret create word - >/dev/null
service --name reader --secret word box
until_ok 40 is 1 count reader
d exec "$(tasks reader)" cat /run/secrets/word
d service rm reader >/dev/null
## global: one task on each node, with an init process
# want: 1
service --name each --mode global --init box
until_ok 40 is 1 count each
count each
d service rm each >/dev/null
## drain: tasks leave a node that is drained, and come back
# want: 0
# want: 2
node=$(d node ls -q)
d node update --availability drain "$node" >/dev/null
until_ok 40 is 0 count web
count web
d node update --availability active "$node" >/dev/null
until_ok 40 is 2 count web
count web
## remove: all tasks of a service that is removed end
# manager: any
# want: 0
d service rm web >/dev/null
until_ok 40 is 0 count web
count web
## leave: no longer a manager
# manager: any
# want: inactive
d swarm leave --force >/dev/null
d info --format '{{.Swarm.LocalNodeState}}'
