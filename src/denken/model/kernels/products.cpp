// Products of matrices in fp32: C = A B, or C += A B, with any strides of A and B.
//
// Each number of C is added up over k in one order, which depends on nothing but k: a row comes out the same in any
// company, on any number of threads, and with B packed beforehand.

#include "scratch.h"
#include "team.h"
#include "tile.h"
#include "turn.h"

namespace {

constexpr index_t DEPTH = 256;  // of k at a time: a panel of B stays in the first cache
constexpr index_t TALL = 8 * ROWS;
constexpr index_t AT_A_TIME = 128;  // panels of B that are packed at a time
// So many rows are read as they lie.
#if defined(__AVX512F__)
constexpr int STRAIGHT = 8;
#else
constexpr int STRAIGHT = FEW;
#endif

struct Matrix {
    const float* at;
    index_t row, column;
};

// One panel of B: (depth, COLUMNS), zeros beyond the last column.
void pack_columns(float* to, Matrix b, index_t depth, index_t columns) {
    if (columns == COLUMNS && b.column == 1) {
        for (index_t k = 0; k < depth; k++) memcpy(to + k * COLUMNS, b.at + k * b.row, sizeof(float) * COLUMNS);
        return;
    }
    if (columns < COLUMNS) std::fill(to, to + depth * COLUMNS, 0.0f);
    index_t k = 0;
#if defined(__AVX512F__)
    if (b.row == 1)
        for (; k + LANES <= depth; k += LANES)
            for (index_t side = 0; side < columns; side += LANES) {
                __m512i lines[LANES];
#pragma GCC unroll 16
                for (int j = 0; j < LANES; j++)
                    lines[j] = side + j < columns ? _mm512_loadu_si512(b.at + (side + j) * b.column + k)
                                                  : _mm512_setzero_si512();
                turn_lines(lines, to + k * COLUMNS + side, COLUMNS);
            }
#else
    if (b.row == 1)
        for (; k + LANES <= depth; k += LANES)
            for (index_t j = 0; j < columns; j++) {
                v16 run = load(b.at + j * b.column + k);
                for (int i = 0; i < LANES; i++) to[(k + i) * COLUMNS + j] = run[i];
            }
#endif
    for (; k < depth; k++)
        for (index_t j = 0; j < columns; j++) to[k * COLUMNS + j] = b.at[k * b.row + j * b.column];
}

// One panel of A: (depth, rows).
void pack_rows(float* to, Matrix a, index_t depth, index_t rows) {
    for (index_t k = 0; k < depth; k++)
        for (index_t i = 0; i < rows; i++) to[k * rows + i] = a.at[i * a.row + k * a.column];
}

// How panels of B hold its numbers: each by itself, or, where all are exactly bf16, that of line k and that of line k + 1
// in the halves of one. An odd last line stands alone.
constexpr index_t lines_of(const float*, index_t depth) { return depth; }
constexpr index_t lines_of(const uint32_t*, index_t depth) { return (depth + 1) / 2; }

// Rows of A: packed, or where they lie.
template <int R>
struct PackedRows {
    const float* from;
    float at(int i, index_t k) const { return from[k * R + i]; }
};
struct StraightRows {
    const float* from;
    index_t pitch;
    float at(int i, index_t k) const { return from[i * pitch + k]; }
};

template <int R, int W, typename A>
INLINE void add_line(v16 (&sums)[R][W], const A& a, index_t k, const v16 (&line)[W]) {
    for (int i = 0; i < R; i++)
        for (int j = 0; j < W; j++) sums[i][j] += a.at(i, k) * line[j];
}

template <int R, int W, typename A>
INLINE void add_lines(v16 (&sums)[R][W], index_t depth, const A& a, const float* const (&b)[W]) {
    for (index_t k = 0; k < depth; k++) {
        v16 line[W];
        for (int j = 0; j < W; j++) hold(line[j] = load(b[j] + k * COLUMNS));
        add_line(sums, a, k, line);
    }
}

template <int R, int W, typename A>
INLINE void add_lines(v16 (&sums)[R][W], index_t depth, const A& a, const uint32_t* const (&b)[W]) {
    for (index_t k = 0; k < depth; k += 2) {
        bits16 both[W];
        v16 line[W];
        for (int j = 0; j < W; j++) {
            memcpy(&both[j], b[j] + k / 2 * COLUMNS, sizeof both[j]);
            line[j] = (v16)(both[j] << 16);
        }
        add_line(sums, a, k, line);
        if (k + 1 == depth) break;
        for (int j = 0; j < W; j++) line[j] = (v16)(both[j] & 0xffff0000u);
        add_line(sums, a, k + 1, line);
    }
}

// c (R, columns), of at most W vectors, = or += a times panels of B; over k, one after the other.
template <int R, int W, typename A, typename Number>
INLINE void panels(index_t depth, const A& a, const Number* b, float* c, index_t pitch, index_t columns, bool add) {
    v16 sums[R][W] = {};
    const Number* lines[W];
    for (int j = 0; j < W; j++) lines[j] = b + j / WIDE * lines_of(b, depth) * COLUMNS + j % WIDE * LANES;
    if (add)
        for (int i = 0; i < R; i++)
            for (int j = 0; j < W && columns > j * LANES; j++)
                sums[i][j] = load_up_to(c + i * pitch + j * LANES, columns - j * LANES);
    add_lines(sums, depth, a, lines);
    for (int i = 0; i < R; i++)
        for (int j = 0; j < W && columns > j * LANES; j++)
            store_up_to(c + i * pitch + j * LANES, sums[i][j], columns - j * LANES);
}

template <int R, typename Number>
void packed_rows(index_t depth, const float* a, const Number* b, float* c, index_t pitch, index_t columns, bool add) {
    panels<R, WIDE>(depth, PackedRows<R>{a}, b, c, pitch, columns, add);
}

template <int R, int W, typename Number>
void straight_rows(index_t depth, Matrix a, const Number* b, float* c, index_t pitch, index_t columns, bool add) {
    panels<R, W>(depth, StraightRows{a.at, a.row}, b, c, pitch, columns, add);
}

template <typename Number, int... R>
constexpr auto packed_by_rows(std::integer_sequence<int, R...>) {
    return std::array{packed_rows<R + 1, Number>...};
}

template <typename Number, int W, int... R>
constexpr auto straight_by_rows(std::integer_sequence<int, R...>) {
    return std::array{straight_rows<R + 1, W, Number>...};
}

// A few rows, as they lie, over panels [left, right) of B for one stretch of k: of up to FEW two panels at a time, for one
// has too few sums to keep the processor busy.
template <typename Number>
void few_rows(Matrix a, const Number* packed, float* c, index_t pitch, index_t columns, index_t rows, index_t left,
              index_t right, index_t depth, bool add) {
    constexpr auto TWO = straight_by_rows<Number, 2 * WIDE>(std::make_integer_sequence<int, FEW>{});
    constexpr auto ONE = straight_by_rows<Number, WIDE>(std::make_integer_sequence<int, STRAIGHT>{});
    for (index_t panel = left, some; panel < right; panel += some) {
        some = rows <= FEW && panel + 1 < right ? 2 : 1;
        auto run = some == 2 ? TWO[rows - 1] : ONE[rows - 1];
        run(depth, a, packed + panel * lines_of(packed, depth) * COLUMNS, c + panel * COLUMNS, pitch,
            columns - panel * COLUMNS, add);
    }
}

// Rows [first, last) of C over panels [left, right) of B, for one stretch of k.
template <typename Number>
void block(Matrix a, const Number* packed, float* c, index_t pitch, index_t columns, index_t first, index_t last,
           index_t left, index_t right, index_t depth, bool add) {
    constexpr auto BY_ROWS = packed_by_rows<Number>(std::make_integer_sequence<int, ROWS>{});
    if (first == last) return;
    if (first == 0 && last <= STRAIGHT && a.column == 1)
        return few_rows(a, packed, c, pitch, columns, last, left, right, depth, add);
    thread_local Scratch memory;
    float* rows_of_a = memory.of(TALL * depth);
    for (index_t top = first; top < last; top += TALL) {
        index_t bottom = std::min(top + TALL, last), count = bottom - top;
        index_t tiles = (count + ROWS - 1) / ROWS;
        float* to = rows_of_a;
        for (index_t t = 0; t < tiles; t++) {
            index_t from = top + t * count / tiles, until = top + (t + 1) * count / tiles;
            pack_rows(to, {a.at + from * a.row, a.row, a.column}, depth, until - from);
            to += (until - from) * depth;
        }
        for (index_t panel = left; panel < right; panel++) {
            const float* from_a = rows_of_a;
            for (index_t t = 0; t < tiles; t++) {
                index_t from = top + t * count / tiles, until = top + (t + 1) * count / tiles;
                BY_ROWS[until - from - 1](depth, from_a, packed + panel * lines_of(packed, depth) * COLUMNS,
                                          c + from * pitch + panel * COLUMNS, pitch, columns - panel * COLUMNS, add);
                from_a += (until - from) * depth;
            }
        }
    }
}

// c (rows, columns; its rows `pitch` apart) = a b, or += where `add`. packed: B, as packed beforehand; absent: `b` is
// packed as it goes.
template <typename Number>
void product(Matrix a, const Number* packed, Matrix b, float* c, index_t pitch, index_t rows, index_t depth,
             index_t columns, bool add, index_t threads) {
    index_t panels = (columns + COLUMNS - 1) / COLUMNS;
    bool tall = rows >= threads * 2 * ROWS && rows >= columns / 8;
    thread_local Scratch columns_of_b;
    float* shared = packed ? nullptr : columns_of_b.of(std::min(panels, AT_A_TIME) * COLUMNS * std::min(depth, DEPTH));
    auto some_of_it = [&](index_t mine, index_t all) {
        index_t first = tall ? rows * mine / all : 0, last = tall ? rows * (mine + 1) / all : rows;
        for (index_t start = 0; start < panels; start += AT_A_TIME)
            for (index_t k = 0; k < depth; k += DEPTH) {
                index_t some = std::min(DEPTH, depth - k), count = std::min(AT_A_TIME, panels - start);
                index_t left = tall ? 0 : count * mine / all, right = tall ? count : count * (mine + 1) / all;
                Matrix part{a.at + k * a.column, a.row, a.column};
                float* to = c + start * COLUMNS;
                index_t behind = columns - start * COLUMNS;
                bool more = add || k > 0;
                if (packed) {
                    index_t before = lines_of(packed, k) * panels + start * lines_of(packed, some);
                    block(part, packed + before * COLUMNS, to, pitch, behind, first, last, left, right, some, more);
                    continue;
                }
                for (index_t panel = mine; panel < count; panel += all)
                    pack_columns(shared + panel * some * COLUMNS,
                                 {b.at + k * b.row + (start + panel) * COLUMNS * b.column, b.row, b.column}, some,
                                 std::min<index_t>(COLUMNS, behind - panel * COLUMNS));
#pragma omp barrier
                block<float>(part, shared, to, pitch, behind, first, last, left, right, some, more);
#pragma omp barrier
            }
    };
    if (packed)
        share_out(threads, tall ? threads : shares_of(depth * columns * sizeof(Number), threads), some_of_it);
    else
        on_threads(threads, some_of_it);
}

}  // namespace

