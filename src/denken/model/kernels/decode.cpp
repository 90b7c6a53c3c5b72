// One token of each of some sequences through all layers of a dense network with grouped attention, in one call; and
// several tokens of each, one after another, drawn here (`ahead`).
//
// Nothing is computed here: the other files' kernels are called in the order of denken.engine.native, so every number is
// the one that comes out there, to the bit.

#include <algorithm>
#include <numeric>
#include <vector>

#include <omp.h>

#include "scratch.h"
#include "vector.h"

#define OF(T, NAME)                                                                                                    \
    extern "C" void denken_norm_##NAME(const T*, index_t, const T*, T*, float*, index_t, index_t, float, index_t);     \
    extern "C" void denken_swiglu_##NAME(const T*, const T*, index_t, T*, index_t, index_t, index_t);                  \
    extern "C" void denken_norm_turn_##NAME(const T*, index_t, const T*, float, const float*, const float*, T*,        \
                                            index_t, index_t, index_t, index_t);                                       \
    extern "C" void denken_attend_rows_##NAME(                                                                         \
        const T*, index_t, const T*, index_t, const T*, index_t, T*, float*, float*, index_t, const index_t*, T*, T*,  \
        const index_t*, const float*, const float*, index_t, const index_t*, const index_t*, const index_t*,           \
        const index_t*, index_t, index_t, index_t, index_t, float, index_t);                                           \
    extern "C" void denken_integers_##NAME(const T*, index_t, index_t, const void*, index_t, T*, index_t, index_t);    \
    INLINE void norm(const T* x, const T* weight, T* out, index_t rows, index_t size, float eps, index_t threads) {    \
        denken_norm_##NAME(x, size, weight, out, nullptr, rows, size, eps, threads);                                   \
    }                                                                                                                  \
    constexpr auto swiglu(const T*) { return denken_swiglu_##NAME; }                                                   \
    constexpr auto norm_turn(const T*) { return denken_norm_turn_##NAME; }                                             \
    constexpr auto attend_rows(const T*) { return denken_attend_rows_##NAME; }                                         \
    constexpr auto integers(const T*) { return denken_integers_##NAME; }
OF(float, fp32)
OF(bf16, bf16)
extern "C" void denken_product(const float*, index_t, index_t, const float*, index_t, index_t, float*, index_t, index_t,
                               index_t, index_t, index_t, index_t);
extern "C" void denken_bf16_to_bf16(const bf16*, index_t, index_t, index_t, const void*, index_t, bf16*, index_t,
                                    index_t);
extern "C" void denken_bf16_to_fp32(const bf16*, index_t, index_t, index_t, const void*, index_t, float*, index_t,
                                    index_t);
extern "C" void denken_draw(const float*, index_t, const void*, const double*, index_t*, double*, index_t*, index_t,
                            index_t, index_t);

namespace {

constexpr index_t GRAIN = 1 << 15;  // as in call.py

enum Kind : index_t { PACKED, INTEGERS, BF16 };

// at: numbers from denken_pack, or `count` records of a matrix. bias: of packed numbers; others have it in the record.
struct Product {
    index_t kind;
    const void* at;
    const void* bias;
    index_t count, inputs, outputs;
};

struct Layer {
    const void *before_attention, *turn, *before_mlp;
    Product qkv, out, gate_up, down;
    float *row_keys, *row_values;
    void *block_keys, *block_values;
    const float *slot_keys, *slot_values;
};

struct Network {
    index_t layers, hidden, inner, heads, key_heads, head_size;
    float eps, scale;
    const void* last;
};

// As denken_attend_rows takes them.
struct Seats {
    index_t rows, stride;
    const index_t *lengths, *places;
    index_t slot_length;
    const index_t *slots, *slot_lengths, *seats, *order;
};

struct Crew {
    index_t most;
    index_t operator()(index_t work) const { return work < GRAIN ? 1 : most; }
};

void add(float* x, const float* y, index_t size) {
    over(size, [&](index_t i, auto part) { store(x + i, load(x + i, part) + load(y + i, part), part); });
}

void add(bf16* x, const bf16* y, index_t size) {
    over(size, [&](index_t i, auto part) { store(x + i, load(x + i, part) + load(y + i, part), part); });
}

void by_type(const float* x, const Product& product, float* out, index_t rows, Crew crew) {
    index_t inputs = product.inputs, outputs = product.outputs;
    denken_product(x, inputs, 1, static_cast<const float*>(product.at), 0, 0, out, outputs, rows, inputs, outputs, 0,
                   crew(rows * inputs * outputs / 16));
    if (product.bias)
        for (index_t row = 0; row < rows; row++) add(out + row * outputs, static_cast<const float*>(product.bias), outputs);
}

void by_type(const bf16* x, const Product& product, bf16* out, index_t rows, Crew crew) {
    denken_bf16_to_bf16(x, product.inputs, rows, product.inputs, product.at, product.count, out, product.outputs,
                        crew(rows * product.inputs * product.outputs / 16));
}

template <typename T>
void multiply(const T* x, const Product& product, T* out, index_t rows, Crew crew) {
    if (product.kind != INTEGERS) return by_type(x, product, out, rows, crew);
    integers(x)(x, product.inputs, rows, product.at, product.count, out, product.outputs,
                crew(rows * product.inputs * product.outputs / 64));
}

template <typename T>
void decode(const Network& network, const Layer* layers, const Seats& seats, T* x, const float* cosine,
            const float* sine, T* out, Crew crew) {
    index_t rows = seats.rows, hidden = network.hidden, inner = network.inner, size = network.head_size;
    index_t heads = network.heads, keys = network.key_heads, turned_heads = heads + keys, all = heads + 2 * keys;
    thread_local Scratch memory;
    index_t numbers = rows * (2 * hidden + (all + turned_heads + heads) * size + 3 * inner) + 7 * 2 * LANES;
    T* at = reinterpret_cast<T*>(memory.of(numbers));
    auto take = [&](index_t count) {
        T* taken = at;
        at += (count + 2 * LANES - 1) / (2 * LANES) * (2 * LANES);
        return taken;
    };
    T *normed = take(rows * hidden), *added = take(rows * hidden), *qkv = take(rows * all * size);
    T *turned = take(rows * turned_heads * size), *seen = take(rows * heads * size);
    T *both = take(rows * 2 * inner), *gated = take(rows * inner);
    for (index_t i = 0; i < network.layers; i++) {
        const Layer& layer = layers[i];
        norm(x, static_cast<const T*>(layer.before_attention), normed, rows, hidden, network.eps, crew(rows * hidden));
        multiply(normed, layer.qkv, qkv, rows, crew);
        norm_turn(x)(qkv, all * size, static_cast<const T*>(layer.turn), network.eps, cosine, sine, turned, rows,
                     turned_heads, size / 2, crew(rows * turned_heads * size));
        attend_rows(x)(turned, turned_heads * size, turned + heads * size, turned_heads * size,
                       qkv + turned_heads * size, all * size, seen, layer.row_keys, layer.row_values, seats.stride,
                       seats.lengths, static_cast<T*>(layer.block_keys), static_cast<T*>(layer.block_values),
                       seats.places, layer.slot_keys, layer.slot_values, seats.slot_length, seats.slots,
                       seats.slot_lengths, seats.seats, seats.order, rows, heads, keys, size, network.scale,
                       crew(rows * heads * size * seats.stride / 4));
        multiply(seen, layer.out, added, rows, crew);
        add(x, added, rows * hidden);
        norm(x, static_cast<const T*>(layer.before_mlp), normed, rows, hidden, network.eps, crew(rows * hidden));
        multiply(normed, layer.gate_up, both, rows, crew);
        swiglu(x)(both, both + inner, 2 * inner, gated, rows, inner, crew(4 * rows * inner));
        multiply(gated, layer.down, added, rows, crew);
        add(x, added, rows * hidden);
    }
    norm(x, static_cast<const T*>(network.last), out, rows, hidden, network.eps, crew(rows * hidden));
}

// What stands before the layers and behind them. embedding (vocabulary, hidden); cosine, sine (positions, head_size / 2).
template <typename T>
struct Ends {
    const T* embedding;
    const float *cosine, *sine;
    Product head;
    index_t vocabulary;
};

// Rows that go on for several steps, each until its limit or the first of the ids that end a call (`stops`, a byte an
// id). ids, positions: of each row's last id, moved on. skips: how many of its first ids stand in its slot. places,
// noise: (rows, steps). Out: said, logprobs and kept (rows, steps), and of each row how many ids it said.
struct Rows {
    index_t count, steps;
    double seconds;
    index_t *ids, *positions;
    const index_t *skips, *places, *limits;
    const double *manners, *noise;
    const uint8_t* stops;
    index_t* said;
    double* logprobs;
    index_t *kept, *counts;
};

constexpr index_t MANNER = 4;  // numbers a row, as in softmax.cpp

// One token of each row in `going`: where it sits, and how its next id is drawn.
class Tokens {
  public:
    Tokens(const Rows& rows, const Seats& all, const std::vector<index_t>& going, index_t step) : going(going) {
        std::vector<index_t> token(rows.count, -1);
        for (index_t row : going) {
            token[row] = index_t(lengths.size());
            lengths.push_back(rows.positions[row] + 1 - rows.skips[row]);
            places.push_back(rows.places[row * rows.steps + step]);
            if (all.slots) slots.push_back(all.slots[row]);
            manners.insert(manners.end(), rows.manners + row * MANNER, rows.manners + (row + 1) * MANNER);
            noise.push_back(rows.noise[row * rows.steps + step]);
        }
        for (index_t i = 0; i < rows.count; i++)
            if (token[all.order[i]] >= 0) order.push_back(token[all.order[i]]);
    }
    Seats seats(const Seats& all) const {
        return {index_t(going.size()), all.stride,       lengths.data(), places.data(), all.slot_length,
                all.slots ? slots.data() : nullptr, all.slot_lengths, going.data(), order.data()};
    }
    std::vector<index_t> lengths, places, slots, order;
    std::vector<double> manners, noise;

  private:
    const std::vector<index_t>& going;
};

void widen(const float* from, float* to, index_t size) { std::copy(from, from + size, to); }

void widen(const bf16* from, float* to, index_t size) {
    over(size, [&](index_t i, auto part) { store(to + i, load(from + i, part), part); });
}

void bf16_logits(const bf16* hidden, const Product& head, float* out, index_t rows, Crew crew) {
    denken_bf16_to_fp32(hidden, head.inputs, rows, head.inputs, head.at, head.count, out, head.outputs,
                        crew(rows * head.inputs * head.outputs / 16));
}

void bf16_logits(const float*, const Product&, float*, index_t, Crew) {}  // bf16 heads are bf16 networks'

template <typename T>
void logits_of(const T* hidden, const Product& head, float* wide, float* out, index_t rows, Crew crew) {
    if (head.kind == BF16) return bf16_logits(hidden, head, out, rows, crew);
    widen(hidden, wide, rows * head.inputs);
    multiply(wide, head, out, rows, crew);
}

// Takes what was drawn for each of `going`, and returns the rows that go on.
std::vector<index_t> take(Rows& rows, const std::vector<index_t>& going, const index_t* ids, const double* logprobs,
                          const index_t* kept) {
    std::vector<index_t> left;
    for (size_t i = 0; i < going.size(); i++) {
        index_t row = going[i], at = row * rows.steps + rows.counts[row]++;
        rows.said[at] = rows.ids[row] = ids[i], rows.logprobs[at] = logprobs[i], rows.kept[at] = kept[i];
        rows.positions[row]++;
        if (rows.counts[row] < rows.limits[row] && !rows.stops[ids[i]]) left.push_back(row);
    }
    return left;
}

// No step begins after `seconds`.
template <typename T>
void ahead(const Network& network, const Layer* layers, const Seats& seats, const Ends<T>& ends, Rows& rows, Crew crew) {
    double began = omp_get_wtime();
    index_t hidden = network.hidden, half = network.head_size / 2, count = rows.count;
    std::vector<T> x(count * hidden + 2 * LANES), last(count * hidden + 2 * LANES);
    std::vector<float> cosine(count * half + LANES), sine(count * half + LANES), wide(count * hidden + LANES);
    std::unique_ptr<float[]> logits(new float[count * ends.vocabulary + LANES]);
    std::vector<index_t> ids(count), kept(count), going(count);
    std::vector<double> logprobs(count);
    std::iota(going.begin(), going.end(), 0);
    for (index_t step = 0; step < rows.steps && !going.empty(); step++) {
        if (step && omp_get_wtime() - began > rows.seconds) break;
        index_t now = index_t(going.size());
        for (index_t i = 0; i < now; i++) {
            index_t at = rows.positions[going[i]] * half;
            std::copy_n(ends.embedding + rows.ids[going[i]] * hidden, hidden, x.data() + i * hidden);
            std::copy_n(ends.cosine + at, half, cosine.data() + i * half);
            std::copy_n(ends.sine + at, half, sine.data() + i * half);
        }
        Tokens tokens(rows, seats, going, step);
        decode(network, layers, tokens.seats(seats), x.data(), cosine.data(), sine.data(), last.data(), crew);
        logits_of(last.data(), ends.head, wide.data(), logits.get(), now, crew);
        denken_draw(logits.get(), ends.vocabulary, tokens.manners.data(), tokens.noise.data(), ids.data(),
                    logprobs.data(), kept.data(), now, ends.vocabulary, crew(now * ends.vocabulary));
        going = take(rows, going, ids.data(), logprobs.data(), kept.data());
    }
}

}  // namespace

// x (rows, hidden) is overwritten; cosine and sine (rows, head_size / 2); out (rows, hidden).
#define DECODE(T, NAME)                                                                                               \
    EXPORT void denken_decode_##NAME(const void* network, const void* layers, const void* seats, T* x,                \
                                     const float* cosine, const float* sine, T* out, index_t threads) {               \
        decode(*static_cast<const Network*>(network), static_cast<const Layer*>(layers),                              \
               *static_cast<const Seats*>(seats), x, cosine, sine, out, Crew{threads});                               \
    }
DECODE(float, fp32)
DECODE(bf16, bf16)

// seats: of all rows, one token a row; its lengths, places and seats are not looked at.
#define AHEAD(T, NAME)                                                                                                \
    EXPORT void denken_ahead_##NAME(const void* network, const void* layers, const void* seats, const void* ends,     \
                                    void* rows, index_t threads) {                                                    \
        ahead(*static_cast<const Network*>(network), static_cast<const Layer*>(layers),                               \
              *static_cast<const Seats*>(seats), *static_cast<const Ends<T>*>(ends), *static_cast<Rows*>(rows),       \
              Crew{threads});                                                                                         \
    }
AHEAD(float, fp32)
AHEAD(bf16, bf16)
