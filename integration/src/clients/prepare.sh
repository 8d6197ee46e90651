# Runs once before a client starts, in a mount and a network namespace of its own: the fixed places of engines become ours,
# and the image is made.
# systemd, where it runs, stays within reach; where it makes the cgroups, those of users too.
kept='systemd dbus'
[ "$MANAGER" = cgroupfs ] || kept="$kept user"
for kept in $kept; do
    [ -d /run/$kept ] || continue
    mkdir -p "$DIR/kept/$kept"
    mount --rbind /run/$kept "$DIR/kept/$kept"
done
mount -t tmpfs tmpfs /run
for kept in "$DIR"/kept/*; do
    [ -d "$kept" ] || continue
    mkdir "/run/${kept##*/}"
    mount --move "$kept" "/run/${kept##*/}"
done
mount -t tmpfs tmpfs /dev/shm
mkdir -p "$DIR/tmp" "$DIR/image" /run/lock
"$BUSYBOX" ip link set lo up
(
    cd "$DIR/image"
    mkdir -p bin dev etc home proc root sys tmp usr var
    chmod 1777 tmp
    cp "$PROBE" probe
    cp "$BUSYBOX" bin/busybox
    for name in cat chmod chown cut df dd echo env false free grep head hostname id kill ln logger ls mkdir mount nc ping ps pwd rm \
        sed seq sh sleep sort stat stty tail test touch tr true tty umask uname wc whoami yes; do
        ln -s busybox "bin/$name"
    done
    printf 'root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n' >etc/passwd
    printf 'root:x:0:\nuser:x:1000:\nmore:x:2000:user\n' >etc/group
    printf '#!/no/interpreter\n' >orphan
    printf '#!/bin/sh\nexec /probe trap TERM\n' >pause
    echo data >plain
    chmod 755 orphan pause
    chown -R 0:0 .
)
tar -C "$DIR/image" -cf "$DIR/root.tar" .
