/* One training step of a network, from parts whose every bound is a constant of that network.

   The C compiler sees this file, lanes.h, and a short file made for one network: constants, buffers and calls. Images
   are the outermost loop, as what one needs stays in the cache; the linear layers take four at a time. Memory holds a
   pixel's channels together, as the images and the convolutions' weights lie in PyTorch's channels_last.

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

#if defined(__AVX512F__)
#define WIDEST 16 /* floats in a vector of this processor */
#elif defined(__AVX__)
#define WIDEST 8
#else
#define WIDEST 4
#endif
#if defined(__AVX512F__) || defined(__aarch64__)
#define ACCUMULATORS 24 /* vectors that sums may take, of its 32 or 16 registers */
#else
#define ACCUMULATORS 12
#endif

#define JOIN(a, b) JOIN_(a, b)
#define JOIN_(a, b) a##b
#define UP_TO(n, step) (((n) + (step) - 1) / (step) * (step))
#define AT_MOST(n, most) ((n) < (most) ? (n) : (most))
/* The smallest part of n by which it has as few parts as by the largest. */
#define EVENLY(n, most) (((n) + UP_TO(n, most) / (most) - 1) / (UP_TO(n, most) / (most)))
/* Do something for each part of `count` things: i is its first one, n how many it has. The last part may have fewer and
   is code of its own, so that n is a constant in both. */
