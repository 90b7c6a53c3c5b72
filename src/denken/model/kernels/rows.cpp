// Softmax attention of those who decode, over keys and values that lie in rows, one a sequence, and in beginnings that
// several sequences share; or in the cache's blocks themselves, where those are laid out to be read (Blocks).
//
// A head's keys lie in panels of 32 tokens, column after column, so that all that a score needs is read straight on. A
// query's numbers are those of attention.cpp, to the bit: each sum has its order, and what a row holds in bf16 is
// widened before it is multiplied. In int8 (row_codes.h) they are near those. Whoever looks at the same keys goes together,
// so that they are read once.

#include <algorithm>
#include <array>
#include <memory>
#include <type_traits>
#include <utility>

#include "attend.h"
#include "row_codes.h"
#include "scratch.h"
#include "team.h"

namespace {

// So many queries go through a panel together, and so few through two at a time.
#if defined(__AVX512F__)
constexpr int MOST = 12, FEW = 4;
#else
constexpr int MOST = 3, FEW = 1;
#endif
constexpr int BROAD = 4;
// So many pieces of work a thread make up for their differing lengths.
constexpr index_t SHARES = 3;
// Tokens whose values stay in the first cache while one part of a head's columns after the other is summed.
constexpr index_t NEAR = 64;

template <typename R>
constexpr bool IS_CODES = std::is_same_v<R, code>;

// Numbers that a row keeps of a token's key, or its value.
template <typename R>
INLINE index_t columns(index_t size) {
    return IS_CODES<R> ? code_columns(size) : size;
}

// A line of a panel is one column of its tokens. In bf16 the tokens of the second half stand between those of the first:
// a shift widens the one, a mask the other.
INLINE index_t place_of(const float*, index_t token) { return token % PANEL; }
INLINE index_t place_of(const bf16*, index_t token) { return token % LANES * 2 + token % PANEL / LANES; }

INLINE void line_of(const float* at, v16* out) { out[0] = load(at), out[1] = load(at + LANES); }
INLINE void line_of(const bf16* at, v16* out) {
    bits16 both;
    memcpy(&both, at, sizeof both);
    out[0] = (v16)(both << 16), out[1] = (v16)(both & 0xffff0000u);
}

// scores (N, S panels) = queries (size, N) keys (S, size, PANEL), over columns from the first to the last. next: what is
// read after these keys.
template <typename R, int N, int S>
void score(index_t size, const float* queries, index_t apart, const R* keys, float* scores, index_t pitch,
           const char* next) {
    v16 sums[N][2 * S];
#pragma GCC unroll 12
    for (int i = 0; i < N; i++)
#pragma GCC unroll 4
        for (int j = 0; j < 2 * S; j++) sums[i][j] = v16{};
    for (index_t d = 0; d < size; d++) {
        v16 line[2 * S];
        constexpr int BYTES = S * PANEL * sizeof(R);
        ask<BYTES>(next + d * BYTES);
#pragma GCC unroll 2
        for (int s = 0; s < S; s++) line_of(keys + (s * size + d) * PANEL, line + 2 * s);
#pragma GCC unroll 4
        for (int j = 0; j < 2 * S; j++) hold(line[j]);
#pragma GCC unroll 12
        for (int i = 0; i < N; i++)
#pragma GCC unroll 4
            for (int j = 0; j < 2 * S; j++) sums[i][j] += queries[d * apart + i] * line[j];
    }
#pragma GCC unroll 12
    for (int i = 0; i < N; i++)
#pragma GCC unroll 4
        for (int j = 0; j < 2 * S; j++) store(scores + i * pitch + j * LANES, sums[i][j]);
}

// sums (N, W vectors) = or += weights (N, count) values (count, size), from the first token to the last.
template <typename R, int N, int W>
void weigh(index_t count, const float* weights, index_t pitch, const R* values, index_t size, float* sums, index_t wide,
           bool add, const char* next) {
    v16 totals[N][W];
#pragma GCC unroll 12
    for (int i = 0; i < N; i++)
#pragma GCC unroll 4
        for (int j = 0; j < W; j++) totals[i][j] = add ? load(sums + i * wide + j * LANES) : v16{};
    for (index_t t = 0; t < count; t++) {
        v16 line[W];
        ask<W * LANES * sizeof(R)>(next + t * size * sizeof(R));
#pragma GCC unroll 4
        for (int j = 0; j < W; j++) hold(line[j] = load(values + t * size + j * LANES));
#pragma GCC unroll 12
        for (int i = 0; i < N; i++)
#pragma GCC unroll 4
            for (int j = 0; j < W; j++) totals[i][j] += weights[i * pitch + t] * line[j];
    }
#pragma GCC unroll 12
    for (int i = 0; i < N; i++)
#pragma GCC unroll 4
        for (int j = 0; j < W; j++) store(sums + i * wide + j * LANES, totals[i][j]);
}

template <typename R>
using Score = void (*)(index_t, const float*, index_t, const R*, float*, index_t, const char*);
template <typename R>
using Weigh = void (*)(index_t, const float*, index_t, const R*, index_t, float*, index_t, bool,
                       const char*);

template <typename R, int S, int... N>
constexpr std::array<Score<R>, sizeof...(N)> scores_of(std::integer_sequence<int, N...>) {
    return {score<R, N + 1, S>...};
}
template <typename R, int W, int... N>
constexpr std::array<Weigh<R>, sizeof...(N)> weighs_of(std::integer_sequence<int, N...>) {
    return {weigh<R, N + 1, W>...};
}
// [queries - 1]
template <typename R>
constexpr auto SCORES = scores_of<R, 1>(std::make_integer_sequence<int, MOST>{});
template <typename R>
constexpr auto SCORES_FEW = scores_of<R, 2>(std::make_integer_sequence<int, FEW>{});
// [vectors - 1][queries - 1]
template <typename R>
constexpr std::array<std::array<Weigh<R>, MOST>, 2> WEIGHS = {
    weighs_of<R, 1>(std::make_integer_sequence<int, MOST>{}), weighs_of<R, 2>(std::make_integer_sequence<int, MOST>{})};
template <typename R>
constexpr std::array<std::array<Weigh<R>, FEW>, BROAD> WEIGHS_FEW = {
    weighs_of<R, 1>(std::make_integer_sequence<int, FEW>{}), weighs_of<R, 2>(std::make_integer_sequence<int, FEW>{}),
    weighs_of<R, 3>(std::make_integer_sequence<int, FEW>{}), weighs_of<R, 4>(std::make_integer_sequence<int, FEW>{})};

// Scores are written to a panel's end. next: what is read after these keys.
template <typename R>
void score_all(index_t queries, index_t size, const float* turned, index_t apart, const R* keys, index_t tokens,
               float* scores, index_t pitch, const R* next) {
    for (index_t panel = 0, panels = up(tokens, PANEL) / PANEL, side; panel < panels; panel += side) {
        side = queries <= FEW && panel + 2 <= panels ? 2 : 1;
        Score<R> run = side == 2 ? SCORES_FEW<R>[queries - 1] : SCORES<R>[queries - 1];
        const R *at = keys + panel * size * PANEL, *after = at + side * size * PANEL;
        run(size, turned, apart, at, scores + panel * PANEL, pitch,
            reinterpret_cast<const char*>(panel + side < panels ? after : next));
    }
}

template <typename R>
void weigh_all(index_t queries, const float* weights, index_t pitch, const R* values, index_t tokens, index_t size,
               float* sums, index_t wide, bool add, const R* next) {
    index_t vectors = up(size, LANES) / LANES, most = queries <= FEW ? BROAD : 2;
    for (index_t t = 0; t < tokens; t += NEAR) {
        const R *at = values + t * size, *after = t + NEAR < tokens ? at + NEAR * size : next;
        for (index_t first = 0, side; first < vectors; first += side) {
            side = std::min(most, vectors - first);
            Weigh<R> run = queries <= FEW ? WEIGHS_FEW<R>[side - 1][queries - 1] : WEIGHS<R>[side - 1][queries - 1];
            index_t d = first * LANES;
            run(std::min(NEAR, tokens - t), weights + t, pitch, at + d, size, sums + d, wide, add || t > 0,
                reinterpret_cast<const char*>(after + d));
        }
    }
}

// keys (rows, key_heads, stride / PANEL, size, PANEL), values (rows, key_heads, stride, size); in int8 as row_codes.h says.
template <typename R>
struct Rows {
    R *keys, *values;
    index_t stride;
    R* keys_of(index_t row, index_t head, const Shape& shape) const { return keys + at(row, head, shape); }
    R* values_of(index_t row, index_t head, const Shape& shape) const { return values + at(row, head, shape); }
    template <typename T>
    void write(index_t row, index_t place, index_t head, const T* key, const T* value, const Shape& shape) const {
        index_t size = shape.size, before = place / PANEL * PANEL * columns<R>(size), inside = place % PANEL;
        R *panel = keys_of(row, head, shape) + before, *values_panel = values_of(row, head, shape) + before;
        if constexpr (IS_CODES<R>) {
            write_codes(key, size, panel, inside, true);
            write_codes(value, size, values_panel, inside, false);
        } else {
            write_numbers(key, value, size, panel + place_of(keys, place), values_panel + inside * size);
        }
    }

