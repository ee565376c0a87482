#!/usr/bin/env bash
# What do the networks look at? Trains what results/look holds, and shows it in its gallery: first on images whose answer
# is known, then on CIFAR-10 with shuffles between the extremes. Hours; stopped, the same command goes on.
set -eu
cd "$(dirname "$0")"
python=.venv/bin/python
[ -x "$python" ] || python=python3
results=results/look

train() {
    "$python" ex1.py --recipe fast --results-dir "$results" "$@"
}

on_cues() {
    train --dataset synthetic --augment none --lr 0.01 --epochs 4 --seeds 0-2 "$@"
}

for cues in colour position texture colour,position colour,texture position,texture colour,position,texture; do
    on_cues --model-name Q1_1,Q1_19,Q2_1 --shuffle none fixed per-image --cues "$cues"
done
# Why the outcomes are not all as expected.
on_cues --model-name Q1_1 --shuffle block:2 block:4 block:8 block:16 --cues position
for cue in position texture; do
    on_cues --model-file docs/no_convolutions.py --model-name NoConv --shuffle none fixed per-image --cues "$cue"
done
for run in "$results"/synthetic-{colour,texture}-1/Q2_1/*/; do
    [ -e "$run/matrix.json" ] || "$python" ex1.py --collapse "$run"
done

dials=(none fixed per-image colour block:2 block:4 block:8 block:16 within:2 within:4 within:8 within:16)
train --model-name Q1_1,Q1_19 --seeds 0-2 --epochs 2 --dataset cifar10 --shuffle "${dials[@]}"
train --model-file docs/no_convolutions.py --model-name NoConv --seeds 0-2 --epochs 2 --dataset cifar10 \
    --shuffle "${dials[@]}"
for run in "$results"/cifar10*/Q1_*/*/; do
    [ -e "$run/transfer.json" ] || "$python" ex1.py --transfer "$run"
done
"$python" ex1.py --model-name Q2_1,Q2_2 --epochs 1 --dataset cifar10 --results-dir "$results"
for run in "$results"/cifar10*/Q2_*/*/; do
    [ -e "$run/matrix.json" ] || "$python" ex1.py --collapse "$run"
done
compgen -G "$results/cifar10*/baselines.json" > /dev/null || "$python" baselines.py --results-dir "$results"
"$python" report.py "$results"/cifar10*
