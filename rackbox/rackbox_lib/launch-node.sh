#!/bin/sh
# Runs systemd-nspawn in control groups of its own and leaves its exit code in a file.
# usage: launch-node.sh EXIT_FILE GROUP... -- PROGRAM ARGUMENT...

# This shell stays in GROUP/launch: version 2 allows no process in a group that has groups of its own.
launch() {
    exit_file=$1
    shift
    groups=
    while [ "$1" != -- ]; do
        echo 0 > "$1/launch/cgroup.procs" || return 1
        groups="$groups $1"
        shift
    done
    shift
    # 133 is nspawn's way to say that the node wants to be started again: a reboot from within.
    code=133
    while [ "$code" = 133 ]; do
        run_in_groups "$@"
        code=$?
    done
    echo "$code" > "$exit_file"
}

run_in_groups() (
    for group in $groups; do
        echo 0 > "$group/cgroup.procs" || exit 1
    done
    exec "$@"
)

# On one line, so that the shell never reads on in a file that was changed while the node ran.
launch "$@"; exit
