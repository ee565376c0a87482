/* One training step of a network, from parts whose every bound is a constant of that network.

   The C compiler sees this file and a short one made for one network: constants, buffers and calls. Images are the
   outermost loop, as what one needs stays in the cache; the linear layers take four at a time. Memory holds a pixel's
   channels together, as the images and the convolutions' weights lie in PyTorch's channels_last.

   Each function here is inlined where its `const struct` and `const int` arguments are constants, so that every loop
   that they bound has a fixed length, and those marked UNROLL become straight code with sums in registers. A vector may
   read past the end of what it is for, as every buffer has SLACK behind it; what is in those lanes is not written.

   Nothing here reorders sums by what it finds at run time, and -ffast-math is off: results repeat bit for bit, and NaN
   and infinity go through to the logits. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define APART static __attribute__((noinline))
#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 32")
/* To keep what one round of a loop has read for the next would take the registers that sums are in. */
#pragma GCC optimize("no-predictive-commoning")
#endif

/* LANES: floats in a vector; Zen 4 adds 16 in two turns, so that 8 waste less there where channels are FEW.
   ACCUMULATORS: vectors that sums may take, of 32 or 16 registers. NEURONS: that are summed up at a time. */
#if defined(__AVX512F__) && FEW && (defined(__znver3__) || defined(__znver4__))
enum { LANES = 8, ACCUMULATORS = 24, NEURONS = 4 };
#elif defined(__AVX512F__)
enum { LANES = 16, ACCUMULATORS = 24, NEURONS = 4 };
#elif defined(__AVX__)
enum { LANES = 8, ACCUMULATORS = 12, NEURONS = 2 };
#elif defined(__aarch64__)
enum { LANES = 4, ACCUMULATORS = 24, NEURONS = 1 };
#else
enum { LANES = 4, ACCUMULATORS = 12, NEURONS = 2 };
#endif
#ifdef __AVX512F__ /* Keep a vector in a register for all its uses, where compilers would read it again with each. */
#define KEEP(vector) __asm__("" : "+v"(vector))
#else /* which pays with 16 registers */
#define KEEP(vector) (void)0
#endif

#define UP_TO(n, step) (((n) + (step) - 1) / (step) * (step))
#define LANED(n) UP_TO(n, LANES)
/* The smallest part of n by which it has as few parts as by the largest. */
#define EVENLY(n, most) (((n) + UP_TO(n, most) / (most) - 1) / (UP_TO(n, most) / (most)))
/* Do something for each part of `count` things: i is its first one, n how many it has. Parts have `most` things, and what
   is left goes by `rest` at a time; each is code of its own, so that n is a constant in both. */
#define SPLIT(i, n, count, most, rest, ...)                                                                            \
    do {                                                                                                               \
        int i = 0;                                                                                                     \
        for (const int n = most; i + n <= (count); i += n) __VA_ARGS__                                                 \
        for (const int n = rest; n && i < (count); i += n) __VA_ARGS__                                                 \
    } while (0)
#define PARTS(i, n, count, most, ...) SPLIT(i, n, count, most, (count) % (most), __VA_ARGS__)
#define IMAGES(i, n, count, ...) SPLIT(i, n, count, 4, 1, __VA_ARGS__) /* of a batch, whose size is no constant */
#define SLACK 16 /* floats behind each buffer, which a vector may read */
#define BUFFER(type, name, count) type name[UP_TO((count) + SLACK, 16)] __attribute__((aligned(64)))
#define POINTS (16 * 16) /* pixels of the largest pool */
#define PARTIAL 16 /* sums that a dot product is made of, on every processor, so that all round alike */

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef float four __attribute__((vector_size(16), aligned(4), may_alias));
typedef float partial __attribute__((vector_size(4 * PARTIAL), aligned(4), may_alias));

/* Steps are floats from one thing to the next. */
struct conv { /* to `size` x `size` pixels; relu: is behind it, and no pool between them */
    int inputs, outputs, kernel, size, in_row, out_pixel, out_row, relu;
};
struct linear { /* stride: the step to the next image's */
    int inputs, outputs, relu;
    int64_t stride;
};
struct point { /* a gradient, and where its run begins in the image below */
    int at;
    float gradient;
};
struct sgd {
    float lr, momentum, weight_decay, label_smoothing, nesterov; /* nesterov: 1 or 0 */
};