#define PARTS(i, n, count, most, ...)                                                                                  \
    do {                                                                                                               \
        int i = 0;                                                                                                     \
        for (const int n = most; i + n <= count; i += n) __VA_ARGS__                                                   \
        const int rest_##n = count % (most), n = rest_##n ? rest_##n : 1;                                              \
        if (rest_##n) __VA_ARGS__                                                                                      \
    } while (0)
/* The same for the images of a batch, by fours and then one by one: their number is no constant. */
#define IMAGES(i, n, count, ...)                                                                                       \
    do {                                                                                                               \
        int i = 0;                                                                                                     \
        for (const int n = 4; i + n <= count; i += n) __VA_ARGS__                                                      \
        for (const int n = 1; i < count; i++) __VA_ARGS__                                                              \
    } while (0)
/* Numbers that fill half a vector better than a whole one are kept in halves. */
#define IS_NARROW(n) (WIDEST == 16 && UP_TO(n, 8) < UP_TO(n, 16))
#define LANED(n) (IS_NARROW(n) ? UP_TO(n, 8) : UP_TO(n, WIDEST))
#define SLACK 16 /* floats behind each buffer, which a vector may read */
#define CACHED 512 /* floats of a row of weights that are worked on at a time, so that sums stay in the first cache */

struct conv { /* of `size` x `size` output pixels; in_row, out_row: floats from one row of pixels to the next */
    int inputs, outputs, kernel, size, in_row, out_pixel, out_row, relu;
};
struct pool { /* to `size` x `size` pixels */
    int channels, size, in_pixel, in_row, out_row, relu;
};
struct plane { /* floats from one pixel, and from one row, to the next */
    int pixel, row;
};
struct linear { /* stride: floats from one image's to the next one's */
    int inputs, outputs, relu;
    int64_t stride;
};
struct point { /* a gradient, and where its run begins in the image below */
    int at;
    float gradient;
};
struct sgd {
    float lr, momentum, weight_decay, label_smoothing;
    int nesterov;
};

#define LANES WIDEST
#include "lanes.h"
#if WIDEST == 16
#define LANES 8
#include "lanes.h"
#define WIDTH(n, name, arguments) (IS_NARROW(n) ? name##8 arguments : JOIN(name, 16) arguments)
#else
#define WIDTH(n, name, arguments) JOIN(name, WIDEST) arguments
#endif

INLINE void convolve(const struct conv s, const float *in, const float *weights, const float *bias, float *out) {
    WIDTH(s.outputs, convolve_, (s, in, weights, bias, out));
}
INLINE void weigh(const struct conv s, const struct plane g, const float *in, const float *out_gradient, float *to) {
    WIDTH(s.kernel * s.inputs, weigh_, (s, g, in, out_gradient, to));
}
INLINE void pool(const struct pool s, const float *in, float *out, int32_t *which) {
    WIDTH(s.channels, pool_, (s, in, out, which));
}

/* ---- weights of convolutions, from PyTorch's [outputs][kernel][run] ---- */

/* For convolve: [kernel][run][LANED(outputs)], with zeros where there is no channel. */
INLINE void pack_forward(const struct conv s, float **weights, float *packed, float *packed_bias) {
    const int terms = s.kernel * s.kernel * s.inputs;
    for (int o = 0; o < s.outputs; o++) {
        for (int t = 0; t < terms; t++) packed[t * LANED(s.outputs) + o] = weights[0][o * terms + t];
        packed_bias[o] = weights[1][o];
    }
}

/* For convolve over the gradient of the output, which is a convolution with the kernel turned by half a turn. */
INLINE void pack_turned(const struct conv s, float **weights, float *packed) {
    const int taps = s.kernel * s.kernel;
    for (int o = 0; o < s.outputs; o++)
        for (int k = 0; k < taps; k++)
            for (int i = 0; i < s.inputs; i++)
                packed[((taps - 1 - k) * s.outputs + o) * LANED(s.inputs) + i] =
                    weights[0][(o * taps + k) * s.inputs + i];
}

/* For points: [outputs][kernel][LANED(run)], with zeros behind a run. */
INLINE void pack_runs(const struct conv s, float **weights, float *packed) {
    const int run = s.kernel * s.inputs;
    for (int row = 0; row < s.outputs * s.kernel; row++)
        memcpy(packed + row * LANED(run), weights[0] + row * run, sizeof(float) * run);
}

/* ---- from the gradient of a layer's output to what the layer below takes ---- */

/* Copy a gradient where the activation is above 0, or all of it without ReLU, and add up that of the biases; pixel by
   pixel, as each is read once. */
INLINE void mask(const struct conv s, const struct plane from, const float *gradient, const float *activation,
                 const struct plane to, float *masked, float *bias) {
    for (int y = 0; y < s.size; y++)
        for (int x = 0; x < s.size; x++)
            for (int c = 0; c < s.outputs; c++) {
                const int dead = s.relu && activation[y * s.out_row + x * s.out_pixel + c] <= 0;
                const float d = dead ? 0 : gradient[y * from.row + x * from.pixel + c];
                masked[y * to.row + x * to.pixel + c] = d;
                bias[c] += d;
            }
}

/* The gradients of a convolution s below a pool p; in_gradient is 0 where it is not wanted. Channel by channel, as the
   points of one are a list that both kernels go over. */
INLINE void points_of_pool(const struct conv s, const struct pool p, const struct plane from, const float *gradient,
                           const int32_t *which, struct point *points, const float *in, const float *runs,
                           float *in_gradient, float *weights_gradient, float *bias) {
    const int step = s.kernel * LANED(s.kernel * s.inputs);
    for (int o = 0; o < s.outputs; o++) {
        int count = 0;
        for (int y = 0; y < p.size; y++)
            for (int x = 0; x < p.size; x++) {
                const int k = which[(y * p.size + x) * LANED(s.outputs) + o];
                points[count].at = (2 * y + (k >> 1)) * s.in_row + (2 * x + (k & 1)) * s.inputs;
                points[count].gradient = gradient[y * from.row + x * from.pixel + o];
                count += k >= 0;
            }
        for (int i = 0; i < count; i++) bias[o] += points[i].gradient;
        WIDTH(s.kernel * s.inputs, points_, (s, 0, (float *)in, points, count, weights_gradient + o * step));
        if (in_gradient)
            WIDTH(s.kernel * s.inputs, points_, (s, 1, in_gradient, points, count, (float *)runs + o * step));
    }
}

/* Copy an image into the middle of its padding. */
INLINE void copy_image(const int row, float *to, const int to_row, const float *from) {
    for (int y = 0; y < 32; y++) memcpy(to + y * to_row, from + y * row, sizeof(float) * row);
}

/* PyTorch flattens channel by channel. */
INLINE void flatten(const int channels, const int pixels, const float *in, float *out) {
    for (int p = 0; p < pixels; p++)
        for (int c = 0; c < channels; c++) out[c * pixels + p] = in[p * channels + c];
}
INLINE void unflatten(const int channels, const int pixels, const float *in, float *out) {
    for (int p = 0; p < pixels; p++)
        for (int c = 0; c < channels; c++) out[p * channels + c] = in[c * pixels + p];
}

/* ---- the head: linear layers, dropout, loss ---- */

INLINE void linear_forward(const struct linear s, const int batch, const float *x, float **weights, float *out) {
    JOIN(linear_, WIDEST)(s, batch, x, weights[0], weights[1], out);
}

/* Add to nb rows of x_gradient what ob neurons pass on. Inputs are outside: a vector holds some of them, and what is
   read and written of them serves ob neurons. */
INLINE void pass_on(const struct linear s, const int nb, const int ob, const int length, const float *gradient,
                    const float *w, float *restrict x_gradient) {
    float d[16];
    UNROLL for (int i = 0; i < nb * ob; i++) d[i] = gradient[i / ob * s.stride + i % ob];
    for (int i = 0; i < length; i++)
        UNROLL for (int n = 0; n < nb; n++) {
            float sum = x_gradient[n * s.stride + i];
            UNROLL for (int o = 0; o < ob; o++) sum += d[n * ob + o] * w[o * s.inputs + i];
            x_gradient[n * s.stride + i] = sum;
        }
}

/* Add to ob rows of the weights' gradient what nb images give; inputs are outside, as above. */
INLINE void add_outer(const struct linear s, const int nb, const int ob, const int length, const float *gradient,
                      const float *x, float *restrict w_gradient) {
    float d[16];
    UNROLL for (int i = 0; i < nb * ob; i++) d[i] = gradient[i / ob * s.stride + i % ob];
    for (int i = 0; i < length; i++)
        UNROLL for (int o = 0; o < ob; o++) {
            float sum = w_gradient[o * CACHED + i];
            UNROLL for (int n = 0; n < nb; n++) sum += d[n * ob + o] * x[n * s.stride + i];
            w_gradient[o * CACHED + i] = sum;
        }
}

INLINE void update(const struct sgd *how, const int count, const float *restrict gradient, float *restrict w,
                   float *restrict momentum) {
    const float lr = how->lr, mu = how->momentum, decay = how->weight_decay;
    const float now = how->nesterov ? 1 : 0, kept = how->nesterov ? mu : 1;
    if (!momentum)
        for (int i = 0; i < count; i++) w[i] -= lr * (gradient[i] + decay * w[i]);
    else
        for (int i = 0; i < count; i++) {
            const float d = gradient[i] + decay * w[i], m = mu * momentum[i] + d;
            momentum[i] = m;
            w[i] -= lr * (now * d + kept * m);
        }
}

/* Both gradients of a linear layer, and the change of its weights; x_gradient is 0 where it is not wanted. Inputs are
   outermost, so that the same part of all weights is used twice while it is in the cache: to sum up the inputs'
   gradient, with neurons inside, then to be changed, with images inside. */
INLINE void linear_backward(const struct linear s, const int batch, const float *x, const float *gradient,
                            float *x_gradient, float **weights, float **momenta, const struct sgd *how) {
    float w_gradient[4 * CACHED];
    PARTS(i, length, s.inputs, CACHED, {
        float *w = weights[0] + i, *momentum = momenta[0] ? momenta[0] + i : 0;
        for (int n = 0; x_gradient && n < batch; n++) memset(x_gradient + n * s.stride + i, 0, sizeof(float) * length);
        if (x_gradient)
            PARTS(o, ob, s.outputs, 4, {
                IMAGES(n, nb, batch, {
                    pass_on(s, nb, ob, length, gradient + n * s.stride + o, w + o * s.inputs,
                            x_gradient + n * s.stride + i);
                });
            });
        PARTS(o, ob, s.outputs, 4, {
            memset(w_gradient, 0, sizeof w_gradient);
            IMAGES(n, nb, batch, {
                add_outer(s, nb, ob, length, gradient + n * s.stride + o, x + n * s.stride + i, w_gradient);
            });
            for (int row = 0; row < ob; row++)
                update(how, length, w_gradient + row * CACHED, w + (o + row) * s.inputs,
                       momentum ? momentum + (o + row) * s.inputs : 0);
        });
    });
    for (int o = 0; o < s.outputs; o++) {
        float bias = 0;
        for (int n = 0; n < batch; n++) bias += gradient[n * s.stride + o];
        update(how, 1, &bias, weights[1] + o, momenta[1] ? momenta[1] + o : 0);
    }
}

/* The change of a convolution's weights and biases. */
INLINE void update_convolution(const struct conv s, const float *gradient, const float *bias, float **weights,
                               float **momenta, const struct sgd *how) {
    const int run = s.kernel * s.inputs;
    for (int row = 0; row < s.outputs * s.kernel; row++)
        update(how, run, gradient + row * LANED(run), weights[0] + row * run, momenta[0] ? momenta[0] + row * run : 0);
    update(how, s.outputs, bias, weights[1], momenta[1]);
}

INLINE void relu_backward(const int count, const float *activation, float *gradient) {
    for (int i = 0; i < count; i++) gradient[i] = activation[i] <= 0 ? 0 : gradient[i];
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
