// RMS norm, SwiGLU and rotary positions, forwards and backwards, each in one pass over memory.
//
// Compiled without contraction: every number is rounded where PyTorch's separate operations round it.

#include <algorithm>
#include <cmath>

#include "scratch.h"
#include "team.h"
#include "vector.h"

namespace {

// So many rows share a partial sum of the weight's gradient, on any number of threads.
constexpr index_t TOGETHER = 64;

// What PyTorch adds at a time, and how often before it begins a new sum.
constexpr index_t LINE = 8, STRETCH = 16;
typedef float line __attribute__((vector_size(4 * LINE)));
typedef uint32_t line_bits __attribute__((vector_size(4 * LINE)));
typedef uint16_t line_halves __attribute__((vector_size(2 * LINE)));

INLINE line load_line(const float* from) {
    line x;
    memcpy(&x, from, sizeof x);
    return x;
}

INLINE line load_line(const bf16* from) {
    line_halves half;
    memcpy(&half, from, sizeof half);
    return (line)(__builtin_convertvector(half, line_bits) << 16);
}

// A row's sum of squares in the order of PyTorch's sum (of rows up to 4 LINE STRETCH^2 = 8192).
template <typename T>
INLINE float sum_of_squares(const T* x, index_t size) {
    auto square = [&](index_t i) {
        float value = load_some(x + i, 1)[0];
        return value * value;
    };
    if (size < LINE) {
        float sums[4] = {};
        for (index_t i = 0; i < size; i++) sums[i < size / 4 * 4 ? i % 4 : 0] += square(i);
        return sums[0] + sums[1] + sums[2] + sums[3];
    }
    auto squares = [&](index_t i) {
        line some = load_line(x + i * LINE);
        return some * some;
    };
    index_t lines = size / LINE, steps = lines / 4;
    line sums[4] = {}, earlier[4] = {};
    for (index_t step = 0; step < steps; step++) {
        for (int j = 0; j < 4; j++) sums[j] += squares(step * 4 + j);
        if (step % STRETCH == STRETCH - 1)
            for (int j = 0; j < 4; j++) earlier[j] += sums[j], sums[j] = line{};
    }
    for (int j = 0; j < 4; j++) sums[j] += earlier[j];
    for (index_t i = steps * 4; i < lines; i++) sums[0] += squares(i);
    for (int j = 1; j < 4; j++) sums[0] += sums[j];
    float total = 0, parts[LINE];
    for (index_t i = lines * LINE; i < size; i++) total += square(i);
    memcpy(parts, &sums[0], sizeof parts);
    for (float part : parts) total += part;
    return total;
}

// What a row is multiplied with, before the weight.
template <typename T>
INLINE float root_of(const T* x, index_t size, float eps) {
    return 1.0f / std::sqrt(sum_of_squares(x, size) / size + eps);
}

template <typename T, typename Part>
INLINE v16 normed(const T* x, const T* weight, float by, Part part) {
    v16 scaled = load(x, part) * by;
    return weight ? scaled * load(weight, part) : scaled;
}

template <typename T>
void norm(const T* x, index_t pitch, const T* weight, T* out, float* root, index_t rows, index_t size, float eps,
          index_t threads) {
    for_each(rows, threads, [&](index_t row) {
        const T* from = x + row * pitch;
        float by = root_of(from, size, eps);
        over(size, [&](index_t i, auto part) {
            store(out + row * size + i, normed(from + i, weight ? weight + i : nullptr, by, part), part);
        });
        if (root) root[row] = by;
    });
}

template <typename T>
void norm_backward(const T* x, index_t pitch, const T* weight, const float* root, const T* grad, T* grad_x,
                   float* grad_weight, index_t rows, index_t size, index_t threads) {
    index_t parts = (rows + TOGETHER - 1) / TOGETHER, wide = (size + LANES - 1) / LANES * LANES;
    thread_local Scratch memory;
    float* partial = memory.of(parts * wide);
    for_each(parts, threads, [&](index_t part) {
        float* sums = partial + part * wide;
        std::fill(sums, sums + wide, 0.0f);
        for (index_t row = part * TOGETHER; row < std::min(rows, (part + 1) * TOGETHER); row++) {
            const T *from = x + row * pitch, *given = grad + row * size;
            float by = root[row];
            v16 along = {};
            over(size, [&](index_t i, auto part) {
                v16 product = load(given + i, part) * (load(from + i, part) * by);
                store(sums + i, load(sums + i) + product);
                along += product * load(weight + i, part);
            });
            float mean = sum_of(along) / size;
            over(size, [&](index_t i, auto part) {
                v16 normed = load(from + i, part) * by;
                v16 scaled = load(given + i, part) * load(weight + i, part);
                store(grad_x + row * size + i, (scaled - normed * mean) * by, part);
            });
        }
    });
    for (index_t i = 0; i < size; i++) {
        float total = 0;
        for (index_t part = 0; part < parts; part++) total += partial[part * wide + i];
        grad_weight[i] = total;
    }
}

template <typename T>
void swiglu(const T* gate, const T* up, index_t pitch, T* out, index_t rows, index_t size, index_t threads) {
    for_each(rows, threads, [&](index_t row) {
        over(size, [&](index_t i, auto part) {
            v16 x = load(gate + row * pitch + i, part);
            v16 silu = rounded(x / (splat(1.0f) + exponential(-x)), gate);
            store(out + row * size + i, silu * load(up + row * pitch + i, part), part);
        });
    });
}

template <typename T>
void swiglu_backward(const T* gate, const T* up, const T* grad, T* grad_gate, T* grad_up, index_t rows, index_t size,
                     index_t threads) {
    for_each(rows, threads, [&](index_t row) {
        over(size, [&](index_t column, auto part) {
            index_t i = row * size + column;
            v16 x = load(gate + i, part), given = load(grad + i, part);
            v16 sigmoid = splat(1.0f) / (splat(1.0f) + exponential(-x));
            v16 slope = sigmoid * (splat(1.0f) + x * (splat(1.0f) - sigmoid));
            store(grad_up + i, given * rounded(x * sigmoid, gate), part);
            store(grad_gate + i, given * load(up + i, part) * slope, part);
        });
    });
}

// One head: its halves (a, b), as `at` has them, become (a cos - b sin, b cos + a sin).
template <typename T, typename At>
INLINE void turn_head(At at, const float* cosine, const float* sine, T* to, index_t half, bool back) {
    over(half, [&](index_t i, auto part) {
        v16 a = at(i, part), b = at(half + i, part);
        v16 c = rounded(load(cosine + i, part), to), s = rounded(load(sine + i, part), to);
        if (back) s = -s;
        store(to + i, rounded(a * c, to) - rounded(b * s, to), part);
        store(to + half + i, rounded(b * c, to) + rounded(a * s, to), part);
    });
}

// Heads that stand `step` apart within a token, on both sides. interleaved: columns (2i, 2i + 1) are a pair, and come out as
// halves. `back` turns the other way.
template <typename T>
void turn(const T* x, index_t pitch, index_t step, const float* cosine, const float* sine, T* out, index_t out_pitch,
          index_t out_step, index_t tokens, index_t heads, index_t half, bool interleaved, bool back, index_t threads) {
    for_each(tokens, threads, [&](index_t token) {
        T pairs[LANES];
        for (index_t head = 0; head < heads; head++) {
            const T* from = x + token * pitch + head * step;
            auto at = [&](index_t i, auto part) {
                if (!interleaved) return load(from + i, part);
                // Of one half the even columns, of the other the odd ones.
                index_t odd = i >= half, first = i - odd * half, count = std::min<index_t>(LANES, half - first);
                for (index_t k = 0; k < count; k++) pairs[k] = from[2 * (first + k) + odd];
                return load(pairs, part);
            };
            turn_head(at, cosine + token * half, sine + token * half, out + token * out_pitch + head * out_step, half,
                      back);
        }
    });
}

// Norm, then turn, of every head; what is between the two stays in registers, rounded.
template <typename T>
void norm_turn(const T* x, index_t pitch, const T* weight, float eps, const float* cosine, const float* sine, T* out,
               index_t tokens, index_t heads, index_t half, index_t threads) {
    index_t size = 2 * half;
    if (!weight)
        return turn(x, pitch, size, cosine, sine, out, heads * size, size, tokens, heads, half, false, false, threads);
    for_each(tokens, threads, [&](index_t token) {
        for (index_t head = 0; head < heads; head++) {
            const T *from = x + token * pitch + head * size, *own = weight + head * size;
            float by = root_of(from, size, eps);
            turn_head([&](index_t i, auto part) { return rounded(normed(from + i, own + i, by, part), from); },
                      cosine + token * half, sine + token * half, out + (token * heads + head) * size, half, false);
        }
    });
}

}  // namespace

