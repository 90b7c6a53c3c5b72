// Softmax attention with grouped heads: of whole stretches forwards and backwards, and of one token a sequence.
//
// A query's sums have one order: scores over a head's columns, probabilities over keys by their place in the text,
// values likewise. So a token gets the same numbers, to the bit, whether it is learnt from, read in a prompt or decoded,
// and whoever stands beside it. Scores and probabilities are rounded to the network's type, as are the results.

#include <algorithm>
#include <cmath>

#include <omp.h>

#include "scratch.h"
#include "tile.h"

namespace {

INLINE index_t up(index_t count, index_t multiple) { return (count + multiple - 1) / multiple * multiple; }

// So many queries share what is added to the gradients of keys and values.
constexpr index_t TOGETHER = 4 * ROWS;

// Heads of consecutive tokens, `pitch` apart.
template <typename T>
struct Heads {
    T* at;
    index_t pitch;
    T* of(index_t token, index_t head, index_t size) const { return at + token * pitch + head * size; }
};

// What a stretch of queries sees: a prefix, whole, and tokens of its own up to each query.
struct Stretch {
    index_t query, count, prefix, prefix_count, own;
};

// Scores to probabilities, in place, 0 from `limit` to `end`.
template <typename T>
__attribute__((noinline)) void soften(float* scores, index_t limit, index_t end) {
    const T* type = nullptr;
    v16 highest = splat(-INFINITY);
    for (index_t i = limit; i < up(limit, LANES); i++) scores[i] = -INFINITY;
    for (index_t i = 0; i < limit; i += LANES) {
        v16 score = rounded(load(scores + i), type);
        highest = most(highest, score);
        store(scores + i, score);
    }
    v16 top = splat(most_of(highest)), sums = {};
    for (index_t i = 0; i < limit; i += LANES) {
        v16 weight = exponential(load(scores + i) - top);
        sums += weight;
        store(scores + i, weight);
    }
    v16 by = splat(1.0f / sum_of(sums));
    for (index_t i = 0; i < limit; i += LANES) store(scores + i, rounded(load(scores + i) * by, type));
    for (index_t i = up(limit, LANES); i < end; i++) scores[i] = 0;
}

template <typename T>
INLINE void widen(const T* from, float* to, index_t size) {
    over(size, [&](index_t i, auto part) { store(to + i, load(from + i, part), part); });
}

// Keys or values of a stretch as rows (keys, wide) and, turned, as columns (size, pitch); either may be absent.
template <typename T>
void gather(Heads<const T> from, const Stretch& stretch, index_t seen, index_t head, index_t size, float* rows,
            index_t wide, float* turned, index_t pitch) {
    float line[LANES * 64];
    for (index_t j = 0; j < seen; j++) {
        index_t token = j < stretch.prefix_count ? stretch.prefix + j : stretch.own + j - stretch.prefix_count;
        const T* key = from.of(token, head, size);
        float* into = rows ? rows + j * wide : line;
        for (index_t start = 0; start < size; start += LANES * 64) {
            index_t some = std::min<index_t>(size - start, LANES * 64);
            widen(key + start, into + (rows ? start : 0), some);
            if (turned)
                for (index_t d = 0; d < some; d++) turned[(start + d) * pitch + j] = into[(rows ? start : 0) + d];
        }
    }
}

// Pair r of a stretch: query r / group, head r % group of those that share a key head.
template <typename T>
void gather_pairs(Heads<const T> from, const Stretch& stretch, index_t first, index_t count, index_t head,
                  index_t group, index_t size, float by, float* rows, index_t wide, float* turned) {
    for (index_t r = 0; r < count; r++) {
        const T* at = from.of(stretch.query + (first + r) / group, head * group + (first + r) % group, size);
        float* into = rows + r * wide;
        widen(at, into, size);
        if (turned)
            for (index_t d = 0; d < size; d++) turned[d * count + r] = into[d] * by;
    }
}

// How many numbers may be read, or written into scores, beyond a line's end.
constexpr index_t BEHIND = BROAD * LANES;

// c (count, columns) = or += a b, with lines of b read to a whole tile's end, and of c written so where `spill`.
INLINE void tiles(index_t count, index_t depth, const float* a, index_t a_pitch, const float* b, index_t b_pitch,
                  float* c, index_t pitch, index_t columns, bool add, bool spill) {
    bool few = count <= FEW;
    index_t step = few ? BROAD * LANES : COLUMNS;
    Tile run = few ? BROAD_TILES[count - 1] : TILES[count - 1];
    for (index_t j = 0; j < columns; j += step)
        run(depth, a, a_pitch, b + j, b_pitch, c + j, pitch, spill ? step : columns - j, add);
}

void scores_of(const float* turned_queries, index_t count, const float* turned_keys, index_t key_pitch, index_t size,
               float* scores, index_t pitch, index_t seen) {
    tiles(count, size, turned_queries, count, turned_keys, key_pitch, scores, pitch, seen, false, true);
}

void turn(const float* rows, index_t pitch, index_t count, index_t columns, float* turned) {
    for (index_t j = 0; j < columns; j++)
        for (index_t r = 0; r < count; r++) turned[j * count + r] = rows[r * pitch + j];
}

// sums (count, size) = or += weights (keys, count) values (keys, size)
void sums_of(const float* weights, index_t count, index_t keys, const float* values, index_t value_pitch, index_t size,
             float* sums, index_t pitch, bool add) {
    tiles(count, keys, weights, count, values, value_pitch, sums, pitch, size, add, false);
}

struct Shape {
    index_t heads, key_heads, size;
    float scale;
};

template <typename T>
void attend(Heads<const T> query, Heads<const T> key, Heads<const T> value, T* out, const Stretch& stretch,
            index_t head, const Shape& shape) {
    index_t size = shape.size, wide = up(size, BEHIND), group = shape.heads / shape.key_heads;
    index_t seen = stretch.prefix_count + stretch.count, pitch = up(seen, BEHIND);
    thread_local Scratch memory;
    float* turned_keys = memory.of(size * pitch + seen * wide + 2 * ROWS * (pitch + wide) + BEHIND);
    float* values = turned_keys + size * pitch;
    float* rows = values + seen * wide;
    float* turned_queries = rows + ROWS * wide;
    float* scores = turned_queries + ROWS * wide;
    float* weights = scores + ROWS * pitch;
    gather(key, stretch, seen, head, size, nullptr, 0, turned_keys, pitch);
    gather(value, stretch, seen, head, size, values, wide, nullptr, 0);
    index_t pairs = stretch.count * group;
    for (index_t first = 0; first < pairs; first += ROWS) {
        index_t count = std::min<index_t>(ROWS, pairs - first);
        index_t end = stretch.prefix_count + (first + count - 1) / group + 1;
        gather_pairs(query, stretch, first, count, head, group, size, shape.scale, rows, wide, turned_queries);
        scores_of(turned_queries, count, turned_keys, pitch, size, scores, pitch, end);
        for (index_t r = 0; r < count; r++)
            soften<T>(scores + r * pitch, stretch.prefix_count + (first + r) / group + 1, end);
        turn(scores, pitch, count, end, weights);
        sums_of(weights, count, end, values, wide, size, rows, wide, false);
        for (index_t r = 0; r < count; r++) {
            T* to = out + ((stretch.query + (first + r) / group) * shape.heads + head * group + (first + r) % group) * size;
            over(size, [&](index_t i, auto part) { store(to + i, load(rows + r * wide + i, part), part); });
        }
    }
}

// keys_grad, values_grad: (keys, wide) of this stretch and head alone.
template <typename T>
void attend_backward(Heads<const T> query, Heads<const T> key, Heads<const T> value, Heads<const T> grad, T* query_grad,
                     float* keys_grad, float* values_grad, const Stretch& stretch, index_t head, const Shape& shape) {
    index_t size = shape.size, wide = up(size, BEHIND), group = shape.heads / shape.key_heads;
    index_t seen = stretch.prefix_count + stretch.count, pitch = up(seen, BEHIND);
    thread_local Scratch memory;
    float* turned_keys = memory.of(2 * size * pitch + seen * wide + TOGETHER * (4 * wide + 2 * pitch) + ROWS * pitch +
                                   BEHIND);
    float* turned_values = turned_keys + size * pitch;
    float* keys = turned_values + size * pitch;
    float* queries = keys + seen * wide;
    float* grads = queries + TOGETHER * wide;
    float* turned = grads + TOGETHER * wide;
    float* sums = turned + TOGETHER * wide;
    float* probs = sums + TOGETHER * wide;
    float* slopes = probs + TOGETHER * pitch;
    float* weights = slopes + TOGETHER * pitch;
    gather(key, stretch, seen, head, size, keys, wide, turned_keys, pitch);
    gather(value, stretch, seen, head, size, nullptr, 0, turned_values, pitch);
    std::fill(keys_grad, keys_grad + seen * wide, 0.0f);
    std::fill(values_grad, values_grad + seen * wide, 0.0f);
    index_t pairs = stretch.count * group;
    for (index_t first = 0; first < pairs; first += TOGETHER) {
        index_t all = std::min(TOGETHER, pairs - first);
        index_t furthest = stretch.prefix_count + (first + all - 1) / group + 1;
        for (index_t start = 0; start < all; start += ROWS) {
            index_t count = std::min<index_t>(ROWS, all - start);
            float *own_probs = probs + start * pitch, *own_slopes = slopes + start * pitch;
            gather_pairs(query, stretch, first + start, count, head, group, size, shape.scale, queries + start * wide,
                         wide, turned);
            scores_of(turned, count, turned_keys, pitch, size, own_probs, pitch, furthest);
            for (index_t r = 0; r < count; r++)
                soften<T>(own_probs + r * pitch, stretch.prefix_count + (first + start + r) / group + 1, furthest);
            gather_pairs(grad, stretch, first + start, count, head, group, size, 1.0f, grads + start * wide, wide,
                         turned);
            scores_of(turned, count, turned_values, pitch, size, own_slopes, pitch, furthest);
            for (index_t r = 0; r < count; r++) {
                float *p = own_probs + r * pitch, *s = own_slopes + r * pitch;
                v16 along = {};
                over(furthest, [&](index_t i, auto part) { along += load(p + i, part) * load(s + i, part); });
                v16 mean = splat(sum_of(along));
                over(furthest, [&](index_t i, auto part) {
                    store(s + i, (load(s + i, part) - mean) * load(p + i, part) * shape.scale, part);
                });
            }
            turn(own_slopes, pitch, count, furthest, weights);
            sums_of(weights, count, furthest, keys, wide, size, sums, wide, false);
            for (index_t r = 0; r < count; r++) {
                index_t pair = first + start + r;
                T* to = query_grad + ((stretch.query + pair / group) * shape.heads + head * group + pair % group) * size;
                over(size, [&](index_t i, auto part) { store(to + i, load(sums + r * wide + i, part), part); });
            }
        }
        for (index_t j = 0; j < furthest; j += ROWS) {
            index_t some = std::min<index_t>(ROWS, furthest - j);
            tiles(some, all, slopes + j, pitch, queries, wide, keys_grad + j * wide, wide, size, true, false);
            tiles(some, all, probs + j, pitch, grads, wide, values_grad + j * wide, wide, size, true, false);
        }
    }
}

// A token's gradient: of its own stretch, and of every stretch that has it in its prefix, in order.
template <typename T>
void put_together(const float* parts, const index_t* starts, const Stretch* stretches, index_t count, T* grad,
                  index_t tokens, const Shape& shape, index_t threads) {
    index_t size = shape.size, wide = up(size, BEHIND);
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (index_t token = 0; token < tokens; token++)
        for (index_t head = 0; head < shape.key_heads; head++) {
            T* to = grad + (token * shape.key_heads + head) * size;
            float sums[LANES];
            for (index_t d = 0; d < size; d += LANES) {
                v16 total = {};
                for (index_t b = 0; b < count; b++) {
                    const Stretch& stretch = stretches[b];
                    index_t seen = stretch.prefix_count + stretch.count, place = -1;
                    if (token >= stretch.prefix && token < stretch.prefix + stretch.prefix_count)
                        place = token - stretch.prefix;
                    else if (token >= stretch.own && token < stretch.own + stretch.count)
                        place = token - stretch.own + stretch.prefix_count;
                    if (place >= 0) total += load(parts + (starts[b] + head * seen + place) * wide + d);
                }
                store(sums, total);
                store_up_to(to + d, load(sums), size - d);
            }
        }
}

template <typename T>
struct Rows {
    float *keys, *values;
    index_t stride;
    const index_t* lengths;
    T *block_keys, *block_values;
    const index_t *places, *seats;
    // Where the keys and values are that a token and its head see.
    index_t of(index_t token, index_t head, index_t key_heads) const {
        return (seats ? seats[token] : token) * key_heads + head;
    }
};

struct Beginnings {
    const float *keys, *values;
    index_t length;
    const index_t *slots, *lengths;
};

// A token's key and value go to its row, and to its block.
template <typename T>
void write_new(Heads<const T> key, Heads<const T> value, const Rows<T>& rows, index_t token, index_t head,
               const Shape& shape) {
    index_t size = shape.size, at = rows.of(token, head, shape.key_heads), place = rows.lengths[token] - 1;
    float line[LANES];
    over(size, [&](index_t d, auto part) {
        store(line, load(key.of(token, head, size) + d, part));
        for (index_t i = d; i < std::min(size, d + LANES); i++)
            rows.keys[(at * size + i) * rows.stride + place] = line[i - d];
    });
    widen(value.of(token, head, size), rows.values + (at * rows.stride + place) * size, size);
    index_t block = (rows.places[token] * shape.key_heads + head) * size;
    memcpy(rows.block_keys + block, key.of(token, head, size), size * sizeof(T));
    memcpy(rows.block_values + block, value.of(token, head, size), size * sizeof(T));
}

// `members` tokens over one slot (`order`: which), and one key head of theirs.
template <typename T>
void attend_rows(Heads<const T> query, T* out, const Rows<T>& rows, const Beginnings& begun, const index_t* order,
                 index_t members, index_t head, const Shape& shape) {
    index_t size = shape.size, wide = up(size, BEHIND), group = shape.heads / shape.key_heads;
    index_t slot = begun.slots ? begun.slots[order[0]] : 0, before = begun.slots ? begun.lengths[slot] : 0;
    index_t longest = 0, pairs = members * group;
    for (index_t m = 0; m < members; m++) longest = std::max(longest, rows.lengths[order[m]]);
    index_t pitch = up(before + longest, BEHIND) + BEHIND;
    thread_local Scratch memory;
    float* turned = memory.of(pairs * (2 * wide + 2 * pitch) + BEHIND);
    float* sums = turned + pairs * wide;
    float* scores = sums + pairs * wide;
    float* weights = scores + pairs * pitch;
    const float* slot_keys = begun.keys + (slot * shape.key_heads + head) * size * begun.length;
    const float* slot_values = begun.values + (slot * shape.key_heads + head) * size * begun.length;
    for (index_t m = 0; m < members; m++) {
        float line[LANES];
        for (index_t g = 0; g < group; g++) {
            const T* from = query.of(order[m], head * group + g, size);
            over(size, [&](index_t d, auto part) {
                store(line, load(from + d, part) * shape.scale);
                for (index_t i = d; i < std::min(size, d + LANES); i++) turned[i * pairs + m * group + g] = line[i - d];
            });
        }
    }
    for (index_t first = 0; before && first < pairs; first += ROWS) {
        index_t count = std::min<index_t>(ROWS, pairs - first);
        tiles(count, size, turned + first, pairs, slot_keys, begun.length, scores + first * pitch, pitch, before, false,
              true);
    }
    for (index_t m = 0; m < members; m++) {
        index_t at = rows.of(order[m], head, shape.key_heads), length = rows.lengths[order[m]];
        for (index_t first = 0; first < group; first += ROWS) {
            index_t count = std::min<index_t>(ROWS, group - first), pair = m * group + first;
            tiles(count, size, turned + pair, pairs, rows.keys + at * size * rows.stride, rows.stride,
                  scores + pair * pitch + before, pitch, length, false, true);
        }
        for (index_t g = 0; g < group; g++)
            soften<T>(scores + (m * group + g) * pitch, before + length, before + length);
    }
    for (index_t first = 0; before && first < pairs; first += ROWS) {
        index_t count = std::min<index_t>(ROWS, pairs - first);
        turn(scores + first * pitch, pitch, count, before, weights);
        sums_of(weights, count, before, slot_values, size, size, sums + first * wide, wide, false);
    }
    for (index_t m = 0; m < members; m++) {
        index_t at = rows.of(order[m], head, shape.key_heads), length = rows.lengths[order[m]];
        for (index_t first = 0; first < group; first += ROWS) {
            index_t count = std::min<index_t>(ROWS, group - first), pair = m * group + first;
            turn(scores + pair * pitch + before, pitch, count, length, weights);
            sums_of(weights, count, length, rows.values + at * size * rows.stride, size, size, sums + pair * wide, wide,
                    before > 0);
        }
        for (index_t g = 0; g < group; g++) {
            T* to = out + (order[m] * shape.heads + head * group + g) * size;
            over(size, [&](index_t i, auto part) { store(to + i, load(sums + (m * group + g) * wide + i, part), part); });
        }
    }
}

template <typename T>
void attend_stretches(const T* query, index_t query_pitch, const T* key, index_t key_pitch, const T* value,
                      index_t value_pitch, T* out, const Stretch* stretches, index_t count, const Shape& shape,
                      index_t threads) {
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
    for (index_t item = 0; item < count * shape.key_heads; item++)
        attend<T>({query, query_pitch}, {key, key_pitch}, {value, value_pitch}, out, stretches[item / shape.key_heads],
                  item % shape.key_heads, shape);
}

template <typename T>
void attend_stretches_backward(const T* query, index_t query_pitch, const T* key, index_t key_pitch, const T* value,
                               index_t value_pitch, const T* grad, index_t grad_pitch, T* query_grad, T* key_grad,
                               T* value_grad, const Stretch* stretches, index_t count, index_t tokens,
                               const Shape& shape, index_t threads) {
    index_t wide = up(shape.size, BEHIND), total = 0;
    std::unique_ptr<index_t[]> starts(new index_t[count]);
    for (index_t b = 0; b < count; b++) {
        starts[b] = total;
        total += shape.key_heads * (stretches[b].prefix_count + stretches[b].count);
    }
    thread_local Scratch memory;
    float *keys = memory.of(2 * total * wide), *values = keys + total * wide;
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
    for (index_t item = 0; item < count * shape.key_heads; item++) {
        index_t b = item / shape.key_heads, head = item % shape.key_heads;
        index_t at = (starts[b] + head * (stretches[b].prefix_count + stretches[b].count)) * wide;
        attend_backward<T>({query, query_pitch}, {key, key_pitch}, {value, value_pitch}, {grad, grad_pitch}, query_grad,
                           keys + at, values + at, stretches[b], head, shape);
    }
    put_together(keys, starts.get(), stretches, count, key_grad, tokens, shape, threads);
    put_together(values, starts.get(), stretches, count, value_grad, tokens, shape, threads);
}

template <typename T>
void attend_seated(const T* query, index_t query_pitch, const T* key, index_t key_pitch, const T* value,
                   index_t value_pitch, T* out, const Rows<T>& rows, const Beginnings& begun, const index_t* order,
                   index_t count, const Shape& shape, index_t threads) {
    // Rows of one slot that stand on end in `order` go together, a few at a time.
    index_t group = shape.heads / shape.key_heads, most = std::max<index_t>(1, ROWS / group);
    std::unique_ptr<index_t[]> starts(new index_t[count + 1]);
    index_t parts = 0;
    for (index_t i = 0; i < count; i++) {
        bool goes_on = i && begun.slots && begun.slots[order[i]] == begun.slots[order[i - 1]];
        if (!goes_on || i - starts[parts - 1] >= most) starts[parts++] = i;
    }
    starts[parts] = count;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        // All are written before any is read: of one row, later tokens see earlier ones.
#pragma omp for
        for (index_t item = 0; item < count * shape.key_heads; item++)
            write_new<T>({key, key_pitch}, {value, value_pitch}, rows, item / shape.key_heads, item % shape.key_heads,
                         shape);
#pragma omp for schedule(dynamic)
        for (index_t item = 0; item < parts * shape.key_heads; item++) {
            index_t part = item / shape.key_heads;
            attend_rows<T>({query, query_pitch}, out, rows, begun, order + starts[part],
                           starts[part + 1] - starts[part], item % shape.key_heads, shape);
        }
    }
}

}  // namespace

