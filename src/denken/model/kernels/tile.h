// A small block of a product, its sums in registers: what products.cpp and attention.cpp are made of.
#pragma once

#include <algorithm>
#include <array>
#include <utility>

#include "vector.h"

#if defined(__AVX512F__)
constexpr int ROWS = 12, WIDE = 2, FEW = 4, BROAD = 4;
#else
constexpr int ROWS = 6, WIDE = 1, FEW = 3, BROAD = 2;
#endif
constexpr int COLUMNS = WIDE * LANES;

// c (R, columns), of at most W vectors, = or += a b over k, one after the other from k = 0 on: a product that is cut into several stretches of
// k comes out as in one. a (depth, R) and b (depth, W vectors) have their lines a_pitch and b_pitch apart. Columns of b
// beyond `columns` are read (they must be there) and not written.
template <int R, int W>
void tile(index_t depth, const float* a, index_t a_pitch, const float* b, index_t b_pitch, float* c, index_t pitch,
          index_t columns, bool add) {
    v16 sums[R][W] = {};
    if (add)
        for (int i = 0; i < R; i++)
            for (int j = 0; j < W && columns > j * LANES; j++)
                sums[i][j] = load_up_to(c + i * pitch + j * LANES, columns - j * LANES);
    for (index_t k = 0; k < depth; k++) {
        v16 line[W];
        for (int j = 0; j < W; j++) hold(line[j] = load(b + k * b_pitch + j * LANES));
        for (int i = 0; i < R; i++)
            for (int j = 0; j < W; j++) sums[i][j] += a[k * a_pitch + i] * line[j];
    }
    for (int i = 0; i < R; i++)
        for (int j = 0; j < W && columns > j * LANES; j++)
            store_up_to(c + i * pitch + j * LANES, sums[i][j], columns - j * LANES);
}

using Tile = void (*)(index_t, const float*, index_t, const float*, index_t, float*, index_t, index_t, bool);

template <int W, int... R>
constexpr std::array<Tile, sizeof...(R)> tiles_of(std::integer_sequence<int, R...>) {
    return {tile<R + 1, W>...};
}

// TILES[rows - 1]; and for so few rows that registers would stay empty, wider ones.
constexpr auto TILES = tiles_of<WIDE>(std::make_integer_sequence<int, ROWS>{});
constexpr auto BROAD_TILES = tiles_of<BROAD>(std::make_integer_sequence<int, FEW>{});
