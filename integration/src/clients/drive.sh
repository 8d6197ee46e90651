# Runs the rows, one after another, on the client that was started; what each printed and how it ended is beside it.
touch "$DIR/started"
# Hundredths of a second since the machine started.
clock() { sed 's/\([0-9]*\)\.\([0-9]*\) .*/\1\2/' /proc/uptime; }
for row in "$DIR"/rows/*; do
    # What rows share is not in the way of others.
    if [ -e "$DIR/shares" ] && ! grep -qx 'shared\|pod' "$row"; then
        tidy >/dev/null 2>&1 || true
        rm "$DIR/shares"
    fi
    code=0
    begun=$(clock)
    timeout -k 5 $((90 * PATIENCE)) sh "$row" >"$row.out" 2>"$row.err" </dev/null || code=$?
    echo "$code $((($(clock) - begun) * 10))" >"$row.end"
    [ "$code" -eq 0 ] || tidy >/dev/null 2>&1 || true
done
tidy >/dev/null 2>&1 || true