/* A whole vector is no memcpy: compilers may copy it in halves, and reading these as one waits for both to be written. */
INLINE vec load(const float *from, const int lanes) {
    vec value = {0};
    if (lanes >= LANES) return *(const vec *)from;
    memcpy(&value, from, sizeof(float) * lanes);
    return value;
}

INLINE void store(float *to, const vec value, const int lanes) {
    if (lanes >= LANES)
        *(vec *)to = value;
    else
        memcpy(to, &value, sizeof(float) * lanes);
}

INLINE vec choose(const ivec mask, const vec yes, const vec no) {
    return (vec)((mask & (ivec)yes) | (~mask & (ivec)no));
}

/* Copy n.a x n.b x n.c floats, with steps on either side, each BY three numbers. */
struct three {
    int a, b, c;
};
#define BY(...) ((struct three){__VA_ARGS__})
INLINE void arrange(const struct three n, const float *from, const struct three s, float *to, const struct three t) {
    for (int a = 0; a < n.a; a++)
        for (int b = 0; b < n.b; b++)
            for (int c = 0; c < n.c; c++) to[a * t.a + b * t.b + c * t.c] = from[a * s.a + b * s.b + c * s.c];
}

/* ---- the matrix product that convolutions and the ways back are made of ----

   There are down x across sums, each a row of `lanes` floats: sum[y][x] = sum over i and j of x[y][x][i][j], a scalar,
   times row[i][j]. A tile is some of the sums by some vectors of them. Tiles are outside, and inside are the terms, so
   that a sum never leaves its register, a vector that was read serves all sums of the tile, and a scalar all vectors. */

struct product {
    int down, across, lanes, rows, columns; /* y, x, lanes, i, j: how many */
    int x_down, x_across, x_row, x_column;  /* steps of the scalar by y, x, i and j */
    int row, column;                        /* of the row by i and j */
    int out_down, out_across;               /* of the sum by y and x */
    int adds, relu; /* adds: to what the sums hold already; then nothing is read behind a row */
};

INLINE void product_tile(const struct product s, const int ry, const int rx, const int vectors, const int lanes,
                         const float *x, const float *rows, const float *bias, float *out) {
    const int readable = s.adds ? lanes : vectors * LANES;
    vec sums[ACCUMULATORS], row[ACCUMULATORS];
    UNROLL for (int p = 0; p < ry * rx; p++)
        UNROLL for (int v = 0; v < vectors; v++) {
            const float *begin = s.adds ? out + p / rx * s.out_down + p % rx * s.out_across : bias;
            sums[p * vectors + v] = begin ? load(begin + v * LANES, readable - v * LANES) : (vec){0};
        }
    for (int i = 0; i < s.rows; i++)
        for (int j = 0; j < s.columns; j++) {
            UNROLL for (int v = 0; v < vectors; v++) {
                row[v] = load(rows + i * s.row + j * s.column + v * LANES, readable - v * LANES);
                KEEP(row[v]);
            }
            UNROLL for (int p = 0; p < ry * rx; p++) {
                const float factor = x[p / rx * s.x_down + p % rx * s.x_across + i * s.x_row + j * s.x_column];
                UNROLL for (int v = 0; v < vectors; v++) sums[p * vectors + v] += factor * row[v];
            }
        }
    UNROLL for (int p = 0; p < ry * rx; p++)
        UNROLL for (int v = 0; v < vectors; v++) {
            vec sum = sums[p * vectors + v];
            if (s.relu) sum = choose(sum <= 0, (vec){0}, sum); /* NaN stays */
            store(out + p / rx * s.out_down + p % rx * s.out_across + v * LANES, sum, lanes - v * LANES);
        }
}

INLINE void product(const struct product s, const float *x, const float *rows, const float *bias, float *out) {
    const int all = LANED(s.lanes) / LANES;
    PARTS(v, vectors, all, EVENLY(all, 4), {
        const int most = ACCUMULATORS / vectors, columns = EVENLY(s.across, most), o = v * LANES;
        PARTS(y, ry, s.down, most / columns, {
            PARTS(p, rx, s.across, columns, {
                product_tile(s, ry, rx, vectors, v + vectors == all ? s.lanes - o : vectors * LANES,
                             x + y * s.x_down + p * s.x_across, rows + o, bias ? bias + o : 0,
                             out + y * s.out_down + p * s.out_across + o);
            });
        });
    });
}

