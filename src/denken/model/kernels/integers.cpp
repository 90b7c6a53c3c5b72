// Products with quantised weights: int8 by channel, int4 by group; activations are quantised to int8 row by row.
//
// Codes lie in panels of 16 channels, four inputs of each side by side, which is what the processors' instructions for
// bytes take at a time. They are stored without a sign (code + 128, code + 8), for one operand of these instructions
// has none; what that adds to a sum is taken off from its beginning. Integer sums are exact, so their order is free;
// what follows in fp32 has one order (integers.py) and is compiled without contraction: a row comes out the same, to
// the bit, in any company, on any number of threads and with any of the instructions below.

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "bytes.h"
#include "scratch.h"
#include "team.h"

namespace {

// What is stored of a code in 4 bits is code + OFFSET4.
constexpr int OFFSET4 = 8;

// Rows of a tile, and panels that go through it side by side: a row's codes are then fetched once for all of them.
#if defined(__AVX512VNNI__)
constexpr int ROWS8 = 12, ROWS4 = 8, WIDE = 2;
#else
constexpr int ROWS8 = 4, ROWS4 = 4, WIDE = 1;
#endif

// How scales are stored: as they were given, in whichever type holds them exactly.
enum Kind : index_t { FP32, BF16, FP16 };

// A packed matrix. group: inputs that share a scale, 0 for int8.
struct Matrix {
    const uint8_t* codes;
    const void* scales;
    const float* bias;
    index_t inputs, outputs, group, kind;

    index_t steps() const { return (inputs + 3) / 4; }
    index_t groups() const { return group ? inputs / group : 1; }
    index_t panels() const { return (outputs + LANES - 1) / LANES; }
    index_t panel_bytes() const { return group ? inputs / 8 * STEP : steps() * STEP; }
};

INLINE v16 half_precision(const uint16_t* from) {
#if defined(__AVX512F__)
    return (v16)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)from));
#else
    halves16 half;
    memcpy(&half, from, sizeof half);
    bits16 bits = __builtin_convertvector(half, bits16);
    // The exponent moves by 112 when the number is read as fp32; subnormals are counted in units of 2^-24.
    v16 normal = (v16)(((bits & 0x7fff) << 13) + (112u << 23));
    v16 small = __builtin_convertvector(int16v(bits & 0x3ff), v16) * 0x1p-24f;
    v16 size = (bits & 0x7c00) == 0 ? small : normal;
    return (v16)((bits16)size | ((bits & 0x8000) << 16));
#endif
}

// Sixteen scales, the `at`th of so many vectors.
INLINE v16 scales_at(const Matrix& matrix, index_t at) {
    if (matrix.kind == BF16) return load(static_cast<const bf16*>(matrix.scales) + at * LANES);
    if (matrix.kind == FP16) return half_precision(static_cast<const uint16_t*>(matrix.scales) + at * LANES);
    return load(static_cast<const float*>(matrix.scales) + at * LANES);
}

// Rows that go through a tile together: codes (steps, count) of four each, where sums begin (groups, count), scales.
struct Tile {
    int32_t* codes;
    int32_t* begins;
    float* scales;
    index_t first, count;
};

// Every line of the weights is asked for ahead, into the second cache. Where one in four was, into the first, a row's
// product took half as long again as without asking at all.
constexpr index_t AHEAD = 6144;
INLINE void ask(const uint8_t* at, index_t ahead) { __builtin_prefetch(at + ahead, 0, 2); }
// How far ahead a place in a panel of so many bytes looks, where W go side by side: what comes behind its end is read
// already, and those that are read next lie behind them all.
template <int W>
INLINE index_t ahead(index_t place, index_t bytes) {
    return W > 1 && place + AHEAD >= bytes ? AHEAD + (W - 1) * bytes : AHEAD;
}

