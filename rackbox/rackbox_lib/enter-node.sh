#!/bin/sh
# Runs a program in a node's control groups, so that freezing or ending the node reaches it.
# usage: enter-node.sh GROUP_FILE... -- PROGRAM ARGUMENT...
while [ "$1" != -- ]; do
    echo 0 > "$1" || exit 1
    shift
done
shift
exec "$@"
