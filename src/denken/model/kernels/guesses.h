// Guesses of how a text goes on, out of the tables of `denken.engine.speculate.Guesses`, which explains them: looked up,
// and learnt, as it does, to the bit.
#pragma once

#include <algorithm>
#include <vector>

#include "vector.h"

// Which id followed which contexts, how often and how often another; and by kind, how often such guesses were right. What
// the network is known to say stands behind what texts have said, and is not changed.
class Guesses {
  public:
    static constexpr index_t ORDERS[] = {6, 4, 3, 2}, COUNT = 4, OFTEN = 7, KINDS = (3 * COUNT << 6) + 2;
    static constexpr index_t FIRST = KINDS - 2, LATER = KINDS - 1;
    // The number of a text that stands for what is known.
    static constexpr index_t KNOWN = INT64_MIN;
    using Ids = std::vector<index_t>;
    struct Guess {
        index_t id;
        double chance;
    };

    Guess guess(const index_t* texts, index_t sources, const Ids& tail) const {
        Guess best{0, 0};
        Contexts contexts(tail);
        for (index_t source = 0; source < sources; source++)
            for (index_t order = 0; order < COUNT; order++) {
                int64_t mixed = contexts.at[order] ^ salt(texts[source]), slot = slot_of(texts[source], mixed);
                if (tags[slot] != mixed) continue;
                double likely = chance(kind(texts, source, order, slot));
                if (likely > best.chance) best = {ids[slot], likely};
                break;
            }
        return best;
    }

    // counted: whether guesses at this place are to be counted as right or wrong.
    void learn(const index_t* texts, index_t sources, const Ids& tail, index_t id, bool counted = true) {
        Contexts contexts(tail);
        for (index_t source = 0; source < sources; source++) {
            bool asked = !counted, known = texts[source] == KNOWN;
            for (index_t order = 0; order < COUNT && !(asked && known); order++) {
                int64_t mixed = contexts.at[order] ^ salt(texts[source]), slot = slot_of(texts[source], mixed);
                if (tags[slot] != mixed) {
                    if (!known) replace(slot, mixed, id);
                    continue;
                }
                if (!asked) count(kind(texts, source, order, slot), ids[slot] == id);
                asked = true;
                if (!known) note(slot, id);
            }
        }
    }

    double chance(index_t kind) const { return right[kind] / seen[kind]; }

    void count(index_t kind, bool was_right) {
        right[kind] += was_right;
        seen[kind] += 1;
        if (seen[kind] > 256) right[kind] /= 2, seen[kind] /= 2;
    }

  private:
    // Of the slots for texts, and of those for what is known; -1 where nothing is.
    index_t mask, known_mask;
    int64_t* tags;
    int32_t* ids;
    uint8_t *hits, *misses;
    double *right, *seen;

    struct Contexts {
        int64_t at[COUNT];
        explicit Contexts(const Ids& tail) {
            for (index_t order = 0; order < COUNT; order++) {
                index_t length = std::min(ORDERS[order], index_t(tail.size()));
                at[order] = hash(tail.data() + tail.size() - length, length);
            }
        }
    };

    // Of a tuple of ids, as Python has it.
    static int64_t hash(const index_t* from, index_t length) {
        constexpr uint64_t ONE = 11400714785074694791u, TWO = 14029467366897019727u, FIVE = 2870177450012600261u;
        uint64_t sum = FIVE;
        for (index_t i = 0; i < length; i++) {
            sum += uint64_t(from[i]) * TWO;
            sum = (sum << 31 | sum >> 33) * ONE;
        }
        sum += uint64_t(length) ^ (FIVE ^ 3527539u);
        return sum == ~uint64_t(0) ? 1546275796 : int64_t(sum);
    }

    static int64_t salt(index_t text) { return int64_t(uint64_t(text) * 0x9E3779B97F4A7C15u & 0x7FFFFFFFFFFFFFFFu); }

    index_t slot_of(index_t text, int64_t mixed) const {
        return text == KNOWN ? mask + 1 + (mixed & known_mask) : mixed & mask;
    }

    index_t kind(const index_t* texts, index_t source, index_t order, index_t slot) const {
        if (texts[source] == KNOWN) source = 2;
        return (source * COUNT + order) << 6 | index_t(hits[slot]) << 3 | index_t(misses[slot]);
    }

    void replace(index_t slot, int64_t mixed, index_t id) {
        if (hits[slot] > 1)
            hits[slot]--;
        else
            tags[slot] = mixed, ids[slot] = int32_t(id), hits[slot] = 1, misses[slot] = 0;
    }

    void note(index_t slot, index_t id) {
        index_t often = hits[slot], rarely = misses[slot];
        if (ids[slot] == id) {
            if (often == OFTEN) often /= 2, misses[slot] = uint8_t(rarely / 2);
            hits[slot] = uint8_t(often + 1);
        } else if (rarely < often) {
            misses[slot] = uint8_t(rarely + 1);
        } else {
            ids[slot] = int32_t(id), hits[slot] = 1, misses[slot] = uint8_t(often);
        }
    }
};
