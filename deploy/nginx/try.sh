#!/bin/sh
# Three Keyward on one PostgreSQL behind nginx, on this machine, until Ctrl-C; everything is in a temporary directory, and
# goes with it. Needs Debian's postgresql and nginx-light, and the binary: KEYWARD=target/debug/keyward deploy/nginx/try.sh
#
#   KEYWARD   the binary           [keyward, from the PATH]
#   PORT      where nginx listens  [8080]
#   PORTS     those of the three   ["8081 8082 8083"]
set -eu

here=$(cd "$(dirname "$0")" && pwd)
keyward=$(command -v "${KEYWARD:-keyward}") || {
    echo "there is no ${KEYWARD:-keyward}; build it with cargo build, and name it: KEYWARD=target/debug/keyward $0" >&2
    exit 1
}
# shellcheck disable=SC2086 # one word for each port
set -- ${PORTS:-8081 8082 8083}
port=${PORT:-8080}
for folder in /usr/lib/postgresql/*/bin; do postgres=$folder; done
for program in "$postgres/initdb" nginx curl; do
    command -v "$program" >/dev/null || { echo "there is no $program: apt-get install postgresql nginx-light curl" >&2; exit 1; }
done

work=$(mktemp -d)
chmod 755 "$work"
# PostgreSQL refuses to run as root.
as_postgres=
[ "$(id -u)" -ne 0 ] || as_postgres='setpriv --reuid=postgres --regid=postgres --clear-groups'

started=
stop() {
    trap - EXIT INT TERM
    # nginx first, so that nobody asks a Keyward that is gone, and the database last.
    for pid in $started; do kill "$pid" 2>/dev/null || :; done
    for pid in $started; do wait "$pid" 2>/dev/null || :; done
    [ ! -e "$work/database/postmaster.pid" ] ||
        (cd "$work" && $as_postgres "$postgres/pg_ctl" -D "$work/database" -s -m fast stop)
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

mkdir "$work/database" "$work/sockets"
[ -z "$as_postgres" ] || chown postgres: "$work/database" "$work/sockets"
(
    cd "$work"
    $as_postgres "$postgres/initdb" -D "$work/database" -U keyward -A trust -E UTF8 >initdb.log
    # In a session of its own, so that Ctrl-C does not reach it before the others are done.
    setsid $as_postgres "$postgres/pg_ctl" -D "$work/database" -s -w -l "$work/database/log" \
        -o "-c listen_addresses= -c unix_socket_directories=$work/sockets" start
)
socket=$(printf %s "$work/sockets" | sed 's|/|%2F|g')
export KEYWARD_DATABASE_URL="postgres://keyward@$socket/postgres"

umask 077
"$keyward" master-key new >"$work/master.key"
export KEYWARD_MASTER_KEY_FILE="$work/master.key" KEYWARD_PUBLIC_URL="http://127.0.0.1:$port"
export KEYWARD_TRUSTED_PROXIES=127.0.0.1 KEYWARD_DRAIN_SECONDS=1
number=0
for replica in "$@"; do
    number=$((number + 1))
    setsid env KEYWARD_DATA_DIR="$work/replica-$number" KEYWARD_LISTEN="127.0.0.1:$replica" \
        "$keyward" serve >"$work/replica-$number.log" 2>&1 &
    pid=$!
    started="$started $pid"
    until curl -fs "http://127.0.0.1:$replica/readyz" >/dev/null; do
        kill -0 "$pid" 2>/dev/null || { cat "$work/replica-$number.log" >&2; exit 1; }
        sleep 0.1
    done
    echo "a Keyward answers at 127.0.0.1:$replica, as process $pid"
done

{
    echo "daemon off; pid $work/nginx.pid; error_log $work/nginx.log; worker_processes 1; events {} http { access_log off;"
    for kind in client_body proxy fastcgi uwsgi scgi; do echo "${kind}_temp_path $work/$kind;"; done
    sed -e "s/listen 80;/listen 127.0.0.1:$port;/" \
        -e "s/127.0.0.1:8081/127.0.0.1:$1/" -e "s/127.0.0.1:8082/127.0.0.1:$2/" -e "s/127.0.0.1:8083/127.0.0.1:$3/" \
        "$here/replicas.conf"
    echo "}"
} >"$work/nginx.conf"
setsid nginx -c "$work/nginx.conf" -e "$work/nginx.log" &
started="$! $started"
until curl -fs "http://127.0.0.1:$port/readyz" >/dev/null; do
    kill -0 "$!" 2>/dev/null || { cat "$work/nginx.log" >&2; exit 1; }
    sleep 0.1
done
sed -n 's/^  \(http.*setup.*\)/make the first member: \1/p' "$work/replica-1.log"
echo "nginx answers for all three at http://127.0.0.1:$port; Ctrl-C ends it"
# As jobs of this shell, so that a trap is heard at once.
wait "$!"
