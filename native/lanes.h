/* Kernels on vectors of LANES floats. kernels.h includes this file once for each width; F(name) is the name for it.

   Each function here is inlined where its `const struct` and `const int` arguments are constants, so that every loop
   that they bound has a fixed length, and those marked UNROLL become straight code with sums in registers. A vector may
   read past the end of what it is for, as every buffer has SLACK behind it; what is in those lanes is not written. */

#define F(name) JOIN(name, LANES)
#define vec F(vec_)
#define ivec F(ivec_)

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

INLINE vec F(load_)(const float *from) { return *(const vec *)from; }

INLINE void F(store_)(float *to, const vec value, const int lanes) {
    if (lanes >= LANES)
        *(vec *)to = value;
    else
        memcpy(to, &value, sizeof(float) * lanes);
}

INLINE vec F(select_)(const ivec mask, const vec yes, const vec no) {
    return (vec)((mask & (ivec)yes) | (~mask & (ivec)no));
}

/* ---- convolution: a vector holds output channels ----

   A tile is ry x rx output pixels by ov vectors. Tiles are outside, and inside is the sum over the kernel's rows, its
   columns and the input channels, so that a sum never leaves its register. A pixel's channels lie together and pixels
   side by side, so that a row of the kernel is one run of kernel * inputs floats, whatever the number of channels; each
   of them is multiplied with vectors of weights[ky][t], [kernel][run][LANED(outputs)]. */

INLINE void F(convolve_tile_)(const struct conv s, const int ry, const int rx, const int ov, const int channels,
                              const float *in, const float *weights, const float *bias, float *out) {
    const int run = s.kernel * s.inputs, width = LANED(s.outputs);
    vec sums[ACCUMULATORS], row[ACCUMULATORS];
    UNROLL for (int p = 0; p < ry * rx; p++)
        UNROLL for (int v = 0; v < ov; v++) sums[p * ov + v] = bias ? F(load_)(bias + v * LANES) : (vec){0};
    for (int ky = 0; ky < s.kernel; ky++)
        for (int t = 0; t < run; t++) {
            const float *here = in + ky * s.in_row + t;
            UNROLL for (int v = 0; v < ov; v++) row[v] = F(load_)(weights + (ky * run + t) * width + v * LANES);
            UNROLL for (int p = 0; p < ry * rx; p++) {
                const float x = here[p / rx * s.in_row + p % rx * s.inputs];
                UNROLL for (int v = 0; v < ov; v++) sums[p * ov + v] += x * row[v];
            }
        }
    UNROLL for (int p = 0; p < ry * rx; p++)
        UNROLL for (int v = 0; v < ov; v++) {
            vec sum = sums[p * ov + v];
            if (s.relu) sum = F(select_)(sum <= 0, (vec){0}, sum); /* NaN stays */
            F(store_)(out + p / rx * s.out_row + p % rx * s.out_pixel + v * LANES, sum, channels - v * LANES);
        }
}

INLINE void F(convolve_)(const struct conv s, const float *in, const float *weights, const float *bias, float *out) {
    PARTS(v, ov, LANED(s.outputs) / LANES, 4, {
        const int most = ACCUMULATORS / ov, columns = EVENLY(s.size, most), o = v * LANES;
        const int channels = v + ov == LANED(s.outputs) / LANES ? s.out_pixel - o : ov * LANES;
        PARTS(y, ry, s.size, most / columns, {
            PARTS(x, rx, s.size, columns, {
                F(convolve_tile_)(s, ry, rx, ov, channels, in + y * s.in_row + x * s.inputs, weights + o,
                                  bias ? bias + o : 0, out + y * s.out_row + x * s.out_pixel + o);
            });
        });
    });
}

/* ---- gradient of a convolution's weights: a vector holds part of a run ----

   A tile is ob output channels by tv vectors of the run of one row of the kernel. Tiles are outside, and inside are all
   pixels of an image, so that a sum never leaves its register; a float of the gradient is used for tv vectors.
   gradient is [outputs][kernel][LANED(run)]. */