// out[panel * R + row], of W panels side by side, before the row's scale. Of one row or few, several sums run in turn.
template <int R, int W>
void tile8(const Matrix& matrix, index_t panel, const Tile& tile, v16* out) {
    constexpr int SIDE = R * W >= 8 ? 1 : R * W >= 4 ? 2 : 4;
    index_t steps = matrix.steps(), next = matrix.panel_bytes();
    const uint8_t* at = matrix.codes + panel * next;
    const int32_t* codes = tile.codes;
    // Every loop over these is unrolled: only then do they live in registers.
    Sums sums[SIDE][R][W];
#pragma GCC unroll 4
    for (int s = 0; s < SIDE; s++)
#pragma GCC unroll 16
        for (int r = 0; r < R; r++)
#pragma GCC unroll 2
            for (int w = 0; w < W; w++) sums[s][r][w] = sums_of(s ? 0 : tile.begins[r]);
    index_t step = 0;
    for (; step + SIDE <= steps; step += SIDE, at += SIDE * STEP, codes += SIDE * R) {
        index_t far = ahead<W>(step * STEP, next);
#pragma GCC unroll 4
        for (int s = 0; s < SIDE; s++) {
            Bytes stored[W];
#pragma GCC unroll 2
            for (int w = 0; w < W; w++) {
                ask(at + w * next + s * STEP, far);
                stored[w] = bytes_at(at + w * next + s * STEP);
            }
#pragma GCC unroll 16
            for (int r = 0; r < R; r++) {
                Four row = four(codes[s * R + r]);
#pragma GCC unroll 2
                for (int w = 0; w < W; w++) sums[s][r][w] = dot8(sums[s][r][w], stored[w], row);
            }
        }
    }
    if (SIDE > 1)
        for (; step < steps; step++, at += STEP, codes += R)
#pragma GCC unroll 16
            for (int r = 0; r < R; r++)
#pragma GCC unroll 2
                for (int w = 0; w < W; w++)
                    sums[0][r][w] = dot8(sums[0][r][w], bytes_at(at + w * next), four(codes[r]));
#pragma GCC unroll 2
    for (int w = 0; w < W; w++) {
        v16 scales = scales_at(matrix, panel + w);
#pragma GCC unroll 16
        for (int r = 0; r < R; r++) {
            Sums whole = sums[0][r][w];
#pragma GCC unroll 3
            for (int s = 1; s < SIDE; s++) whole = add(whole, sums[s][r][w]);
            out[w * R + r] = wide(whole) * scales;
        }
    }
}

// The groups' sums add up in `out`: registers are for the sums of one group.
template <int R, int W>
void tile4(const Matrix& matrix, index_t panel, const Tile& tile, v16* out) {
    index_t groups = matrix.groups(), steps = matrix.group / 8, next = matrix.panel_bytes();
    const uint8_t* at = matrix.codes + panel * next;
    const int32_t *codes = tile.codes, *begins = tile.begins;
    v16 totals[W * R];
    for (int i = 0; i < W * R; i++) totals[i] = v16{};
    for (index_t g = 0; g < groups; g++, begins += R) {
        Sums sums[R][W];
#pragma GCC unroll 16
        for (int r = 0; r < R; r++)
#pragma GCC unroll 2
            for (int w = 0; w < W; w++) sums[r][w] = sums_of(begins[r]);
        index_t far = ahead<W>(g * steps * STEP, next);
        for (index_t step = 0; step < steps; step++, at += STEP, codes += 2 * R) {
            Bytes left[W], right[W];
#pragma GCC unroll 2
            for (int w = 0; w < W; w++) {
                ask(at + w * next, far);
                Bytes both = bytes_at(at + w * next);
                left[w] = low(both), right[w] = high(both);
            }
#pragma GCC unroll 16
            for (int r = 0; r < R; r++) {
                Four first = four(codes[r]), second = four(codes[R + r]);
#pragma GCC unroll 2
                for (int w = 0; w < W; w++) sums[r][w] = dot4(dot4(sums[r][w], left[w], first), right[w], second);
            }
        }
#pragma GCC unroll 2
        for (int w = 0; w < W; w++) {
            v16 scales = scales_at(matrix, (panel + w) * groups + g);
#pragma GCC unroll 16
            for (int r = 0; r < R; r++) totals[w * R + r] += wide(sums[r][w]) * scales;
        }
    }
    for (int i = 0; i < W * R; i++) out[i] = totals[i];
}

using Run = void (*)(const Matrix&, index_t, const Tile&, v16*);

template <int W, int... R>
constexpr std::array<Run, sizeof...(R)> runs8(std::integer_sequence<int, R...>) {
    return {tile8<R + 1, W>...};
}
template <int W, int... R>
constexpr std::array<Run, sizeof...(R)> runs4(std::integer_sequence<int, R...>) {
    return {tile4<R + 1, W>...};
}
constexpr auto UP_TO8 = std::make_integer_sequence<int, ROWS8>{};
constexpr auto UP_TO4 = std::make_integer_sequence<int, ROWS4>{};
// [panels - 1][rows - 1]
constexpr std::array<Run, ROWS8> RUNS8[] = {runs8<1>(UP_TO8), runs8<WIDE>(UP_TO8)};
constexpr std::array<Run, ROWS4> RUNS4[] = {runs4<1>(UP_TO4), runs4<WIDE>(UP_TO4)};

