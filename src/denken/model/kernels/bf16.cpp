// Products with bf16 matrices as they lie in memory, which is read once. A few rows are bound by that and multiply straight
// on; for MANY, weights are turned on their side as they come, a panel at a time, so that the first cache and the registers
// hold what is multiplied.
//
// Sums are in fp32. A row's sum over the inputs has one order, whatever the number of threads and the rows beside it, as
// long as these are few, and another where they are many.

#include <algorithm>
#include <array>
#include <utility>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "scratch.h"
#include "team.h"
#include "turn.h"
#include "vector.h"

namespace {

// Channels that go side by side, so that rows are fetched once for all of them. One row reads one channel after the
// other, straight on.
constexpr int SIDE = 4;
// Rows that go side by side: so many rows' sums find room in the registers. Of more the weights come again from the caches.
constexpr int SOME = 6;
// Inputs at a time where rows go in turns: so many of SIDE channels stay in the first cache.
constexpr index_t STRETCH = 2048;

// From so many rows on weights are turned, where the processor multiplies pairs; and the most rows that may come at all, so
// that others do no better.
#if defined(__AVX512BF16__)
constexpr index_t MANY = 12, MOST_ROWS = INT64_MAX;
#else
constexpr index_t MANY = INT64_MAX, MOST_ROWS = 48;
#endif
// A panel's channels, and its inputs: 16 KB. Rows whose sums for all its channels find room in the registers, those for
// which two panels' do, and rows that the second cache has room for.
constexpr int WIDE = 2 * LANES, TALL = 11, FEW = 4;
constexpr index_t DEEP = 256, LOT = 512;

// As they lie, in whichever way is faster; in panels, however few the rows; in panels that lie turned, from
// `denken_bf16_turn`, with no other matrix beside them; or in turned panels of three quarters of the bytes (`Compressed`).
enum Way : index_t { AS_MANY, ALWAYS, TURNED, COMPRESSED };

struct Weights {
    const bf16* at;
    const bf16* bias;
    index_t outputs, way;
};

// A matrix in turned panels of twelve bits a number, exactly. Of the upper bytes of bf16, which hold the sign and seven bits
// of the exponent, a trained matrix has few that are frequent: sixteen, `highs`, are told by four bits. A line of a panel,
// a pair of inputs of all its channels, is LINE bytes: the lower bytes of its numbers, and behind them the codes of the
// upper ones. Lines in which another upper byte occurs stand in `raw`, too: those of a panel are from `begins` on, and
// `odd` says which they are.
struct Compressed {
    const uint8_t *lines, *highs;
    const int32_t *begins, *odd;
    const bf16* raw;
};
constexpr index_t NUMBERS = 2 * WIDE, LINE = NUMBERS + NUMBERS / 2;
// How far ahead lines are asked for.
constexpr index_t FURTHER = 4096;

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
// more of them where there are `before`. sums[row * C + channel]. next: what is to be asked for meanwhile.
template <int R, int C>
void block(const bf16* at, index_t pitch, const bf16* x, index_t x_pitch, index_t inputs, bool before, v16* to,
           const bf16* next) {
    v16 sums[R][C];
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int c = 0; c < C; c++) sums[r][c] = before ? to[r * C + c] : v16{};
    index_t i = 0;
    // Channels end before the processor sees that they are read straight on: those behind them are asked for, straight on
    // and one line for each that is read, into the second cache, for the first has no room for so many.
    for (; i + STEP <= inputs; i += STEP) {
        Some32 weights[C];
#pragma GCC unroll 4
        for (int c = 0; c < C; c++) {
            __builtin_prefetch(next + C * i + c * STEP, 0, 2);
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

using Block = void (*)(const bf16*, index_t, const bf16*, index_t, index_t, bool, v16*, const bf16*);

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
    constexpr auto BLOCKS = blocks_of<C>(std::make_integer_sequence<int, SOME>{});
    index_t turns = (rows + SOME - 1) / SOME, stretch = turns == 1 ? inputs : STRETCH;
    for (index_t i = 0; i < inputs; i += stretch)
        for (index_t t = 0; t < turns; t++) {
            index_t first = rows * t / turns, last = rows * (t + 1) / turns;
            BLOCKS[last - first - 1](at + i, inputs, x + first * x_pitch + i, x_pitch, std::min(stretch, inputs - i),
                                     i > 0, sums + first * C, at + SIDE * inputs + C * i);
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

#if defined(__AVX512BF16__)
// Sixteen channels of 32 inputs, or what there is of them and zeros, to sixteen lines `step` apart: the k-th holds the k-th
// pair of inputs of each channel.
template <bool ALL>
INLINE void turn(const bf16* at, index_t pitch, index_t channels, index_t inputs, bf16* to, index_t step) {
    __m512i a[LANES];
    __mmask32 some = ALL ? ~0u : inputs >= 32 ? ~0u : (1u << inputs) - 1;
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        a[i] = ALL            ? _mm512_loadu_si512(at + i * pitch)
               : i < channels ? _mm512_maskz_loadu_epi16(some, at + i * pitch)
                              : _mm512_setzero_si512();
    turn_lines(a, to, step);
}

// A panel of so many channels and inputs.
void turn_panel(const bf16* at, index_t pitch, index_t channels, index_t inputs, bf16* to) {
    for (int side = 0; side < WIDE; side += LANES)
        for (index_t i = 0; i < inputs; i += 32) {
            index_t wide = std::clamp<index_t>(channels - side, 0, LANES), deep = std::min<index_t>(inputs - i, 32);
            const bf16* from = at + side * pitch + i;
            if (wide == LANES && deep == 32)
                turn<true>(from, pitch, wide, deep, to + i * WIDE + 2 * side, 2 * WIDE);
            else
                turn<false>(from, pitch, wide, deep, to + i * WIDE + 2 * side, 2 * WIDE);
        }
}

// R rows times W vectors of channels, two a panel, panels `apart`, over so many pairs of inputs, one after the other: sums,
// or more of them where there are `before`. Meanwhile half of the next panel, from `ask` on, is asked for, a line with
// each pair: at once, so many would keep each other waiting.
template <int R, int W, bool ASKS>
void tile(const bf16* panel, index_t apart, const bf16* x, index_t x_pitch, index_t pairs, bool before, v16* to,
          const bf16* ask, index_t pitch) {
    constexpr index_t LINES = DEEP / STEP;
    v16 sums[R][W];
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int w = 0; w < W; w++) sums[r][w] = before ? to[W * r + w] : v16{};
    for (index_t k = 0; k < pairs; k++) {
        Some32 channels[W];
#pragma GCC unroll 4
        for (int w = 0; w < W; w++) channels[w] = some_at(panel + w / 2 * apart + 2 * k * WIDE + w % 2 * STEP);
        if (ASKS) __builtin_prefetch(ask + k / LINES * pitch + k % LINES * STEP, 0, 2);
#pragma GCC unroll 16
        for (int r = 0; r < R; r++) {
            int32_t pair;
            memcpy(&pair, x + r * x_pitch + 2 * k, sizeof pair);
            Some32 row = (Some32)_mm512_set1_epi32(pair);
#pragma GCC unroll 4
            for (int w = 0; w < W; w++) sums[r][w] = dot(sums[r][w], channels[w], row);
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int w = 0; w < W; w++) to[W * r + w] = sums[r][w];
}

using Tile = void (*)(const bf16*, index_t, const bf16*, index_t, index_t, bool, v16*, const bf16*, index_t);

template <int W, bool ASKS, int... R>
constexpr std::array<Tile, sizeof...(R)> tiles_of(std::integer_sequence<int, R...>) {
    return {tile<R + 1, W, ASKS>...};
}
template <int W, bool ASKS, int MOST>
constexpr auto TILES = tiles_of<W, ASKS>(std::make_integer_sequence<int, MOST>{});

// W vectors of channels of each row, or as many of them as there are channels, biased and rounded.
template <typename T>
void put_all(const v16* sums, int vectors, const bf16* bias, T* out, index_t pitch, index_t rows, index_t channels) {
    for (index_t r = 0; r < rows; r++)
        for (index_t w = 0; w < vectors && w * LANES < channels; w++) {
            index_t count = std::min<index_t>(LANES, channels - w * LANES);
            v16 x = sums[vectors * r + w];
            store_up_to(out + r * pitch + w * LANES, bias ? x + load_up_to(bias + w * LANES, count) : x, count);
        }
}

template <typename T>
void panels(const Weights& weights, index_t left, index_t right, const bf16* x, index_t x_pitch, index_t rows,
            index_t inputs, T* out, index_t pitch) {
    thread_local Scratch memory;
    bf16* panel = reinterpret_cast<bf16*>(memory.of(WIDE * DEEP / 2 + 2 * rows * LANES));
    v16* sums = reinterpret_cast<v16*>(panel + WIDE * DEEP);
    index_t turns = (rows + TALL - 1) / TALL;
    for (index_t o = left; o < right; o += WIDE) {
        index_t wide = std::min<index_t>(WIDE, right - o);
        for (index_t i = 0; i < inputs; i += DEEP) {
            const bf16 *at = weights.at + o * inputs + i, *next = i + DEEP < inputs ? at + DEEP : at - i + WIDE * inputs;
            index_t deep = std::min(DEEP, inputs - i);
            turn_panel(at, inputs, wide, deep, panel);
            for (index_t t = 0; t < turns; t++) {
                index_t first = rows * t / turns, last = rows * (t + 1) / turns;
                auto run = (t < 2 ? TILES<2, true, TALL> : TILES<2, false, TALL>)[last - first - 1];
                run(panel, 0, x + first * x_pitch + i, x_pitch, deep / 2, i > 0, sums + 2 * first,
                    next + t * LANES * inputs, inputs);
            }
        }
        put_all(sums, 2, weights.bias ? weights.bias + o : nullptr, out + o, pitch, rows, wide);
    }
}

// The same where panels lie turned, of all inputs each: sums of the same order, of any number of rows.
template <typename T>
void turned_panels(const Weights& weights, index_t left, index_t right, const bf16* x, index_t x_pitch, index_t rows,
                   index_t inputs, T* out, index_t pitch) {
    thread_local Scratch memory;
    v16* sums = reinterpret_cast<v16*>(memory.of(2 * std::max<index_t>(rows, 2 * FEW) * LANES));
    index_t turns = (rows + TALL - 1) / TALL, stretch = turns == 1 ? inputs : DEEP;
    for (index_t o = left, wide; o < right; o += wide) {
        const bf16 *at = weights.at + o * inputs, *bias = weights.bias ? weights.bias + o : nullptr;
        bool two = rows <= FEW && right - o > WIDE;
        wide = std::min<index_t>((1 + two) * WIDE, right - o);
        if (two)
            TILES<4, false, FEW>[rows - 1](at, WIDE * inputs, x, x_pitch, inputs / 2, false, sums, nullptr, 0);
        else
            for (index_t i = 0; i < inputs; i += stretch)
                for (index_t t = 0; t < turns; t++) {
                    index_t first = rows * t / turns, last = rows * (t + 1) / turns;
                    TILES<2, false, TALL>[last - first - 1](at + WIDE * i, 0, x + first * x_pitch + i, x_pitch,
                                                            std::min(stretch, inputs - i) / 2, i > 0, sums + 2 * first,
                                                            nullptr, 0);
                }
        put_all(sums, two ? 4 : 2, bias, out + o, pitch, rows, wide);
    }
}

// A line's two vectors of channels.
INLINE void expand(const uint8_t* line, __m512i highs, Some32* to) {
    __m512i low = _mm512_loadu_si512(line);
    __m256i codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(line + NUMBERS));
    __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(codes), _mm256_srli_epi16(codes, 4), 1);
    __m512i high = _mm512_shuffle_epi8(highs, _mm512_and_si512(both, _mm512_set1_epi8(15)));
    to[0] = (Some32)_mm512_unpacklo_epi8(low, high), to[1] = (Some32)_mm512_unpackhi_epi8(low, high);
    __builtin_prefetch(line + FURTHER, 0, 2);
    __builtin_prefetch(line + FURTHER + LINE / 2, 0, 2);
}

// R rows times a panel, of all its `pairs` of inputs: sums, of the order that turned panels' have.
template <int R>
void expand_tile(const Compressed& of, index_t panel, const bf16* x, index_t x_pitch, index_t pairs, v16* to) {
    v16 sums[R][2] = {};
    const uint8_t* line = of.lines + panel * pairs * LINE;
    __m512i highs = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(of.highs)));
    index_t k = 0;
    auto add = [&](const Some32* channels) {
#pragma GCC unroll 16
        for (int r = 0; r < R; r++) {
            int32_t pair;
            memcpy(&pair, x + r * x_pitch + 2 * k, sizeof pair);
            Some32 row = (Some32)_mm512_set1_epi32(pair);
            sums[r][0] = dot(sums[r][0], channels[0], row), sums[r][1] = dot(sums[r][1], channels[1], row);
        }
        k++, line += LINE;
    };
    for (index_t e = of.begins[panel]; e <= of.begins[panel + 1]; e++) {
        Some32 channels[2];
        index_t until = e < of.begins[panel + 1] ? of.odd[e] : pairs;
        while (k < until) {
            expand(line, highs, channels);
            add(channels);
        }
        if (k == pairs) break;
        channels[0] = some_at(of.raw + e * NUMBERS), channels[1] = some_at(of.raw + e * NUMBERS + STEP);
        add(channels);
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) to[2 * r] = sums[r][0], to[2 * r + 1] = sums[r][1];
}

