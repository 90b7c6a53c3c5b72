// Scores and sums over keys and values that rows hold in whole numbers of 8 bits.
//
// A token's key of one head has one scale, and so has its value. They are multiplied as bytes, four at a time, so what
// they are multiplied with is in whole numbers too, of two digits: a query in 15 bits, and the weights of a panel's
// tokens, each with its value's scale, in 14 bits of the largest of them. Sums of whole numbers are exact, so that a query
// gets the same in any company.
//
// Keys: a panel's columns four at a time, of each of its tokens the four. Values: its tokens four at a time, of each
// column the four. Behind a panel's keys, and behind its values, stand its tokens' scales in fp32.
#pragma once

#include <algorithm>
#include <array>
#include <utility>

#include "attend.h"
#include "bytes.h"
#include "codes.h"
#include "scratch.h"

namespace {

constexpr index_t PANEL = 2 * LANES;
constexpr index_t FOUR = 4, LINE = 64;  // LINE: bytes that memory hands out at once
// So many queries go through a panel together, so few through two at a time, and so many columns' vectors.
#if defined(__AVX512F__)
constexpr int CODES = 6, FEW_CODES = 3, SIDE_CODES = 2, BROAD_CODES = 4;
#else
constexpr int CODES = 1, FEW_CODES = 1, SIDE_CODES = 1, BROAD_CODES = 2;
#endif
// A query is high * QUERY_BASE + low, a weight high * WEIGHT_BASE + low.
constexpr int QUERY_BASE = 254, WEIGHT_BASE = 128;
constexpr float QUERY_MOST = 32384, WEIGHT_MOST = 16383;

// Numbers of a token's key, or value, with its scale.
INLINE index_t code_columns(index_t size) { return up(size, FOUR) + sizeof(float); }
INLINE const float* scales_of(const code* panel, index_t size) {
    return reinterpret_cast<const float*>(panel + up(size, FOUR) * PANEL);
}

// Asks for some bytes of what is read next, into the second cache.
template <int BYTES>
INLINE void ask(const char* at) {
#pragma GCC unroll 4
    for (index_t i = 0; i < BYTES; i += LINE) __builtin_prefetch(at + i, 0, 2);
}

INLINE int32_t bits_at(const float* at) {
    int32_t bits;
    memcpy(&bits, at, sizeof bits);
    return bits;
}

// A token's key, or its value, to its place in a panel.
template <typename T>
void write_codes(const T* from, index_t size, code* panel, index_t token, bool is_key) {
    thread_local Scratch memory;
    index_t wide = up(size, FOUR);
    code* some = reinterpret_cast<code*>(memory.of(wide / FOUR + LANES));
    memset(some, 0, wide);
    float scale = encode(from, size, some);
    index_t first = is_key ? token * FOUR : token / FOUR * FOUR * wide + token % FOUR;
    for (index_t d = 0; d < wide; d++) {
        index_t place = is_key ? d / FOUR * FOUR * PANEL + d % FOUR : d * FOUR;
        panel[first + place].bits = static_cast<int8_t>(is_key ? some[d].bits ^ OFFSET8 : some[d].bits);
    }
    memcpy(panel + wide * PANEL + token * sizeof(float), &scale, sizeof scale);
}

// What a row of codes begins a sum with, so that bytes stored with an offset count as what they stand for.
INLINE int32_t begin_of(v16 codes) { return -BEGIN8 * static_cast<int32_t>(sum_of(codes)); }

// To the nearest.
INLINE v16 whole(v16 x) { return (x + splat(12582912.0f)) - splat(12582912.0f); }

// To the lines of a query, `apart` from one another: of every four columns high and low, then what both begin a sum with,
// and the scale.
template <typename T>
void encode_query(const T* from, index_t size, float by, float* lines, index_t apart) {
    auto [top, none] = reach_of(from, size);
    float to = top > 0 ? QUERY_MOST / top : 0;
    v16 sums[2] = {};
    index_t fours = up(size, FOUR) / FOUR;
    over(size, [&](index_t d, auto part) {
        v16 x = whole(load(from + d, part) * to), above = whole(x * splat(1.0f / QUERY_BASE));
        v16 below = x - above * splat(float(QUERY_BASE));
        code high[LANES], low[LANES];
        store(high, above), store(low, below);
        sums[0] += above, sums[1] += below;
        for (index_t g = d / FOUR; g < std::min(fours, (d + LANES) / FOUR); g++) {
            memcpy(lines + 2 * g * apart, high + g * FOUR - d, FOUR);
            memcpy(lines + (2 * g + 1) * apart, low + g * FOUR - d, FOUR);
        }
    });
    int32_t begins[] = {begin_of(sums[0]), begin_of(sums[1])};
    float scale = top / QUERY_MOST * by + none;
    memcpy(lines + 2 * fours * apart, begins, FOUR);
    memcpy(lines + (2 * fours + 1) * apart, begins + 1, FOUR);
    lines[(2 * fours + 2) * apart] = scale;
}

// scores (N, S panels) of queries (their lines, N) and a panel's keys, or two panels'.
template <int N, int S>
void score_codes(index_t size, const float* queries, index_t apart, const code* keys, float* scores, index_t pitch,
                 const char* next) {
    Sums high[N][2 * S], low[N][2 * S];
    index_t fours = up(size, FOUR) / FOUR, panel = code_columns(size) * PANEL;
    const uint8_t* bytes = reinterpret_cast<const uint8_t*>(keys);
#pragma GCC unroll 12
    for (int i = 0; i < N; i++)
#pragma GCC unroll 4
        for (int j = 0; j < 2 * S; j++) {
            high[i][j] = sums_of(bits_at(queries + 2 * fours * apart + i));
            low[i][j] = sums_of(bits_at(queries + (2 * fours + 1) * apart + i));
        }
    for (index_t g = 0; g < fours; g++) {
        Bytes line[2 * S];
        ask<2 * S * STEP>(next + g * 2 * S * STEP);
#pragma GCC unroll 4
        for (int j = 0; j < 2 * S; j++) line[j] = bytes_at(bytes + j / 2 * panel + (2 * g + j % 2) * STEP);
#pragma GCC unroll 12
        for (int i = 0; i < N; i++) {
            Four above = four(bits_at(queries + 2 * g * apart + i));
            Four below = four(bits_at(queries + (2 * g + 1) * apart + i));
#pragma GCC unroll 4
            for (int j = 0; j < 2 * S; j++) {
                high[i][j] = dot8(high[i][j], line[j], above);
                low[i][j] = dot8(low[i][j], line[j], below);
            }
        }
    }
    ask<S * PANEL * sizeof(float)>(next + 2 * S * fours * STEP);
#pragma GCC unroll 4
    for (int j = 0; j < 2 * S; j++) {
        v16 scales = load(scales_of(keys + j / 2 * panel, size) + j % 2 * LANES);
#pragma GCC unroll 12
        for (int i = 0; i < N; i++) {
            v16 sum = wide(high[i][j]) * splat(float(QUERY_BASE)) + wide(low[i][j]);
            store(scores + i * pitch + j * LANES, sum * (scales * queries[(2 * fours + 2) * apart + i]));
        }
    }
}

INLINE void digits_to(int16v digits, int32_t* to) {
    typedef int8_t bytes16 __attribute__((vector_size(16)));
    bytes16 bytes = __builtin_convertvector(digits, bytes16);
    memcpy(to, &bytes, sizeof bytes);
}

// Weights of a panel's tokens as they are multiplied: of every four of them high and low.
struct Weights {
    int32_t high[PANEL / FOUR], low[PANEL / FOUR];
    float scale;

