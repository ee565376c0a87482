"""The C source of one training step of a network, made from the layers of its row: constants, buffers and calls."""

import math
from collections import defaultdict
from dataclasses import dataclass

from models import CLASSES, DROPOUT, IMAGE_SHAPE, Layer, ModelSpec

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

{functions}

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
    def start(self) -> int:
        return self.halo * (self.row + self.channels)

    @property
    def floats(self) -> int:
        return (self.size + 2 * self.halo) * self.row

    @property
    def strides(self) -> str:
        return f"(struct plane){{{self.channels}, {self.row}}}"

    def at(self, buffer: str) -> str:
        return f"{buffer} + {self.start}"


@dataclass(frozen=True)
class Stage:
    """Layers of the features that are done together: a convolution, one with the pool behind it, or a pool alone."""

    number: int
    conv: Layer | None
    pooled: bool
    before: Plane  # what goes in
    after: Plane  # what comes out, with the halo that the next stage needs
    has_below: bool  # whether a gradient is passed on, as weights below need it

    @property
    def gradient(self) -> Plane:
        """How the gradient of what goes in lies."""
        return self.before if self.pooled else Plane(self.before.channels, self.before.size)


def stages_of(layers: list[Layer]) -> list[Stage]:
    """Sort the layers before the head into stages."""
    pairs: list[tuple[Layer | None, bool]] = []
    for layer in layers:
        if layer.kind == "pool" and pairs and not pairs[-1][1]:
            pairs[-1] = (pairs[-1][0], True)
        else:
            pairs.append((layer, False) if layer.kind == "conv" else (None, True))

    halos = [conv.padding if conv else 0 for conv, _ in pairs] + [0]
    plane, stages = Plane(IMAGE_SHAPE[0], IMAGE_SHAPE[1], halos[0]), list[Stage]()
    for number, (conv, pooled) in enumerate(pairs):
        size = conv.size if conv else plane.size
        channels = conv.outputs if conv else plane.channels
        after = Plane(channels, size // 2 if pooled else size, halos[number + 1])
        stages.append(Stage(number, conv, pooled, plane, after, any(stage.conv for stage in stages)))
        plane = after
    return stages


class Source:
    """A source, to whose parts the layers add lines.

    The buffers of stage or layer i are x{i}, what goes in, and d{i}, its gradient; a{i} and g{i} in the head.
    """

    def __init__(self, spec: ModelSpec):
        self.relu, self.weights = int(spec.relu), 0  # tensors of weights and biases, of the layers so far
        self.lines: dict[str, list[str]] = defaultdict(list)
        layers = spec.layers()
        features = [layer for layer in layers if layer.kind in ("conv", "pool")]
        stages = stages_of(features)
        output = stages[-1].after if stages else Plane(*IMAGE_SHAPE[:2])

        first = stages[0].before if stages else output
        self.buffer("image", "x0", first.floats)
        self.add("forward", f"copy_image({first.size * first.channels}, {first.at('image->x0')}, {first.row}, pixels);")
        for stage in stages:
            self.buffer("image", f"x{stage.number + 1}", stage.after.floats)
            following = stages[stage.number + 1].gradient if stage is not stages[-1] else output
            (self.add_conv if stage.conv else self.add_pool)(stage, following)
        self.add_head(layers[len(features) :], output, len(stages), any(stage.conv for stage in stages))

        title = f"{spec.features} | {spec.head} | {'ReLU' if spec.relu else 'no ReLU'}"
        names = "image sums net constants functions pack forward backward head_forward head_backward update".split()
        parts = {name: "\n".join(self.lines[name]) for name in names}
        self.text = TEMPLATE.format(title=title, classes=CLASSES, floats=math.prod(IMAGE_SHAPE), last=self.last, **parts)

    def add(self, part: str, *lines: str) -> None:
        self.lines[part] += [f"    {line}" for line in lines]

    def add_before(self, part: str, *lines: str) -> None:
        """Put lines before those that are there: on the way back the last layer comes first."""
        self.lines[part][:0] = [f"    {line}" for line in lines]

    def buffer(self, part: str, name: str, size: object, kind: str = "float") -> None:
        self.add(part, f"{kind} {name}[UP_TO({size} + SLACK, 16)] __attribute__((aligned(64)));")

    def constant(self, kind: str, name: str, **values: int | str) -> None:
        fields = ", ".join(f".{key} = {value}" for key, value in values.items())
        self.lines["constants"].append(f"static const struct {kind} {name} = {{{fields}}};")

    # ---- features ----

    def add_conv(self, stage: Stage, following: Plane) -> None:
        """Add a convolution, and the pool that may come behind it."""
        i, conv, before, after = stage.number, stage.conv, stage.before, stage.after
        assert conv
        weight, terms = self.weights, conv.kernel**2
        self.weights += 2
        run, wide = f"LANED({conv.kernel * conv.inputs})", f"LANED({conv.outputs})"
        strides = {"out_pixel": conv.outputs, "out_row": after.row, "relu": self.relu}
        if stage.pooled:
            strides = {"out_pixel": wide, "out_row": f"{conv.size} * {wide}", "relu": 0}
        sizes = {"inputs": conv.inputs, "outputs": conv.outputs, "kernel": conv.kernel, "size": conv.size}
        self.constant("conv", f"conv{i}", **sizes, in_row=before.row, **strides)
        self.buffer("sums", f"w{i}", f"{conv.outputs * conv.kernel} * {run}")
        self.buffer("sums", f"b{i}", conv.outputs)
        self.buffer("net", f"packed{i}", f"{terms * conv.inputs} * {wide}")
        self.buffer("net", f"bias{i}", wide)
        self.add("pack", f"pack_forward(conv{i}, weights[{weight}], weights[{weight + 1}], net->packed{i}, net->bias{i});")
        self.add("update", f"update_convolution(conv{i}, net->sums.w{i}, net->sums.b{i}, weights + {weight}, "
                 f"momenta + {weight}, how);")  # fmt: skip
        convolve = f"convolve(conv{i}, image->x{i}, net->packed{i}, net->bias{i}, "
        gradient = f"{following.strides}, {following.at(f'net->d{i + 1}')}"
        if stage.has_below:
            self.buffer("net", f"d{i}", stage.gradient.floats)

        if stage.pooled:
            self.add_pool_of(stage, wide, f"{conv.size} * {wide}")
            self.buffer("net", f"y{i}", f"{conv.size**2} * {wide}")
            self.buffer("net", f"points{i}", after.size**2, "struct point")
            self.add("forward", f"{convolve}net->y{i});", f"pool(pool{i}, net->y{i}, {after.at(f'image->x{i + 1}')}, "
                     f"image->which{i});")  # fmt: skip
            passed = "0, 0"
            if stage.has_below:
                self.buffer("net", f"runs{i}", f"{conv.outputs * conv.kernel} * {run}")
                self.add("pack", f"pack_runs(conv{i}, weights[{weight}], net->runs{i});")
                passed = f"net->runs{i}, net->d{i}"
            back = [f"points_of_pool(conv{i}, pool{i}, {gradient}, image->which{i}, net->points{i}, image->x{i}, "
                    f"{passed}, net->sums.w{i}, net->sums.b{i});"]  # fmt: skip
            if stage.has_below:
                back.insert(0, f"memset(net->d{i}, 0, sizeof net->d{i});")
        else:
            self.add("forward", f"{convolve}{after.at(f'image->x{i + 1}')});")
            # The gradient of the output has the halo that makes the one of the input another convolution of it.
            output = Plane(conv.outputs, conv.size, conv.kernel - 1 - conv.padding)
            self.buffer("net", f"y{i}", output.floats)
            back = [f"mask(conv{i}, {gradient}, {after.at(f'image->x{i + 1}')}, {output.strides}, "
                    f"{output.at(f'net->y{i}')}, net->sums.b{i});",
                    f"weigh(conv{i}, {output.strides}, image->x{i}, {output.at(f'net->y{i}')}, net->sums.w{i});"]  # fmt: skip
            if stage.has_below:
                turned = {"inputs": conv.outputs, "outputs": conv.inputs, "kernel": conv.kernel, "size": before.size}
                row = stage.gradient.row
                self.constant("conv", f"turned{i}", **turned, in_row=output.row, out_pixel=conv.inputs, out_row=row, relu=0)
                self.buffer("net", f"turned_{i}", f"{terms * conv.outputs} * LANED({conv.inputs})")
                self.add("pack", f"pack_turned(conv{i}, weights[{weight}], net->turned_{i});")
                back.append(f"convolve(turned{i}, net->y{i}, net->turned_{i}, 0, net->d{i});")
        self.add_before("backward", *back)

    def add_pool_of(self, stage: Stage, pixel: object, row: object) -> None:
        """Add what a pool needs."""
        i, after, relu = stage.number, stage.after, self.relu if stage.conv else 0
        sizes = {"channels": after.channels, "size": after.size, "in_pixel": pixel, "in_row": row}
        self.constant("pool", f"pool{i}", **sizes, out_row=after.row, relu=relu)
        self.buffer("image", f"which{i}", f"{after.size**2} * LANED({after.channels})", "int32_t")

    def add_pool(self, stage: Stage, following: Plane) -> None:
        """Add a pool that is not behind a convolution."""
        i, before, after = stage.number, stage.before, stage.after
        self.add_pool_of(stage, before.channels, before.row)
        self.add("forward", f"pool(pool{i}, image->x{i}, {after.at(f'image->x{i + 1}')}, image->which{i});")
        if stage.has_below:
            self.buffer("net", f"d{i}", before.floats)
            self.add_before("backward", f"memset(net->d{i}, 0, sizeof net->d{i});",
                            f"unpool(pool{i}, {following.strides}, {following.at(f'net->d{i + 1}')}, image->which{i}, "
                            f"{before.strides}, net->d{i});")  # fmt: skip

    # ---- the head ----

    def add_head(self, layers: list[Layer], features: Plane, stages: int, has_below: bool) -> None:
        """Add the flattening, linear layers and dropout, and between them ReLU."""
        flat = f"{features.channels}, {features.size**2}"
        self.buffer("image", "a0", features.floats)
        self.buffer("image", "g0", features.floats)
        self.add("forward", f"flatten({flat}, image->x{stages}, image->a0);")
        if has_below:
            self.buffer("net", f"d{stages}", features.floats)
            self.add_before("backward", f"unflatten({flat}, image->g0, net->d{stages});")

        i, neurons = 0, features.floats
        each = "for (int n = 0; n < batch; n++)"
        for number, layer in enumerate(layers):
            passes_on = has_below or i > 0
            if layer.kind == "dropout":
                drop = f"dropout({neurons}, {DROPOUT}, seed, {number}, n, image[n]."
                self.add("head_forward", f"{each} {drop}a{i});")
                if passes_on:
                    self.add_before("head_backward", f"{each} {drop}g{i});")
                continue
            last = layer is layers[-1]
            relu = 0 if last else self.relu
            self.buffer("image", f"a{i + 1}", layer.outputs)
            self.buffer("image", f"g{i + 1}", layer.outputs)
            self.constant("linear", f"linear{i}", inputs=neurons, outputs=layer.outputs, stride="STRIDE", relu=relu)
            tensors = f"weights[{self.weights}], weights[{self.weights + 1}]"
            self.add("head_forward", f"linear_forward(linear{i}, batch, image->a{i}, {tensors}, image->a{i + 1});")
            passed = f"image->g{i}" if passes_on else "0"
            backward = [f"linear_backward(linear{i}, batch, image->a{i}, image->g{i + 1}, {passed}, "
                        f"weights + {self.weights}, momenta + {self.weights}, how);"]  # fmt: skip
            if relu:
                backward.insert(0, f"{each} relu_backward({layer.outputs}, image[n].a{i + 1}, image[n].g{i + 1});")
            self.add_before("head_backward", *backward)
            self.weights += 2
            i, neurons = i + 1, layer.outputs
        self.last = i