template <int... R>
constexpr auto expanding_of(std::integer_sequence<int, R...>) {
    return std::array<decltype(&expand_tile<1>), sizeof...(R)>{expand_tile<R + 1>...};
}
constexpr auto EXPANDING = expanding_of(std::make_integer_sequence<int, TALL>{});

// The same where panels are compressed. Of many rows they are expanded again for each turn: that takes less than keeping
// their numbers does.
template <typename T>
void compressed_panels(const Weights& weights, index_t left, index_t right, const bf16* x, index_t x_pitch, index_t rows,
                       index_t inputs, T* out, index_t pitch) {
    const Compressed& of = *reinterpret_cast<const Compressed*>(weights.at);
    thread_local Scratch memory;
    v16* sums = reinterpret_cast<v16*>(memory.of(2 * rows * LANES));
    index_t turns = (rows + TALL - 1) / TALL;
    for (index_t o = left; o < right; o += WIDE) {
        for (index_t t = 0; t < turns; t++) {
            index_t first = rows * t / turns, last = rows * (t + 1) / turns;
            EXPANDING[last - first - 1](of, o / WIDE, x + first * x_pitch, x_pitch, inputs / 2, sums + 2 * first);
        }
        put_all(sums, 2, weights.bias ? weights.bias + o : nullptr, out + o, pitch, rows, WIDE);
    }
}
#else
template <typename T>
void panels(const Weights&, index_t, index_t, const bf16*, index_t, index_t, index_t, T*, index_t) {}
template <typename T>
void turned_panels(const Weights&, index_t, index_t, const bf16*, index_t, index_t, index_t, T*, index_t) {}
template <typename T>
void compressed_panels(const Weights&, index_t, index_t, const bf16*, index_t, index_t, index_t, T*, index_t) {}
#endif