  private:
    template <typename T>
    static void write_numbers(const T* key, const T* value, index_t size, R* column, R* line) {
        R some[LANES];
        over(size, [&](index_t d, auto part) {
            store(some, load(key + d, part));
            for (index_t i = d; i < std::min(size, d + LANES); i++) column[i * PANEL] = some[i - d];
            store(line + d, load(value + d, part), part);
        });
    }
    index_t at(index_t row, index_t head, const Shape& shape) const {
        return (row * shape.key_heads + head) * stride * columns<R>(shape.size);
    }
};

// Blocks as attention reads them, in parts of 16 tokens: keys (parts, key_heads, size, 16), values (parts, key_heads, 16,
// size). tables: of each row the blocks, of block_size tokens each, that its tokens lie in, `pitch` numbers a row; absent
// where rows hold them, and blocks are (places, key_heads, size).
template <typename T>
struct Blocks {
    T *keys, *values;
    const index_t* tables;
    index_t pitch, block_size;
    // The part of a row's tokens from a multiple of 16 on.
    index_t part(index_t row, index_t token) const {
        index_t block = tables[row * pitch + token / block_size];
        return (block * block_size + token % block_size) / LANES;
    }
    T* keys_of(index_t part, index_t head, const Shape& shape) const { return keys + at(part, head, shape); }
    T* values_of(index_t part, index_t head, const Shape& shape) const { return values + at(part, head, shape); }
    void write(index_t place, index_t head, const T* key, const T* value, const Shape& shape) const {
        index_t size = shape.size, inside = place % LANES;
        T* column = keys_of(place / LANES, head, shape) + inside;
        for (index_t d = 0; d < size; d++) column[d * LANES] = key[d];
        memcpy(values_of(place / LANES, head, shape) + inside * size, value, size * sizeof(T));
    }
    void read(index_t place, index_t head, T* key, T* value, const Shape& shape) const {
        index_t size = shape.size, inside = place % LANES;
        const T* column = keys_of(place / LANES, head, shape) + inside;
        for (index_t d = 0; d < size; d++) key[d] = column[d * LANES];
        memcpy(value, values_of(place / LANES, head, shape) + inside * size, size * sizeof(T));
    }

