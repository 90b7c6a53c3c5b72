// One token of each of some sequences through all layers of a network, in one call; and several tokens of each, one after
// another, drawn here (`ahead`).
//
// Nothing is computed here: the other files' kernels are called in the order of denken.engine.native, or of the layers of
// denken.model, so every number is the one that comes out there, to the bit, but for what experts.cpp says.

#include <algorithm>
#include <numeric>
#include <vector>

#include "experts.h"
#include "guesses.h"
#include "scratch.h"

#define OF(T, NAME)                                                                                                    \
    extern "C" void denken_norm_##NAME(const T*, index_t, const T*, T*, float*, index_t, index_t, float, index_t);     \
    extern "C" void denken_norm_turn_##NAME(const T*, index_t, const T*, float, const float*, const float*, T*,        \
                                            index_t, index_t, index_t, index_t);                                       \
    extern "C" void denken_turn_apart_##NAME(const T*, index_t, index_t, const float*, const float*, T*, index_t,      \
                                             index_t, index_t, index_t, index_t, index_t);                             \
    extern "C" void denken_mixture_##NAME(const T*, const void*, index_t, index_t, T*, index_t);                       \
    extern "C" void denken_attend_rows_##NAME(                                                                         \
        const T*, index_t, const T*, index_t, const T*, index_t, T*, void*, void*, index_t, index_t, const index_t*,   \
        T*, T*, const index_t*, const void*, const void*, index_t, const index_t*, const index_t*, const index_t*,     \
        const index_t*, const index_t*, index_t, index_t, index_t, index_t, index_t, index_t, float, index_t);         \
    extern "C" void denken_attend_##NAME(const T*, index_t, const T*, index_t, const T*, index_t, T*, const index_t*,  \
                                         index_t, index_t, index_t, index_t, float, index_t);                          \
    extern "C" void denken_write_blocks_##NAME(const T*, index_t, const T*, index_t, T*, T*, const index_t*, index_t,  \
                                               index_t, index_t, index_t);                                             \
    extern "C" void denken_read_blocks_##NAME(T*, T*, T*, T*, const index_t*, index_t, index_t, index_t, index_t);     \
    INLINE void norm(const T* x, const T* weight, T* out, index_t rows, index_t size, float eps, index_t threads) {    \
        denken_norm_##NAME(x, size, weight, out, nullptr, rows, size, eps, threads);                                   \
    }                                                                                                                  \
    constexpr auto norm_turn(const T*) { return denken_norm_turn_##NAME; }                                             \
    constexpr auto turn_apart(const T*) { return denken_turn_apart_##NAME; }                                           \
    constexpr auto mixture(const T*) { return denken_mixture_##NAME; }                                                 \
    constexpr auto attend_rows(const T*) { return denken_attend_rows_##NAME; }                                         \
    constexpr auto attend(const T*) { return denken_attend_##NAME; }                                                   \
    constexpr auto write_parts(const T*) { return denken_write_blocks_##NAME; }                                        \
    constexpr auto read_parts(const T*) { return denken_read_blocks_##NAME; }
OF(float, fp32)
OF(bf16, bf16)
extern "C" void denken_bf16_to_fp32(const bf16*, index_t, index_t, index_t, const void*, index_t, float*, index_t,
                                    index_t);
extern "C" void denken_bf16_heads(const bf16*, index_t, index_t, index_t, index_t, const bf16*, index_t, index_t, bf16*,
                                  index_t, index_t, index_t, index_t, index_t);
extern "C" void denken_draw(const float*, index_t, const void*, const double*, index_t*, double*, index_t*, index_t,
                            index_t, index_t);

namespace {

// Multi-head latent attention over latents (absorbed). query_down, of which norm and `query` follow, may have no outputs:
// then queries are the hidden states' own. up (heads, plain + value, latent) lies as it is in bf16; in fp32 by_head has for
// each head what lifts its queries to the latent's columns, and what lowers what it sees.
struct Latent {
    Product query_down, query, key;
    const void *query_norm, *key_norm, *up;
    const Product* by_head;
    index_t latent, rotary, plain, value, interleaved;
    float eps;
};

// Without qkv and turn where there is a Latent, without gate_up and down where there is a Mixture.
struct Layer {
    const void *before_attention, *turn, *before_mlp;
    Product qkv, out, gate_up, down;
    const Latent* latent;
    const Mixture* mixture;
    void *row_keys, *row_values, *block_keys, *block_values;
    const void *slot_keys, *slot_values;
};

// turning: columns of a head that turn.
struct Network {
    index_t layers, hidden, inner, heads, key_heads, head_size, turning;
    float eps, scale;
    const void* last;
};

// A piece of a prompt: its first token in the step, how many, how many before them, and the places of all of these.
struct Piece {
    index_t first, count, before;
    const index_t* places;
};

// As denken_attend_rows takes them, for the first `rows` of `tokens` tokens; the others are those of `reading` pieces. Of
// all of them their places. parts: whether blocks lie as attention reads them.
struct Seats {
    index_t rows, stride, narrow;
    const index_t *lengths, *places;
    index_t slot_length;
    const index_t *slots, *slot_lengths, *seats, *order, *tables;
    index_t table_pitch, block_size, tokens, reading;
    const Piece* pieces;
    index_t parts;
};

// Keys and values of one layer, of those who read: into the blocks, and those before them out of the blocks.
template <typename T>
struct Kept {
    T *keys, *values;
    const Seats& seats;
    index_t heads, size;

    void write(index_t first, const T* key, index_t key_pitch, const T* value, index_t value_pitch, Crew crew) const {
        index_t count = seats.tokens - first;
        const index_t* places = seats.places + first;
        if (seats.parts)
            return write_parts(key)(key, key_pitch, value, value_pitch, keys, values, places, count, heads, size,
                                    crew(count * heads * size));
        for (index_t i = 0; i < count; i++) {
            memcpy(keys + places[i] * heads * size, key + i * key_pitch, heads * size * sizeof(T));
            memcpy(values + places[i] * heads * size, value + i * value_pitch, heads * size * sizeof(T));
        }
    }
    void read(const Piece& piece, T* key, T* value, Crew crew) const {
        index_t count = piece.before + piece.count;
        if (seats.parts)
            return read_parts(key)(key, value, keys, values, piece.places, count, heads, size,
                                   crew(count * heads * size));
        for (index_t i = 0; i < count; i++) {
            memcpy(key + i * heads * size, keys + piece.places[i] * heads * size, heads * size * sizeof(T));
            memcpy(value + i * heads * size, values + piece.places[i] * heads * size, heads * size * sizeof(T));
        }
    }
};

// What the tokens of pieces see. All keys are written before any is read, for one piece may begin with another's.
template <typename T>
void read_on(const Network& network, const Layer& layer, const Seats& seats, const T* turned, index_t turned_pitch,
             const T* values, index_t value_pitch, T* seen, Crew crew) {
    index_t size = network.head_size, heads = network.heads, keys = network.key_heads;
    Kept<T> kept{static_cast<T*>(layer.block_keys), static_cast<T*>(layer.block_values), seats, keys, size};
    thread_local Scratch memory;
    for (index_t i = 0; i < seats.reading; i++) {
        const Piece& piece = seats.pieces[i];
        index_t all = piece.before + piece.count, stretch[] = {0, piece.count, 0, piece.before, piece.before};
        const T *query = turned + piece.first * turned_pitch, *key = query + heads * size;
        const T* value = values + piece.first * value_pitch;
        index_t key_pitch = turned_pitch, own_pitch = value_pitch;
        if (piece.before) {
            T* room = reinterpret_cast<T*>(memory.of(2 * all * keys * size));
            kept.read(piece, room, room + all * keys * size, crew);
            key = room, value = room + all * keys * size, key_pitch = own_pitch = keys * size;
        }
        attend(query)(query, turned_pitch, key, key_pitch, value, own_pitch, seen + piece.first * heads * size, stretch, 1,
                      heads, keys, size, network.scale, crew(piece.count * heads * size * all));
    }
}

// Each head's rows times its own matrix: queries to the latent's columns, or what is seen to values.
void by_heads(const Network& network, const Latent& of, bool lifts, const bf16* x, index_t x_step, bf16* out,
              index_t out_step, index_t rows, Crew crew) {
    index_t heads = network.heads, inputs = lifts ? of.plain : of.latent, outputs = lifts ? of.latent : of.value;
    const bf16* up = static_cast<const bf16*>(of.up) + (lifts ? 0 : of.plain * of.latent);
    denken_bf16_heads(x, heads * x_step, x_step, rows, inputs, up, (of.plain + of.value) * of.latent, lifts, out,
                      heads * out_step, out_step, outputs, heads, crew(rows * heads * inputs * outputs / 16));
}

void by_heads(const Network& network, const Latent& of, bool lifts, const float* x, index_t x_step, float* out,
              index_t out_step, index_t rows, Crew crew) {
    index_t heads = network.heads;
    one_by_one(heads, crew(rows * heads * of.latent * (lifts ? of.plain : of.value) / 16), [&](index_t head) {
        by_packed(x + head * x_step, heads * x_step, of.by_head[2 * head + !lifts], out + head * out_step,
                  heads * out_step, rows, 1);
    });
}

// What those see who decode, once their own keys and values are written.
template <typename T>
void over_rows(const Network& network, const Layer& layer, const Seats& seats, const T* query, index_t query_pitch,
               const T* key, index_t key_pitch, const T* value, index_t value_pitch, T* seen, Crew crew) {
    index_t heads = network.heads, size = network.head_size;
    attend_rows(query)(query, query_pitch, key, key_pitch, value, value_pitch, seen, layer.row_keys, layer.row_values,
                       seats.stride, seats.narrow, seats.lengths, static_cast<T*>(layer.block_keys),
                       static_cast<T*>(layer.block_values), seats.places, layer.slot_keys, layer.slot_values,
                       seats.slot_length, seats.slots, seats.slot_lengths, seats.seats, seats.order, seats.tables,
                       seats.table_pitch, seats.block_size, seats.rows, heads, network.key_heads, size, network.scale,
                       crew(seats.rows * heads * size * seats.stride / 4));
}

// What is left of a stretch of memory, from which pieces are taken that begin with a cache line.
template <typename T>
struct Room {
    T* at;
    T* take(index_t count) {
        T* taken = at;
        at += (count + 2 * LANES - 1) / (2 * LANES) * (2 * LANES);
        return taken;
    }
};

// What a layer's tokens see by latent attention, as values.
template <typename T>
void attend_latents(const Network& network, const Layer& layer, const Seats& seats, const T* normed, const float* cosine,
                    const float* sine, T* out, Crew crew) {
    const Latent& of = *layer.latent;
    index_t rows = seats.rows, heads = network.heads, size = network.head_size, half = of.rotary / 2;
    index_t own = of.plain + of.rotary, low = of.query_down.outputs;
    thread_local Scratch memory;
    index_t numbers = rows * (2 * low + heads * (own + 2 * size) + 2 * size) + 7 * 2 * LANES;
    Room<T> room{reinterpret_cast<T*>(memory.of(numbers))};
    T *down = room.take(rows * low), *down_normed = room.take(rows * low), *query = room.take(rows * heads * own);
    T *found = room.take(rows * size), *key = room.take(rows * size), *lifted = room.take(rows * heads * size);
    T* seen = room.take(rows * heads * size);
    if (low) {
        multiply(normed, of.query_down, down, rows, crew);
        norm(down, static_cast<const T*>(of.query_norm), down_normed, rows, low, of.eps, crew(rows * low));
    }
    multiply(low ? down_normed : normed, of.query, query, rows, crew);
    multiply(normed, of.key, found, rows, crew);
    for (index_t row = 0; row < rows; row++)
        norm(found + row * size, static_cast<const T*>(of.key_norm), key + row * size, 1, of.latent, of.eps, 1);
    turn_apart(key)(found + of.latent, size, size, cosine, sine, key + of.latent, size, size, rows, 1, half,
                    of.interleaved);
    turn_apart(key)(query + of.plain, heads * own, own, cosine, sine, lifted + of.latent, heads * size, size, rows, heads,
                    half, of.interleaved);
    by_heads(network, of, true, query, own, lifted, size, rows, crew);
    over_rows(network, layer, seats, lifted, heads * size, key, size, key, size, seen, crew);
    by_heads(network, of, false, seen, size, out, of.value, rows, crew);
}

template <typename T>
void decode(const Network& network, const Layer* layers, const Seats& seats, T* x, const float* cosine,
            const float* sine, T* out, Crew crew) {
    index_t rows = seats.tokens, hidden = network.hidden, inner = network.inner, size = network.head_size;
    index_t heads = network.heads, keys = network.key_heads, turned_heads = heads + keys, all = heads + 2 * keys;
    index_t seen_size = network.layers ? std::max(heads * size, layers[0].out.inputs) : 0;
    thread_local Scratch memory;
    index_t numbers = rows * (2 * hidden + (all + turned_heads) * size + seen_size + 3 * inner) + 7 * 2 * LANES;
    Room<T> room{reinterpret_cast<T*>(memory.of(numbers))};
    T *normed = room.take(rows * hidden), *added = room.take(rows * hidden), *qkv = room.take(rows * all * size);
    T *turned = room.take(rows * turned_heads * size), *seen = room.take(rows * seen_size);
    T *both = room.take(rows * 2 * inner), *gated = room.take(rows * inner);
    auto grouped = [&](const Layer& layer) {
        multiply(normed, layer.qkv, qkv, rows, crew);
        norm_turn(x)(qkv, all * size, static_cast<const T*>(layer.turn), network.eps, cosine, sine, turned, rows,
                     turned_heads, size / 2, crew(4 * rows * turned_heads * size));
        const T* values = qkv + turned_heads * size;
        if (seats.reading) {
            Kept<T> kept{static_cast<T*>(layer.block_keys), static_cast<T*>(layer.block_values), seats, keys, size};
            kept.write(seats.rows, turned + (seats.rows * turned_heads + heads) * size, turned_heads * size,
                       values + seats.rows * all * size, all * size, crew);
        }
        over_rows(network, layer, seats, turned, turned_heads * size, turned + heads * size, turned_heads * size, values,
                  all * size, seen, crew);
        read_on(network, layer, seats, turned, turned_heads * size, values, all * size, seen, crew);
    };
    for (index_t i = 0; i < network.layers; i++) {
        const Layer& layer = layers[i];
        norm(x, static_cast<const T*>(layer.before_attention), normed, rows, hidden, network.eps, crew(rows * hidden));
        if (layer.latent)
            attend_latents(network, layer, seats, normed, cosine, sine, seen, crew);
        else
            grouped(layer);
        multiply(seen, layer.out, added, rows, crew);
        add(x, added, rows * hidden);
        norm(x, static_cast<const T*>(layer.before_mlp), normed, rows, hidden, network.eps, crew(rows * hidden));
        if (layer.mixture) {
            mixture(x)(normed, layer.mixture, rows, hidden, added, crew.most);
        } else {
            feed_forward(normed, layer.gate_up, layer.down, both, gated, added, rows, crew);
        }
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

// What an id ends (`stops`, a byte an id): nothing, a row's part in the call, or that only where `behind` is 0: or else it is
// the row's limit from there on, and 0 itself.
enum Stop : uint8_t { GOES_ON, ENDS, OPENS };

// Rows that go on, each for at most `steps` ids, until its limit or the first id that ends it. ids, positions: of each row's
// last id, moved on. skips: how many of its first ids stand in its slot. places, noise: (rows, steps). Out: said, logprobs
// and kept (rows, steps), and of each row how many ids it said.
struct Rows {
    index_t count, steps;
    double seconds;
    index_t *ids, *positions;
    const index_t *skips, *places;
    index_t *limits, *behind;
    const double *manners, *noise;
    const uint8_t* stops;
    index_t* said;
    double* logprobs;
    index_t *kept, *counts;
    // Of each pass through the network: how many tokens went, and how long it took.
    index_t passes, *tokens;
    double* took;
};

// What rows guess from; absent where nobody guesses. texts (rows, sources); tails (rows, 64): the last ids, padded in front
// with -1; surmises (rows, longest): what the network said behind the last wrong guess, padded behind with -1; guessed,
// right: of each row how many.
struct Guessing {
    Guesses guesses;
    index_t sources, longest;
    double worth, gain, brought;
    index_t *texts, *tails, *surmises, *guessed, *right;
};

constexpr index_t MANNER = 4;  // numbers a row, as in softmax.cpp

// A row's text as those see it who guess, and its guess.
class Guesser {
  public:
    Guesser(Guessing& all, index_t row) : all(all), row(row), texts(all.texts + row * all.sources) {
        const index_t* last = all.tails + row * Guesses::TAIL;
        for (index_t i = 0; i < Guesses::TAIL; i++)
            if (last[i] >= 0) text.push_back(last[i]);
        const index_t* surmised = all.surmises + row * all.longest;
        for (index_t i = 0; i < all.longest && surmised[i] >= 0; i++) surmise.push_back(surmised[i]);
    }

    // At most so many ids, as long as the chance that all are right is worth it.
    void guess(index_t most) {
        ids.clear();
        size_t said = text.size();
        double chance = 1;
        while (index_t(ids.size()) < std::min(most, all.longest)) {
            auto [id, likely] = weigh(all.guesses.guess(texts, all.sources, tail()), index_t(ids.size()));
            chance *= likely;
            if (chance < all.worth || !(likely > 0)) break;
            ids.push_back(id);
            text.push_back(id);
        }
        text.resize(said);
    }

    // Learns what was said, in this step: so many of the guess were right. behind: what was drawn at the places after.
    void learn(const index_t* said, index_t count, index_t right, const index_t* behind, index_t left) {
        for (index_t i = 0; i < std::min(count, index_t(surmise.size())); i++) {
            all.guesses.count(i ? Guesses::LATER : Guesses::FIRST, surmise[i] == said[i]);
            if (surmise[i] != said[i]) break;
        }
        surmise.assign(behind, behind + left);
        for (index_t i = 0; i < count; i++) {
            all.guesses.learn(texts, all.sources, tail(), said[i]);
            text.push_back(said[i]);
        }
        all.guessed[row] += index_t(ids.size());
        all.right[row] += right;
        all.gain += 0.01 * (double(1 + right) - all.gain);
        all.brought += 0.01 * (double(1 + ids.size()) - all.brought);
    }

    // For the next call.
    void leave() const {
        for (index_t i = 0; i < all.longest; i++)
            all.surmises[row * all.longest + i] = i < index_t(surmise.size()) ? surmise[i] : -1;
    }

    std::vector<index_t> ids;

  private:
    Guesses::Tail tail() const { return {text.data() + text.size(), std::min(index_t(text.size()), Guesses::TAIL)}; }
    Guesses::Guess weigh(Guesses::Guess found, index_t place) const {
        if (place >= index_t(surmise.size())) return found;
        double own = all.guesses.chance(place ? Guesses::LATER : Guesses::FIRST);
        if (found.id == surmise[place]) return {found.id, 1 - (1 - found.chance) * (1 - own)};
        return own > found.chance ? Guesses::Guess{surmise[place], own} : found;
    }
    Guessing& all;
    index_t row;
    const index_t* texts;
    std::vector<index_t> text, surmise;
};

// The tokens of a pass: of each row in `going` its last id and its guess; where they sit, and how the ids behind them are
// drawn. starts: where each row's tokens begin.
class Tokens {
  public:
    Tokens(const Rows& rows, const Seats& all, const std::vector<index_t>& going, const std::vector<Guesser>& guessers) {
        std::vector<index_t> first(rows.count + 1, -1);
        for (index_t row : going) {
            starts.push_back(first[row] = index_t(ids.size()));
            push(rows, all, row, rows.ids[row]);
            if (!guessers.empty())
                for (index_t id : guessers[row].ids) push(rows, all, row, id);
        }
        starts.push_back(index_t(ids.size()));
        for (index_t i = 0; i < rows.count; i++) {
            index_t row = all.order[i];
            for (index_t t = first[row]; t >= 0 && t < index_t(ids.size()) && of[t] == row; t++) order.push_back(t);
        }
    }
    index_t count() const { return index_t(ids.size()); }
    // Where some of the tokens sit, from one on; of whole rows. some: their order, for as long as this is used.
    Seats seats(const Seats& all, index_t from, index_t some_count, std::vector<index_t>& some) const {
        some.clear();
        for (index_t token : order)
            if (token >= from && token < from + some_count) some.push_back(token - from);
        const index_t* own = all.slots ? slots.data() + from : nullptr;
        return {some_count,      all.stride, all.narrow,       lengths.data() + from, places.data() + from,
                all.slot_length, own,        all.slot_lengths, of.data() + from,      some.data(),
                all.tables,      all.table_pitch, all.block_size,   some_count, 0, nullptr, all.parts};
    }
    // Rows, at most so many times, in parts of about the same work: where each part's tokens begin, and where the last
    // ends. base: what a token costs beside the keys that it sees, in keys.
    std::vector<index_t> parts(index_t most, index_t base) const {
        index_t all = base * count(), done = 0;
        for (index_t length : lengths) all += length;
        std::vector<index_t> borders{0};
        for (size_t row = 0; row + 1 < starts.size(); row++) {
            if (done * most >= all * index_t(borders.size()) && starts[row] > borders.back()) borders.push_back(starts[row]);
            for (index_t t = starts[row]; t < starts[row + 1]; t++) done += base + lengths[t];
        }
        borders.push_back(count());
        return borders;
    }
    std::vector<index_t> starts, ids, positions, lengths, places, slots, of, order;
    std::vector<double> manners, noise;

  private:
    void push(const Rows& rows, const Seats& all, index_t row, index_t id) {
        index_t ahead = of.empty() || of.back() != row ? 0 : count() - starts.back();
        index_t place = row * rows.steps + rows.counts[row] + ahead;
        ids.push_back(id);
        of.push_back(row);
        positions.push_back(rows.positions[row] + ahead);
        lengths.push_back(positions.back() + 1 - rows.skips[row]);
        places.push_back(rows.places[place]);
        if (all.slots) slots.push_back(all.slots[row]);
        manners.insert(manners.end(), rows.manners + row * MANNER, rows.manners + (row + 1) * MANNER);
        noise.push_back(rows.noise[place]);
    }
};

void bf16_logits(const bf16* hidden, const Product& head, float* out, index_t rows, Crew crew) {
    denken_bf16_to_fp32(hidden, head.inputs, rows, head.inputs, head.at, head.count, out, head.outputs,
                        crew(rows * head.inputs * head.outputs / 16));
}

void bf16_logits(const float*, const Product&, float*, index_t, Crew) {}  // bf16 heads are bf16 networks'

template <typename T>
void logits_of(const T* hidden, const Product& head, float* wide, float* out, index_t rows, Crew crew) {
    if (head.kind == BF16) return bf16_logits(hidden, head, out, rows, crew);
    convert(hidden, wide, rows * head.inputs);
    multiply(wide, head, out, rows, crew);
}

// What was drawn behind each token.
struct Drawn {
    std::vector<index_t> ids, kept;
    std::vector<double> logprobs;
};

void note(Rows& rows, index_t row, const Drawn& drawn, index_t token) {
    index_t at = row * rows.steps + rows.counts[row]++;
    rows.said[at] = rows.ids[row] = drawn.ids[token];
    rows.logprobs[at] = drawn.logprobs[token], rows.kept[at] = drawn.kept[token];
    rows.positions[row]++;
}

// Whether a row's part in the call is over with this id, its last one.
bool ends(Rows& rows, index_t row, index_t id) {
    index_t stop = rows.stops[id];
    if (stop == OPENS && rows.behind[row]) {
        rows.limits[row] = rows.behind[row], rows.behind[row] = 0;
        stop = GOES_ON;
    }
    return stop || rows.counts[row] >= std::min(rows.limits[row], rows.steps);
}

// Takes what was drawn for a row: behind its last id, and behind each of its guess as far as that is right. Returns
// whether it goes on.
bool take(Rows& rows, index_t row, const Drawn& drawn, index_t first, index_t end, Guesser* guesser) {
    const index_t* ids = drawn.ids.data() + first;
    index_t guessed = end - first - 1, said = 0, right = 0;
    bool stops = false, as_guessed = true;
    while (as_guessed && !stops) {
        note(rows, row, drawn, first + said);
        stops = ends(rows, row, ids[said]);
        as_guessed = said < guessed && guesser->ids[said] == ids[said];
        right += as_guessed;
        said++;
    }
    if (guesser) guesser->learn(ids, said, right, ids + right + 1, guessed - right);
    return !stops;
}

template <typename T>
class Pass {
  public:
    Pass(const Network& network, const Layer* layers, const Seats& seats, const Ends<T>& ends, index_t most, Crew crew)
        : network(network), layers(layers), seats(seats), ends(ends), crew(crew) {
        index_t hidden = network.hidden, half = network.turning / 2;
        x.resize(most * hidden + 2 * LANES), last.resize(x.size()), wide.resize(x.size());
        cosine.resize(most * half + LANES), sine.resize(cosine.size());
        logits.reset(new float[most * ends.vocabulary + LANES]);
        drawn.ids.resize(most), drawn.kept.resize(most), drawn.logprobs.resize(most);
        index_t numbers = 0;
        // every: of so many one is looked at for a token, all of them for many.
        auto add = [&](const Product& product, index_t every = 1) {
            index_t size = product.kind == INTEGERS ? 1 : product.kind == PACKED ? 4 : 2;
            numbers += product.inputs * product.outputs / every;
            weights += product.inputs * product.outputs * size;
        };
        for (index_t i = 0; i < network.layers; i++) {
            const Layer& layer = layers[i];
            for (const Product* product : {&layer.qkv, &layer.out, &layer.gate_up, &layer.down}) add(*product);
            if (const Latent* own = layer.latent)
                for (const Product* product : {&own->query_down, &own->query, &own->key}) add(*product);
            if (const Mixture* own = layer.mixture) {
                for (const Product* product : {&own->shared_gate_up, &own->shared_down}) add(*product);
                for (index_t e = 0; e < 2 * own->router.experts; e++)
                    add(own->experts[e], own->router.experts / own->router.chosen);
            }
        }
        add(ends.head);
        // A key costs two products of a head's columns in each layer, and weights are multiplied four at a time.
        base = numbers / (8 * network.layers * network.heads * network.head_size);
    }
    const Drawn& operator()(const Tokens& tokens) {
        // Many rows of a small network go their ways, each thread with its own, and wait for nobody before the end. Of a
        // large one the weights are read once for all, and of few rows they cost more than waiting does. A row and its
        // guess stay together.
        bool some = tokens.count() >= ALONE * crew.most && index_t(tokens.starts.size()) > crew.most;
        bool apart = crew.most > 1 && weights <= NEAR && some;
        std::vector<index_t> borders = tokens.parts(apart ? crew.most : 1, base);
        index_t parts = index_t(borders.size()) - 1;
        share_out(apart ? crew.most : 1, parts, [&](index_t mine, index_t all) {
            for (index_t i = mine; i < parts; i += all)
                run(tokens, borders[i], borders[i + 1] - borders[i], apart ? Crew{1} : crew);
        });
        return drawn;
    }

  private:
    static constexpr index_t NEAR = 16 << 20;  // bytes that processors keep at hand
    static constexpr index_t ALONE = 2;        // tokens of a thread's own that are worth reading all weights for

    void run(const Tokens& tokens, index_t from, index_t count, Crew own) {
        index_t hidden = network.hidden, half = network.turning / 2, vocabulary = ends.vocabulary;
        T *own_x = x.data() + from * hidden, *own_last = last.data() + from * hidden;
        float *own_cosine = cosine.data() + from * half, *own_sine = sine.data() + from * half;
        for (index_t i = 0; i < count; i++) {
            std::copy_n(ends.embedding + tokens.ids[from + i] * hidden, hidden, own_x + i * hidden);
            std::copy_n(ends.cosine + tokens.positions[from + i] * half, half, own_cosine + i * half);
            std::copy_n(ends.sine + tokens.positions[from + i] * half, half, own_sine + i * half);
        }
        std::vector<index_t> order;
        decode(network, layers, tokens.seats(seats, from, count, order), own_x, own_cosine, own_sine, own_last, own);
        float* own_logits = logits.get() + from * vocabulary;
        logits_of(own_last, ends.head, wide.data() + from * hidden, own_logits, count, own);
        denken_draw(own_logits, vocabulary, tokens.manners.data() + from * MANNER, tokens.noise.data() + from,
                    drawn.ids.data() + from, drawn.logprobs.data() + from, drawn.kept.data() + from, count, vocabulary,
                    own(count * vocabulary));
    }

    const Network& network;
    const Layer* layers;
    const Seats& seats;
    const Ends<T>& ends;
    Crew crew;
    index_t weights = 0, base = 0;
    std::vector<T> x, last;
    std::vector<float> cosine, sine, wide;
    std::unique_ptr<float[]> logits;
    Drawn drawn;
};

// No pass begins after `seconds`, nor once a row has no room left.
template <typename T>
void ahead(const Network& network, const Layer* layers, const Seats& seats, const Ends<T>& ends, Rows& rows,
           Guessing* guessing, Crew crew) {
    double began = omp_get_wtime(), before = began;
    std::vector<index_t> going(rows.count);
    std::iota(going.begin(), going.end(), 0);
    std::vector<Guesser> guessers;
    for (index_t row = 0; guessing && row < rows.count; row++) guessers.emplace_back(*guessing, row);
    Pass<T> pass(network, layers, seats, ends, rows.count * (guessing ? 1 + guessing->longest : 1), crew);
    bool room = true;
    while (!going.empty() && room && (rows.passes == 0 || before - began <= rows.seconds)) {
        for (index_t row : guessing ? going : std::vector<index_t>())
            guessers[row].guess(std::min(rows.limits[row], rows.steps) - rows.counts[row] - 1);
        Tokens tokens(rows, seats, going, guessers);
        const Drawn& drawn = pass(tokens);
        std::vector<index_t> left;
        for (size_t i = 0; i < going.size(); i++) {
            Guesser* guesser = guessing ? &guessers[going[i]] : nullptr;
            if (take(rows, going[i], drawn, tokens.starts[i], tokens.starts[i + 1], guesser)) left.push_back(going[i]);
            room = room && rows.counts[going[i]] < rows.steps;
        }
        going = left;
        double now = omp_get_wtime();
        rows.tokens[rows.passes] = tokens.count(), rows.took[rows.passes++] = now - before;
        before = now;
    }
    for (const Guesser& guesser : guessers) guesser.leave();
    // For the next call: now the others are awake.
    if (crew.most > 1) grain.store(answer_of_team(crew.most) < NEAR ? NEAR_GRAIN : FAR_GRAIN, std::memory_order_relaxed);
}

}  // namespace

// x (rows, hidden) is overwritten; cosine and sine (rows, head_size / 2); out (rows, hidden).
#define DECODE(T, NAME)                                                                                               \
    EXPORT void denken_decode_##NAME(const void* network, const void* layers, const void* seats, T* x,                \
                                     const float* cosine, const float* sine, T* out, index_t threads) {               \
        with_team(threads, [&] {                                                                                      \
            decode(*static_cast<const Network*>(network), static_cast<const Layer*>(layers),                          \
                   *static_cast<const Seats*>(seats), x, cosine, sine, out, Crew{threads});                           \
        });                                                                                                           \
    }
DECODE(float, fp32)
DECODE(bf16, bf16)

// seats: of all rows, one token a row; its lengths, places and seats are not looked at.
#define AHEAD(T, NAME)                                                                                                \
    EXPORT void denken_ahead_##NAME(const void* network, const void* layers, const void* seats, const void* ends,     \
                                    void* rows, void* guessing, index_t threads) {                                    \
        with_team(threads, [&] {                                                                                      \
            ahead(*static_cast<const Network*>(network), static_cast<const Layer*>(layers),                           \
                  *static_cast<const Seats*>(seats), *static_cast<const Ends<T>*>(ends), *static_cast<Rows*>(rows),   \
                  static_cast<Guessing*>(guessing), Crew{threads});                                                   \
        });                                                                                                           \
    }
AHEAD(float, fp32)
AHEAD(bf16, bf16)

// The ids [from, until) of a text, of which those from `prompt` on were said; of others, the first of `texts` alone is
// told.
EXPORT void denken_learn(void* guesses, const index_t* texts, index_t sources, const index_t* ids, index_t from,
                         index_t until, index_t prompt) {
    for (index_t i = from; i < until; i++) {
        Guesses::Tail tail{ids + i, std::min(i, Guesses::TAIL)};
        static_cast<Guesses*>(guesses)->learn(texts, i < prompt ? 1 : sources, tail, ids[i], i >= prompt);
    }
}
