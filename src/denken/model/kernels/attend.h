// What attention's kernels share: heads, their softmax.
#pragma once

#include <cmath>

#include "vector.h"

INLINE index_t up(index_t count, index_t multiple) { return (count + multiple - 1) / multiple * multiple; }

// Heads of consecutive tokens, `pitch` apart.
template <typename T>
struct Heads {
    T* at;
    index_t pitch;
    T* of(index_t token, index_t head, index_t size) const { return at + token * pitch + head * size; }
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

struct Shape {
    index_t heads, key_heads, size;
    float scale;
};

