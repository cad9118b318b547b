#!/usr/bin/env bash
# Starts the whole road as separate processes: MariaDB, nsqlookupd, nsqd, then the migration and the
# services. Runs until Ctrl-C, or until one of them ends, and then stops all of them, by pid.
#
#   scripts/up-real.sh [FOLDER_WITH_THE_PROGRAMS]
#
# Everything listens on 127.0.0.1. What is stored lies below ./safelight-data/real and is found again at
# the next start (`make clean-data` removes it). Set in the environment, each with its default below:
# the ports, MEDIA_ROOTS, STORAGE_URL, KNOWN_PEOPLE and MODELS_DIR; and SMTP_URL, without which mails are files.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
programs=$(cd -- "${1:-$root/target/debug}" && pwd)
cd "$root"

mariadb_port=${MARIADB_PORT:-3307}
nsqlookupd_tcp_port=${NSQLOOKUPD_TCP_PORT:-4160}
nsqlookupd_http_port=${NSQLOOKUPD_HTTP_PORT:-4161}
nsqd_tcp_port=${NSQD_TCP_PORT:-4150}
nsqd_http_port=${NSQD_HTTP_PORT:-4151}
receiver_port=${RECEIVER_PORT:-8000}
recognizer_port=${RECOGNIZER_PORT:-50051}
recognizer_http_port=${RECOGNIZER_HTTP_PORT:-8051}
transformer_port=${TRANSFORMER_PORT:-50052}
transformer_http_port=${TRANSFORMER_HTTP_PORT:-8052}
processor_port=${PROCESSOR_PORT:-8001}
notifier_port=${NOTIFIER_PORT:-8003}
frontend_port=${FRONTEND_PORT:-8081}

data=$root/safelight-data/real
logs=$data/log
samples=$root/.tools/samples
known_people=${KNOWN_PEOPLE:-$data/known_people}
mail_folder=${MAIL_FOLDER:-$data/mail}
PATH=$root/.tools/bin:$PATH:/usr/sbin
unset FRONTEND_PORT KNOWN_PEOPLE # they are given to the one program that each is meant for

say() { printf 'up-real: %s\n' "$*"; }

# --- processes

names=()
pids=()
# A socket's path may have 107 bytes, and a checkout may lie deep, so MariaDB's has a folder of its own.
socket_folder=$(mktemp -d)

