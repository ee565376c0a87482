"""The C source of one training step of a network, made from the layers of its row: constants, buffers and calls."""

import math
from collections import defaultdict
from dataclasses import dataclass

from models import CLASSES, DROPOUT, IMAGE_SHAPE, Layer, ModelSpec
from native.compiler import NoNativeStep

TEMPLATE = """\
/* {title} */
#include "kernels.h"
enum {{ CLASSES = {classes} }};

struct image {{ /* what is kept of each image; the padding around pixels is 0 and stays so */
{image}
}};
struct net {{ /* and of all together */
    struct {{
{sums}
    }} sums; /* gradients */
{net}
}};
enum {{ STRIDE = sizeof(struct image) / sizeof(float) }};
{constants}

int64_t bytes(int64_t batch) {{ return sizeof(struct net) + batch * sizeof(struct image); }}

APART void forward(struct net *net, struct image *image, const float *pixels) {{
{forward}
}}

APART void backward(struct net *net, struct image *image) {{
{backward}
}}

/* Change the weights by a batch, and write its logits from before. net: bytes(batch), all 0 before the first step. */
void step(struct net *net, int batch, const float *images, const int64_t *labels, float *logits, float **weights,
          float **momenta, const struct sgd *how, uint64_t seed) {{
    struct image *image = (struct image *)(net + 1);
    memset(&net->sums, 0, sizeof net->sums);
    (void)seed;
{pack}
    for (int n = 0; n < batch; n++) forward(net, image + n, images + n * {floats});
{head_forward}
    for (int n = 0; n < batch; n++) {{
        memcpy(logits + n * CLASSES, image[n].a{last}, sizeof(float) * CLASSES);
        loss_backward(CLASSES, batch, image[n].a{last}, labels[n], how->label_smoothing, image[n].g{last});
    }}
{head_backward}
    for (int n = 0; n < batch; n++) backward(net, image + n);
{update}
}}
"""


@dataclass(frozen=True)
class Plane:
    """How square pixels lie in a buffer: ``size`` in a row and in a column, with ``halo`` more on each side."""

    channels: int
    size: int
    halo: int = 0

    @property
    def row(self) -> int:
        return (self.size + 2 * self.halo) * self.channels

    @property
    def floats(self) -> int:
        return (self.size + 2 * self.halo) * self.row

    @property
    def strides(self) -> str:
        return f"(struct plane){{{self.channels}, {self.row}}}"

    def inside(self, buffer: str) -> str:
        """Point to the first pixel that is not of the halo."""
        return f"{buffer} + {self.halo * (self.row + self.channels)}"


@dataclass(frozen=True)
class Stage:
    """A convolution, and the pool that may come behind it."""

    number: int
    conv: Layer
    pooled: bool
    before: Plane  # what goes in
    after: Plane  # what comes out, with the halo that the next stage needs

    @property
    def has_below(self) -> bool:
        """Whether the gradient of what goes in is wanted, for weights below."""
        return self.number > 0

    @property
    def gradient(self) -> Plane:
        """How the gradient of what goes in lies."""
        return self.before if self.pooled else Plane(self.before.channels, self.before.size)