INLINE void F(weigh_tile_)(const struct conv s, const struct plane g, const int ob, const int tv, const float *in,
                           const float *out_gradient, float *gradient) {
    const int step = s.kernel * LANED(s.kernel * s.inputs);
    vec sums[ACCUMULATORS], x[ACCUMULATORS];
    UNROLL for (int o = 0; o < ob; o++)
        UNROLL for (int v = 0; v < tv; v++) sums[o * tv + v] = F(load_)(gradient + o * step + v * LANES);
    for (int y = 0; y < s.size; y++)
        for (int p = 0; p < s.size; p++) {
            UNROLL for (int v = 0; v < tv; v++) x[v] = F(load_)(in + y * s.in_row + p * s.inputs + v * LANES);
            UNROLL for (int o = 0; o < ob; o++) {
                const float d = out_gradient[y * g.row + p * g.pixel + o];
                UNROLL for (int v = 0; v < tv; v++) sums[o * tv + v] += d * x[v];
            }
        }
    UNROLL for (int o = 0; o < ob; o++)
        UNROLL for (int v = 0; v < tv; v++) F(store_)(gradient + o * step + v * LANES, sums[o * tv + v], LANES);
}

INLINE void F(weigh_)(const struct conv s, const struct plane g, const float *in, const float *out_gradient,
                      float *gradient) {
    const int width = LANED(s.kernel * s.inputs), vectors = width / LANES;
    for (int ky = 0; ky < s.kernel; ky++)
        PARTS(v, tv, vectors, EVENLY(vectors, 4), {
            PARTS(o, ob, s.outputs, EVENLY(s.outputs, ACCUMULATORS / tv), {
                F(weigh_tile_)(s, g, ob, tv, in + ky * s.in_row + v * LANES, out_gradient + o,
                               gradient + (o * s.kernel + ky) * width + v * LANES);
            });
        });
}

/* ---- both gradients of a convolution below a pool: a vector holds part of a run ----

   The pool passes a gradient on to one pixel of four at most, and ReLU drops some of these, so that this goes over the
   points that have one, a channel at a time. A tile is kr rows of the kernel by tv vectors of their runs; it stays in
   registers for all points of a channel. To find the weights' gradient it is sums, [kernel][LANED(run)]; to spread the
   gradient of the input (`spread`) it is the weights, and the sums are in memory. */

INLINE void F(points_tile_)(const struct conv s, const int spread, const int kr, const int tv, float *image,
                            const struct point *points, const int count, float *table) {
    const int width = LANED(s.kernel * s.inputs);
    vec tile[ACCUMULATORS];
    UNROLL for (int k = 0; k < kr; k++)
        UNROLL for (int v = 0; v < tv; v++) tile[k * tv + v] = F(load_)(table + k * width + v * LANES);
    for (int i = 0; i < count; i++) {
        const float d = points[i].gradient;
        UNROLL for (int k = 0; k < kr; k++)
            UNROLL for (int v = 0; v < tv; v++) {
                float *x = image + points[i].at + k * s.in_row + v * LANES;
                if (spread)
                    F(store_)(x, F(load_)(x) + d * tile[k * tv + v], LANES);
                else
                    tile[k * tv + v] += d * F(load_)(x);
            }
    }
    if (spread) return;
    UNROLL for (int k = 0; k < kr; k++)
        UNROLL for (int v = 0; v < tv; v++) F(store_)(table + k * width + v * LANES, tile[k * tv + v], LANES);
}

INLINE void F(points_)(const struct conv s, const int spread, float *image, const struct point *points,
                       const int count, float *table) {
    const int width = LANED(s.kernel * s.inputs), vectors = width / LANES;
    PARTS(v, tv, vectors, EVENLY(vectors, ACCUMULATORS), {
        PARTS(k, kr, s.kernel, EVENLY(s.kernel, ACCUMULATORS / tv), {
            F(points_tile_)(s, spread, kr, tv, image + k * s.in_row + v * LANES, points, count,
                            table + k * width + v * LANES);
        });
    });
}

