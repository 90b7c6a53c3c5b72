// Sixteen lines of sixteen numbers of four bytes become columns.
#pragma once

#include "vector.h"

#if defined(__AVX512F__)
#include <immintrin.h>

// The i-th number of each of `a` to the i-th of sixteen lines, `step` numbers of T apart.
template <typename T>
INLINE void turn_lines(__m512i (&a)[LANES], T* to, index_t step) {
    __m512i b[LANES];
    auto line = [&](int i) { return to + i * step; };
#pragma GCC unroll 8
    for (int i = 0; i < LANES; i += 2) {
        b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < LANES; i += 4) {
        a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
        a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
        a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
        a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m512i even = _mm512_shuffle_i32x4(a[i], a[4 + i], 0x88), odd = _mm512_shuffle_i32x4(a[i], a[4 + i], 0xdd);
        __m512i even_8 = _mm512_shuffle_i32x4(a[8 + i], a[12 + i], 0x88);
        __m512i odd_8 = _mm512_shuffle_i32x4(a[8 + i], a[12 + i], 0xdd);
        _mm512_storeu_si512(line(i), _mm512_shuffle_i32x4(even, even_8, 0x88));
        _mm512_storeu_si512(line(4 + i), _mm512_shuffle_i32x4(odd, odd_8, 0x88));
        _mm512_storeu_si512(line(8 + i), _mm512_shuffle_i32x4(even, even_8, 0xdd));
        _mm512_storeu_si512(line(12 + i), _mm512_shuffle_i32x4(odd, odd_8, 0xdd));
    }
}
#endif
