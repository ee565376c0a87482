"""The C source of one training step of a network, made from the layers of its row: constants, buffers and calls."""

import math
from collections import defaultdict
from dataclasses import dataclass

from models import CLASSES, DROPOUT, IMAGE_SHAPE, Layer, ModelSpec
from native.compiler import NoNativeStep

TEMPLATE = """\
/* {title} */
#define FEW {few}
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
    def steps(self) -> str:
        return f"(struct plane){{{self.channels}, {self.row}}}"

    def inside(self, buffer: str) -> str:
        """Point to the first pixel that is not of the halo."""
        return f"{buffer} + {self.halo * (self.row + self.channels)}"


@dataclass
class Stage:
    """A convolution, and the pool that may come behind it."""

    conv: Layer
    before: Plane  # what goes in
    pooled: bool = False

    @property
    def size(self) -> int:
        return self.conv.size // 2 if self.pooled else self.conv.size

    @property
    def gradient(self) -> Plane:
        """How the gradient of what goes in lies: as that does, where it is spread from single points."""
        return self.before if self.pooled else Plane(self.before.channels, self.before.size)


def stages_of(layers: list[Layer]) -> list[Stage]:
    """Sort the layers before the head into stages. Raises NoNativeStep for a pool that is not behind a convolution."""
    stages: list[Stage] = []
    for layer in layers:
        if layer.kind == "conv":
            size = stages[-1].size if stages else IMAGE_SHAPE[1]
            stages.append(Stage(layer, Plane(layer.inputs, size, layer.padding)))
        elif stages and not stages[-1].pooled:
            stages[-1].pooled = True
        else:
            raise NoNativeStep("it knows a pool behind a convolution only")
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
        output = Plane(stages[-1].conv.outputs, stages[-1].size) if stages else Plane(*IMAGE_SHAPE[:2])

        planes = [*(stage.before for stage in stages), output]
        gradients = [*(stage.gradient for stage in stages), output]
        for i, (plane, gradient) in enumerate(zip(planes, gradients)):
            self.buffer("image", f"x{i}", plane.floats)
            self.buffer("net", f"d{i}", gradient.floats)
        row = IMAGE_SHAPE[0] * IMAGE_SHAPE[1]
        inside = planes[0].inside("image->x0")
        self.arrange("forward", (1, IMAGE_SHAPE[2], row), "pixels", (0, row, 1), inside, (0, planes[0].row, 1))
        for i, stage in enumerate(stages):
            self.add_stage(i, stage, planes[i + 1], gradients[i + 1])
        self.add_head(layers[len(features) :], output, len(stages))

        title = f"{spec.features} | {spec.head} | {'ReLU' if spec.relu else 'no ReLU'}"
        names = "image sums net constants pack forward backward head_forward head_backward update".split()
        parts = {name: "\n".join(self.lines[name]) for name in names}
        few = int(any(stage.conv.outputs % 16 for stage in stages))
        facts = {"title": title, "few": few, "classes": CLASSES, "floats": math.prod(IMAGE_SHAPE), "last": self.last}
        self.text = TEMPLATE.format(**facts, **parts)

    def add(self, part: str, line: str) -> None:
        """Add a line; to the way back before the others, as the last layer comes first there."""
        lines = self.lines[part]
        lines.insert(0 if part in ("backward", "head_backward") else len(lines), f"    {line}")

    def call(self, part: str, function: str, *arguments: object) -> None:
        self.add(part, f"{function}({', '.join(map(str, arguments))});")

    def arrange(self, part: str, count: tuple, source: str, steps: tuple, target: str, target_steps: tuple) -> None:
        """Add a copy of numbers in three dimensions."""
        three = [f"(struct three){{{a}, {b}, {c}}}" for a, b, c in (count, steps, target_steps)]
        self.call(part, "arrange", three[0], source, three[1], target, three[2])

    def buffer(self, part: str, name: str, size: object, kind: str = "float") -> None:
        self.add(part, f"{kind} {name}[UP_TO({size} + SLACK, 16)] __attribute__((aligned(64)));")

    def constant(self, kind: str, name: str, **values: object) -> None:
        fields = ", ".join(f".{key} = {value}" for key, value in values.items())
        self.lines["constants"].append(f"static const struct {kind} {name} = {{{fields}}};")

    def add_weights(self) -> int:
        """Count the weights and biases of the next layer, and say which ones they are."""
        self.tensors += 2
        return self.tensors - 2

    # ---- features ----

    def add_stage(self, i: int, stage: Stage, after: Plane, above: Plane) -> None:
        """Add a convolution and the pool behind it; ``above`` is how the gradient of what comes out lies."""
        # The convolution, with weights in the order that it takes them in.
        conv, tensor = stage.conv, self.add_weights()
        weights, run, width = f"weights[{tensor}]", conv.kernel * conv.inputs, f"LANED({conv.outputs})"
        pixel, row = (width, f"{conv.size} * {width}") if stage.pooled else (conv.outputs, after.row)
        self.constant("conv", f"conv{i}", inputs=conv.inputs, outputs=conv.outputs, kernel=conv.kernel, size=conv.size,
                      in_row=stage.before.row, out_pixel=pixel, out_row=row, relu=self.relu,
                      pooled=int(stage.pooled))  # fmt: skip
        terms = conv.kernel * run
        self.buffer("net", f"packed{i}", f"{terms} * {width}")
        self.buffer("net", f"bias{i}", width)
        self.arrange("pack", (1, terms, conv.outputs), weights, (0, 1, terms), f"net->packed{i}", (0, width, 1))
        self.call("pack", "memcpy", f"net->bias{i}", f"weights[{tensor + 1}]", f"sizeof(float) * {conv.outputs}")

        # Forward, and the gradients.
        convolution = f"conv{i}", f"image->x{i}", f"net->packed{i}", f"net->bias{i}"
        to, gradient = after.inside(f"image->x{i + 1}"), (above.steps, above.inside(f"net->d{i + 1}"))
        if stage.pooled:
            self.buffer("net", f"y{i}", f"{conv.size} * {row}")
            self.buffer("image", f"which{i}", f"{after.size**2} * {width}", "int32_t")
            self.call("forward", "convolve", *convolution, f"net->y{i}")
            self.call("forward", "pool", f"conv{i}", after.row, f"net->y{i}", to, f"image->which{i}")
            self.add_backward_by_points(i, stage, weights, gradient)
        else:
            self.call("forward", "convolve", *convolution, to)
            self.add_backward(i, stage, weights, (*gradient, to))

        # The change of weights, by sums with runs of whole vectors.
        rows, sums = conv.outputs * conv.kernel, f"net->sums.w{i}, LANED({run})"
        self.buffer("sums", f"w{i}", f"{rows} * LANED({run})")
        self.buffer("sums", f"b{i}", conv.outputs)
        self.call("update", "update", "how", rows, run, sums, weights, f"momenta[{tensor}]", run)
        biases = f"weights[{tensor + 1}], momenta[{tensor + 1}]"
        self.call("update", "update", "how", 1, conv.outputs, f"net->sums.b{i}", 0, biases, 0)

    def add_backward_by_points(self, i: int, stage: Stage, weights: str, gradient: tuple[str, str]) -> None:
        """Add the way back through a pool and the convolution below it, from the pixels that were maxima."""
        conv = stage.conv
        run, rows = conv.kernel * conv.inputs, conv.outputs * conv.kernel
        self.buffer("net", f"points{i}", conv.size**2 // 4, "struct point")
        self.buffer("net", f"runs{i}", f"{rows} * LANED({run})")
        self.arrange("pack", (1, rows, run), weights, (0, run, 1), f"net->runs{i}", (0, f"LANED({run})", 1))
        self.call("backward", "pool_backward", f"conv{i}", *gradient, f"image->which{i}", f"net->points{i}",
                  f"image->x{i}", f"net->runs{i}", f"net->d{i}" if i else 0, f"net->sums.w{i}",
                  f"net->sums.b{i}")  # fmt: skip
        self.call("backward", "memset", f"net->d{i}", 0, f"sizeof net->d{i}")

    def add_backward(self, i: int, stage: Stage, weights: str, gradient: tuple[str, str, str]) -> None:
        """Add the way back through a convolution without a pool, over all pixels."""
        # A halo around the output's gradient makes the input's gradient a convolution of it, with the kernel turned by
        # half a turn.
        conv = stage.conv
        output = Plane(conv.outputs, conv.size, conv.kernel - 1 - conv.padding)
        inside, taps = output.inside(f"net->y{i}"), conv.kernel**2
        self.buffer("net", f"y{i}", output.floats)
        if i:
            self.constant("conv", f"turned{i}", inputs=conv.outputs, outputs=conv.inputs, kernel=conv.kernel,
                          size=stage.before.size, in_row=output.row, out_pixel=conv.inputs,
                          out_row=stage.gradient.row)  # fmt: skip
            width, count = f"LANED({conv.inputs})", (taps, conv.outputs, conv.inputs)
            last = f"net->turning{i} + {(taps - 1) * conv.outputs} * {width}"
            self.buffer("net", f"turning{i}", f"{taps * conv.outputs} * {width}")
            self.arrange("pack", count, weights, (conv.inputs, taps * conv.inputs, 1), last,
                         (f"-{conv.outputs} * {width}", width, 1))  # fmt: skip
            self.call("backward", "convolve", f"turned{i}", f"net->y{i}", f"net->turning{i}", 0, f"net->d{i}")
        self.call("backward", "weigh", f"conv{i}", output.steps, f"image->x{i}", inside, f"net->sums.w{i}")
        self.call("backward", "mask", f"conv{i}", *gradient, output.steps, inside, f"net->sums.b{i}")

    # ---- the head ----

    def add_head(self, layers: list[Layer], features: Plane, stages: int) -> None:
        """Add the flattening, channel by channel as PyTorch has it, linear layers, and dropout."""
        count, pixels, channels = (1, features.size**2, features.channels), features.size**2, features.channels
        self.buffer("image", "a0", features.floats)
        self.buffer("image", "g0", features.floats)
        self.arrange("forward", count, f"image->x{stages}", (0, channels, 1), "image->a0", (0, 1, pixels))
        self.arrange("backward", count, "image->g0", (0, 1, pixels), f"net->d{stages}", (0, channels, 1))

        i, neurons, each = 0, features.floats, "for (int n = 0; n < batch; n++)"
        for number, layer in enumerate(layers):
            if layer.kind == "dropout":
                drop = f"{each} dropout({neurons}, {DROPOUT}, seed, {number}, n, image[n]."
                self.add("head_forward", f"{drop}a{i});")
                self.add("head_backward", f"{drop}g{i});")
                continue
            x, gradient, tensor = f"image->a{i}", f"image->g{i}" if stages or i else "0", self.add_weights()
            i += 1
            self.buffer("image", f"a{i}", layer.outputs)
            self.buffer("image", f"g{i}", layer.outputs)
            self.constant("linear", f"linear{i}", inputs=neurons, outputs=layer.outputs, stride="STRIDE",
                          relu=self.relu if layer is not layers[-1] else 0)  # fmt: skip
            self.call("head_forward", "linear_forward", f"linear{i}", "batch", x, f"weights + {tensor}", f"image->a{i}")
            self.call("head_backward", "linear_backward", f"linear{i}", "batch", x, f"image->a{i}", f"image->g{i}",
                      gradient, f"weights + {tensor}", f"momenta + {tensor}", "how")  # fmt: skip
            neurons = layer.outputs
        self.last = i
