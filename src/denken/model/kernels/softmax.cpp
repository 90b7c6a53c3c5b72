// Softmax over a vocabulary: log-probabilities and entropy, their gradient, and draws.
//
// Everywhere of (logit - highest) * colder, where `colder` is 1 / temperature.

#include <algorithm>
#include <cmath>
#include <type_traits>

#include <omp.h>

#include "scratch.h"
#include "vector.h"

namespace {

// So many numbers are added up, in doubles, before a draw looks where it falls.
constexpr index_t STRETCH = 256;

typedef double wide8 __attribute__((vector_size(64)));
typedef float half8 __attribute__((vector_size(32)));

float highest_of(const float* x, index_t size) {
    v16 highest = splat(-INFINITY);
    over(size, [&](index_t i, auto part) {
        v16 some = load(x + i, part);
        if constexpr (std::is_same_v<decltype(part), Some>)
            for (index_t j = part.count; j < LANES; j++) some[j] = -INFINITY;
        highest = most(highest, some);
    });
    return most_of(highest);
}

// e^x, 0 in lanes beyond the end.
template <typename Part>
INLINE v16 weight_of(v16 x, Part part) {
    v16 weight = exponential(x);
    if constexpr (std::is_same_v<Part, Some>)
        for (index_t j = part.count; j < LANES; j++) weight[j] = 0;
    return weight;
}

double total_of(const float* x, index_t size) {
    wide8 sums[2] = {};
    over(size, [&](index_t i, auto part) {
        float some[LANES];
        store(some, load(x + i, part));
        half8 halves[2];
        memcpy(halves, some, sizeof some);
        for (int j = 0; j < 2; j++) sums[j] += __builtin_convertvector(halves[j], wide8);
    });
    sums[0] += sums[1];
    double total = 0;
    for (int j = 0; j < 8; j++) total += sums[0][j];
    return total;
}

}  // namespace

// logits (rows, size). Of each row: log p of its id, entropy in nats, and log of the sum of e^(logit * colder).
EXPORT void denken_logprobs(const float* logits, const index_t* ids, float colder, float* logprobs, float* entropies,
                            float* totals, index_t rows, index_t size, index_t threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (index_t row = 0; row < rows; row++) {
        const float* x = logits + row * size;
        float highest = highest_of(x, size);
        v16 top = splat(highest), sums = {}, alongs = {};
        over(size, [&](index_t i, auto part) {
            v16 shifted = (load(x + i, part) - top) * colder;
            v16 weight = weight_of(shifted, part);
            sums += weight;
            alongs += weight > splat(0.0f) ? weight * shifted : splat(0.0f);
        });
        float sum = sum_of(sums), log_sum = std::log(sum);
        logprobs[row] = (x[ids[row]] - highest) * colder - log_sum;
        entropies[row] = log_sum - sum_of(alongs) / sum;
        totals[row] = highest * colder + log_sum;
    }
}

// In place, from logits to the gradient of sum(grads * log p): grads * colder * (one-hot - softmax).
EXPORT void denken_logprobs_backward(float* logits, const index_t* ids, float colder, const float* grads,
                                     const float* totals, index_t rows, index_t size, index_t threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (index_t row = 0; row < rows; row++) {
        float *x = logits + row * size, by = grads[row] * colder;
        v16 total = splat(totals[row]);
        over(size, [&](index_t i, auto part) {
            store(x + i, exponential(load(x + i, part) * colder - total) * -by, part);
        });
        x[ids[row]] += by;
    }
}

// One id a row: the first whose share of the row's sum, with all before it, exceeds the row's noise; and its log p.
EXPORT void denken_draw(const float* logits, index_t pitch, const float* colder, const double* noise, index_t* ids,
                        double* logprobs, index_t rows, index_t size, index_t threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (index_t row = 0; row < rows; row++) {
        const float* x = logits + row * pitch;
        thread_local Scratch memory;
        index_t stretches = (size + STRETCH - 1) / STRETCH;
        index_t even = (size + 1) / 2 * 2;
        float* weights = memory.of(even + 2 * stretches);
        double* totals = reinterpret_cast<double*>(weights + even);
        float highest = highest_of(x, size);
        v16 top = splat(highest);
        over(size, [&](index_t i, auto part) {
            store(weights + i, weight_of((load(x + i, part) - top) * colder[row], part), part);
        });
        double total = 0;
        for (index_t s = 0; s < stretches; s++) {
            totals[s] = total_of(weights + s * STRETCH, std::min(STRETCH, size - s * STRETCH));
            total += totals[s];
        }
        double target = noise[row] * total, before = 0;
        index_t s = 0;
        while (s + 1 < stretches && before + totals[s] <= target) before += totals[s++];
        index_t id = s * STRETCH;
        // Rounding may leave nothing beyond the target: then the last id that can be drawn.
        index_t last = id;
        for (index_t i = id; i < size; i++) {
            before += weights[i];
            if (weights[i] > 0) last = i;
            if (before > target) break;
        }
        while (last > 0 && !(weights[last] > 0)) last--;
        ids[row] = last;
        logprobs[row] = double((x[last] - highest) * colder[row]) - std::log(total);
    }
}
