# shellcheck shell=bash
# shellcheck disable=SC2154  # logs and top are lib.sh's
# guest.sh: makes the tree that a guest gets as its disk. Sourced after lib.sh by what runs something in the guest.

# fresh_tree NAME: an empty tree, in `tree`; ci/guest/run works beside it, in `work`, so that guests of other names do not meet.
fresh_tree() {
    need_root
    need_tools ldd busybox
    tree=$logs/$1-tree work=$logs/$1
    export KNARR_GUEST_WORK=$work
    rm -rf --one-file-system "$tree"
    mkdir -p "$tree"
}

# put PROGRAM PLACE: a program at PLACE in the tree, and the libraries it loads where it looks for them.
put() {
    local library
    install -D -m 0755 "$1" "$tree$2"
    while read -r library; do
        [ -e "$tree$library" ] || install -D -m 0755 "$library" "$tree$library"
    done < <(ldd "$1" 2>/dev/null | grep -oE '/[^ ]+' || true)
}

# furnish TREE COMMAND...: what a guest's tree has beside what its caller has put there: the programs that run COMMAND in it.
furnish() {
    local tree=$1
    shift
    mkdir -p "$tree"/{bin,dev,etc,guest,proc,root,run,sys,tmp,usr/bin,usr/sbin,var/lib}
    cp "$(command -v busybox)" "$tree/bin/busybox"
    install -m 0755 "$top/ci/guest/init" "$top/ci/guest/unit" "$tree/guest/"
    printf '%q ' "$@" >"$tree/guest/command"
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$tree/etc/passwd"
    printf 'root:x:0:\ntty:x:5:\nnogroup:x:65534:\n' >"$tree/etc/group"
}
