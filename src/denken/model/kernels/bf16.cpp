// Products of few rows with bf16 matrices as they lie in memory: bound by reading them, once, straight on.
//
// Sums are in fp32. A row's sum over the inputs has one order, whatever the rows beside it and the number of threads.

#include <algorithm>
#include <array>
#include <utility>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "scratch.h"
#include "team.h"
#include "vector.h"

namespace {

// Channels that go side by side, so that rows are fetched once for all of them. One row reads one channel after the
// other, straight on.
constexpr int SIDE = 4;
constexpr int MOST = 8;  // rows

struct Weights {
    const bf16* at;
    const bf16* bias;
    index_t outputs;
};

INLINE float sum_of_lanes(v16 x) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps((__m512)x);
#else
    return sum_of(x);
#endif
}

#if defined(__AVX512BF16__)
constexpr index_t STEP = 32;
typedef __m512bh Some32;
INLINE Some32 some_at(const bf16* at) { return (Some32)_mm512_loadu_si512(at); }
INLINE Some32 rest_at(const bf16* at, index_t count) {
    return (Some32)_mm512_maskz_loadu_epi16((1u << count) - 1, at);
}
INLINE v16 dot(v16 sum, Some32 a, Some32 b) { return (v16)_mm512_dpbf16_ps((__m512)sum, a, b); }
#else
constexpr index_t STEP = 16;
typedef v16 Some32;
INLINE Some32 some_at(const bf16* at) { return load(at); }
INLINE Some32 rest_at(const bf16* at, index_t count) { return load_some(at, count); }
INLINE v16 dot(v16 sum, Some32 a, Some32 b) { return sum + a * b; }
#endif

// `C` channels from `at` on, times R rows of x: out[row * SIDE + channel].
template <int R, int C>
void block(const bf16* at, const bf16* x, index_t x_pitch, index_t inputs, float* out) {
    v16 sums[R][C];
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int c = 0; c < C; c++) sums[r][c] = v16{};
    index_t i = 0;
    // Channels end before the processor sees that they are read straight on: those behind them are asked for, into the
    // second cache, for the first has no room for so many.
    index_t ahead = SIDE * inputs;
    for (; i + STEP <= inputs; i += STEP) {
        Some32 weights[C];
#pragma GCC unroll 4
        for (int c = 0; c < C; c++) {
            __builtin_prefetch(at + c * inputs + i + ahead, 0, 2);
            weights[c] = some_at(at + c * inputs + i);
        }
#pragma GCC unroll 8
        for (int r = 0; r < R; r++) {
            Some32 row = some_at(x + r * x_pitch + i);
#pragma GCC unroll 4
            for (int c = 0; c < C; c++) sums[r][c] = dot(sums[r][c], weights[c], row);
        }
    }
    if (i < inputs) {
#pragma GCC unroll 8
        for (int r = 0; r < R; r++) {
            Some32 row = rest_at(x + r * x_pitch + i, inputs - i);
#pragma GCC unroll 4
            for (int c = 0; c < C; c++)
                sums[r][c] = dot(sums[r][c], rest_at(at + c * inputs + i, inputs - i), row);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int c = 0; c < C; c++) out[r * SIDE + c] = sum_of_lanes(sums[r][c]);
}

using Block = void (*)(const bf16*, const bf16*, index_t, index_t, float*);

template <int C, int... R>
constexpr std::array<Block, sizeof...(R)> blocks_of(std::integer_sequence<int, R...>) {
    return {block<R + 1, C>...};
}
constexpr auto WHOLE = blocks_of<SIDE>(std::make_integer_sequence<int, MOST>{});
constexpr auto SINGLE = blocks_of<1>(std::make_integer_sequence<int, MOST>{});

template <typename T>
INLINE void put(T* to, float x, const bf16* bias) {
    store_some(to, splat(bias ? x + load_some(bias, 1)[0] : x), 1);
}

template <typename T>
void channels(const Weights& weights, index_t left, index_t right, const bf16* x, index_t x_pitch, index_t rows,
              index_t inputs, T* out, index_t pitch) {
    float sums[MOST * SIDE];
    for (index_t o = left; o < right;) {
        index_t some = rows > 1 && right - o >= SIDE ? SIDE : 1;
        for (index_t first = 0; first < rows; first += MOST) {
            index_t count = std::min<index_t>(MOST, rows - first);
            Block run = some == SIDE ? WHOLE[count - 1] : SINGLE[count - 1];
            run(weights.at + o * inputs, x + first * x_pitch, x_pitch, inputs, sums);
            for (index_t r = 0; r < count; r++)
                for (index_t c = 0; c < some; c++)
                    put(out + (first + r) * pitch + o + c, sums[r * SIDE + c], weights.bias ? weights.bias + o + c : nullptr);
        }
        o += some;
    }
}

template <typename T>
void multiply(const bf16* x, index_t x_pitch, index_t rows, index_t inputs, const Weights* matrices, index_t count,
              T* out, index_t pitch, index_t threads) {
    index_t total = 0;
    for (index_t m = 0; m < count; m++) total += matrices[m].outputs;
    on_threads(threads, [&](index_t mine, index_t all) {
        index_t from = total * mine / all / SIDE * SIDE, until = total * (mine + 1) / all / SIDE * SIDE, before = 0;
        if (mine + 1 == all) until = total;
        for (index_t m = 0; m < count; m++) {
            index_t own = matrices[m].outputs;
            index_t left = std::max<index_t>(from - before, 0), right = std::min(until - before, own);
            channels(matrices[m], left, right, x, x_pitch, rows, inputs, out + before, pitch);
            before += own;
        }
    });
}

}  // namespace

// out (rows, outputs of all matrices side by side; rows `pitch` apart) = x (rows, inputs; rows x_pitch apart) times
// `count` matrices (outputs, inputs), without gaps. A bias is added before the sum is rounded.
#define MULTIPLY(T, NAME)                                                                                             \
    EXPORT void denken_bf16_to_##NAME(const bf16* x, index_t x_pitch, index_t rows, index_t inputs,                   \
                                      const void* matrices, index_t count, T* out, index_t pitch, index_t threads) {  \
        multiply(x, x_pitch, rows, inputs, static_cast<const Weights*>(matrices), count, out, pitch, threads);        \
    }
MULTIPLY(float, fp32)
MULTIPLY(bf16, bf16)