// R rows times W vectors of columns of a matrix (inputs, columns), whose lines are `pitch` apart: from the first line to the
// last.
template <int R, int W>
void lines(const bf16* at, index_t pitch, const bf16* x, index_t x_pitch, index_t inputs, bf16* out, index_t out_pitch) {
    v16 sums[R][W] = {};
    for (index_t i = 0; i < inputs; i++) {
        v16 line[W];
#pragma GCC unroll 8
        for (int w = 0; w < W; w++) hold(line[w] = load(at + i * pitch + w * LANES));
#pragma GCC unroll 4
        for (int r = 0; r < R; r++) {
            float own;
            uint32_t bits = uint32_t(x[r * x_pitch + i].bits) << 16;
            memcpy(&own, &bits, sizeof own);
#pragma GCC unroll 8
            for (int w = 0; w < W; w++) sums[r][w] += own * line[w];
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; r++)
#pragma GCC unroll 8
        for (int w = 0; w < W; w++) store(out + r * out_pitch + w * LANES, sums[r][w]);
}

// Rows times a matrix (inputs, columns) without gaps, of whole vectors of columns.
void along_lines(const bf16* at, index_t columns, const bf16* x, index_t x_pitch, index_t rows, index_t inputs, bf16* out,
                 index_t out_pitch) {
    constexpr int W = 8, R = 2;
    for (index_t r = 0; r < rows;) {
        index_t some = std::min<index_t>(R, rows - r);
        for (index_t c = 0; c < columns;) {
            auto run = [&](auto two, auto wide) {
                lines<decltype(two)::value, decltype(wide)::value>(at + c, columns, x + r * x_pitch, x_pitch, inputs,
                                                                   out + r * out_pitch + c, out_pitch);
                c += decltype(wide)::value * LANES;
            };
            using std::integral_constant;
            if (columns - c >= W * LANES)
                some == 2 ? run(integral_constant<int, 2>{}, integral_constant<int, W>{})
                          : run(integral_constant<int, 1>{}, integral_constant<int, W>{});
            else
                some == 2 ? run(integral_constant<int, 2>{}, integral_constant<int, 1>{})
                          : run(integral_constant<int, 1>{}, integral_constant<int, 1>{});
        }
        r += some;
    }
}

template <typename T>
void multiply(const bf16* x, index_t x_pitch, index_t rows, index_t inputs, const Weights* matrices, index_t count,
              T* out, index_t pitch, index_t threads) {
    if (!rows) return;
    index_t total = 0;
    for (index_t m = 0; m < count; m++) total += matrices[m].outputs;
    index_t way = matrices[0].way;
    // Half a pair of inputs could not be turned.
    bool many = (rows >= MANY || way != AS_MANY) && inputs % 2 == 0;
    auto run = way == COMPRESSED ? compressed_panels<T> : way == TURNED ? turned_panels<T> : many ? panels<T> : channels<T>;
    index_t step = many ? WIDE : SIDE, lots = many ? (rows + LOT - 1) / LOT : 1;
    share_out(threads, shares_of(total * inputs * 2, threads), [&](index_t mine, index_t all) {
        index_t from = total * mine / all / step * step, until = total * (mine + 1) / all / step * step, before = 0;
        if (mine + 1 == all) until = total;
        for (index_t m = 0; m < count; m++) {
            index_t own = matrices[m].outputs;
            index_t left = std::max<index_t>(from - before, 0), right = std::min(until - before, own);
            for (index_t lot = 0; lot < lots; lot++) {
                index_t first = rows * lot / lots, last = rows * (lot + 1) / lots;
                run(matrices[m], left, right, x + first * x_pitch, x_pitch, last - first, inputs,
                    out + first * pitch + before, pitch);
            }
            before += own;
        }
    });
}

}  // namespace

