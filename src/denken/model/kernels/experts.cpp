// A mixture's routed experts: each over the tokens that chose it, one after the other, in one call.
//
// Compiled without contraction: the numbers are those of the layers called one by one (denken.model.moe), to the bit.

#include "operands.h"
#include "scratch.h"

namespace {

// count: how many tokens chose it.
struct Expert {
    index_t count;
    Product gate_up, down;
};

template <typename T>
void experts(const T* x, index_t hidden, const Expert* all, index_t count, index_t inner, const index_t* tokens,
             const float* weights, float* out, Crew crew) {
    index_t most = 0;
    for (index_t e = 0; e < count; e++) most = std::max(most, all[e].count);
    thread_local Scratch memory;
    T* own = reinterpret_cast<T*>(memory.of(most * (2 * hidden + 3 * inner)));
    T *both = own + most * hidden, *gated = both + most * 2 * inner, *said = gated + most * inner;
    for (index_t e = 0; e < count; e++) {
        index_t rows = all[e].count;
        for (index_t i = 0; i < rows; i++) std::copy_n(x + tokens[i] * hidden, hidden, own + i * hidden);
        multiply(own, all[e].gate_up, both, rows, crew);
        swiglu(own)(both, both + inner, 2 * inner, gated, rows, inner, crew(4 * rows * inner));
        multiply(gated, all[e].down, said, rows, crew);
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

}  // namespace

// x (N, hidden); all: of each expert that was chosen how often, and its products, gate and up side by side. tokens,
// weights: of each choice, those of one expert on end. out (N, hidden): what the experts say is added to it.
#define EXPERTS(T, NAME)                                                                                               \
    EXPORT void denken_experts_##NAME(const T* x, index_t hidden, const void* all, index_t count, index_t inner,       \
                                      const index_t* tokens, const float* weights, float* out, index_t threads) {      \
        with_team(threads, [&] {                                                                                       \
            experts(x, hidden, static_cast<const Expert*>(all), count, inner, tokens, weights, out, Crew{threads});    \
        });                                                                                                            \
    }
EXPERTS(float, fp32)
EXPERTS(bf16, bf16)
