// Products of matrices in fp32: C = A B, or C += A B, with any strides of A and B.
//
// Each number of C is added up over k in one order, which depends on nothing but k: a row comes out the same in any
// company, on any number of threads, and with B packed beforehand.

#include <omp.h>

#include "scratch.h"
#include "tile.h"

namespace {

constexpr index_t DEPTH = 256;  // of k at a time: a panel of B stays in the first cache
constexpr index_t TALL = 8 * ROWS;
constexpr index_t AT_A_TIME = 128;  // panels of B that are packed at a time

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
    if (b.row == 1)
        for (; k + LANES <= depth; k += LANES)
            for (index_t j = 0; j < columns; j++) {
                v16 run = load(b.at + j * b.column + k);
                for (int i = 0; i < LANES; i++) to[(k + i) * COLUMNS + j] = run[i];
            }
    for (; k < depth; k++)
        for (index_t j = 0; j < columns; j++) to[k * COLUMNS + j] = b.at[k * b.row + j * b.column];
}

// One panel of A: (depth, rows).
void pack_rows(float* to, Matrix a, index_t depth, index_t rows) {
    for (index_t k = 0; k < depth; k++)
        for (index_t i = 0; i < rows; i++) to[k * rows + i] = a.at[i * a.row + k * a.column];
}

// Rows [first, last) of C over panels [left, right) of B, for one stretch of k.
void block(Matrix a, const float* packed, float* c, index_t pitch, index_t columns, index_t first, index_t last,
           index_t left, index_t right, index_t depth, bool add) {
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
                TILES[until - from - 1](depth, from_a, until - from, packed + panel * depth * COLUMNS, COLUMNS,
                                        c + from * pitch + panel * COLUMNS, pitch, columns - panel * COLUMNS, add);
                from_a += (until - from) * depth;
            }
        }
    }
}

}  // namespace

EXPORT index_t denken_packed_size(index_t depth, index_t columns) {
    return depth * ((columns + COLUMNS - 1) / COLUMNS) * COLUMNS;
}

// B (depth, columns) as `denken_product` reads it fastest.
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

// c (rows, columns; its rows `pitch` apart) = a b, or += where `add`. b_column 0: b comes from `denken_pack`.
EXPORT void denken_product(const float* a, index_t a_row, index_t a_column, const float* b, index_t b_row,
                           index_t b_column, float* c, index_t pitch, index_t rows, index_t depth, index_t columns,
                           index_t add, index_t threads) {
    index_t panels = (columns + COLUMNS - 1) / COLUMNS;
    bool is_packed = b_column == 0, tall = rows >= threads * 2 * ROWS && rows >= columns / 8;
    thread_local Scratch columns_of_b;
    float* shared = is_packed ? nullptr : columns_of_b.of(std::min(panels, AT_A_TIME) * COLUMNS * std::min(depth, DEPTH));
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        index_t mine = omp_get_thread_num(), all = omp_get_num_threads();
        index_t first = tall ? rows * mine / all : 0, last = tall ? rows * (mine + 1) / all : rows;
        for (index_t start = 0; start < panels; start += AT_A_TIME)
            for (index_t k = 0; k < depth; k += DEPTH) {
                index_t some = std::min(DEPTH, depth - k), count = std::min(AT_A_TIME, panels - start);
                const float* packed = is_packed ? b + k * panels * COLUMNS + start * some * COLUMNS : shared;
                if (!is_packed) {
                    for (index_t panel = mine; panel < count; panel += all)
                        pack_columns(shared + panel * some * COLUMNS,
                                     {b + k * b_row + (start + panel) * COLUMNS * b_column, b_row, b_column}, some,
                                     std::min<index_t>(COLUMNS, columns - (start + panel) * COLUMNS));
#pragma omp barrier
                }
                index_t left = tall ? 0 : count * mine / all, right = tall ? count : count * (mine + 1) / all;
                block({a + k * a_column, a_row, a_column}, packed, c + start * COLUMNS, pitch,
                      columns - start * COLUMNS, first, last, left, right, some, add || k > 0);
                if (!is_packed) {
#pragma omp barrier
                }
            }
    }
}