/* A convolution: sums are output pixels, a row is the output channels, the terms are the kernel's. A pixel's channels
   lie together and pixels side by side, so that a row of the kernel is one run of kernel * inputs floats, whatever the
   number of channels. weights: [kernel][run][LANED(outputs)]. */
INLINE void convolve(const struct conv s, const float *in, const float *weights, const float *bias, float *out) {
    const int run = s.kernel * s.inputs, width = LANED(s.outputs);
    product((struct product){s.size, s.size, s.out_pixel, s.kernel, run, s.in_row, s.inputs, s.in_row, 1,
                             run * width, width, s.out_row, s.out_pixel, .relu = s.relu},
            in, weights, bias, out);
}

/* The gradient of a convolution's weights, [outputs][kernel][LANED(run)]: sums are output channels, a row is a run, and
   the terms are all pixels of an image. */
INLINE void weigh(const struct conv s, const int row, const float *in, const float *out_gradient, float *sums) {
    const int width = LANED(s.kernel * s.inputs);
    for (int ky = 0; ky < s.kernel; ky++)
        product((struct product){1, s.outputs, width, s.size, s.size, 0, 1, row, s.outputs,
                                 s.in_row, s.inputs, 0, s.kernel * width, .adds = 1},
                out_gradient, in + ky * s.in_row, 0, sums + ky * width);
}

/* Copy a gradient where the activation, which lies in the same way, is above 0, or all of it without ReLU, to rows of
   another length, and add up that of the biases; pixel by pixel, as each is read once. */
INLINE void mask(const struct conv s, const float *gradient, const float *activation, const int row, float *masked,
                 float *bias) {
    for (int y = 0; y < s.size; y++)
        for (int x = 0; x < s.size; x++)
            for (int c = 0; c < s.outputs; c++) {
                const int at = y * s.out_row + x * s.outputs + c;
                const float d = RELU && activation[at] <= 0 ? 0 : gradient[at];
                masked[y * row + x * s.outputs + c] = d;
                bias[c] += d;
            }
}

/* ---- a convolution with a 2x2 max pool behind it ----

   Forward, pixel by pixel, as each is read once, and all channels of four pixels are compared at a time.
   which[pixel][LANED(channels)] is where the maximum lay, the first of equal ones, row by row as 0 to 3; -1 where ReLU
   makes it 0. A NaN is a maximum, as it is to PyTorch. */
INLINE void pool(const struct conv s, const int out_row, const float *in, float *out, int32_t *which) {
    for (int y = 0; y < s.size / 2; y++)
        for (int x = 0; x < s.size / 2; x++)
            UNROLL for (int v = 0; v < s.out_pixel; v += LANES) {
                const float *from = in + 2 * y * s.out_row + 2 * x * s.out_pixel + v;
                vec most = RELU ? (vec){0} : load(from, LANES); /* what is to be surpassed */
                ivec at = (ivec){0} - RELU;
                UNROLL for (int i = 0; i < 4; i++) {
                    const vec value = load(from + (i >> 1) * s.out_row + (i & 1) * s.out_pixel, LANES);
                    const ivec more = (value > most) | (value != value);
                    most = choose(more, value, most);
                    at = (more & i) | (~more & at);
                }
                store(out + y * out_row + x * s.outputs + v, most, s.outputs - v);
                *(ivec *)(which + (y * (s.size / 2) + x) * s.out_pixel + v) = at;
            }
}

/* Backward: the pool passes a gradient on to one pixel of four at most, and ReLU drops some of these, so that this goes
   over the points that have one, a channel at a time. A tile is kr rows of the kernel by tv vectors of their runs; it
   stays in registers for all points of a channel. To find the weights' gradient it is sums, [kernel][LANED(run)]; to
   spread the gradient of the input (`spread`) it is the weights, and the sums are in memory. */
INLINE void points_tile(const struct conv s, const int spread, const int kr, const int tv, float *image,
                        const struct point *points, const int count, float *table) {
    const int width = LANED(s.kernel * s.inputs);
    vec tile[ACCUMULATORS];
    UNROLL for (int k = 0; k < kr * tv; k++) tile[k] = load(table + k / tv * width + k % tv * LANES, LANES);
    for (int i = 0; i < count; i++)
        UNROLL for (int k = 0; k < kr * tv; k++) {
            float *x = image + points[i].at + k / tv * s.in_row + k % tv * LANES;
            if (spread)
                store(x, load(x, LANES) + points[i].gradient * tile[k], LANES);
            else
                tile[k] += points[i].gradient * load(x, LANES);
        }
    if (spread) return;
    UNROLL for (int k = 0; k < kr * tv; k++) store(table + k / tv * width + k % tv * LANES, tile[k], LANES);
}

