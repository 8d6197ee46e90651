# Common to all clients: sourced by the preparation and by every row. Given: DIR (work directory), RUNTIME (binary),
# PROBE and BUSYBOX (static programs), MANAGER (of cgroups: `cgroupfs` or `systemd`), PARENT (cgroup, or slice), CGROUPS (lines
# `controller mountpoint`).
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME="$DIR" TMPDIR="$DIR/tmp"

# group CONTROLLER PID: the directory of a process's cgroup in the hierarchy of a controller.
group() {
    top=$(printf '%s\n' "$CGROUPS" | sed -n "s/^$1 //p")
    path=$(sed -n "s/^[0-9]*:\([^:]*,\)*$1\(,[^:]*\)*://p" "/proc/$2/cgroup")
    [ -n "$path" ] || path=$(sed -n 's/^0:://p' "/proc/$2/cgroup")
    echo "$top$path"
}

# limit CONTROLLER PID FILE1 FILE2: a limit of a process as the host's files tell it; FILE1 is of v1, FILE2 of v2.
limit() {
    dir=$(group "$1" "$2")
    if [ -e "$dir/$3" ]; then cat "$dir/$3"; else cat "$dir/$4"; fi
}

# unit PID: the unit of systemd's that a process is in.
unit() { sed -n 's/^0::.*\/\([^/]*\.scope\).*/\1/p' "/proc/$1/cgroup"; }

# properties PID NAME...: what systemd knows of that unit, as lines `NAME=value`.
properties() {
    of=$(unit "$1")
    shift
    for property; do systemctl show --property "$property" -- "$of"; done
}

# until_ok SECONDS COMMAND...: tries a command until it succeeds.
until_ok() {
    tries=$(($1 * 10 * PATIENCE))
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

# is WANTED COMMAND...: whether a command prints exactly that.
is() {
    wanted=$1
    shift
    [ "$("$@" 2>/dev/null)" = "$wanted" ]
}

# Exit code of a command, printed.
code() {
    if "$@"; then echo "code 0"; else echo "code $?"; fi
}

# Whether this root has every capability, as privileged programs of some clients want; CAP_SYS_RESOURCE is the one that may lack.
every_capability() { [ $((0x$(sed -n 's/^CapEff:.//p' /proc/self/status) >> 24 & 1)) -eq 1 ]; }

# A row that cannot be shown here says why, in one word.
skip() {
    echo "skip: $1"
    exit 0
}

# Ends a process of ours by its pid and waits until it is gone.
end() {
    kill "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
    until_ok 20 test ! -e "/proc/$1"
}
