#!/usr/bin/env bash
# Test on several GPUs, or on several processes of a CPU: dist_test.sh CONFIG CHECKPOINT GPUS [flags of test.py]
# Several machines: start it on each with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
if (($# < 3)); then
    echo "usage: $0 CONFIG CHECKPOINT GPUS [flags of test.py]" >&2
    exit 2
fi
tools=$(dirname "${BASH_SOURCE[0]}")
exec bash "$tools/torchrun.sh" "$3" "$tools/test.py" "$1" "$2" "${@:4}"
