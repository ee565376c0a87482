"""The C source of one training step of a network, made from the layers of its row: constants, buffers and calls.

Each kind of layer has a text, whose lines begin with the part of the template that they go to. Layers that have weights
are counted. What goes into a convolution is x{i}, and its gradient d{i}, which lies in the same way; what goes into a
linear layer is a{i}, and its gradient g{i}.
"""

import re
from dataclasses import dataclass

from models import CLASSES, DROPOUT, IMAGE_SHAPE, Layer, ModelSpec
from native.compiler import NoNativeStep

TEMPLATE = """\
/* {spec.features} | {spec.head} */
#define RELU {spec.relu:d}
#define FEW {few:d}
#include "kernels.h"

struct image {{ /* what is kept of each image; the halo around pixels is 0 and stays so */
{image}
    BUFFER(float, a{last}, {classes});
    BUFFER(float, g{last}, {classes});
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
    arrange(BY(1, {pixels.size}, {pixels.row}), pixels, BY(0, {pixels.row}, 1),
            image->x0 + {x.begin}, BY(0, {x.row}, 1));
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
{pack}
    for (int n = 0; n < batch; n++) forward(net, image + n, images + n * {pixels.floats});
{head_forward}
    for (int n = 0; n < batch; n++) {{
        memcpy(logits + n * {classes}, image[n].a{last}, sizeof(float) * {classes});
        loss_backward({classes}, batch, image[n].a{last}, labels[n], how->label_smoothing, image[n].g{last});
    }}
{head_backward}
    for (int n = 0; n < batch; n++) backward(net, image + n);
{update}
}}
"""

# Weights lie in the order that a convolution takes them in, the sums of their gradients in runs of whole vectors.
CONVOLUTION = """
image: BUFFER(float, x{i}, {x.floats});
net: BUFFER(float, d{i}, {x.floats});
net: BUFFER(float, bias{i}, LANED({outputs}));
net: BUFFER(float, packed{i}, {kernel} * {run} * LANED({outputs}));
pack: memcpy(net->bias{i}, weights[2 * {i} + 1], sizeof(float) * {outputs});
pack: arrange(BY(1, {kernel} * {run}, {outputs}), weights[2 * {i}], BY(0, 1, {kernel} * {run}),
pack:         net->packed{i}, BY(0, LANED({outputs}), 1));
sums: BUFFER(float, w{i}, {outputs} * {kernel} * LANED({run}));
sums: BUFFER(float, b{i}, {outputs});
update: for (int n = 0; n < {outputs} * {kernel}; n++)
update:     update(how, {run}, net->sums.w{i} + n * LANED({run}), weights[2 * {i}] + n * {run},
update:            momenta[2 * {i}] + n * {run});
update: update(how, {outputs}, net->sums.b{i}, weights[2 * {i} + 1], momenta[2 * {i} + 1]);
"""

# With a pool behind it: back through both from the pixels that were maxima.
POOLED = """
constants: static const struct conv conv{i} = {{{inputs}, {outputs}, {kernel}, {size}, {x.row},
constants:                                     LANED({outputs}), {size} * LANED({outputs}), 0}};
image: BUFFER(int32_t, which{i}, {after.size} * {after.size} * LANED({outputs}));
net: BUFFER(float, y{i}, {size} * {size} * LANED({outputs}));
net: BUFFER(float, runs{i}, {outputs} * {kernel} * LANED({run}));
pack: arrange(BY(1, {outputs} * {kernel}, {run}), weights[2 * {i}], BY(0, {run}, 1),
pack:         net->runs{i}, BY(0, LANED({run}), 1));
forward: convolve(conv{i}, image->x{i}, net->packed{i}, net->bias{i}, net->y{i});
forward: pool(conv{i}, {after.row}, net->y{i}, image->x{next} + {after.begin}, image->which{i});
backward: memset(net->d{i}, 0, sizeof net->d{i});
backward: pool_backward(conv{i}, {after.row}, net->d{next} + {after.begin}, image->which{i}, image->x{i}, net->runs{i},
backward:               {i} ? net->d{i} : 0, net->sums.w{i}, net->sums.b{i});
"""

