#!/usr/bin/env bash
# What only a GPU can run, in small trainings of two steps: packing with flash attention, weights over CUDA IPC with all
# models on one GPU, sleep mode, dynamic batches, ring attention, weights over NCCL between GPUs.
#
#   benchmarks/gpu_smoke.sh            on a machine with one GPU or more and the `train` extra with flash-attn installed
#   PYTHON=python3 benchmarks/gpu_smoke.sh
#
# Writes benchmarks/results/gpu_smoke.md: a row a case, with the seconds of the run, the solve rate, and the mean
# difference between vLLM's log-probabilities and the policy's in the last step, which shows whether the weights arrived.
# A case that needs more GPUs than there are is listed as not run. Exits with 1 if a case fails; without a GPU it writes
# nothing. Nobody has run it yet: there was no GPU at hand when it was written.
set -uo pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-.venv/bin/python}
OUT=benchmarks/results/gpu_smoke.md
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

command -v nvidia-smi > /dev/null || { echo "gpu_smoke.sh: there is no GPU here (no nvidia-smi)" >&2; exit 2; }
GPUS=$(nvidia-smi --list-gpus | wc -l)

"$PYTHON" - "$WORK" << 'MAKE' || exit 1
import sys
from pathlib import Path
from rich.console import Console
from rlef_plugin.tiny import demo
demo.prepare(Path(sys.argv[1]), None, Console(), steps=200)
MAKE

COMMON=(
  rlef.cpu_host=false "actor.model_name_or_path=$WORK/model" "data.prompt_dataset=$WORK/store"
  train.num_episodes=1 data.max_samples=16 rollout.batch_size=8 rollout.n_samples_per_prompt=2
  rollout.micro_batch_size=4 train.batch_size=8 train.micro_batch_size=2 rollout.max_new_tokens=96
  vllm.sync_backend=nccl vllm.gpu_memory_utilization=0.3 ds.attn_implementation=flash_attention_2
)
ONE_GPU=(train.colocate_all=true)  # policy, reference, critic and vLLM; the host then exchanges weights over CUDA IPC
TWO_GPUS=("${ONE_GPU[@]}" actor.num_gpus_per_node=2 ref.num_gpus_per_node=2 critic.num_gpus_per_node=2 vllm.num_engines=2)

row() { printf '| %s | %s | %s | %s | %s |\n' "$@" >> "$WORK/rows"; }

FAILED=0
run_case() {  # name, GPUs, overrides...
  local name=$1 needs=$2 run="$WORK/runs/${1// /-}" started=$SECONDS
  shift 2
  if ((GPUS < needs)); then row "$name" "not run: needs $needs GPUs" - - -; return; fi
  mkdir -p "$run"
  echo "gpu_smoke.sh: $name" >&2
  if timeout 1200 "$PYTHON" -m rlef_plugin train recipes/cpu-demo.yaml "${COMMON[@]}" "$@" \
    "rlef.run_dir=$run" "ckpt.output_dir=$run/model" "ckpt.path=$run/checkpoints" > "$run/log" 2>&1; then
    row "$name" passed "$((SECONDS - started))" $("$PYTHON" - "$run/metrics.jsonl" << 'READ'
import json, sys
last = [json.loads(line) for line in open(sys.argv[1])][-1]
print(f"{last['episode/solve_rate']:.2f} {last['vllm_kl']:+.4f}")
READ
    )
  else
    FAILED=1
    row "$name" "FAILED: $(grep -aE 'Error|error:' "$run/log" | tail -1 | cut -c1-160 | tr '|' '/')" "$((SECONDS - started))" - -
  fi
}

run_case "packing with flash attention, CUDA IPC" 1 "${ONE_GPU[@]}" ds.packing_samples=true
run_case "the same without packing" 1 "${ONE_GPU[@]}"
run_case "sleep mode of vLLM and DeepSpeed" 1 "${ONE_GPU[@]}" ds.packing_samples=true vllm.enable_sleep=true ds.enable_sleep=true
run_case "dynamic batches" 1 "${ONE_GPU[@]}" train.dynamic_batch_enable=true train.max_tokens_per_gpu=2048
run_case "LoRA" 1 "${ONE_GPU[@]}" ds.packing_samples=true ds.lora.rank=8
run_case "ZeRO-3, data parallel 2" 2 "${TWO_GPUS[@]}" ds.packing_samples=true ds.zero_stage=3
run_case "ring attention over 2 GPUs" 2 "${TWO_GPUS[@]}" ds.packing_samples=true ds.ring_attn_size=2
run_case "a GPU a model, weights over NCCL, asynchronous" 4 ds.packing_samples=true train.async_enable=true

{
  echo "# What only a GPU can run"
  echo
  echo "benchmarks/gpu_smoke.sh, $(date -u +%F), commit $(git rev-parse --short HEAD 2> /dev/null || echo unknown)."
  echo "$(nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader | sort | uniq -c | tr -s ' ')"
  echo
  echo "| case | outcome | s | solve rate | vLLM - policy, log-probability |"
  echo "|---|---|---|---|---|"
  cat "$WORK/rows"
} > "$OUT"
cat "$OUT"
exit "$FAILED"
