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
// Rows that go side by side. A few are bound by memory, and go together so that weights are read once; of more the sums of
// SOME at a time find room in the registers, and weights come again from the caches.
constexpr int MOST = 8, SOME = 6;
// Inputs at a time where rows go in turns: so many of SIDE channels stay in the first cache.
constexpr index_t STRETCH = 2048;

struct Weights {
    const bf16* at;
    const bf16* bias;
    index_t outputs;
};

// What the lanes of C vectors add up to; in one order, so that a channel's sum is the same alone.
#if defined(__AVX512DQ__)
INLINE __m128 folded(__m512 x) {
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}
template <int C>
INLINE void add_lanes(const v16* of, float* to) {
    if constexpr (C == SIDE) {
        auto sum_of_two = [](v16 a, v16 b) {
            __m512 x = (__m512)a, y = (__m512)b;
            return _mm512_castps_pd(_mm512_add_ps(_mm512_unpacklo_ps(x, y), _mm512_unpackhi_ps(x, y)));
        };
        __m512d left = sum_of_two(of[0], of[1]), right = sum_of_two(of[2], of[3]);
        __m512d low = _mm512_unpacklo_pd(left, right), high = _mm512_unpackhi_pd(left, right);
        return _mm_storeu_ps(to, folded(_mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high))));
    }
    for (int i = 0; i < C; i++) {
        __m512 x = (__m512)of[i];
        x = _mm512_add_ps(x, _mm512_permute_ps(x, 0b01001110));
        x = _mm512_add_ps(x, _mm512_permute_ps(x, 0b10110001));
        to[i] = _mm_cvtss_f32(folded(x));
    }
}
#else
template <int C>
INLINE void add_lanes(const v16* of, float* to) {
    for (int i = 0; i < C; i++) to[i] = sum_of(of[i]);
}
#endif

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

// `C` channels from `at` on, times R rows of x, over `inputs` of all those of a channel, which lie `pitch` apart: sums, or
// more of them where there are `before`. sums[row * C + channel].
template <int R, int C>
void block(const bf16* at, index_t pitch, const bf16* x, index_t x_pitch, index_t inputs, bool before, v16* to) {
    v16 sums[R][C];
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int c = 0; c < C; c++) sums[r][c] = before ? to[r * C + c] : v16{};
    index_t i = 0;
    // Channels end before the processor sees that they are read straight on: those behind them are asked for, into the
    // second cache, for the first has no room for so many.
    index_t ahead = SIDE * pitch;
    for (; i + STEP <= inputs; i += STEP) {
        Some32 weights[C];
#pragma GCC unroll 4
        for (int c = 0; c < C; c++) {
            __builtin_prefetch(at + c * pitch + i + ahead, 0, 2);
            weights[c] = some_at(at + c * pitch + i);
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
                sums[r][c] = dot(sums[r][c], rest_at(at + c * pitch + i, inputs - i), row);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int c = 0; c < C; c++) to[r * C + c] = sums[r][c];
}

using Block = void (*)(const bf16*, index_t, const bf16*, index_t, index_t, bool, v16*);

template <int C, int... R>
constexpr std::array<Block, sizeof...(R)> blocks_of(std::integer_sequence<int, R...>) {
    return {block<R + 1, C>...};
}

// C channels of a row, biased and rounded.
template <int C, typename T>
INLINE void put(T* to, const v16* sums, const bf16* bias) {
    float whole[C];
    add_lanes<C>(sums, whole);
    v16 x = load_some(whole, C);
    store_some(to, bias ? x + load_some(bias, C) : x, C);
}

// C channels of all rows. sums: room for those of all rows.
template <int C, typename T>
INLINE void side(const bf16* at, const bf16* bias, const bf16* x, index_t x_pitch, index_t rows, index_t inputs,
                 v16* sums, T* out, index_t pitch) {
    constexpr auto BLOCKS = blocks_of<C>(std::make_integer_sequence<int, MOST>{});
    index_t turns = rows <= MOST ? 1 : (rows + SOME - 1) / SOME, stretch = turns == 1 ? inputs : STRETCH;
    for (index_t i = 0; i < inputs; i += stretch)
        for (index_t t = 0; t < turns; t++) {
            index_t first = rows * t / turns, last = rows * (t + 1) / turns;
            BLOCKS[last - first - 1](at + i, inputs, x + first * x_pitch + i, x_pitch, std::min(stretch, inputs - i),
                                     i > 0, sums + first * C);
        }
    for (index_t r = 0; r < rows; r++) put<C>(out + r * pitch, sums + r * C, bias);
}

template <typename T>
void channels(const Weights& weights, index_t left, index_t right, const bf16* x, index_t x_pitch, index_t rows,
              index_t inputs, T* out, index_t pitch) {
    thread_local Scratch memory;
    v16* sums = reinterpret_cast<v16*>(memory.of(rows * SIDE * LANES));
    for (index_t o = left; o < right;) {
        const bf16 *at = weights.at + o * inputs, *bias = weights.bias ? weights.bias + o : nullptr;
        if (rows > 1 && right - o >= SIDE) {
            side<SIDE>(at, bias, x, x_pitch, rows, inputs, sums, out + o, pitch);
            o += SIDE;
        } else {
            side<1>(at, bias, x, x_pitch, rows, inputs, sums, out + o, pitch);
            o++;
        }
    }
}

template <typename T>
void multiply(const bf16* x, index_t x_pitch, index_t rows, index_t inputs, const Weights* matrices, index_t count,
              T* out, index_t pitch, index_t threads) {
    if (!rows) return;
    index_t total = 0;
    for (index_t m = 0; m < count; m++) total += matrices[m].outputs;
    share_out(threads, shares_of(total * inputs * 2, threads), [&](index_t mine, index_t all) {
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
