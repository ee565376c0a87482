#!/usr/bin/env bash
# What do the networks look at? Trains what results/look holds, and shows it in its gallery: first on images whose answer
# is known, then on CIFAR-10 with shuffles between the extremes. Finished runs on the same images are not trained again.
# Hours; stopped, the same command goes on.
set -eu
cd "$(dirname "$0")"
python=.venv/bin/python
[ -x "$python" ] || python=python3
results=results/look

train() {
    "$python" ex1.py --recipe fast --results-dir "$results" "$@"
}

measure() {
    if [ -e "$2/$3" ]; then
        return
    fi
    if [ -e "$2/last.pt" ]; then
        "$python" ex1.py "$1" "$2"
    else
        echo "$2 has neither $3 nor a checkpoint to make it from; without the folder, the next time trains that run again"
    fi
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
    measure --collapse "$run" matrix.json
done

dials=(none fixed per-image colour block:2 block:4 block:8 block:16 within:2 within:4 within:8 within:16)
train --model-name Q1_1,Q1_19 --seeds 0-2 --epochs 2 --dataset cifar10 --shuffle "${dials[@]}"
train --model-file docs/no_convolutions.py --model-name NoConv --seeds 0-2 --epochs 2 --dataset cifar10 \
    --shuffle "${dials[@]}"
for run in "$results"/cifar10*/Q1_*/*/; do
    measure --transfer "$run" transfer.json
done
"$python" ex1.py --model-name Q2_1,Q2_2 --epochs 1 --dataset cifar10 --results-dir "$results"
for run in "$results"/cifar10*/Q2_*/*/; do
    measure --collapse "$run" matrix.json
done
for study in "$results"/cifar10*/; do
    [ -e "$study/baselines.json" ] || "$python" baselines.py --results-dir "$results"
    "$python" -m report "$study"
done