/* ---- 2x2 max pool: a vector holds channels ----

   Pixel by pixel, as each is read once, and all channels of four pixels are compared at a time.
   which[pixel][LANED(channels)] is where the maximum lay, the first of equal ones, row by row as 0 to 3; -1 where ReLU
   makes it 0. A NaN is a maximum, as it is to PyTorch. */

INLINE void F(pool_)(const struct pool s, const float *in, float *out, int32_t *which) {
    const int width = LANED(s.channels);
    for (int y = 0; y < s.size; y++)
        for (int x = 0; x < s.size; x++)
            UNROLL for (int v = 0; v < width; v += LANES) {
                const float *from = in + 2 * y * s.in_row + 2 * x * s.in_pixel + v;
                vec most = F(load_)(from);
                ivec at = {0};
                UNROLL for (int i = 1; i < 4; i++) {
                    const vec value = F(load_)(from + (i >> 1) * s.in_row + (i & 1) * s.in_pixel);
                    const ivec more = (value > most) | (value != value);
                    most = F(select_)(more, value, most);
                    at = (more & i) | (~more & at);
                }
                if (s.relu) {
                    at |= most <= 0;
                    most = F(select_)(most <= 0, (vec){0}, most);
                }
                F(store_)(out + y * s.out_row + x * s.channels + v, most, s.channels - v);
                *(ivec *)(which + (y * s.size + x) * width + v) = at;
            }
}

/* ---- linear layer, forward: a vector holds inputs ----

   A tile is nb images by ob neurons, whose sums stay in registers over all inputs and are then added up. Tiles of other
   images come next, so that weights, the larger part, are read once. */

INLINE float F(total_)(const vec sum, const float *x, const float *w, const int rest) {
    float part[LANES];
    memcpy(part, &sum, sizeof sum);
    UNROLL for (int half = LANES / 2; half; half /= 2)
        UNROLL for (int i = 0; i < half; i++) part[i] += part[half + i];
    for (int i = 0; i < rest; i++) part[0] += x[i] * w[i];
    return part[0];
}

INLINE void F(linear_tile_)(const struct linear s, const int nb, const int ob, const float *x, const float *w,
                            const float *bias, float *out) {
    const int whole = s.inputs / LANES * LANES;
    vec sums[16], xs[4];
    UNROLL for (int i = 0; i < nb * ob; i++) sums[i] = (vec){0};
    for (int i = 0; i < whole; i += LANES) {
        UNROLL for (int n = 0; n < nb; n++) xs[n] = F(load_)(x + n * s.stride + i);
        UNROLL for (int o = 0; o < ob; o++) {
            const vec ws = F(load_)(w + o * s.inputs + i);
            UNROLL for (int n = 0; n < nb; n++) sums[n * ob + o] += xs[n] * ws;
        }
    }
    UNROLL for (int n = 0; n < nb; n++)
        UNROLL for (int o = 0; o < ob; o++) {
            const float sum = bias[o] + F(total_)(sums[n * ob + o], x + n * s.stride + whole,
                                                  w + o * s.inputs + whole, s.inputs - whole);
            out[n * s.stride + o] = s.relu && sum <= 0 ? 0 : sum;
        }
}

INLINE void F(linear_)(const struct linear s, const int batch, const float *x, const float *w, const float *bias,
                       float *out) {
    PARTS(o, ob, s.outputs, 4, {
        IMAGES(n, nb, batch, {
            F(linear_tile_)(s, nb, ob, x + n * s.stride, w + o * s.inputs, bias + o, out + n * s.stride + o);
        });
    });
}

#undef F
#undef vec
#undef ivec
#undef LANES