INLINE void go_over(const struct conv s, const int spread, float *image, const struct point *points, const int count,
                    float *table) {
    const int width = LANED(s.kernel * s.inputs), vectors = width / LANES;
    PARTS(v, tv, vectors, EVENLY(vectors, ACCUMULATORS), {
        PARTS(k, kr, s.kernel, EVENLY(s.kernel, ACCUMULATORS / tv), {
            points_tile(s, spread, kr, tv, image + k * s.in_row + v * LANES, points, count,
                        table + k * width + v * LANES);
        });
    });
}

/* Both gradients; in_gradient is 0 where it is not wanted. */
INLINE void pool_backward(const struct conv s, const int row, const float *gradient, const int32_t *which, float *in,
                          float *runs, float *in_gradient, float *sums, float *bias) {
    const int step = s.kernel * LANED(s.kernel * s.inputs);
    struct point points[POINTS];
    for (int o = 0; o < s.outputs; o++) {
        int count = 0;
        for (int y = 0; y < s.size / 2; y++)
            for (int x = 0; x < s.size / 2; x++) {
                const int k = which[(y * (s.size / 2) + x) * s.out_pixel + o];
                const int at = (2 * y + (k >> 1)) * s.in_row + (2 * x + (k & 1)) * s.inputs;
                points[count] = (struct point){at, gradient[y * row + x * s.outputs + o]};
                count += k >= 0;
            }
        for (int i = 0; i < count; i++) bias[o] += points[i].gradient;
        go_over(s, 0, in, points, count, sums + o * step);
        if (in_gradient) go_over(s, 1, in_gradient, points, count, runs + o * step);
    }
}

/* ---- the head: linear layers, dropout, loss; and SGD ---- */

/* A vector holds inputs. A tile is nb images by ob neurons, whose sums stay in registers over all inputs and are then
   added up. Tiles of other images come next, so that weights, the larger part, are read once. */
INLINE void linear_tile(const struct linear s, const int nb, const int ob, const float *x, const float *w,
                        const float *bias, float *out) {
    const int whole = s.inputs / PARTIAL * PARTIAL;
    partial sums[4 * NEURONS];
    UNROLL for (int k = 0; k < nb * ob; k++) sums[k] = (partial){0};
    for (int i = 0; i < whole; i += PARTIAL) {
        partial xs[4];
        UNROLL for (int n = 0; n < nb; n++) {
            xs[n] = *(const partial *)(x + n * s.stride + i);
            KEEP(xs[n]);
        }
        UNROLL for (int o = 0; o < ob; o++) {
            partial ws = *(const partial *)(w + o * s.inputs + i);
            KEEP(ws);
            UNROLL for (int n = 0; n < nb; n++) sums[n * ob + o] += xs[n] * ws;
        }
    }
    UNROLL for (int n = 0; n < nb; n++)
        UNROLL for (int o = 0; o < ob; o++) {
            const four *p = (const four *)(sums + n * ob + o), r = p[0] + p[2] + (p[1] + p[3]);
            float sum = r[0] + r[2] + (r[1] + r[3]);
            for (int i = whole; i < s.inputs; i++) sum += x[n * s.stride + i] * w[o * s.inputs + i];
            sum += bias[o];
            out[n * s.stride + o] = s.relu && sum <= 0 ? 0 : sum;
        }
}

INLINE void linear_forward(const struct linear s, const int batch, const float *x, float **weights, float *out) {
    PARTS(o, ob, s.outputs, NEURONS, {
        IMAGES(n, nb, batch, {
            linear_tile(s, nb, ob, x + n * s.stride, weights[0] + o * s.inputs, weights[1] + o, out + n * s.stride + o);
        });
    });
}

/* Change up to a vector of weights by their gradient. */
INLINE void update_tile(const struct sgd s, const int lanes, const vec gradient, float *weights, float *momenta) {
    const vec weight = load(weights, lanes), d = gradient + s.weight_decay * weight;
    const vec momentum = s.momentum * load(momenta, lanes) + d;
    store(momenta, momentum, lanes);
    store(weights, weight - s.lr * (s.nesterov * d + (s.nesterov ? s.momentum : 1) * momentum), lanes);
}