// query (tokens, heads, size), key and value (tokens, key_heads, size), their tokens *_pitch apart; out without gaps.
// stretches: five integers each (see Stretch).
#define ATTEND(T, NAME)                                                                                               \
    EXPORT void denken_attend_##NAME(const T* query, index_t query_pitch, const T* key, index_t key_pitch,             \
                                     const T* value, index_t value_pitch, T* out, const index_t* stretches,            \
                                     index_t count, index_t heads, index_t key_heads, index_t size, float scale,       \
                                     index_t threads) {                                                                \
        attend_stretches(query, query_pitch, key, key_pitch, value, value_pitch, out,                                  \
                         reinterpret_cast<const Stretch*>(stretches), count, Shape{heads, key_heads, size, scale},     \
                         threads);                                                                                     \
    }
ATTEND(float, fp32)
ATTEND(bf16, bf16)

// Gradients without gaps; every token of the `tokens` gets one of keys and values, 0 where nobody sees it.
#define ATTEND_BACKWARD(T, NAME)                                                                                       \
    EXPORT void denken_attend_backward_##NAME(                                                                         \
        const T* query, index_t query_pitch, const T* key, index_t key_pitch, const T* value, index_t value_pitch,     \
        const T* grad, index_t grad_pitch, T* query_grad, T* key_grad, T* value_grad, const index_t* stretches,        \
        index_t count, index_t tokens, index_t heads, index_t key_heads, index_t size, float scale, index_t threads) { \
        attend_stretches_backward(query, query_pitch, key, key_pitch, value, value_pitch, grad, grad_pitch,            \
                                  query_grad, key_grad, value_grad, reinterpret_cast<const Stretch*>(stretches),       \
                                  count, tokens, Shape{heads, key_heads, size, scale}, threads);                       \
    }
