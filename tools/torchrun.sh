#!/usr/bin/env bash
# For dist_train.sh and dist_test.sh: torchrun.sh PROCESSES SCRIPT [arguments]. Environment as in mmdetection's scripts:
# NNODES, NODE_RANK, MASTER_ADDR and PORT for several machines; PYTHON names the interpreter.
processes=$1
shift
if [[ ! $processes =~ ^[1-9][0-9]*$ ]]; then
    echo "error: the number of GPUs (or of processes on CPUs) is a whole number of at least 1, not '$processes'" >&2
    exit 2
fi
threads=$(($(nproc) / processes))
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}
export MKL_NUM_THREADS=${MKL_NUM_THREADS:-$OMP_NUM_THREADS}
if [[ ${NNODES:-1} == 1 && -z $PORT ]]; then
    meeting=(--standalone)  # on a free port: two runs may share the machine
else
    meeting=(--nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --master_addr="${MASTER_ADDR:-127.0.0.1}"
             --master_port="${PORT:-29500}")
fi
exec "${PYTHON:-python}" -m mobileode_mm.runs.torchrun "${meeting[@]}" --nproc_per_node="$processes" "$@" \
    --launcher pytorch