// More rows are better left to others.
EXPORT index_t denken_bf16_most_rows() { return MOST_ROWS; }

// How many numbers a matrix (outputs, inputs) takes in panels, whose last may be written over its end; 0 where none are
// made.
EXPORT index_t denken_bf16_turned_size(index_t outputs, index_t inputs) {
    return MANY == INT64_MAX || inputs % 2 ? 0 : (outputs + WIDE - 1) / WIDE * WIDE * inputs + 32 * WIDE;
}

EXPORT void denken_bf16_turn(const bf16* from, index_t outputs, index_t inputs, bf16* to) {
#if defined(__AVX512BF16__)
    for (index_t o = 0; o < outputs; o += WIDE)
        turn_panel(from + o * inputs, inputs, std::min<index_t>(WIDE, outputs - o), inputs, to + o * inputs);
#endif
}

// How many bytes the lines of a matrix (outputs, inputs) take, compressed; 0 where no such lines are read.
EXPORT index_t denken_bf16_compressed_size(index_t outputs, index_t inputs) {
    return MANY == INT64_MAX || inputs % 2 || outputs % WIDE ? 0 : outputs * inputs / NUMBERS * LINE;
}

// highs: the sixteen upper bytes that have a code. odd: of each line whether another occurs in it.
EXPORT void denken_bf16_compress(const bf16* from, index_t outputs, index_t inputs, const uint8_t* highs, uint8_t* lines,
                                uint8_t* odd, index_t threads) {
#if defined(__AVX512BF16__)
    int16_t codes[256];
    std::fill_n(codes, 256, int16_t(-1));
    for (int16_t code = 0; code < 16; code++) codes[highs[code]] = code;
    one_by_one(outputs / WIDE, threads, [&](index_t panel) {
        thread_local Scratch memory;
        bf16* turned = reinterpret_cast<bf16*>(memory.of((inputs + 32) * WIDE / 2));
        turn_panel(from + panel * WIDE * inputs, inputs, WIDE, inputs, turned);
        for (index_t k = 0; k < inputs / 2; k++) {
            index_t line = panel * inputs / 2 + k;
            uint8_t* to = lines + line * LINE;
            int16_t seen = 0, of[NUMBERS];
            for (index_t i = 0; i < NUMBERS; i++) {
                // Where lower and upper bytes are joined, eight of each sixteen go to the one vector and eight to the other.
                index_t place = i % 32 / 8 * 16 + i / 32 * 8 + i % 8;
                uint16_t bits = turned[k * NUMBERS + i].bits;
                to[place] = uint8_t(bits);
                seen |= of[place] = codes[bits >> 8];
            }
            for (index_t i = 0; i < WIDE; i++) to[NUMBERS + i] = uint8_t((of[i] & 15) | (of[i + WIDE] & 15) << 4);
            odd[line] = seen < 0;
        }
    });
#endif
}

