// Softmax over a vocabulary: log-probabilities and entropy, their gradient, and draws.
//
// Everywhere of (logit - highest) * colder, where `colder` is 1 / temperature; a draw with `colder` 0 is the likeliest.

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "scratch.h"
#include "team.h"
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

// As `manner` in softmax.py writes it. colder 0: the likeliest id. top_k 0, top_p 1 and floor -inf cut nothing.
struct Manner {
    double colder, top_k, top_p, floor;
    bool cuts() const { return top_k > 0 || top_p < 1 || floor > -INFINITY; }
    bool ranks() const { return top_k > 0 || top_p < 1; }
};

// kept: how many ids could have been drawn; 0 where nothing is cut.
struct Drawn {
    index_t id;
    double logprob;
    index_t kept;
};

struct Row {
    const float* x;
    index_t size;
    float highest, colder;
    float shifted(index_t id) const { return (x[id] - highest) * colder; }
};

// e^shifted of every id, 0 of those below the floor.
void weigh(const Row& row, float floor, float* weights) {
    v16 top = splat(row.highest), least = splat(floor);
    over(row.size, [&](index_t i, auto part) {
        v16 shifted = (load(row.x + i, part) - top) * row.colder;
        v16 weight = weight_of(shifted, part);
        store(weights + i, shifted < least ? splat(0.0f) : weight, part);
    });
}

// Sums of the stretches, and of all of them.
double add_up(const float* weights, index_t size, double* totals) {
    double total = 0;
    for (index_t first = 0; first < size; first += STRETCH)
        total += *totals++ = total_of(weights + first, std::min(STRETCH, size - first));
    return total;
}

// The first id whose weight, with all before it, exceeds the target.
index_t find(const float* weights, index_t size, const double* totals, double target) {
    index_t stretches = (size + STRETCH - 1) / STRETCH, s = 0;
    double before = 0;
    while (s + 1 < stretches && before + totals[s] <= target) before += totals[s++];
    // Rounding may leave nothing beyond the target: then the last id that can be drawn.
    index_t last = s * STRETCH;
    for (index_t i = last; i < size; i++) {
        before += weights[i];
        if (weights[i] > 0) last = i;
        if (before > target) break;
    }
    while (last > 0 && !(weights[last] > 0)) last--;
    return last;
}

Drawn likeliest(const Row& row, double total) {
    const float* end = row.x + row.size;
    const float* best = std::find(row.x, end, row.highest);
    return {best == end ? 0 : best - row.x, -std::log(total), 0};
}

index_t above(const Row& row, float floor) {
    index_t count = 0;
    for (index_t i = 0; i < row.size; i++) count += row.x[i] > -INFINITY && !(row.shifted(i) < floor);
    return count;
}

// Ids by rank, the likeliest first, of equal ones the first. The first few come one by one, for nearly always they are
// enough; then the others are sorted.
class Ranks {
  public:
    // Of all ids whose weight is at least `least`.
    Ranks(const Row& row, const float* weights, double least, uint64_t* room) : keys(room) {
        for (index_t i = 0; i < row.size; i++)
            if (weights[i] >= least) keys[count++] = key(row.x[i], uint32_t(i));
        std::make_heap(keys, keys + count);
    }
    index_t size() const { return count; }
    index_t operator[](index_t rank) {
        for (; sorted <= rank && sorted < FIRST; sorted++) std::pop_heap(keys, keys + count - sorted);
        if (sorted <= rank) {
            std::sort(keys, keys + count - sorted);
            sorted = count;
        }
        return uint32_t(~keys[count - 1 - rank]);
    }

  private:
    static constexpr index_t FIRST = 64;
    // Larger for larger numbers, then for smaller ids.
    static uint64_t key(float x, uint32_t id) {
        uint32_t bits;
        x += 0.0f;  // one zero
        memcpy(&bits, &x, sizeof bits);
        bits ^= bits >> 31 ? 0xffffffffu : 0x80000000u;
        return uint64_t(bits) << 32 | uint32_t(~id);
    }
    uint64_t* keys;
    index_t count = 0, sorted = 0;
};