  private:
    static index_t at(index_t part, index_t head, const Shape& shape) {
        return (part * shape.key_heads + head) * shape.size * LANES;
    }
};

// Of each new token: how many its row holds with it, its place in the blocks, and its row (absent: one a row).
template <typename T>
struct New {
    Heads<const T> query, key, value;
    const index_t* lengths;
    Blocks<T> blocks;
    const index_t *places, *seats;
    index_t row(index_t token) const { return seats ? seats[token] : token; }
};

// As `score`, over S parts of 16 tokens, wherever each is.
template <typename T, int N, int S>
void score_parts(index_t size, const float* queries, index_t apart, const T* const* keys, float* scores, index_t pitch,
                 const T* const* next) {
    v16 sums[N][S];
#pragma GCC unroll 12
    for (int i = 0; i < N; i++)
#pragma GCC unroll 4
        for (int s = 0; s < S; s++) sums[i][s] = v16{};
    for (index_t d = 0; d < size; d++) {
        v16 line[S];
#pragma GCC unroll 4
        for (int s = 0; s < S; s++) {
            ask<LANES * sizeof(T)>(reinterpret_cast<const char*>(next[s] + d * LANES));
            hold(line[s] = load(keys[s] + d * LANES));
        }
#pragma GCC unroll 12
        for (int i = 0; i < N; i++)
#pragma GCC unroll 4
            for (int s = 0; s < S; s++) sums[i][s] += queries[d * apart + i] * line[s];
    }
#pragma GCC unroll 12
    for (int i = 0; i < N; i++)
#pragma GCC unroll 4
        for (int s = 0; s < S; s++) store(scores + i * pitch + s * LANES, sums[i][s]);
}

template <typename T>
using ScoreParts = void (*)(index_t, const float*, index_t, const T* const*, float*, index_t, const T* const*);
template <typename T, int S, int... N>
constexpr std::array<ScoreParts<T>, sizeof...(N)> score_parts_of(std::integer_sequence<int, N...>) {
    return {score_parts<T, N + 1, S>...};
}
template <typename T>
constexpr auto SCORE_PART = score_parts_of<T, 1>(std::make_integer_sequence<int, MOST>{});
template <typename T>
constexpr auto SCORE_PAIRS = score_parts_of<T, 2>(std::make_integer_sequence<int, MOST>{});
template <typename T>
constexpr auto SCORE_FOURS = score_parts_of<T, BROAD>(std::make_integer_sequence<int, FEW>{});

// As `score_all` and `weigh_all`, over a row's tokens where they lie in the blocks.
template <typename T>
void score_blocks(index_t queries, const float* turned, index_t apart, const Blocks<T>& blocks, index_t row,
                  index_t head, index_t tokens, float* scores, index_t pitch, const Shape& shape) {
    index_t parts = up(tokens, LANES) / LANES;
    for (index_t part = 0, side; part < parts; part += side) {
        side = queries <= FEW && part + BROAD <= parts ? BROAD : part + 2 <= parts ? 2 : 1;
        const T *keys[BROAD], *next[BROAD];
        for (index_t s = 0; s < side; s++) {
            keys[s] = blocks.keys_of(blocks.part(row, (part + s) * LANES), head, shape);
            index_t after = part + side + s;
            next[s] = after < parts ? blocks.keys_of(blocks.part(row, after * LANES), head, shape) : keys[s];
        }
        ScoreParts<T> run = side == BROAD ? SCORE_FOURS<T>[queries - 1]
                            : side == 2   ? SCORE_PAIRS<T>[queries - 1]
                                          : SCORE_PART<T>[queries - 1];
        run(shape.size, turned, apart, keys, scores + part * LANES, pitch, next);
    }
}

template <typename T>
void weigh_blocks(index_t queries, const float* weights, index_t pitch, const Blocks<T>& blocks, index_t row,
                  index_t head, index_t tokens, float* sums, index_t wide, bool add, const Shape& shape) {
    for (index_t t = 0; t < tokens; t += LANES) {
        const T* values = blocks.values_of(blocks.part(row, t), head, shape);
        const T* next = t + LANES < tokens ? blocks.values_of(blocks.part(row, t + LANES), head, shape) : values;
        weigh_all(queries, weights + t, pitch, values, std::min<index_t>(LANES, tokens - t), shape.size, sums, wide,
                  add || t > 0, next);
    }
}

// slots: whose beginning is whose; absent where none stand apart.
template <typename R>
struct Beginnings {
    Rows<R> rows;
    const index_t *slots, *lengths;
};

// A new token's key and value of one head, to the blocks, and to its row where there are rows.
template <typename T, typename R>
void keep(const New<T>& all, const Rows<R>& rows, index_t token, index_t head, const Shape& shape) {
    index_t size = shape.size, place = all.places[token], block = (place * shape.key_heads + head) * size;
    const T *key = all.key.of(token, head, size), *value = all.value.of(token, head, size);
    if (all.blocks.tables) return all.blocks.write(place, head, key, value, shape);
    rows.write(all.row(token), all.lengths[token] - 1, head, key, value, shape);
    memcpy(all.blocks.keys + block, key, size * sizeof(T));
    memcpy(all.blocks.values + block, value, size * sizeof(T));
}

// A key head, and of the query heads that look at it `count` from the first on.
struct Share {
    index_t head, first, count;
};

// `count` tokens (`order`: which) over one beginning, each row's on end, and a share of their heads. next: what this
// thread is likely to read after them. kept: whether the tokens' keys and values are there already.
template <typename T, typename R>
void attend(const New<T>& all, T* out, const Rows<R>& rows, const Beginnings<R>& begun, const index_t* order,
            index_t count, const Share& share, bool kept, const Shape& shape, const R* next) {
    index_t size = shape.size, wide = up(size, BROAD * LANES), head = share.head, group = share.count;
    index_t first_head = head * (shape.heads / shape.key_heads) + share.first;
    index_t slot = begun.slots ? begun.slots[order[0]] : 0, before = begun.slots ? begun.lengths[slot] : 0;
    index_t longest = 0, pairs = count * group;
    for (index_t m = 0; m < count; m++) longest = std::max(longest, all.lengths[order[m]]);
    index_t pitch = up(before, PANEL) + up(longest, PANEL);
    thread_local Scratch memory;
    float* turned = memory.of(pairs * (2 * wide + pitch));
    float* sums = turned + pairs * wide;
    float* scores = sums + pairs * wide;
    for (index_t m = 0; m < count; m++) {
        index_t token = order[m];
        if (!kept) keep(all, rows, token, head, shape);
        float line[LANES];
        for (index_t g = 0; g < group; g++) {
            const T* query = all.query.of(token, first_head + g, size);
            if constexpr (IS_CODES<R>) {
                encode_query(query, size, shape.scale, turned + m * group + g, pairs);
                continue;
            }
            over(size, [&](index_t d, auto part) {
                store(line, load(query + d, part) * shape.scale);
                for (index_t i = d; i < std::min(size, d + LANES); i++) turned[i * pairs + m * group + g] = line[i - d];
            });
        }
    }
    for (index_t first = 0; before && first < pairs; first += MOST)
        score_all(std::min<index_t>(MOST, pairs - first), size, turned + first, pairs,
                  begun.rows.keys_of(slot, head, shape), before, scores + first * pitch, pitch,
                  static_cast<const R*>(rows.keys_of(all.row(order[0]), head, shape)));
    // Body of (first pair, how many, their row, how many tokens one of them sees in it).
    auto by_row = [&](auto body) {
        for (index_t m = 0, end; m < count; m = end) {
            for (end = m + 1; end < count && all.row(order[end]) == all.row(order[m]);) end++;
            for (index_t first = m * group; first < end * group; first += MOST) {
                index_t some = std::min<index_t>(MOST, end * group - first), seen = 0;
                for (index_t i = first / group; i * group < first + some; i++)
                    seen = std::max(seen, all.lengths[order[i]]);
                body(first, some, all.row(order[m]), seen);
            }
        }
    };
    by_row([&](index_t first, index_t some, index_t row, index_t seen) {
        float *from = turned + first, *to = scores + first * pitch + before;
        if (all.blocks.tables)
            score_blocks(some, from, pairs, all.blocks, row, head, seen, to, pitch, shape);
        else
            score_all(some, size, from, pairs, rows.keys_of(row, head, shape), seen, to, pitch,
                      static_cast<const R*>(rows.values_of(row, head, shape)));
        for (index_t pair = first; pair < first + some; pair++)
            soften<T>(scores + pair * pitch, before + all.lengths[order[pair / group]], before + seen);
    });
    for (index_t first = 0; before && first < pairs; first += MOST)
        weigh_all(std::min<index_t>(MOST, pairs - first), scores + first * pitch, pitch,
                  begun.rows.values_of(slot, head, shape), before, size, sums + first * wide, wide, false,
                  static_cast<const R*>(rows.values_of(all.row(order[0]), head, shape)));
    by_row([&](index_t first, index_t some, index_t row, index_t seen) {
        const float* weights = scores + first * pitch + before;
        if (all.blocks.tables)
            weigh_blocks(some, weights, pitch, all.blocks, row, head, seen, sums + first * wide, wide, before > 0, shape);
        else
            weigh_all(some, weights, pitch, rows.values_of(row, head, shape), seen, size, sums + first * wide, wide,
                      before > 0, next);
    });
    for (index_t pair = 0; pair < pairs; pair++) {
        T* to = out + (order[pair / group] * shape.heads + first_head + pair % group) * size;
        over(size, [&](index_t d, auto part) { store(to + d, load(sums + pair * wide + d, part), part); });
    }
}

template <typename T, typename R>
void attend_all(const New<T>& all, T* out, const Rows<R>& rows, const Beginnings<R>& begun, const index_t* order,
                index_t count, const Shape& shape, index_t threads) {
    if (!count) return;
    // Tokens of one row stay together, for they see one another; so do a few rows of one beginning.
    index_t group = shape.heads / shape.key_heads, most = std::max<index_t>(1, MOST / group), parts = 0;
    std::unique_ptr<index_t[]> starts(new index_t[count + 1]);
    for (index_t i = 0; i < count; i++) {
        bool same_row = i && all.row(order[i]) == all.row(order[i - 1]);
        bool same_slot = i && begun.slots && begun.slots[order[i]] == begun.slots[order[i - 1]];
        if (!same_row && (!same_slot || i - starts[parts - 1] >= most)) starts[parts++] = i;
    }
    starts[parts] = count;
    // Where many heads look at one key head, and texts are few, several threads share its heads.
    index_t wanted = up(SHARES * threads, parts * shape.key_heads) / (parts * shape.key_heads);
    index_t slices = std::max<index_t>(1, std::min(wanted, group / MOST)), each = up(group, slices) / slices;
    bool kept = slices > 1;
    if (kept)
        for_each(count * shape.key_heads, threads, [&](index_t item) {
            keep(all, rows, order[item / shape.key_heads], item % shape.key_heads, shape);
        });
    index_t items = parts * shape.key_heads * slices;
    // Rows differ in length.
    one_by_one(items, threads, [&](index_t item) {
        index_t strip = item / slices, part = strip / shape.key_heads, first = starts[part];
        index_t then = std::min(item + threads, items - 1) / slices, slice = item % slices * each;
        const R* next = rows.keys_of(all.row(order[starts[then / shape.key_heads]]), then % shape.key_heads, shape);
        if (slice < group)
            attend(all, out, rows, begun, order + first, starts[part + 1] - first,
                   {strip % shape.key_heads, slice, std::min(each, group - slice)}, kept, shape, next);
    });
}

template <typename R>
Rows<R> rows_of(void* keys, void* values, index_t stride) {
    return {static_cast<R*>(keys), static_cast<R*>(values), stride};
}

template <typename R>
Beginnings<R> beginnings_of(const void* keys, const void* values, index_t stride, const index_t* slots,
                            const index_t* lengths) {
    return {rows_of<R>(const_cast<void*>(keys), const_cast<void*>(values), stride), slots, lengths};
}

template <typename T, typename R>
void copy(const T* block_keys, const T* block_values, const Rows<R>& rows, const index_t* places, const index_t* seats,
          const index_t* spots, index_t count, const Shape& shape, index_t threads) {
    for_each(count * shape.key_heads, threads, [&](index_t item) {
        index_t token = item / shape.key_heads, head = item % shape.key_heads;
        index_t block = (places[token] * shape.key_heads + head) * shape.size;
        rows.write(seats[token], spots[token], head, block_keys + block, block_values + block, shape);
    });
}

// run(a number of the rows' type).
template <typename T, typename Run>
void by_type(index_t narrow, Run run) {
    if (narrow == 2)
        run(code{});
    else if (narrow)
        run(bf16{});
    else
        run(T{});
}

}  // namespace

