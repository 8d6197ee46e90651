# shellcheck shell=bash
# lib.sh: what every script of ci/ shares: places, time limits, counting, the closing line. Sourced, never run.
#
# Every script that tests something ends its output with one line `N passed, N failed, N skipped` and exits
# non-zero when anything failed, so that a script can be a person's command and another script's step.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-${HOME:?}/.cache}/knarr
target=${CARGO_TARGET_DIR:-$top/target}
logs=$target/ci
passed=0 failed=0 skipped=0
ran=()
closing_form='^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$'
mkdir -p "$logs" "$cache"

note() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 2; }
pass() { passed=$((passed + 1)); }
fail() { failed=$((failed + 1)); note "FAILED $*"; }
skip() { skipped=$((skipped + 1)); note "skipped $*"; }

# The one line that callers read; the status of a script is the status of this call.
closing() {
    printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
    [ "$failed" -eq 0 ]
}

# Every failure once more with its reason, so that the end of a long output says what is wrong.
failures() {
    local log
    for log in "${ran[@]}"; do
        [ -f "$log" ] || continue
        # A case that failed, with its first line of reasons; what a script says of itself; a failed unit test.
        sed -nE '/^FAIL .* on /{p;n;p;b}; /^FAILED |^conformance: |^test .* FAILED$/p' "$log" | cut -c 1-600 | head -n 40 |
            sed "s|^|${log##*/}: |"
    done
}

# limited SECONDS COMMAND...: `timeout` in a process group of its own, ended together with this script.
limited() {
    local seconds=$1 child status=0
    shift
    timeout --kill-after=10 "$seconds" "$@" &
    child=$!
    # shellcheck disable=SC2064  # the pid of now
    trap "kill -TERM $child 2>/dev/null; exit 130" INT TERM
    wait "$child" || status=$?
    trap - INT TERM
    return "$status"
}

# step NAME SECONDS COMMAND...: one thing that passes or fails; its output goes to a log and is shown when it fails.
step() {
    local name=$1 seconds=$2 log status=0 began=$SECONDS
    shift 2
    log=$logs/$name.log
    limited "$seconds" "$@" >"$log" 2>&1 </dev/null || status=$?
    if [ "$status" -eq 0 ]; then
        pass
        note "ok $name ($((SECONDS - began)) s)"
        return 0
    fi
    tail -n "${KNARR_CI_TAIL:-60}" "$log"
    if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
        fail "$name: stopped at its time limit of $seconds s"
    else
        fail "$name: exit $status"
    fi
    return 1
}

# What `suite` does not show: closing lines that are not its own and, with KNARR_CI_BRIEF, what passed.
hidden() {
    printf '%s' "$closing_form"
    [ -z "${KNARR_CI_BRIEF:-}" ] || printf '|^[^ ]+( +pass)+$'
}

# suite NAME SECONDS COMMAND...: something that ends with a closing line; shown as it runs, its counts are added.
# Nothing printed, a lost closing line and a bad exit status without a counted failure are failures too.
suite() {
    local name=$1 seconds=$2 log line show shown sieve status=0 began=$SECONDS p f s
    shift 2
    log=$logs/$name.log
    ran+=("$log")
    note "--- $name"
    # Into a file, not a pipe: a process that outlives the command would hold a pipe open.
    : >"$log"
    exec {shown}> >(grep --line-buffered -vE "$(hidden)")
    sieve=$!
    tail -n +1 -s 0.2 -f "$log" 1>&"$shown" 2>/dev/null &
    show=$!
    limited "$seconds" "$@" {shown}>&- >>"$log" 2>&1 </dev/null || status=$?
    sleep 0.5
    kill "$show"
    exec {shown}>&-
    # Not a bare `wait`: what runs `beside` goes on.
    wait "$show" 2>/dev/null || true
    while kill -0 "$sieve" 2>/dev/null; do sleep 0.1; done
    line=$(grep -E "$closing_form" "$log" | tail -n 1) || true
    if [ -z "$line" ]; then
        fail "$name: no closing line, exit $status after $((SECONDS - began)) s"
        return 1
    fi
    read -r p _ f _ s _ <<<"$line"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    note "--- $name: $line ($((SECONDS - began)) s)"
    if [ "$f" -eq 0 ] && [ "$status" -ne 0 ]; then
        fail "$name: exit $status although its closing line names no failure"
    fi
    [ "$f" -eq 0 ] && [ "$status" -eq 0 ]
}