stop_all() {
    local status=$? index deadline
    trap - EXIT INT TERM
    # The last one started goes first: a service is gone before what it depends on.
    for ((index = ${#pids[@]} - 1; index >= 0; index--)); do
        kill -TERM "${pids[index]}" 2>/dev/null || continue
        deadline=$((SECONDS + 20))
        while kill -0 "${pids[index]}" 2>/dev/null; do
            if ((SECONDS >= deadline)); then
                say "${names[index]} does not stop, killing it"
                kill -KILL "${pids[index]}" 2>/dev/null || true
                break
            fi
            sleep 0.05
        done
    done
    wait
    rm -rf "$socket_folder"
    say "stopped"
    exit "$status"
}
trap stop_all EXIT
trap 'exit 0' INT TERM

# start NAME COMMAND...: in a session of its own, so that Ctrl-C reaches this script alone and the order
# of the end is ours; and told to end by the kernel should this script be killed.
start() {
    local name=$1
    shift
    setsid setpriv --pdeathsig TERM -- "$@" >"$logs/$name.log" 2>&1 </dev/null &
    names+=("$name")
    pids+=($!)
}

fail() {
    say "$1" >&2
    exit 1
}

# wait_for SECONDS CONDITION...: until the condition holds. Fails when the process started last ends.
wait_for() {
    local deadline=$((SECONDS + $1)) name=${names[-1]} pid=${pids[-1]}
    shift
    until "$@" >/dev/null 2>&1; do
        if ! kill -0 "$pid" 2>/dev/null; then
            tail -n 20 "$logs/$name.log" >&2
            fail "$name ended, its log is $logs/$name.log"
        fi
        if ((SECONDS >= deadline)); then
            tail -n 20 "$logs/$name.log" >&2
            fail "$name is not ready in time, its log is $logs/$name.log"
        fi
        sleep 0.1
    done
    say "$name is ready"
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# answers PORT PATH: whether a GET is answered with 200. Without curl, which need not be there.
answers() (
    exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
    printf 'GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n' "$2" >&3
    read -r -t 5 _ code _ <&3 && [[ $code == 200 ]]
) 2>/dev/null

# --- what must be there

for program in mariadbd mariadb-install-db mariadb nsqd nsqlookupd; do
    command -v "$program" >/dev/null || fail "$program is missing, run: make tools"
done
for program in safelight safelight-{receiver,processor,recognizer,transformer,notifier,frontend}; do
    [[ -x $programs/$program ]] || fail "$programs/$program is missing, run: make build"
done
for port in "$mariadb_port" "$nsqlookupd_tcp_port" "$nsqlookupd_http_port" "$nsqd_tcp_port" "$nsqd_http_port" \
    "$receiver_port" "$recognizer_port" "$recognizer_http_port" "$transformer_port" "$transformer_http_port" \
    "$processor_port" "$notifier_port" "$frontend_port"; do
    ! listens "$port" || fail "port $port is taken; the ports can be set in the environment, see the head of $0"
done
mkdir -p "$logs" "$data/nsqd" "$data/store" "$known_people"

if [[ -z $(ls -A "$known_people") ]]; then
    # Somebody to recognize. The name before the underscore is the person's.
    cp "$samples/obama.jpg" "$known_people/obama_1.jpg"
    cp "$samples/biden.jpg" "$known_people/biden_1.jpg"
fi

# --- MariaDB: reached by its owner through the socket, by the services with a password of their own

mariadb_data=$data/mariadb
# A starting server clears its folder for temporary tables of what others have there.
mkdir -p "$data/tmp"
mariadb_tmp=$data/tmp
socket=$socket_folder/mariadb.sock

if [[ ! -d $mariadb_data/mysql ]]; then
    say "creating a database in ${mariadb_data#"$root/"}"
    rm -rf "$mariadb_data"
    mariadb-install-db --no-defaults --tmpdir="$mariadb_tmp" --datadir="$mariadb_data.new" --user="$(id -un)" --skip-test-db \
        --auth-root-authentication-method=socket --auth-root-socket-user="$(id -un)" >"$logs/mariadb-install.log" 2>&1 ||
        fail "mariadb-install-db failed, its log is $logs/mariadb-install.log"
    mv -T "$mariadb_data.new" "$mariadb_data"
fi
if [[ ! -s $data/password ]]; then
    (umask 077 && od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$data/password")
fi
password=$(<"$data/password")

start mariadb mariadbd --no-defaults --tmpdir="$mariadb_tmp" --datadir="$mariadb_data" --user="$(id -un)" --socket="$socket" \
    --pid-file="$data/mariadb.pid" --bind-address=127.0.0.1 --port="$mariadb_port" \
    --character-set-server=utf8mb4 --innodb-buffer-pool-size=256M
as_owner() { mariadb --no-defaults --socket="$socket" --user="$(id -un)" --batch --execute "$1"; }
wait_for 60 as_owner 'SELECT 1'
as_owner "CREATE DATABASE IF NOT EXISTS safelight CHARACTER SET utf8mb4;
          CREATE OR REPLACE USER safelight@'127.0.0.1' IDENTIFIED BY '$password';
          CREATE OR REPLACE USER safelight@localhost IDENTIFIED BY '$password';
          GRANT ALL ON safelight.* TO safelight@'127.0.0.1';
          GRANT ALL ON safelight.* TO safelight@localhost;"

# --- NSQ

start nsqlookupd nsqlookupd --broadcast-address=127.0.0.1 \
    --tcp-address="127.0.0.1:$nsqlookupd_tcp_port" --http-address="127.0.0.1:$nsqlookupd_http_port"
wait_for 20 answers "$nsqlookupd_http_port" /ping
start nsqd nsqd --data-path="$data/nsqd" --broadcast-address=127.0.0.1 \
    --tcp-address="127.0.0.1:$nsqd_tcp_port" --http-address="127.0.0.1:$nsqd_http_port" \
    --lookupd-tcp-address="127.0.0.1:$nsqlookupd_tcp_port"
wait_for 20 answers "$nsqd_http_port" /ping

# --- the services

export DATABASE_URL=mysql://safelight:$password@127.0.0.1:$mariadb_port/safelight
export QUEUE=nsq
export MEDIA_ROOTS=${MEDIA_ROOTS:-$samples,$known_people}
export STORAGE_URL=${STORAGE_URL:-file://$data/store}

"$programs/safelight" migrate

KNOWN_PEOPLE=$known_people MODELS_DIR=${MODELS_DIR:-$root/.tools/models} RECOGNIZER_CACHE=$data/cache \
    RECOGNIZER_LISTEN=127.0.0.1:$recognizer_port RECOGNIZER_HTTP_LISTEN=127.0.0.1:$recognizer_http_port \
    start recognizer "$programs/safelight-recognizer"
wait_for 60 answers "$recognizer_http_port" /ready

TRANSFORMER_LISTEN=127.0.0.1:$transformer_port TRANSFORMER_HTTP_LISTEN=127.0.0.1:$transformer_http_port \
    start transformer "$programs/safelight-transformer"
wait_for 30 answers "$transformer_http_port" /ready

PRODUCER_ADDRESS=127.0.0.1:$nsqd_tcp_port PRODUCER_HTTP_ADDRESS=127.0.0.1:$nsqd_http_port \
    RECEIVER_LISTEN=127.0.0.1:$receiver_port \
    start receiver "$programs/safelight-receiver"
wait_for 30 answers "$receiver_port" /ready

NSQ_LOOKUP_ADDRESS=127.0.0.1:$nsqlookupd_http_port PRODUCER_ADDRESS=127.0.0.1:$nsqd_tcp_port \
    GRPC_ADDRESS=127.0.0.1:$recognizer_port TRANSFORMER_ADDRESS=127.0.0.1:$transformer_port \
    PROCESSOR_LISTEN=127.0.0.1:$processor_port \
    start processor "$programs/safelight-processor"
wait_for 30 answers "$processor_port" /ready

NSQ_LOOKUP_ADDRESS=127.0.0.1:$nsqlookupd_http_port NOTIFIER_LISTEN=127.0.0.1:$notifier_port \
    MAIL_FOLDER=$mail_folder PUBLIC_URL=${PUBLIC_URL:-http://127.0.0.1:$frontend_port} \
    start notifier "$programs/safelight-notifier"
wait_for 30 answers "$notifier_port" /ready

FRONTEND_HOST=127.0.0.1 FRONTEND_PORT=$frontend_port RECEIVER_URL=http://127.0.0.1:$receiver_port \
    start frontend "$programs/safelight-frontend"
wait_for 30 answers "$frontend_port" /ready

mails=$mail_folder
[[ -z ${SMTP_URL:-} ]] || mails='by the mail server of SMTP_URL'
cat <<END

  receiver     http://127.0.0.1:$receiver_port
  frontend     http://127.0.0.1:$frontend_port
  recognizer   127.0.0.1:$recognizer_port (gRPC)
  transformer  127.0.0.1:$transformer_port (gRPC)
  mails        $mails
  known people $known_people (name_1.jpg; picked up while it runs)
  logs         $logs

  curl -d '{"path":"$samples/obama2.jpg"}' http://127.0.0.1:$receiver_port/image/post
  curl -F 'data=@$samples/obama2.jpg' 'http://127.0.0.1:$receiver_port/prepare?email=a@example.org'

Ctrl-C stops everything.
END

# Whichever ends first, nothing else should go on alone.
wait -n -p ended "${pids[@]}" || true
for index in "${!pids[@]}"; do
    if [[ ${pids[index]} == "${ended:-}" ]]; then
        tail -n 20 "$logs/${names[index]}.log" >&2
        fail "${names[index]} ended, its log is $logs/${names[index]}.log"
    fi
done
