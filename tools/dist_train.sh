#!/usr/bin/env bash
# Train on several GPUs, or on several processes of a CPU: dist_train.sh CONFIG GPUS [flags of train.py]
# Several machines: start it on each with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
if (($# < 2)); then
    echo "usage: $0 CONFIG GPUS [flags of train.py]" >&2
    exit 2
fi
tools=$(dirname "${BASH_SOURCE[0]}")
exec bash "$tools/torchrun.sh" "$2" "$tools/train.py" "$1" "${@:3}"
