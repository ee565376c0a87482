#!/usr/bin/env bash
# What do the networks look at? Trains what results/look holds, and shows it in its gallery: first on images whose answer
# is known, then on CIFAR-10 with shuffles between the extremes. Finished runs on the same images are not trained again.
# Hours; stopped, the same command goes on.
set -eu
cd "$(dirname "$0")/.."
python=.venv/bin/python
[ -x "$python" ] || python=python3
results=results/look

train() {
    "$python" ex1.py --recipe fast --results-dir "$results" "$@"
}

# Five permutations with a seed each, so that both vary together: where runs are many, or long. Of four blocks there are
# nine permutations only, and these are the first seeds of five different ones.
each_draw() {
    for draw in ${draws:-0 1 2 3 4}; do
        "$@" --shuffle-seeds "$draw" --seeds "$draw"
    done
}
of_four_blocks="0 1 3 5 6"

measure() {
    if [ ! -e "$2/config.json" ] || [ -e "$2/$3" ]; then
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

# A precision that is asked for is in the names of runs, and those below were trained so.
on_cues_fp32() {
    on_cues --precision fp32 "$@"
}

# ---- synthetic images, whose answer is known ----

for cues in colour position texture colour,position colour,texture position,texture colour,position,texture; do
    on_cues --model-name Q1_1,Q1_19 --shuffle none fixed per-image --cues "$cues"
    affine=on_cues
    if [ "$cues" = colour ] || [ "$cues" = texture ]; then
        affine=on_cues_fp32
    fi
    "$affine" --model-name Q2_1 --shuffle none fixed per-image --cues "$cues"
done
# Why the outcomes are not all as expected: permutations that keep some places, images whose blobs are smooth already,
# networks without kernels, and more epochs.
on_cues_fp32 --model-name Q1_1 --shuffle blur:5 --cues position
each_draw on_cues_fp32 --model-name Q1_1 --shuffle block:2 block:4 block:8 blur:5+fixed --cues position
draws=$of_four_blocks each_draw on_cues_fp32 --model-name Q1_1 --shuffle block:16 --cues position
for cue in position texture; do
    on_cues --model-file docs/no_convolutions.py --model-name NoConv --shuffle none fixed per-image --cues "$cue"
    each_draw on_cues_fp32 --model-name Q1_1 --shuffle fixed --cues "$cue"
    for epochs in 8 16 32; do
        on_cues_fp32 --model-name Q1_1 --cues "$cue" --epochs "$epochs"
        each_draw on_cues_fp32 --model-name Q1_1 --shuffle fixed --cues "$cue" --epochs "$epochs"
    done
done
for run in "$results"/synthetic-{colour,texture}-1/Q2_1/*/; do
    measure --collapse "$run" matrix.json
done
# Which of two cues a network follows, which differs from seed to seed; what a classifier finds that sees no places.
on_cues_fp32 --model-name Q1_1 --cues colour,position,texture --seeds 0-19
for run in "$results"/synthetic-colour-1-position-1-texture-1/Q1_*/*__shuffle-none__*/; do
    measure --conflict "$run" conflict.json
done
for cue in colour position texture; do
    [ -e "$results/synthetic-$cue-1/baselines.json" ] ||
        "$python" -m experiments.baselines --dataset synthetic --cues "$cue" --results-dir "$results"
done

# ---- CIFAR-10, every shuffle over five permutations: of the original net with three seeds each ----

on_cifar() {
    train --dataset cifar10 --epochs 2 --seeds 0-2 --shuffle-seeds 0-4 "$@"
}
on_cifar_bf16() {
    on_cifar --precision bf16 "$@"
}
moved=(fixed per-image block:2 block:4 block:8 within:2 within:4 within:8 within:16)
on_cifar --model-name Q1_1 --shuffle none grey edges:4 edges:8 edges:16 "${moved[@]}" \
    within-shared:2 within-shared:4 within-shared:8 within-shared:16 grey+fixed grey+per-image grey+block:8
on_cifar --model-name Q1_1 --shuffle block:16 --shuffle-seeds "${of_four_blocks// /,}"
on_cifar_bf16 --model-file docs/no_convolutions.py --model-name NoConv --shuffle none grey fixed per-image block:4 within:4
# How much the seed alone makes, what a network is that sees the bag of pixels, and what more epochs change.
train --dataset cifar10 --epochs 2 --model-name Q1_1 --seeds 0-49
deep_sets() {
    train --dataset cifar10 --seeds 0-2 --model-file docs/deep_sets.py --model-name DeepSets --shuffle per-image "$@"
}
deep_sets --epochs 2
deep_sets --epochs 8 --precision bf16
on_cifar_bf16 --model-name Q1_1 --epochs 8
each_draw on_cifar_bf16 --model-name Q1_1 --epochs 8 --shuffle fixed per-image block:2 block:4 block:8
draws=$of_four_blocks each_draw on_cifar_bf16 --model-name Q1_1 --epochs 8 --shuffle block:16
on_cifar_bf16 --model-name Q1_19 --shuffle none grey edges:8
each_draw on_cifar_bf16 --model-name Q1_19 --shuffle "${moved[@]}" grey+per-image
draws=$of_four_blocks each_draw on_cifar_bf16 --model-name Q1_19 --shuffle block:16

# What networks that were trained with one shuffle make of others.
for run in "$results"/cifar10*/Q1_*/*__shuffle-{none,grey,fixed,block-8,per-image}__recipe-fast__epochs-2__{,precision-bf16__}seed-[0-2]/; do
    measure --transfer "$run" transfer.json
done
"$python" ex1.py --model-name Q2_1,Q2_2 --epochs 1 --dataset cifar10 --results-dir "$results"
for run in "$results"/cifar10*/Q2_*/*/; do
    measure --collapse "$run" matrix.json
done
for study in "$results"/cifar10*/; do
    [ -e "$study/baselines.json" ] || "$python" -m experiments.baselines --results-dir "$results"
done
"$python" -m report "$results" --study --keep
