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
    static constexpr index_t ORDERS[] = {6, 4, 3, 2}, COUNT = 4, SHAPES[] = {32, 24, 16, 12, 8, 4}, SHAPE_COUNT = 6;
    static constexpr index_t OFTEN = 7, SOURCES = 3, KINDS = ((SOURCES * COUNT + SHAPE_COUNT) << 6) + 2;
    static constexpr index_t FIRST = KINDS - 2, LATER = KINDS - 1;
    // How many of the last ids are looked back at.
    static constexpr index_t TAIL = 64;
    // The numbers of texts that stand for what is known: behind ids, and behind shapes.
    static constexpr index_t KNOWN = INT64_MIN, KNOWN_SHAPES = INT64_MIN + 1;
    // A text's last ids.
    struct Tail {
        const index_t* end;
        index_t length;
    };
    struct Guess {
        index_t id;
        double chance;
    };

    Guess guess(const index_t* texts, index_t sources, Tail tail) const {
        Guess best{0, 0};
        for (index_t source = 0; source < sources; source++) {
            Contexts contexts(*this, texts[source], tail);
            for (index_t order = 0; order < contexts.count; order++) {
                int64_t context = contexts.at[order], slot = slot_of(texts[source], context);
                if (tags[slot] != context) continue;
                index_t id = said(slot, tail);
                double likely = chance(kind(texts, source, order, slot));
                if (id >= 0 && likely > best.chance) best = {id, likely};
                break;
            }
        }
        return best;
    }

    // counted: whether guesses at this place are to be counted as right or wrong.
    void learn(const index_t* texts, index_t sources, Tail tail, index_t id, bool counted = true) {
        for (index_t source = 0; source < sources; source++) {
            bool asked = !counted, known = is_known(texts[source]);
            if (asked && known) continue;
            Contexts contexts(*this, texts[source], tail);
            for (index_t order = 0; order < contexts.count && !(asked && known); order++) {
                int64_t context = contexts.at[order], slot = slot_of(texts[source], context);
                if (tags[slot] != context) {
                    if (!known) replace(slot, context, id);
                    continue;
                }
                if (!asked) count(kind(texts, source, order, slot), said(slot, tail) == id);
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
    const int64_t* classes;

    // A number for each of the contexts that a text ends with, the longest first, told apart from others'.
    struct Contexts {
        int64_t at[SHAPE_COUNT];
        index_t count;
        Contexts(const Guesses& guesses, index_t text, Tail tail) {
            bool shapes = text == KNOWN_SHAPES;
            const index_t *orders = shapes ? SHAPES : ORDERS, *end = tail.end;
            count = shapes ? SHAPE_COUNT : COUNT;
            index_t seen[SHAPES[0]], most = std::min(orders[0], tail.length);
            if (shapes) {
                for (index_t i = 0; i < most; i++) seen[i] = guesses.classes[tail.end[i - most]];
                end = seen + most;
            }
            for (index_t order = 0; order < count; order++) {
                index_t length = std::min(orders[order], tail.length);
                at[order] = hash(end - length, length) ^ salt(text);
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

    static bool is_known(index_t text) { return text <= KNOWN_SHAPES; }

    // The id that followed; -1 where it stood before the tail.
    index_t said(index_t slot, Tail tail) const {
        index_t id = ids[slot];
        return id >= 0 ? id : -id <= tail.length ? tail.end[id] : -1;
    }

    index_t slot_of(index_t text, int64_t context) const {
        return is_known(text) ? mask + 1 + (context & known_mask) : context & mask;
    }

    index_t kind(const index_t* texts, index_t source, index_t order, index_t slot) const {
        if (is_known(texts[source])) source = texts[source] == KNOWN_SHAPES ? SOURCES : SOURCES - 1;
        return (source * COUNT + order) << 6 | index_t(hits[slot]) << 3 | index_t(misses[slot]);
    }

    void replace(index_t slot, int64_t context, index_t id) {
        if (hits[slot] > 1)
            hits[slot]--;
        else
            tags[slot] = context, ids[slot] = int32_t(id), hits[slot] = 1, misses[slot] = 0;
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