// max|x| as an integer, whose order is that of sizes, with infinities and what is no number above all others.
template <typename T>
INLINE float largest(const T* x, index_t size) {
    int16v most = {};
    over(size, [&](index_t i, auto part) {
        int16v bits = (int16v)load(x + i, part) & 0x7fffffff;
        most = bits > most ? bits : most;
    });
    int32_t top = 0;
    for (int i = 0; i < LANES; i++) top = std::max(top, most[i]);
    float size_of;
    memcpy(&size_of, &top, sizeof top);
    return size_of;
}

typedef int8_t bytes16 __attribute__((vector_size(16)));

INLINE int32_t total_of(int16v x) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_epi32((__m512i)x);
#else
    int32_t total = 0;
    for (int i = 0; i < LANES; i++) total += x[i];
    return total;
#endif
}

// One row's codes (steps of four, zeros beyond the end), where its sums begin, and its scale.
template <typename T>
void quantise(const T* x, index_t size, index_t group, const Tile& tile, index_t row) {
    float scale = largest(x, size) / 127.0f;
    if (!std::isfinite(scale)) scale = NAN;
    tile.scales[row] = scale;
    float by = scale > 0 ? scale : 1.0f;
    bool none = std::isnan(scale);
    index_t many = tile.count, steps = (size + 3) / 4, offset = group ? OFFSET4 : BEGIN8;
    int32_t *to = tile.codes + row, *begins = tile.begins + row;
    int16v sums = {};
    // Adding 1.5 * 2^23 rounds to the nearest whole number, ties to even, and leaves it in the lowest bits.
    v16 magic = splat(12582912.0f);
    over(size, [&](index_t i, auto part) {
        v16 whole = load(x + i, part) / splat(by);
        whole = whole > splat(127.0f) ? splat(127.0f) : whole;
        whole = whole < splat(-127.0f) ? splat(-127.0f) : whole;
        int16v codes = (int16v)(whole + magic) - (int16v)magic;
        if (none) codes = int16v{};
        sums += codes;
        bytes16 bytes = __builtin_convertvector(codes, bytes16);
        int32_t fours[LANES / 4];
        memcpy(fours, &bytes, sizeof fours);
        index_t left = std::min<index_t>(LANES / 4, steps - i / 4);
        for (index_t j = 0; j < left; j++) to[(i / 4 + j) * many] = fours[j];
        if (group % LANES == 0 && group && (i + LANES) % group == 0) {
            begins[((i + LANES) / group - 1) * many] = -int32_t(offset) * total_of(sums);
            sums = int16v{};
        }
    });
    if (!group) begins[0] = -int32_t(offset) * total_of(sums);
    if (group % LANES)
        for (index_t g = 0; g < size / group; g++) {
            int32_t sum = 0;
            for (index_t step = g * group / 4; step < (g + 1) * group / 4; step++)
                for (int i = 0; i < 4; i++) sum += int8_t(uint32_t(to[step * many]) >> (8 * i));
            begins[g * many] = -int32_t(offset) * sum;
        }
}

// So many bytes of rows' codes stay in a processor's second cache while panels pass by.
constexpr index_t NEAR = 384 << 10;
// Fewer rows read one panel after the other, straight on.
constexpr index_t FEW = 4;

// Panels [left, right) of one matrix, for some tiles.
template <typename T>
void panels(const Matrix& matrix, index_t left, index_t right, const Tile* tiles, index_t count, T* out, index_t pitch) {
    v16 sums[std::max(ROWS8, ROWS4) * WIDE];
    index_t most = tiles[0].count < FEW ? 1 : WIDE;
    for (index_t panel = left, side; panel < right; panel += side) {
        side = std::min(most, right - panel);
        for (index_t t = 0; t < count; t++) {
            const Tile& tile = tiles[t];
            Run run = matrix.group ? RUNS4[side - 1][tile.count - 1] : RUNS8[side - 1][tile.count - 1];
            run(matrix, panel, tile, sums);
            for (index_t w = 0; w < side; w++) {
                index_t column = (panel + w) * LANES, some = matrix.outputs - column;
                for (index_t r = 0; r < tile.count; r++) {
                    v16 x = rounded(sums[w * tile.count + r] * tile.scales[r], out);
                    if (matrix.bias) x += load_up_to(matrix.bias + column, some);
                    store_up_to(out + (tile.first + r) * pitch + column, x, some);
                }
            }
        }
    }
}