    // Of `count` tokens; the others weigh nothing.
    void encode(const float* weights, const float* scales, index_t count) {
        v16 some[2] = {};
        if (count == PANEL) {
            for (int half = 0; half < 2; half++)
                some[half] = load(weights + half * LANES) * load(scales + half * LANES);
        } else {
            over(count, [&](index_t t, auto part) { some[t / LANES] = load(weights + t, part) * load(scales + t, part); });
        }
        float top = most_of(most(some[0], some[1])), to = top > 0 ? WEIGHT_MOST / top : 0;
        v16 none = some[0] - some[0] + (some[1] - some[1]);
        for (int half = 0; half < 2; half++) {
            v16 x = some[half] * to + splat(0.5f);
            int16v digits = __builtin_convertvector(x, int16v);
            digits_to(digits >> 7, high + half * LANES / FOUR);
            digits_to(digits & 127, low + half * LANES / FOUR);
        }
        scale = top / WEIGHT_MOST + sum_of(none);
    }
};

// sums (N, W vectors) = or += weights (N) of a panel's tokens, of which `fours` times four count, times their values.
template <int N, int W>
void weigh_codes(index_t fours, const Weights* weights, const code* values, index_t size, float* sums, index_t pitch,
                 bool add, const char* next) {
    Sums high[N][W], low[N][W];
    const uint8_t* bytes = reinterpret_cast<const uint8_t*>(values);
    index_t line_bytes = up(size, FOUR) * FOUR;
#pragma GCC unroll 12
    for (int i = 0; i < N; i++)
#pragma GCC unroll 4
        for (int j = 0; j < W; j++)
            high[i][j] = low[i][j] = sums_of(0);
    for (index_t g = 0; g < fours; g++) {
        Bytes line[W];
        ask<W * STEP>(next + g * line_bytes);
#pragma GCC unroll 4
        for (int j = 0; j < W; j++) line[j] = bytes_at(bytes + g * line_bytes + j * STEP);
#pragma GCC unroll 12
        for (int i = 0; i < N; i++) {
            Four above = four(weights[i].high[g]), below = four(weights[i].low[g]);
#pragma GCC unroll 4
            for (int j = 0; j < W; j++) {
                high[i][j] = weighed(high[i][j], above, line[j]);
                low[i][j] = weighed(low[i][j], below, line[j]);
            }
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < N; i++)
#pragma GCC unroll 4
        for (int j = 0; j < W; j++) {
            float* to = sums + i * pitch + j * LANES;
            v16 total = add ? load(to) : v16{};
            total += (wide(high[i][j]) * splat(float(WEIGHT_BASE)) + wide(low[i][j])) * weights[i].scale;
            store(to, total);
        }
}

using ScoreCodes = void (*)(index_t, const float*, index_t, const code*, float*, index_t, const char*);
using WeighCodes = void (*)(index_t, const Weights*, const code*, index_t, float*, index_t, bool, const char*);

template <int S, int... N>
constexpr std::array<ScoreCodes, sizeof...(N)> score_codes_of(std::integer_sequence<int, N...>) {
    return {score_codes<N + 1, S>...};
}
template <int W, int... N>
constexpr std::array<WeighCodes, sizeof...(N)> weigh_codes_of(std::integer_sequence<int, N...>) {
    return {weigh_codes<N + 1, W>...};
}
// [queries - 1]
constexpr auto SCORE_CODES = score_codes_of<1>(std::make_integer_sequence<int, CODES>{});
constexpr auto SCORE_FEW_CODES = score_codes_of<SIDE_CODES>(std::make_integer_sequence<int, FEW_CODES>{});
constexpr auto WEIGH_CODES = weigh_codes_of<2>(std::make_integer_sequence<int, CODES>{});
constexpr auto WEIGH_FEW_CODES = weigh_codes_of<BROAD_CODES>(std::make_integer_sequence<int, FEW_CODES>{});

// As in rows.cpp, of queries in lines.
void score_all(index_t queries, index_t size, const float* lines, index_t apart, const code* keys, index_t tokens,
               float* scores, index_t pitch, const code* next) {
    index_t panel = code_columns(size) * PANEL, panels = up(tokens, PANEL) / PANEL;
    for (index_t p = 0, side; p < panels; p += side) {
        side = queries <= FEW_CODES && p + SIDE_CODES <= panels ? SIDE_CODES : 1;
        const code *at = keys + p * panel, *after = p + side < panels ? at + side * panel : next;
        for (index_t i = 0, some; i < queries; i += some) {
            some = std::min<index_t>(CODES, queries - i);
            ScoreCodes run = side > 1 ? SCORE_FEW_CODES[some - 1] : SCORE_CODES[some - 1];
            run(size, lines + i, apart, at, scores + i * pitch + p * PANEL, pitch, reinterpret_cast<const char*>(after));
        }
    }
}

void weigh_all(index_t queries, const float* weights, index_t pitch, const code* values, index_t tokens, index_t size,
               float* sums, index_t wide, bool add, const code* next) {
    index_t panel = code_columns(size) * PANEL, step = (queries <= FEW_CODES ? BROAD_CODES : 2) * LANES;
    const auto& runs = queries <= FEW_CODES ? WEIGH_FEW_CODES.data() : WEIGH_CODES.data();
    Weights some[CODES];
    for (index_t t = 0; t < tokens; t += PANEL) {
        index_t count = std::min(PANEL, tokens - t);
        const code *at = values + t / PANEL * panel, *after = t + PANEL < tokens ? at + panel : next;
        ask<PANEL * sizeof(float)>(reinterpret_cast<const char*>(scales_of(after, size)));
        for (index_t i = 0, few; i < queries; i += few) {
            few = std::min<index_t>(CODES, queries - i);
            for (index_t k = 0; k < few; k++)
                some[k].encode(weights + (i + k) * pitch + t, scales_of(at, size), count);
            for (index_t d = 0; d < size; d += step)
                runs[few - 1](up(count, FOUR) / FOUR, some, at + d * FOUR, size, sums + i * wide + d, wide,
                              add || t > 0, reinterpret_cast<const char*>(after + d * FOUR));
        }
    }
}

}  // namespace
