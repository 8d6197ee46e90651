# Buildah: images are built with RUN steps in containers of the runtime.
## env
export CONTAINERS_CONF="$DIR/containers.conf"
b() { buildah --root "$DIR/storage" --runroot /run/storage --storage-driver vfs "$@"; }
how="--isolation oci --runtime $RUNTIME --network none"
at="$how --cgroup-parent $PARENT"
step() { b run --isolation oci --runtime "$RUNTIME" "$@"; }
# Rows that look at a container of this name share it.
shared() {
    touch "$DIR/shares"
    b inspect --type container one >/dev/null 2>&1 || b from --name one --pull-never $limits --network none --cgroup-parent $PARENT box >/dev/null;
}
limits='--ulimit nofile=1024:1024 --ulimit nproc=2000:2000'
tidy() { b rm --all >/dev/null; }
## start
printf '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=2000:2000"]\n' >"$DIR/containers.conf"
mkdir -p "$DIR/context"
printf 'FROM scratch\nADD root.tar /\nCMD ["/pause"]\n' >"$DIR/context/Dockerfile"
cp "$DIR/root.tar" "$DIR/context"
b build --quiet -t box "$DIR/context" >/dev/null
rm "$DIR/context/root.tar"
## run.output: what the program prints arrives
# want: hello
# want: problem
shared
step one echo hello
step one sh -c 'echo problem >&2' 2>&1
## run.exit-code: the program's exit code is the client's
# want: code 42
shared
code step one sh -c 'exit 42'
## run.not-found: a missing program is an error
# want: failed
shared
step one /no/such/program || echo failed
## run.changes: what a step writes stays in the container, and in the image
# want: kept
shared
step one sh -c 'echo kept >/file'
b commit --quiet one saved >/dev/null
b from --name two --pull-never --network none --cgroup-parent $PARENT $limits saved >/dev/null
step two cat /file
b rm two >/dev/null
## run.identity: user, directory, environment, host name
# want: 1000 /usr value box
shared
step --user 1000 --workingdir /usr --env KEY=value --hostname box one sh -c 'echo $(id -u) $(pwd) $KEY $(hostname)'
## run.stdin: standard input reaches the program
# want: typed
shared
echo typed | step one cat
## run.tty: a terminal of its own
# want: terminal
shared
script -qec "buildah --root $DIR/storage --runroot /run/storage --storage-driver vfs run --tty --isolation oci --runtime $RUNTIME \
    one sh -c 'test -t 1 && echo terminal'" /dev/null </dev/null | grep -o terminal
## run.volume: a bind mount, read-only and not
# want: payload
# want: refused
# want: written
shared
mkdir -p "$DIR/bind"
echo payload >"$DIR/bind/file"
step -v "$DIR/bind:/data:ro" one sh -c 'cat /data/file; touch /data/x 2>/dev/null || echo refused'
step -v "$DIR/bind:/data" one sh -c 'echo written >/data/file'
cat "$DIR/bind/file"
## run.mount: a tmpfs
# want: tmpfs
shared
step --mount type=tmpfs,destination=/data one stat -f -c %T /data
## run.caps: none, one more
# want: CapEff:	0000000000000000
# want: more
shared
step --cap-drop all one grep CapEff /proc/self/status
[ "$(step --cap-add sys_admin one grep CapEff /proc/self/status)" != "$(step one grep CapEff /proc/self/status)" ] && echo more
## run.namespaces: the host's where asked, else its own
# want: host pid
# want: own pid
# want: own ipc
shared
here() { stat -Lc %i /proc/self/ns/$1; }
[ "$(step --pid host one stat -Lc %i /proc/self/ns/pid)" = "$(here pid)" ] && echo host pid
for space in pid ipc; do
    [ "$(step one stat -Lc %i /proc/self/ns/$space)" != "$(here $space)" ] && echo own $space
done
## build.run: RUN steps of a Dockerfile
# want: built as 1000
printf 'FROM box\nRUN mkdir /made && chmod 777 /made\nUSER 1000\nRUN echo built as $(id -u) >/made/file\nCMD ["cat","/made/file"]\n' \
    >"$DIR/context/Dockerfile"
b build --quiet --pull-never $at -t built "$DIR/context" >/dev/null
b from --name three --pull-never --network none --cgroup-parent $PARENT $limits built >/dev/null
step three cat /made/file
b rm three >/dev/null
## build.fails: a RUN step that fails ends the build
# want: failed
printf 'FROM box\nRUN exit 3\n' >"$DIR/context/Dockerfile"
b build --quiet --pull-never $at -t built "$DIR/context" >/dev/null || echo failed
## build.limits: a memory limit of the build's steps
# want: limited
printf 'FROM box\nRUN /probe mem 200\n' >"$DIR/context/Dockerfile"
b build --quiet --pull-never $at --memory 32m -t built "$DIR/context" >/dev/null || echo limited
## build.volume: a volume of the build is there in its steps
# want: seen
printf 'FROM box\nRUN cat /data/file\n' >"$DIR/context/Dockerfile"
mkdir -p "$DIR/bind"
echo seen >"$DIR/bind/file"
b build --pull-never $at -v "$DIR/bind:/data:ro" -t built "$DIR/context" | grep -x seen