# beside SECONDS NAMES [OPTIONS]: these scripts of ci/, one after the other, while others run, and behind them where processors
# are short; `joined` ends it.
beside() {
    local seconds=$1 names=$2 name
    shift 2
    beside_log=$logs/beside.shown
    for name in $names; do ran+=("$logs/$name.log"); done
    # shellcheck disable=SC2030  # it has its own counts, and `joined` adds them
    (passed=0 failed=0 skipped=0 && renice -n 5 "$BASHPID" >/dev/null &&
        for name in $names; do suite "$name" "$seconds" "ci/$name" "$@" || true; done && closing) >"$beside_log" 2>&1 &
    beside_pid=$!
    # shellcheck disable=SC2064  # the pid of now
    trap "kill -TERM $beside_pid 2>/dev/null || true" EXIT
}

# joined: waits for what runs beside, shows what it printed and adds its counts.
joined() {
    local p f s
    wait "$beside_pid" || true
    trap - EXIT
    head -n -1 "$beside_log"
    # shellcheck disable=SC2031
    if read -r p _ f _ s _ < <(tail -n 1 "$beside_log" | grep -E "$closing_form"); then
        passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    else
        fail "${beside_log##*/}: ended without a closing line"
    fi
}

# The directory of the release binaries (the build names its target, see .cargo/config.toml).
bin_dir() { printf '%s/%s/release\n' "$target" "$(rustc --print host-tuple)"; }

build_release() {
    limited 1800 cargo build --manifest-path "$top/Cargo.toml" --release --quiet "$@"
}

need_root() { [ "$(id -u)" -eq 0 ] || die "needs root: it makes namespaces, mounts and cgroups"; }

need_tools() {
    local tool
    for tool in "$@"; do
        command -v "$tool" >/dev/null || die "$tool is missing; ci/setup test installs it"
    done
}

# How cgroups are mounted here: unified, hybrid, legacy or none.
cgroup_layout() {
    awk '{ for (i = 7; i <= NF; i++) if ($i == "-") { type = $(i + 1); super = $(i + 3); break } }
        type == "cgroup2" { v2 = 1 }
        type == "cgroup" && super !~ /(^|,)name=/ { v1 = 1 }
        END { print v1 && v2 ? "hybrid" : v1 ? "legacy" : v2 ? "unified" : "none" }' /proc/self/mountinfo
}

# take_runtimes ARGUMENTS...: sorts a lane's arguments into `runtimes` (NAME=PATH, knarr when none is `named`), `brief` (set by
# --brief: the part of a lane that `test` has time for; the lane says which) and `rest` (handed to the conformance program as
# they are; what cases to run is `chosen` when there is any).
# shellcheck disable=SC2034  # read by lanes
take_runtimes() {
    runtimes=() rest=() brief='' named='' chosen=''
    while [ $# -gt 0 ]; do
        case $1 in
        --brief) brief=yes ;;
        --runtime) runtimes+=("${2:?--runtime wants NAME=PATH}") && shift ;;
        --runtime=*) runtimes+=("${1#*=}") ;;
        *) rest+=("$1") ;;
        esac
        shift
    done
    [ "${#runtimes[@]}" -eq 0 ] || named=yes
    [ "${#rest[@]}" -eq 0 ] || chosen=yes
    [ -n "$named" ] || runtimes=("knarr=$(bin_dir)/knarr")
}

# privately COMMAND...: becomes COMMAND where nothing it mounts, unmounts or starts reaches the machine: a mount namespace
# without propagation, and a pid namespace whose end ends every process in it, daemons and containers too.
privately() {
    need_root
    need_tools unshare
    KNARR_OUTER_MNT=$(readlink /proc/self/ns/mnt) exec unshare --mount --propagation private \
        --pid --fork --kill-child --mount-proc "$@"
}