// With top-k, top-p (of what top-k left) and a floor, in the order of ranks. The likeliest id always stays.
Drawn of_ranks(const Row& row, const float* weights, double total, const Manner& manner, double noise, uint64_t* room) {
    bool by_count = manner.top_k > 0, by_mass = manner.top_p < 1;
    // Ids below this have less weight together than top-p leaves out.
    double least = by_count ? 0 : (1 - manner.top_p) * total / (2 * double(row.size));
    Ranks ranks(row, weights, least, room);
    index_t most = ranks.size(), kept = 0;
    if (by_count && manner.top_k < most) most = index_t(manner.top_k);
    if (by_count) total = 0;
    for (index_t rank = 0; by_count && rank < most; rank++) total += weights[ranks[rank]];
    double mass = 0, before = 0;
    for (; kept < most; kept++) {
        index_t id = ranks[kept];
        bool out = (by_mass && mass >= manner.top_p * total) || row.shifted(id) < float(manner.floor);
        if (kept && (out || row.x[id] == -INFINITY)) break;
        mass += weights[id];
    }
    index_t rank = 0;
    for (; rank + 1 < kept; rank++) {
        before += weights[ranks[rank]];
        if (before > noise * mass) break;
    }
    return {ranks[rank], double(row.shifted(ranks[rank])) - std::log(mass), kept};
}

Drawn draw(const float* x, index_t size, const Manner& manner, double noise) {
    thread_local Scratch memory;
    index_t even = (size + 1) / 2 * 2, stretches = (size + STRETCH - 1) / STRETCH;
    float* weights = memory.of(even + 2 * stretches + 2 * size);
    double* totals = reinterpret_cast<double*>(weights + even);
    Row row{x, size, highest_of(x, size), manner.colder > 0 ? float(manner.colder) : 1.0f};
    bool ranked = manner.colder > 0 && manner.ranks();
    float floor = manner.colder > 0 && !ranked ? float(manner.floor) : -INFINITY;
    weigh(row, floor, weights);
    double total = add_up(weights, size, totals);
    if (!std::isfinite(total)) return {0, total - total, 0};
    if (manner.colder == 0) return likeliest(row, total);
    if (ranked) return of_ranks(row, weights, total, manner, noise, reinterpret_cast<uint64_t*>(totals + stretches));
    index_t id = find(weights, size, totals, noise * total);
    return {id, double(row.shifted(id)) - std::log(total), manner.cuts() ? above(row, floor) : 0};
}

}  // namespace

// logits (rows, size). Of each row: log p of its id, entropy in nats, and log of the sum of e^(logit * colder).
EXPORT void denken_logprobs(const float* logits, const index_t* ids, float colder, float* logprobs, float* entropies,
                            float* totals, index_t rows, index_t size, index_t threads) {
    for_each(rows, threads, [&](index_t row) {
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
    });
}

// In place, from logits to the gradient of sum(grads * log p): grads * colder * (one-hot - softmax).
EXPORT void denken_logprobs_backward(float* logits, const index_t* ids, float colder, const float* grads,
                                     const float* totals, index_t rows, index_t size, index_t threads) {
    for_each(rows, threads, [&](index_t row) {
        float *x = logits + row * size, by = grads[row] * colder;
        v16 total = splat(totals[row]);
        over(size, [&](index_t i, auto part) {
            store(x + i, exponential(load(x + i, part) * colder - total) * -by, part);
        });
        x[ids[row]] += by;
    });
}

// One id a row, by its manner and its noise in [0, 1); log p under what could be drawn, which is not finite where the
// logits are not; and how many ids that were.
EXPORT void denken_draw(const float* logits, index_t pitch, const void* manners, const double* noise, index_t* ids,
                        double* logprobs, index_t* kept, index_t rows, index_t size, index_t threads) {
    for_each(rows, threads, [&](index_t row) {
        Drawn drawn = draw(logits + row * pitch, size, static_cast<const Manner*>(manners)[row], noise[row]);
        ids[row] = drawn.id, logprobs[row] = drawn.logprob, kept[row] = drawn.kept;
    });
}