// B (depth, columns) as products read it fastest: panel after panel, DEPTH lines at a time.
EXPORT index_t denken_packed_size(index_t depth, index_t columns) {
    return depth * ((columns + COLUMNS - 1) / COLUMNS) * COLUMNS;
}

EXPORT void denken_pack(const float* b, index_t row, index_t column, float* to, index_t depth, index_t columns) {
    for (index_t k = 0; k < depth; k += DEPTH) {
        index_t some = std::min(DEPTH, depth - k);
        for (index_t j = 0; j < columns; j += COLUMNS) {
            Matrix part{b + k * row + j * column, row, column};
            pack_columns(to, part, some, std::min<index_t>(COLUMNS, columns - j));
            to += some * COLUMNS;
        }
    }
}

// The same of numbers that are all exactly bf16, two in one: half of the bytes.
EXPORT index_t denken_packed_pairs_size(index_t depth, index_t columns) {
    return denken_packed_size((depth + 1) / 2, columns);
}

EXPORT void denken_pack_pairs(const float* b, index_t row, index_t column, uint32_t* to, index_t depth,
                              index_t columns) {
    float lines[(DEPTH + 1) * COLUMNS];
    auto bits = [&](index_t at) {
        uint32_t of;
        memcpy(&of, lines + at, sizeof of);
        return of;
    };
    for (index_t k = 0; k < depth; k += DEPTH) {
        index_t some = std::min(DEPTH, depth - k);
        std::fill_n(lines + some * COLUMNS, COLUMNS, 0.0f);
        for (index_t j = 0; j < columns; j += COLUMNS) {
            Matrix part{b + k * row + j * column, row, column};
            pack_columns(lines, part, some, std::min<index_t>(COLUMNS, columns - j));
            for (index_t i = 0; i < some * COLUMNS; i += 2 * COLUMNS)
                for (index_t c = i; c < i + COLUMNS; c++) *to++ = bits(c) >> 16 | (bits(c + COLUMNS) & 0xffff0000u);
        }
    }
}

// b_column 0: b comes from `denken_pack`.
EXPORT void denken_product(const float* a, index_t a_row, index_t a_column, const float* b, index_t b_row,
                           index_t b_column, float* c, index_t pitch, index_t rows, index_t depth, index_t columns,
                           index_t add, index_t threads) {
    product({a, a_row, a_column}, b_column ? nullptr : b, {b, b_row, b_column}, c, pitch, rows, depth, columns, add,
            threads);
}

// b: from `denken_pack_pairs`.
EXPORT void denken_product_pairs(const float* a, index_t a_row, index_t a_column, const uint32_t* b, float* c,
                                 index_t pitch, index_t rows, index_t depth, index_t columns, index_t add,
                                 index_t threads) {
    product({a, a_row, a_column}, b, {}, c, pitch, rows, depth, columns, add, threads);
}
