// Softmax attention with grouped heads, of whole stretches forwards and backwards. Of those who decode: rows.cpp.
//
// A query's sums have one order: scores over a head's columns, probabilities over keys by their place in the text,
// values likewise. So a token gets the same numbers, to the bit, whether it is learnt from, read in a prompt or decoded,
// and whoever stands beside it. Scores and probabilities are rounded to the network's type, as are the results.

#include <algorithm>

#include "attend.h"
#include "scratch.h"
#include "team.h"
#include "tile.h"

namespace {

// So many queries share what is added to the gradients of keys and values.
constexpr index_t TOGETHER = 4 * ROWS;

// What a stretch of queries sees: a prefix, whole, and tokens of its own up to each query.
struct Stretch {
    index_t query, count, prefix, prefix_count, own;
};

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
            convert(key + start, into + (rows ? start : 0), some);
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
        convert(at, into, size);
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
void attend_stretches(const T* query, index_t query_pitch, const T* key, index_t key_pitch, const T* value,
                      index_t value_pitch, T* out, const Stretch* stretches, index_t count, const Shape& shape,
                      index_t threads) {
    one_by_one(count * shape.key_heads, threads, [&](index_t item) {
        attend<T>({query, query_pitch}, {key, key_pitch}, {value, value_pitch}, out, stretches[item / shape.key_heads],
                  item % shape.key_heads, shape);
    });
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