// x (rows, size), its rows `pitch` apart; out (rows, size); root (rows), may be absent; weight (size), may be absent.
#define NORM(T, NAME)                                                                                                \
    EXPORT void denken_norm_##NAME(const T* x, index_t pitch, const T* weight, T* out, float* root, index_t rows,     \
                                   index_t size, float eps, index_t threads) {                          \
        norm(x, pitch, weight, out, root, rows, size, eps, threads);                                            \
    }                                                                                                                 \
    EXPORT void denken_norm_backward_##NAME(const T* x, index_t pitch, const T* weight, const float* root,            \
                                            const T* grad, T* grad_x, float* grad_weight, index_t rows, index_t size, \
                                            index_t threads) {                                                        \
        norm_backward(x, pitch, weight, root, grad, grad_x, grad_weight, rows, size, threads);                        \
    }
NORM(float, fp32)
NORM(bf16, bf16)

// silu(gate) up: gate and up (rows, size), their rows `pitch` apart. Backwards all are without gaps.
#define SWIGLU(T, NAME)                                                                                               \
    EXPORT void denken_swiglu_##NAME(const T* gate, const T* up, index_t pitch, T* out, index_t rows, index_t size,    \
                                     index_t threads) {                                                                \
        swiglu(gate, up, pitch, out, rows, size, threads);                                                             \
    }                                                                                                                  \
    EXPORT void denken_swiglu_backward_##NAME(const T* gate, const T* up, const T* grad, T* grad_gate, T* grad_up,     \
                                              index_t rows, index_t size, index_t threads) {                           \
        swiglu_backward(gate, up, grad, grad_gate, grad_up, rows, size, threads);                                           \
    }