INLINE void update(const struct sgd *how, const int count, const float *gradient, float *weights, float *momenta) {
    PARTS(i, n, count, LANES, { update_tile(*how, n, load(gradient + i, n), weights + i, momenta + i); });
}

/* Both gradients, and the change of the weights. A tile is ob neurons by some vectors of inputs. Each weight is read and
   written once: weights and their sums stay in registers over all images, to whose gradients the weights are added. */
INLINE void linear_tile_backward(const struct linear s, const int ob, const int inputs, const int batch, const float *x,
                                 const float *gradient, float *x_gradient, float *weights, float *momenta,
                                 const struct sgd how) {
    const int vectors = LANED(inputs) / LANES;
    vec sums[4 * 2], w[4 * 2];
    UNROLL for (int k = 0; k < ob * vectors; k++) {
        sums[k] = (vec){0};
        w[k] = load(weights + k / vectors * s.inputs + k % vectors * LANES, inputs - k % vectors * LANES);
    }
    for (int n = 0; n < batch; n++)
        UNROLL for (int v = 0; v < vectors; v++) {
            const int64_t at = n * s.stride + v * LANES;
            const int lanes = inputs - v * LANES;
            const vec input = load(x + at, lanes);
            vec back = load(x_gradient + at, lanes);
            UNROLL for (int o = 0; o < ob; o++) {
                sums[o * vectors + v] += gradient[n * s.stride + o] * input;
                back += gradient[n * s.stride + o] * w[o * vectors + v];
            }
            store(x_gradient + at, back, lanes);
        }
    UNROLL for (int k = 0; k < ob * vectors; k++) {
        const int at = k / vectors * s.inputs + k % vectors * LANES;
        update_tile(how, inputs - k % vectors * LANES, sums[k], weights + at, momenta + at);
    }
}

INLINE void linear_backward(const struct linear s, const int batch, const float *x, const float *out, float *gradient,
                            float *x_gradient, float **weights, float **momenta, const struct sgd *how) {
    float bias[s.outputs];
    memset(bias, 0, sizeof bias);
    for (int n = 0; n < batch; n++) {
        memset(x_gradient + n * s.stride, 0, sizeof(float) * s.inputs);
        for (int o = 0; o < s.outputs; o++) {
            if (s.relu && out[n * s.stride + o] <= 0) gradient[n * s.stride + o] = 0;
            bias[o] += gradient[n * s.stride + o];
        }
    }
    PARTS(o, ob, s.outputs, 4, {
        PARTS(i, length, s.inputs, ACCUMULATORS / 12 * LANES, {
            const int at = o * s.inputs + i;
            linear_tile_backward(s, ob, length, batch, x + i, gradient + o, x_gradient + i, weights[0] + at,
                                 momenta[0] + at, *how);
        });
    });
    update(how, s.outputs, bias, weights[1], momenta[1]);
}

/* Steele, Lea and Flood, 2014, "Fast Splittable Pseudorandom Number Generators". */
INLINE uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* Drop each value with a probability, and scale those that are kept. Counted from seed, layer and image, the same are
   dropped backward as forward. */
INLINE void dropout(const int count, const double probability, uint64_t seed, int layer, int image, float *values) {
    const uint64_t key = mix(mix(seed) + ((uint64_t)layer << 32) + image);
    const float scale = (float)(1 / (1 - probability));
    for (int i = 0; i < count; i++)
        values[i] *= (mix(key + i * 0x9e3779b97f4a7c15u) >> 11) * 0x1p-53 < probability ? 0 : scale;
}

/* The gradient of the mean cross-entropy, its labels smoothed. */
INLINE void loss_backward(const int classes, const int batch, const float *logits, int64_t label, float smoothing,
                          float *gradient) {
    float most = logits[0], sum = 0;
    for (int k = 1; k < classes; k++) most = logits[k] > most ? logits[k] : most;
    for (int k = 0; k < classes; k++) sum += gradient[k] = expf(logits[k] - most);
    for (int k = 0; k < classes; k++)
        gradient[k] = (gradient[k] / sum - (k == label ? 1 - smoothing : 0) - smoothing / classes) / batch;
}