ATTEND_BACKWARD(float, fp32)
ATTEND_BACKWARD(bf16, bf16)

// `count` new tokens; their keys and values are written first, each to place lengths[token] - 1 of its row, and to
// places[token] of the blocks (places, key_heads, size). seats: whose row is whose; absent: one token a row.
// row_keys (rows, key_heads, size, stride), row_values (rows, key_heads, stride, size); slot_keys (slots, key_heads,
// size, slot_length), slot_values (slots, key_heads, slot_length, size), slots (tokens) and slot_lengths may be absent.
// 64 more numbers than these must be readable behind the last. order: the tokens, those of one slot on end.
#define ATTEND_ROWS(T, NAME)                                                                                           \
    EXPORT void denken_attend_rows_##NAME(                                                                             \
        const T* query, index_t query_pitch, const T* key, index_t key_pitch, const T* value, index_t value_pitch,     \
        T* out, float* row_keys, float* row_values, index_t stride, const index_t* lengths, T* block_keys,             \
        T* block_values, const index_t* places, const float* slot_keys, const float* slot_values, index_t slot_length, \
        const index_t* slots, const index_t* slot_lengths, const index_t* seats,                                       \
        const index_t* order, index_t count, index_t heads, index_t key_heads, index_t size, float scale,              \
        index_t threads) {                                                                                             \
        attend_seated(query, query_pitch, key, key_pitch, value, value_pitch, out,                                     \
                      Rows<T>{row_keys, row_values, stride, lengths, block_keys, block_values, places, seats},         \
                      Beginnings{slot_keys, slot_values, slot_length, slots, slot_lengths}, order, count,              \
                      Shape{heads, key_heads, size, scale}, threads);                                                  \
    }
ATTEND_ROWS(float, fp32)
ATTEND_ROWS(bf16, bf16)