// `count` new tokens; their keys and values are written first, each to place lengths[token] - 1 of its row, and to
// places[token] of the blocks (places, key_heads, size). seats: whose row is whose; absent: one token a row.
// row_keys (rows, key_heads, stride / 32, size, 32), row_values (rows, key_heads, stride, size), in bf16 for a bf16
// network or where `narrow` is 1, in int8 where it is 2 (each panel with its scales), else in fp32; slot_keys, slot_values:
// the same of slots, with a stride of slot_stride; slots (tokens) and slot_lengths may be absent. 64 more numbers than these must be readable behind the last.
// order: the tokens, those of one slot on end, and within them those of one row. tables, table_pitch, block_size: as in
// Blocks, for a network of its own type of rows; row_keys and row_values are then not looked at.
#define ATTEND_ROWS(T, NAME)                                                                                           \
    EXPORT void denken_attend_rows_##NAME(                                                                             \
        const T* query, index_t query_pitch, const T* key, index_t key_pitch, const T* value, index_t value_pitch,     \
        T* out, void* row_keys, void* row_values, index_t stride, index_t narrow, const index_t* lengths,              \
        T* block_keys, T* block_values, const index_t* places, const void* slot_keys, const void* slot_values,         \
        index_t slot_stride, const index_t* slots, const index_t* slot_lengths, const index_t* seats,                  \
        const index_t* order, const index_t* tables, index_t table_pitch, index_t block_size, index_t count,           \
        index_t heads, index_t key_heads, index_t size, float scale, index_t threads) {                                \
        Blocks<T> blocks{block_keys, block_values, tables, table_pitch, block_size};                                   \
        New<T> all{{query, query_pitch}, {key, key_pitch}, {value, value_pitch}, lengths, blocks, places, seats};      \
        Shape shape{heads, key_heads, size, scale};                                                                    \
        auto run = [&](auto type) {                                                                                    \
            using R = decltype(type);                                                                                  \
            attend_all(all, out, rows_of<R>(row_keys, row_values, stride),                                             \
                       beginnings_of<R>(slot_keys, slot_values, slot_stride, slots, slot_lengths), order, count, shape, \
                       threads);                                                                                       \
        };                                                                                                             \
        by_type<T>(narrow, run);                                                                                       \
    }