SWIGLU(float, fp32)
SWIGLU(bf16, bf16)

// x (tokens, heads, 2 half), its tokens `pitch` apart, by cosine and sine (tokens, half); out without gaps.
// denken_norm_turn: each head's norm with its own weight (heads, size) before it; weight may be absent. denken_turn_apart:
// heads are `step` apart within a token, and come out out_step apart.
#define TURN(T, NAME)                                                                                                \
    EXPORT void denken_turn_##NAME(const T* x, index_t pitch, const float* cosine, const float* sine, T* out,         \
                                   index_t tokens, index_t heads, index_t half, index_t back, index_t threads) {      \
        turn(x, pitch, 2 * half, cosine, sine, out, heads * 2 * half, 2 * half, tokens, heads, half, false, back,     \
             threads);                                                                                                \
    }                                                                                                                 \
    EXPORT void denken_norm_turn_##NAME(const T* x, index_t pitch, const T* weight, float eps, const float* cosine,   \
                                        const float* sine, T* out, index_t tokens, index_t heads, index_t half,       \
                                        index_t threads) {                                                            \
        norm_turn(x, pitch, weight, eps, cosine, sine, out, tokens, heads, half, threads);                            \
    }                                                                                                                 \
    EXPORT void denken_turn_apart_##NAME(const T* x, index_t pitch, index_t step, const float* cosine,                \
                                         const float* sine, T* out, index_t out_pitch, index_t out_step,              \
                                         index_t tokens, index_t heads, index_t half, index_t interleaved) {          \
        turn(x, pitch, step, cosine, sine, out, out_pitch, out_step, tokens, heads, half, interleaved, false, 1);      \
    }
TURN(float, fp32)
TURN(bf16, bf16)
