// A mixture of experts: who is chosen, and each of these over the tokens that chose it, one after the other, in one call.
//
// Compiled without contraction: the numbers are those of denken.model.moe's layers called one by one, to the bit; but for a
// sigmoid or an exponential, which PyTorch's kernels, used where something is learnt, may round otherwise.

#include <cmath>
#include <numeric>
#include <vector>

#include "experts.h"
#include "scratch.h"

namespace {

// One expert that was chosen. count: by how many tokens.
struct Chosen {
    index_t count;
    Product gate_up, down;
};

template <typename T>
void experts(const T* x, index_t hidden, const Chosen* all, index_t count, index_t inner, const index_t* tokens,
             const float* weights, float* out, Crew crew) {
    index_t most = 0;
    for (index_t e = 0; e < count; e++) most = std::max(most, all[e].count);
    thread_local Scratch memory;
    T* own = reinterpret_cast<T*>(memory.of(most * (2 * hidden + 3 * inner)));
    T *both = own + most * hidden, *gated = both + most * 2 * inner, *said = gated + most * inner;
    for (index_t e = 0; e < count; e++) {
        index_t rows = all[e].count;
        for (index_t i = 0; i < rows; i++) std::copy_n(x + tokens[i] * hidden, hidden, own + i * hidden);
        feed_forward(own, all[e].gate_up, all[e].down, both, gated, said, rows, crew);
        for (index_t i = 0; i < rows; i++) {
            float *to = out + tokens[i] * hidden, weight = weights[i];
            over(hidden, [&](index_t d, auto part) {
                v16 weighed = load(said + i * hidden + d, part) * weight;
                store(to + d, load(to + d, part) + weighed, part);
            });
        }
        tokens += rows, weights += rows;
    }
}

// The places of the largest of `count` numbers, the largest first; of equal ones the first.
void largest(const float* of, index_t count, index_t most, index_t* places) {
    for (index_t found = 0; found < most; found++) {
        index_t best = -1;
        for (index_t i = 0; i < count; i++)
            if ((best < 0 || of[i] > of[best]) && std::find(places, places + found, i) == places + found) best = i;
        places[found] = best;
    }
}

// A token's experts and how they are weighed, from its logits, which become scores.
void route(const Router& how, float* scores, index_t* chosen, float* weights) {
    index_t experts = how.experts, size = experts / how.groups;
    if (how.sigmoid) {
        for (index_t e = 0; e < experts; e++) scores[e] = 1.0f / (1.0f + std::exp(-scores[e]));
    } else {
        float highest = *std::max_element(scores, scores + experts), sum = 0;
        for (index_t e = 0; e < experts; e++) sum += scores[e] = std::exp(scores[e] - highest);
        for (index_t e = 0; e < experts; e++) scores[e] /= sum;
    }
    std::vector<float> wanted(scores, scores + experts);
    for (index_t e = 0; how.bias && e < experts; e++) wanted[e] += how.bias[e];
    if (how.groups > 1) {
        std::vector<float> of_groups(how.groups);
        std::vector<index_t> best(std::max(how.best_groups, how.groups_by));
        for (index_t g = 0; g < how.groups; g++) {
            largest(wanted.data() + g * size, size, how.groups_by, best.data());
            for (index_t i = 0; i < how.groups_by; i++) of_groups[g] += wanted[g * size + best[i]];
        }
        largest(of_groups.data(), how.groups, how.best_groups, best.data());
        for (index_t g = 0; g < how.groups; g++)
            if (std::find(best.begin(), best.begin() + how.best_groups, g) == best.begin() + how.best_groups)
                std::fill_n(wanted.begin() + g * size, size, -INFINITY);
    }
    largest(wanted.data(), experts, how.chosen, chosen);
    float sum = how.sigmoid ? 1e-20f : 0.0f, total = 0;
    for (index_t i = 0; i < how.chosen; i++) total += weights[i] = scores[chosen[i]];
    for (index_t i = 0; i < how.chosen; i++) weights[i] = (how.normed ? weights[i] / (total + sum) : weights[i]) * how.scale;
}

template <typename T>
void mixture(const T* x, const Mixture& mixture, index_t rows, index_t hidden, T* out, Crew crew) {
    const Router& how = mixture.router;
    index_t inner = mixture.experts[1].inputs, shared = mixture.shared_down.inputs, choices = rows * how.chosen;
    thread_local Scratch memory;
    float* wide = memory.of(rows * (2 * hidden + how.experts + hidden + 3 * shared) + choices);
    float *routed = wide + rows * hidden, *scores = routed + rows * hidden, *weights = scores + rows * how.experts;
    T* said = reinterpret_cast<T*>(weights + choices);
    T *both = said + rows * hidden, *gated = both + rows * 2 * shared;
    convert(x, wide, rows * hidden);
    multiply(wide, how.logits, scores, rows, crew);
    std::vector<index_t> chosen(choices), order(choices), tokens(choices);
    for (index_t row = 0; row < rows; row++)
        route(how, scores + row * how.experts, chosen.data() + row * how.chosen, weights + row * how.chosen);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](index_t a, index_t b) { return chosen[a] < chosen[b]; });
    std::vector<float> weighed(choices);
    std::vector<Chosen> all;
    for (index_t i = 0; i < choices; i++) {
        index_t expert = chosen[order[i]];
        if (!i || expert != chosen[order[i - 1]])
            all.push_back({0, mixture.experts[2 * expert], mixture.experts[2 * expert + 1]});
        all.back().count++;
        tokens[i] = order[i] / how.chosen, weighed[i] = weights[order[i]];
    }
    std::fill_n(routed, rows * hidden, 0.0f);
    experts(x, hidden, all.data(), index_t(all.size()), inner, tokens.data(), weighed.data(), routed, crew);
    convert(routed, out, rows * hidden);
    if (!shared) return;
    feed_forward(x, mixture.shared_gate_up, mixture.shared_down, both, gated, said, rows, crew);
    add(out, said, rows * hidden);
}

}  // namespace

// x (N, hidden); all: of each expert that was chosen how often, and its products, gate and up side by side. tokens,
// weights: of each choice, those of one expert on end. out (N, hidden): what the experts say is added to it.
// denken_mixture: all of it, chosen here, into out. denken_route: who is chosen alone, of logits (N, experts), which become
// scores; chosen and weights (N, chosen).
EXPORT void denken_route(const void* how, float* logits, index_t rows, index_t* chosen, float* weights) {
    const Router& router = *static_cast<const Router*>(how);
    for (index_t row = 0; row < rows; row++)
        route(router, logits + row * router.experts, chosen + row * router.chosen, weights + row * router.chosen);
}

#define EXPERTS(T, NAME)                                                                                               \
    EXPORT void denken_experts_##NAME(const T* x, index_t hidden, const void* all, index_t count, index_t inner,       \
                                      const index_t* tokens, const float* weights, float* out, index_t threads) {      \
        with_team(threads, [&] {                                                                                       \
            experts(x, hidden, static_cast<const Chosen*>(all), count, inner, tokens, weights, out, Crew{threads});    \
        });                                                                                                            \
    }                                                                                                                  \
    EXPORT void denken_mixture_##NAME(const T* x, const void* of, index_t rows, index_t hidden, T* out,                \
                                      index_t threads) {                                                               \
        with_team(threads, [&] { mixture(x, *static_cast<const Mixture*>(of), rows, hidden, out, Crew{threads}); });   \
    }
EXPERTS(float, fp32)
EXPERTS(bf16, bf16)