ATTEND_ROWS(float, fp32)
ATTEND_ROWS(bf16, bf16)

// Copies `count` tokens from places of the blocks to spots of rows (seats).
#define COPY_ROWS(T, NAME)                                                                                             \
    EXPORT void denken_copy_rows_##NAME(const T* block_keys, const T* block_values, void* row_keys, void* row_values,  \
                                        index_t stride, index_t narrow, const index_t* places, const index_t* seats,   \
                                        const index_t* spots, index_t count, index_t key_heads, index_t size,          \
                                        index_t threads) {                                                             \
        Shape shape{key_heads, key_heads, size, 1};                                                                    \
        auto run = [&](auto type) {                                                                                    \
            copy(block_keys, block_values, rows_of<decltype(type)>(row_keys, row_values, stride), places, seats,       \
                 spots, count, shape, threads);                                                                        \
        };                                                                                                             \
        by_type<T>(narrow, run);                                                                                       \
    }
COPY_ROWS(float, fp32)
COPY_ROWS(bf16, bf16)

// Writes `count` tokens to places of blocks that attention reads as they lie (Blocks), or reads them from there.
#define OF_BLOCKS(T, NAME)                                                                                             \
    EXPORT void denken_write_blocks_##NAME(const T* key, index_t key_pitch, const T* value, index_t value_pitch,       \
                                           T* block_keys, T* block_values, const index_t* places, index_t count,       \
                                           index_t key_heads, index_t size, index_t threads) {                         \
        Blocks<T> blocks{block_keys, block_values, nullptr, 0, 0};                                                     \
        Heads<const T> keys{key, key_pitch}, values{value, value_pitch};                                               \
        Shape shape{key_heads, key_heads, size, 1};                                                                    \
        for_each(count * key_heads, threads, [&](index_t item) {                                                       \
            index_t token = item / key_heads, head = item % key_heads;                                                 \
            blocks.write(places[token], head, keys.of(token, head, size), values.of(token, head, size), shape);        \
        });                                                                                                            \
    }                                                                                                                  \
    EXPORT void denken_read_blocks_##NAME(T* key, T* value, T* block_keys, T* block_values, const index_t* places,     \
                                          index_t count, index_t key_heads, index_t size, index_t threads) {           \
        Blocks<T> blocks{block_keys, block_values, nullptr, 0, 0};                                                     \
        Shape shape{key_heads, key_heads, size, 1};                                                                    \
        for_each(count * key_heads, threads, [&](index_t item) {                                                       \
            index_t token = item / key_heads, head = item % key_heads, to = (token * key_heads + head) * size;         \
            blocks.read(places[token], head, key + to, value + to, shape);                                             \
        });                                                                                                            \
    }
OF_BLOCKS(float, fp32)
OF_BLOCKS(bf16, bf16)
