// What a network's kernels multiply with, whatever the weights are, and on how many threads.
#pragma once

#include <algorithm>
#include <atomic>

#include "team.h"
#include "vector.h"

#define OF(T, NAME)                                                                                                    \
    extern "C" void denken_integers_##NAME(const T*, index_t, index_t, const void*, index_t, T*, index_t, index_t);    \
    extern "C" void denken_swiglu_##NAME(const T*, const T*, index_t, T*, index_t, index_t, index_t);                  \
    constexpr auto integers(const T*) { return denken_integers_##NAME; }                                               \
    constexpr auto swiglu(const T*) { return denken_swiglu_##NAME; }
OF(float, fp32)
OF(bf16, bf16)
#undef OF
extern "C" void denken_product(const float*, index_t, index_t, const float*, index_t, index_t, float*, index_t, index_t,
                               index_t, index_t, index_t, index_t);
extern "C" void denken_product_pairs(const float*, index_t, index_t, const uint32_t*, float*, index_t, index_t, index_t,
                                     index_t, index_t, index_t);
extern "C" void denken_bf16_to_bf16(const bf16*, index_t, index_t, index_t, const void*, index_t, bf16*, index_t,
                                    index_t);

// So many vectors of products are worth sharing out within a team whose threads answer within NEAR seconds, and so many
// where they are further from one another: processors that share a cache answer in 0.3 us, others in 0.8, and virtual ones
// are the one or the other by turns.
constexpr index_t NEAR_GRAIN = 1 << 12, FAR_GRAIN = 1 << 15;
constexpr double NEAR = 5e-7;
inline std::atomic<index_t> grain{FAR_GRAIN};

enum Kind : index_t { PACKED, INTEGERS, BF16, PAIRS };

// at: numbers from denken_pack or denken_pack_pairs, or `count` records of a matrix. bias: of packed numbers; others have
// it in the record.
struct Product {
    index_t kind;
    const void* at;
    const void* bias;
    index_t count, inputs, outputs;
};

struct Crew {
    index_t most;
    index_t least = grain.load(std::memory_order_relaxed);
    index_t operator()(index_t work) const { return work < least ? 1 : most; }
};

template <typename T>
void add(T* x, const T* y, index_t size) {
    over(size, [&](index_t i, auto part) { store(x + i, load(x + i, part) + load(y + i, part), part); });
}

// Rows that stand apart times packed numbers, without their bias.
inline void by_packed(const float* x, index_t x_pitch, const Product& product, float* out, index_t pitch, index_t rows,
                      index_t threads) {
    if (product.kind == PAIRS)
        denken_product_pairs(x, x_pitch, 1, static_cast<const uint32_t*>(product.at), out, pitch, rows, product.inputs,
                             product.outputs, 0, threads);
    else
        denken_product(x, x_pitch, 1, static_cast<const float*>(product.at), 0, 0, out, pitch, rows, product.inputs,
                       product.outputs, 0, threads);
}

inline void by_type(const float* x, const Product& product, float* out, index_t rows, Crew crew) {
    index_t inputs = product.inputs, outputs = product.outputs;
    // A row or two are bound by reading four bytes a weight, or two, which two threads do sooner.
    index_t work = std::max(rows * inputs * outputs / 16, inputs * outputs / (product.kind == PAIRS ? 8 : 4));
    by_packed(x, inputs, product, out, outputs, rows, crew(work));
    if (product.bias)
        for (index_t row = 0; row < rows; row++) add(out + row * outputs, static_cast<const float*>(product.bias), outputs);
}

inline void by_type(const bf16* x, const Product& product, bf16* out, index_t rows, Crew crew) {
    denken_bf16_to_bf16(x, product.inputs, rows, product.inputs, product.at, product.count, out, product.outputs,
                        crew(rows * product.inputs * product.outputs / 16));
}

template <typename T>
void multiply(const T* x, const Product& product, T* out, index_t rows, Crew crew) {
    if (product.kind != INTEGERS) return by_type(x, product, out, rows, crew);
    integers(x)(x, product.inputs, rows, product.at, product.count, out, product.outputs,
                crew(rows * product.inputs * product.outputs / 64));
}

// down(silu(gate(x)) * up(x)), gate and up side by side. both, gated: room for what they make of the rows.
template <typename T>
void feed_forward(const T* x, const Product& gate_up, const Product& down, T* both, T* gated, T* out, index_t rows,
                  Crew crew) {
    index_t inner = down.inputs;
    multiply(x, gate_up, both, rows, crew);
    swiglu(x)(both, both + inner, 2 * inner, gated, rows, inner, crew(4 * rows * inner));
    multiply(gated, down, out, rows, crew);
}
