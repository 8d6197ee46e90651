# shellcheck shell=bash
# shellcheck disable=SC2154  # runtimes, rest, brief, chosen, logs and top are lib.sh's, allow is the lane's
# native.sh: one way to run the conformance suite natively, the runtime's cases and the supervisor's. Sourced by the native
# lanes after lib.sh.

# What depends on the machine and not on the lane; the guest shows it. Read by the lanes.
# shellcheck disable=SC2034
everywhere='systemd,cap-sys-resource,no-cap-sys-resource,no-lsm,apparmor,selinux,rdma,kernel*,missing-controller,own-machine,numa,no-resctrl,cgroup1:net_*,cgroup-file:cpu,yama'

# Another runtime from PATH and words of the supervisor's cases that run with it below the supervisor, unless a lane is told what
# to run. Set by a lane.
also=()

# Words of the supervisor's cases that depend on this lane, all that --brief runs of them. Set by a lane.
lane_words=

# native_lane LAYOUT: builds, then runs the suite where nothing it mounts, starts or unmounts reaches the machine, after
# `take_runtimes`. The caller's `allow` names, between commas, the reasons for which a case may be skipped in this lane; any other skip is a failure.
native_lane() {
    local layout=$1 bin args=() words=() common programs beneath=() item
    need_root
    need_tools unshare timeout
    [ -n "$chosen$named" ] || beneath=("${also[@]}")
    [ "${#beneath[@]}" -eq 0 ] || need_tools "${beneath[0]}"
    "$top/ci/build"
    bin=$(bin_dir)
    for item in "${runtimes[@]}"; do args+=(--runtime "$item"); done
    common=(--lane "$layout" --format table --probe "$bin/probe" --allow-skip "$allow")
    programs=(--knarrd "$bin/knarrd" --knarrctl "$bin/knarrctl" --keeper "$bin/knarr-keeper")
    if [ "${#beneath[@]}" -gt 0 ]; then
        item=$layout-supervisor-${beneath[0]}
        beneath=(--then "$item" "${KNARR_LANE_SECONDS:-1200}"
            "$bin/conformance" supervisor --output "$logs/results-$item.json" "${common[@]}" "${programs[@]}"
            --runtime "${beneath[0]}=$(command -v "${beneath[0]}")" --filter "${beneath[1]}")
    fi
    common+=("${args[@]}" "${rest[@]}")
    [ -z "$brief" ] || [ -n "$chosen" ] || [ -z "$lane_words" ] || words=(--filter "$lane_words")
    privately "$top/ci/cgroup-view" "$layout" "$top/ci/in-lane" \
        "$layout" "${KNARR_LANE_SECONDS:-1200}" \
        "$bin/conformance" run --output "$logs/results-$layout.json" "${common[@]}" \
        --then "$layout-supervisor" "${KNARR_LANE_SECONDS:-1200}" \
        "$bin/conformance" supervisor --output "$logs/results-$layout-supervisor.json" "${common[@]}" "${programs[@]}" \
        "${words[@]}" \
        "${beneath[@]}"
}
