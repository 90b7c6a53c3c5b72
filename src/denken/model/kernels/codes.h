// Numbers in whole ones from -127 to 127, to be multiplied with a scale that some of them share.
#pragma once

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "vector.h"

struct code {
    int8_t bits;
};

// To the nearest, ties to even.
INLINE void store(code* to, v16 x) {
#if defined(__AVX512F__)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32((__m512)x)));
#else
    float shifted[LANES];
    uint32_t bits[LANES];
    store(shifted, x + splat(12582912.0f));
    memcpy(bits, shifted, sizeof bits);
    for (int i = 0; i < LANES; i++) to[i].bits = static_cast<int8_t>(bits[i]);
#endif
}

// How far numbers reach to either side. none: 0, or no number if one of them is none.
struct Reach {
    float top, none;
};

template <typename T>
Reach reach_of(const T* from, index_t size) {
    v16 highest = {}, none = {};
    over(size, [&](index_t d, auto part) {
        v16 x = load(from + d, part);
        highest = most(highest, most(x, -x)), none += x - x;
    });
    return {most_of(highest), sum_of(none)};
}

// To codes, and their scale: the largest of them is 127. One that is no number makes the scale none.
template <typename T>
float encode(const T* from, index_t size, code* to) {
    auto [top, none] = reach_of(from, size);
    float by = top > 0 ? 127 / top : 0;
    over(size, [&](index_t d, auto part) { store(to + d, load(from + d, part) * by, part); });
    return top / 127 + none;
}