template <typename T>
void multiply(const T* x, index_t x_pitch, index_t rows, const Matrix* matrices, index_t count, T* out, index_t pitch,
              index_t threads) {
    const Matrix& any = matrices[0];
    index_t most = any.group ? ROWS4 : ROWS8, tall = (rows + most - 1) / most;
    index_t steps = any.steps(), groups = any.groups(), total = 0;
    for (index_t m = 0; m < count; m++) total += matrices[m].panels();
    thread_local Scratch memory;
    int32_t* codes = reinterpret_cast<int32_t*>(memory.of(rows * (steps + groups + 1)));
    int32_t* begins = codes + rows * steps;
    float* scales = reinterpret_cast<float*>(begins + rows * groups);
    std::unique_ptr<Tile[]> tiles(new Tile[tall]);
    for (index_t t = 0; t < tall; t++) {
        index_t first = t * rows / tall, last = (t + 1) * rows / tall;
        tiles[t] = {codes + first * steps, begins + first * groups, scales + first, first, last - first};
    }
    index_t together = std::max<index_t>(1, NEAR / (any.inputs * most));
    // Of a row or two the codes are made sooner than others could help.
    share_out(rows > 2 ? threads : 1, std::min(rows, 2 * threads), [&](index_t mine, index_t all) {
        for (index_t row = rows * mine / all; row < rows * (mine + 1) / all; row++) {
            index_t t = row * tall / rows;
            while (t + 1 < tall && tiles[t + 1].first <= row) t++;
            while (tiles[t].first > row) t--;
            quantise(x + row * x_pitch, any.inputs, any.group, tiles[t], row - tiles[t].first);
        }
    });
    share_out(threads, shares_of(total * any.panel_bytes(), threads), [&](index_t mine, index_t all) {
        index_t from = total * mine / all, until = total * (mine + 1) / all;
        for (index_t t = 0; t < tall; t += together) {
            index_t before = 0, column = 0;
            for (index_t m = 0; m < count; m++) {
                index_t own = matrices[m].panels();
                index_t left = std::max<index_t>(from - before, 0), right = std::min(until - before, own);
                panels(matrices[m], left, right, tiles.get() + t, std::min(together, tall - t), out + column, pitch);
                before += own;
                column += matrices[m].outputs;
            }
        }
    });
}

}  // namespace

// Which of the instructions above this was compiled for.
EXPORT const char* denken_integers_path() { return PATH; }

// Bytes of a packed matrix's codes; its scales are (panels, groups, 16).
EXPORT index_t denken_integers_size(index_t inputs, index_t outputs, index_t group) {
    Matrix matrix{nullptr, nullptr, nullptr, inputs, outputs, group, FP32};
    return matrix.panels() * matrix.panel_bytes();
}

// codes (outputs, inputs) into their panels.
EXPORT void denken_integers_pack(const int8_t* codes, uint8_t* to, index_t inputs, index_t outputs, index_t group,
                                 index_t threads) {
    Matrix matrix{nullptr, nullptr, nullptr, inputs, outputs, group, FP32};
    index_t bytes = matrix.panel_bytes();
    auto code = [&](index_t o, index_t i) { return o < outputs && i < inputs ? codes[o * inputs + i] : 0; };
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (index_t panel = 0; panel < matrix.panels(); panel++) {
        uint8_t* at = to + panel * bytes;
        for (index_t step = 0; step < bytes / STEP; step++)
            for (index_t j = 0; j < STEP; j++, at++) {
                index_t o = panel * LANES + j / 4, i = j % 4;
                if (group)
                    *at = uint8_t(code(o, 8 * step + i) + OFFSET4) | uint8_t(code(o, 8 * step + 4 + i) + OFFSET4) << 4;
                else
                    *at = uint8_t(code(o, 4 * step + i) + OFFSET8);
            }
    }
}

// The codes (outputs, inputs) again.
EXPORT void denken_integers_unpack(const uint8_t* from, int8_t* codes, index_t inputs, index_t outputs, index_t group,
                                   index_t threads) {
    Matrix matrix{nullptr, nullptr, nullptr, inputs, outputs, group, FP32};
    index_t bytes = matrix.panel_bytes();
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (index_t o = 0; o < outputs; o++)
        for (index_t i = 0; i < inputs; i++) {
            const uint8_t* at = from + o / LANES * bytes + o % LANES * 4 + i % 4;
            if (group)
                codes[o * inputs + i] = (at[i / 8 * STEP] >> (i % 8 / 4 * 4) & 15) - OFFSET4;
            else
                codes[o * inputs + i] = at[i / 4 * STEP] - OFFSET8;
        }
}

// out (rows, outputs of all matrices side by side; rows `pitch` apart) = x (rows, inputs; rows x_pitch apart) times
// `count` matrices, of one width and one group.
#define MULTIPLY(T, NAME)                                                                                              \
    EXPORT void denken_integers_##NAME(const T* x, index_t x_pitch, index_t rows, const void* matrices, index_t count, \
                                       T* out, index_t pitch, index_t threads) {                                       \
        multiply(x, x_pitch, rows, static_cast<const Matrix*>(matrices), count, out, pitch, threads);                  \
    }
MULTIPLY(float, fp32)
MULTIPLY(bf16, bf16)
