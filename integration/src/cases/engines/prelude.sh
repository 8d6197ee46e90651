# Common to all engines. Runs in a mount and a network namespace of its own.
# Given: DIR (work directory), RUNTIME (binary), PROBE (program), PARENT (cgroup), MEMTOP and MEMFILE (where and in
# which file this host keeps a memory limit).
set -eu
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME="$DIR" TMPDIR="$DIR/tmp"
# The engines keep sockets and locks in fixed places; here these places are ours.
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm
mkdir -p "$DIR/tmp" "$DIR/image/tmp" "$DIR/image/etc" /run/lock
cp "$PROBE" "$DIR/image/probe"
printf '#!/no/interpreter\n' >"$DIR/image/orphan"
chmod 755 "$DIR/image/orphan"
tar -C "$DIR/image" -cf "$DIR/root.tar" .

# The directory of a process's cgroup, in the hierarchy that limits memory.
group() {
    path=$(sed -n 's/^[0-9]*:memory://p' "/proc/$1/cgroup")
    [ -n "$path" ] || path=$(sed -n 's/^0:://p' "/proc/$1/cgroup")
    echo "$MEMTOP$path"
}

# The memory limit of a process as the host's files tell it.
limit() {
    cat "$(group "$1")/$MEMFILE"
}

# Says "gone" once a process, its cgroup and all state under a container's id are gone: runtimes and engines keep
# theirs below /run. Engines clean up in the background, so this may take a moment; a monitor's note of an exit may even
# come after the engine has forgotten the container.
gone() {
    until_ok 10 nothing_of "$@" && echo gone
}
nothing_of() {
    ! [ -e "/proc/$1" ] && ! [ -e "$2" ] && [ -z "$(find /run -name "$3" -not -path '*/exits/*')" ]
}

# Tries a command until it succeeds, for at most $1 seconds.
until_ok() {
    tries=$(($1 * 10))
    shift
    while ! "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        if [ "$tries" -le 0 ]; then
            echo "gave up: $*" >&2
            return 1
        fi
        sleep 0.1
    done
}

# Exit code of a command, printed.
code() {
    if "$@"; then echo "code 0"; else echo "code $?"; fi
}

# Ends a daemon of ours by its pid and waits for it.
end() {
    kill "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}
