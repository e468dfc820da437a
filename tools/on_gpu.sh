#!/usr/bin/env bash
# All that takes a GPU, best first, in one call of at most eight minutes: bench.scale at true size, then the training of the
# wild world for the time that is left. For a bare machine with PyTorch, without a network: tools/pack_for_gpu.py makes what
# must be carried there. Figures, log and weights go to FOLDER, at most eight files; a short table is printed last.
#
#   tools/on_gpu.sh [--dry] [FOLDER]      FOLDER: default $OUT, else out/on_gpu
#
# --dry: all of it on the CPU with toys, in under two minutes; the figures mean nothing. In the environment: LIMIT, seconds in
# all (470); SCALE, of those for bench.scale (280); FIRST, seed of the first training clip, another one for each training;
# BESIDE, a command for the other CPU cores, begun with the training. It sees no GPU: processes that share one slow each other
# to a standstill.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

dry=
[ "${1:-}" = --dry ] && { dry=1; shift; }
out=$(realpath -m "${1:-${OUT:-out/on_gpu}}")
limit=${LIMIT:-470} scale=${SCALE:-280} first=${FIRST:-80000}
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
exec > >(tee "$out/on_gpu.log") 2>&1

if [ "$dry" ]; then
    python=${PYTHON:-.venv/bin/python}
    [ -x "$python" ] || python=python3
    folder=$work/gpu scale=${SCALE:-40} late=600  # a busy machine: the test wants all of it
    export CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
    device=(--device cpu --toy --blocks 9)
    toy=(--plain --batch 2 --stage 2 --room 2 --render 1 --steps 2 --clips 1)
    phases=(world=2 tracker=5 latents=3 dit=15 sheet=5)
    "$python" tools/pack_for_gpu.py prepare --toy --folder "$folder" || exit 1
else
    python=${PYTHON:-python3}
    folder=$PWD/.gpu late=8 toy=()
    device=(--device cuda --size 832x480x77)
    "$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' || { echo "error: no GPU: --dry"; exit 1; }
fi
"$python" tools/pack_for_gpu.py unpack --folder "$folder" || exit 1
export COMFYUI_PATH=$folder/ComfyUI PYTHONPATH=$folder/site PYTHONUNBUFFERED=1
[ -e "$folder/speech.npz" ] && export SAVED_SPEECH=$folder/speech.npz
echo "unpacked after $SECONDS s"

timeout -k 5 $((scale + 30)) "$python" -m bench.scale "${device[@]}" --quick --seconds "$scale" --json "$out/scale.json"
echo "bench.scale ended with $? after $SECONDS s"

beside=
if [ "${BESIDE:-}" ]; then
    CUDA_VISIBLE_DEVICES='' OMP_NUM_THREADS=1 nice timeout -k 5 $((limit - SECONDS)) bash -c "$BESIDE" > "$out/beside.log" 2>&1 &
    beside=$!
fi
left=$((limit - SECONDS - 10))
[ "$dry" ] && left=30 || phases=(world tracker latents dit sheet=$((left / 6)))
timeout -k 5 $((left + late)) "$python" -m demo.wild.train all --start demo/assets --first "$first" --seconds "$left" \
    --phases "${phases[@]}" --sounds "$folder/sounds.npz" --work "$work/train" --out "$out" "${toy[@]}"
echo "training ended with $? after $SECONDS s"
[ "$beside" ] && { wait "$beside"; echo "what ran beside it ended with $? after $SECONDS s"; }
sleep 1  # until the log is written

"$python" tools/gpu_table.py "$out"