# Without: back over all pixels. The gradient y of what it puts out gets a halo, so that the gradient of what goes in is
# a convolution of it, with the kernel turned by half a turn; nobody asks for that of the images.
PLAIN = """
constants: static const struct conv conv{i} = {{{inputs}, {outputs}, {kernel}, {size}, {x.row},
constants:                                     {outputs}, {after.row}, RELU}};
net: BUFFER(float, y{i}, {y.floats});
forward: convolve(conv{i}, image->x{i}, net->packed{i}, net->bias{i}, image->x{next} + {after.begin});
backward: mask(conv{i}, net->d{next} + {after.begin}, image->x{next} + {after.begin}, {y.row}, net->y{i} + {y.begin},
backward:      net->sums.b{i});
backward: weigh(conv{i}, {y.row}, image->x{i}, net->y{i} + {y.begin}, net->sums.w{i});
"""
TURNED = """
constants: static const struct conv turned{i} = {{{outputs}, {inputs}, {kernel}, {x.size}, {y.row},
constants:                                       {inputs}, {x.row}, 0}};
net: BUFFER(float, turned{i}, {kernel} * {kernel} * {outputs} * LANED({inputs}));
pack: arrange(BY({kernel} * {kernel}, {outputs}, {inputs}), weights[2 * {i}], BY({inputs}, {kernel} * {run}, 1),
pack:         net->turned{i} + ({kernel} * {kernel} - 1) * {outputs} * LANED({inputs}),
pack:         BY(-{outputs} * LANED({inputs}), LANED({inputs}), 1));
backward: convolve(turned{i}, net->y{i}, net->turned{i}, 0, net->d{i} + {x.begin});
"""

# The head begins channel by channel, as PyTorch has it.
FLATTEN = """
image: BUFFER(float, x{i}, {x.floats});
net: BUFFER(float, d{i}, {x.floats});
forward: arrange(BY(1, {pixels}, {x.channels}), image->x{i}, BY(0, {x.channels}, 1), image->a{i}, BY(0, 1, {pixels}));
backward: arrange(BY(1, {pixels}, {x.channels}), image->g{i}, BY(0, 1, {pixels}), net->d{i}, BY(0, {x.channels}, 1));
"""
LINEAR = """
constants: static const struct linear linear{i} = {{{inputs}, {outputs}, {relu}, STRIDE}};
image: BUFFER(float, a{i}, {inputs});
image: BUFFER(float, g{i}, {inputs});
head_forward: linear_forward(linear{i}, batch, image->a{i}, weights + 2 * {i}, image->a{next});
head_backward: linear_backward(linear{i}, batch, image->a{i}, image->a{next}, image->g{next}, image->g{i},
head_backward:                 weights + 2 * {i}, momenta + 2 * {i}, how);
"""
DROPPED = """
head_forward: for (int n = 0; n < batch; n++) dropout({neurons}, {share}, seed, {number}, n, image[n].a{i});
head_backward: for (int n = 0; n < batch; n++) dropout({neurons}, {share}, seed, {number}, n, image[n].g{i});
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
    def begin(self) -> int:
        """Where the first pixel lies that is not of the halo."""
        return self.halo * (self.row + self.channels)


def write_source(spec: ModelSpec) -> str:
    """Write the source of a row's step. Raises NoNativeStep for a pool that is not behind a convolution."""
    # How pixels lie before each convolution, and behind the last one.
    layers = spec.layers()
    features = [layer for layer in layers if layer.kind in ("conv", "pool")]
    convolutions: list[Layer] = []
    planes: list[Plane] = []
    channels, size = IMAGE_SHAPE[:2]
    for layer in features:
        if layer.kind == "conv":
            convolutions.append(layer)
            planes.append(Plane(channels, size, layer.padding))
            channels, size = layer.outputs, layer.size
        elif convolutions and size == convolutions[-1].size:
            size //= 2
        else:
            raise NoNativeStep("it knows a pool behind a convolution only")
    planes.append(Plane(channels, size))

    # The text of each layer.
    texts = []
    for i, (conv, x, after) in enumerate(zip(convolutions, planes, planes[1:])):
        text = CONVOLUTION + (POOLED if after.size < conv.size else PLAIN + TURNED * (i > 0))
        y, run = Plane(conv.outputs, conv.size, conv.kernel - 1 - conv.padding), conv.kernel * conv.inputs
        texts.append(text.format(**vars(conv), i=i, next=i + 1, x=x, y=y, after=after, run=run))
    i, neurons, head = len(convolutions), planes[-1].floats, layers[len(features) :]
    texts.append(FLATTEN.format(i=i, x=planes[-1], pixels=size**2))
    for number, layer in enumerate(head):
        if layer.kind == "dropout":
            texts.append(DROPPED.format(i=i, neurons=neurons, share=DROPOUT, number=number))
        else:
            relu = 0 if layer is head[-1] else "RELU"
            texts.append(LINEAR.format(i=i, next=i + 1, inputs=neurons, outputs=layer.outputs, relu=relu))
            i, neurons = i + 1, layer.outputs

    # Their lines, sorted into parts; those of the way back from the last layer to the first.
    parts = {}
    for name in "constants image sums net pack forward backward head_forward head_backward update".split():
        in_order = "".join(reversed(texts) if "backward" in name else texts)
        parts[name] = "\n".join(f"    {line}" for line in re.findall(f"^{name}: (.*)", in_order, re.MULTILINE))
    few = any(conv.outputs % 16 for conv in convolutions)
    pixels = Plane(*IMAGE_SHAPE[:2])
    return TEMPLATE.format(spec=spec, few=few, pixels=pixels, x=planes[0], last=i, classes=CLASSES, **parts)