def stages_of(layers: list[Layer]) -> list[Stage]:
    """Sort the layers before the head into stages. Raises NoNativeStep for a pool that is not behind a convolution."""
    pairs: list[tuple[Layer, bool]] = []
    for layer in layers:
        if layer.kind == "conv":
            pairs.append((layer, False))
        elif pairs and not pairs[-1][1]:
            pairs[-1] = (pairs[-1][0], True)
        else:
            raise NoNativeStep("it knows a pool behind a convolution only")

    halos = [conv.padding for conv, _ in pairs] + [0]
    plane, stages = Plane(*IMAGE_SHAPE[:2], halos[0]), list[Stage]()
    for number, (conv, pooled) in enumerate(pairs):
        after = Plane(conv.outputs, conv.size // 2 if pooled else conv.size, halos[number + 1])
        stages.append(Stage(number, conv, pooled, plane, after))
        plane = after
    return stages


class Source:
    """A source, to whose parts the layers add lines.

    What goes into stage i of the features is x{i}, and its gradient d{i}. What the head begins with is a0, and what its
    linear layer i puts out is a{i}, with gradients g{i}.
    """

    def __init__(self, spec: ModelSpec):
        self.relu, self.tensors = int(spec.relu), 0  # of weights and biases in the layers so far
        self.lines: dict[str, list[str]] = defaultdict(list)
        layers = spec.layers()
        features = [layer for layer in layers if layer.kind in ("conv", "pool")]
        stages = stages_of(features)
        output = stages[-1].after if stages else Plane(*IMAGE_SHAPE[:2])

        first = stages[0].before if stages else output
        self.buffer("image", "x0", first.floats)
        self.call("forward", "copy_image", first.size * first.channels, first.inside("image->x0"), first.row, "pixels")
        for stage in stages:
            self.buffer("image", f"x{stage.number + 1}", stage.after.floats)
            if stage.has_below:
                self.buffer("net", f"d{stage.number}", stage.gradient.floats)
            above = stages[stage.number + 1].gradient if stage is not stages[-1] else output
            self.add_stage(stage, above)
        self.add_head(layers[len(features) :], output, len(stages))

        title = f"{spec.features} | {spec.head} | {'ReLU' if spec.relu else 'no ReLU'}"
        names = "image sums net constants pack forward backward head_forward head_backward update".split()
        parts = {name: "\n".join(self.lines[name]) for name in names}
        facts = {"title": title, "classes": CLASSES, "floats": math.prod(IMAGE_SHAPE), "last": self.last}
        self.text = TEMPLATE.format(**facts, **parts)

    def add(self, part: str, line: str) -> None:
        """Add a line; to the way back before the others, as the last layer comes first there."""
        lines = self.lines[part]
        lines.insert(0 if part in ("backward", "head_backward") else len(lines), f"    {line}")

    def call(self, part: str, function: str, *arguments: object) -> None:
        self.add(part, f"{function}({', '.join(map(str, arguments))});")

    def buffer(self, part: str, name: str, size: object, kind: str = "float") -> None:
        self.add(part, f"{kind} {name}[UP_TO({size} + SLACK, 16)] __attribute__((aligned(64)));")

    def constant(self, kind: str, name: str, **values: object) -> None:
        fields = ", ".join(f".{key} = {value}" for key, value in values.items())
        self.lines["constants"].append(f"static const struct {kind} {name} = {{{fields}}};")

    # ---- features ----

    def add_stage(self, stage: Stage, above: Plane) -> None:
        """Add a convolution and the pool behind it; ``above`` is how the gradient of what comes out lies."""
        i, conv, after, relu = stage.number, stage.conv, stage.after, self.relu
        weights = self.add_weights()
        run, width = f"LANED({conv.kernel * conv.inputs})", f"LANED({conv.outputs})"
        row = f"{conv.size} * {width}"
        out = (
            {"out_pixel": width, "out_row": row} if stage.pooled else {"out_pixel": conv.outputs, "out_row": after.row}
        )
        self.constant("conv", f"conv{i}", inputs=conv.inputs, outputs=conv.outputs, kernel=conv.kernel, size=conv.size,
                      in_row=stage.before.row, **out, relu=0 if stage.pooled else relu)  # fmt: skip
        self.buffer("sums", f"w{i}", f"{conv.outputs * conv.kernel} * {run}")
        self.buffer("sums", f"b{i}", conv.outputs)
        self.buffer("net", f"packed{i}", f"{conv.kernel**2 * conv.inputs} * {width}")
        self.buffer("net", f"bias{i}", width)
        sums = f"net->sums.w{i}", f"net->sums.b{i}"
        self.call("pack", "pack_forward", f"conv{i}", weights, f"net->packed{i}", f"net->bias{i}")
        self.call("update", "update_convolution", f"conv{i}", *sums, weights, momenta_of(weights), "how")

        forward = f"conv{i}", f"image->x{i}", f"net->packed{i}", f"net->bias{i}"
        to, gradient = after.inside(f"image->x{i + 1}"), (above.strides, above.inside(f"net->d{i + 1}"))
        if stage.pooled:
            self.constant("pool", f"pool{i}", channels=conv.outputs, size=after.size, in_pixel=width, in_row=row,
                          out_row=after.row, relu=relu)  # fmt: skip
            self.buffer("net", f"y{i}", f"{conv.size} * {row}")
            self.buffer("image", f"which{i}", f"{after.size**2} * {width}", "int32_t")
            self.call("forward", "convolve", *forward, f"net->y{i}")
            self.call("forward", "pool", f"pool{i}", f"net->y{i}", to, f"image->which{i}")
            self.add_backward_by_points(stage, weights, *gradient, *sums)
        else:
            self.call("forward", "convolve", *forward, to)
            self.add_backward(stage, weights, *gradient, *sums)

    def add_backward_by_points(self, stage: Stage, weights: str, *gradients: str) -> None:
        """Add the way back through a pool and the convolution below it, from the pixels that were maxima."""
        i, conv, passed = stage.number, stage.conv, ("0", "0")
        strides, gradient, *sums = gradients
        self.buffer("net", f"points{i}", stage.after.size**2, "struct point")
        if stage.has_below:
            passed = f"net->runs{i}", f"net->d{i}"
            self.buffer("net", f"runs{i}", f"{conv.outputs * conv.kernel} * LANED({conv.kernel * conv.inputs})")
            self.call("pack", "pack_runs", f"conv{i}", weights, f"net->runs{i}")
        self.call("backward", "points_of_pool", f"conv{i}", f"pool{i}", strides, gradient, f"image->which{i}",
                  f"net->points{i}", f"image->x{i}", *passed, *sums)  # fmt: skip
        if stage.has_below:
            self.call("backward", "memset", f"net->d{i}", 0, f"sizeof net->d{i}")

    def add_backward(self, stage: Stage, weights: str, *gradients: str) -> None:
        """Add the way back through a convolution without a pool, over all pixels."""
        i, conv = stage.number, stage.conv
        strides, gradient, weight_sums, bias_sums = gradients
        # A halo around the output's gradient makes the input's gradient a convolution of it, with the turned kernel.
        output = Plane(conv.outputs, conv.size, conv.kernel - 1 - conv.padding)
        inside, activation = output.inside(f"net->y{i}"), stage.after.inside(f"image->x{i + 1}")
        self.buffer("net", f"y{i}", output.floats)
        if stage.has_below:
            self.constant("conv", f"turned{i}", inputs=conv.outputs, outputs=conv.inputs, kernel=conv.kernel,
                          size=stage.before.size, in_row=output.row, out_pixel=conv.inputs, out_row=stage.gradient.row,
                          relu=0)  # fmt: skip
            self.buffer("net", f"turning{i}", f"{conv.kernel**2 * conv.outputs} * LANED({conv.inputs})")
            self.call("pack", "pack_turned", f"conv{i}", weights, f"net->turning{i}")
            self.call("backward", "convolve", f"turned{i}", f"net->y{i}", f"net->turning{i}", 0, f"net->d{i}")
        self.call("backward", "weigh", f"conv{i}", output.strides, f"image->x{i}", inside, weight_sums)
        self.call("backward", "mask", f"conv{i}", strides, gradient, activation, output.strides, inside, bias_sums)

    # ---- the head ----

    def add_head(self, layers: list[Layer], features: Plane, stages: int) -> None:
        """Add the flattening, linear layers and dropout, and between them ReLU."""
        flat = features.channels, features.size**2
        self.buffer("image", "a0", features.floats)
        self.buffer("image", "g0", features.floats)
        self.call("forward", "flatten", *flat, f"image->x{stages}", "image->a0")
        if stages:
            self.buffer("net", f"d{stages}", features.floats)
            self.call("backward", "unflatten", *flat, "image->g0", f"net->d{stages}")

        i, neurons, each = 0, features.floats, "for (int n = 0; n < batch; n++)"
        for number, layer in enumerate(layers):
            x, gradient = f"image->a{i}", f"image->g{i}" if stages or i else "0"
            if layer.kind == "dropout":
                drop = f"{each} dropout({neurons}, {DROPOUT}, seed, {number}, n, image[n]."
                self.add("head_forward", f"{drop}a{i});")
                self.add("head_backward", f"{drop}g{i});")
                continue
            relu, weights, i = self.relu if layer is not layers[-1] else 0, self.add_weights(), i + 1
            self.buffer("image", f"a{i}", layer.outputs)
            self.buffer("image", f"g{i}", layer.outputs)
            self.constant("linear", f"linear{i}", inputs=neurons, outputs=layer.outputs, stride="STRIDE", relu=relu)
            self.call("head_forward", "linear_forward", f"linear{i}", "batch", x, weights, f"image->a{i}")
            self.call("head_backward", "linear_backward", f"linear{i}", "batch", x, f"image->g{i}", gradient, weights,
                      momenta_of(weights), "how")  # fmt: skip
            if relu:
                self.add("head_backward", f"{each} relu_backward({layer.outputs}, image[n].a{i}, image[n].g{i});")
            neurons = layer.outputs
        self.last = i

    def add_weights(self) -> str:
        """Point to the weights and biases of the next layer."""
        self.tensors += 2
        return f"weights + {self.tensors - 2}"


def momenta_of(weights: str) -> str:
    return weights.replace("weights", "momenta")