// out (rows, outputs of all matrices side by side; rows `pitch` apart) = x (rows, inputs; rows x_pitch apart) times
// `count` matrices (outputs, inputs), without gaps. A bias is added before the sum is rounded.
#define MULTIPLY(T, NAME)                                                                                             \
    EXPORT void denken_bf16_to_##NAME(const bf16* x, index_t x_pitch, index_t rows, index_t inputs,                   \
                                      const void* matrices, index_t count, T* out, index_t pitch, index_t threads) {  \
        multiply(x, x_pitch, rows, inputs, static_cast<const Weights*>(matrices), count, out, pitch, threads);        \
    }
MULTIPLY(float, fp32)
MULTIPLY(bf16, bf16)

// Each head's rows times its own matrix, of `heads` of them `apart`: out (rows, heads, outputs) = x (rows, heads, inputs),
// the rows of both x_pitch and out_pitch apart, their heads x_step and out_step. `along`: matrices are (inputs, outputs),
// of whole vectors of outputs, else (outputs, inputs). Few rows, for matrices are read once for each two of them, or six.
EXPORT void denken_bf16_heads(const bf16* x, index_t x_pitch, index_t x_step, index_t rows, index_t inputs,
                              const bf16* matrices, index_t apart, index_t along, bf16* out, index_t out_pitch,
                              index_t out_step, index_t outputs, index_t heads, index_t threads) {
    one_by_one(heads, threads, [&](index_t head) {
        const bf16 *own = x + head * x_step, *matrix = matrices + head * apart;
        bf16* to = out + head * out_step;
        if (along)
            along_lines(matrix, outputs, own, x_pitch, rows, inputs, to, out_pitch);
        else
            channels(Weights{matrix, nullptr, outputs, AS_MANY}, 0, outputs, own, x_pitch, rows, inputs, to, out_pitch);
    });
}
