// Sixteen numbers at a time, on whatever the processor has, and the two types that networks come in.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512BW__) && defined(__AVX512VL__)
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))
#define EXPORT extern "C" __attribute__((visibility("default")))

using index_t = int64_t;
typedef float v16 __attribute__((vector_size(64)));
typedef float v8 __attribute__((vector_size(32)));
typedef float v4 __attribute__((vector_size(16)));
typedef int32_t int16v __attribute__((vector_size(64)));
typedef uint32_t bits16 __attribute__((vector_size(64)));
typedef uint16_t halves16 __attribute__((vector_size(32)));

constexpr int LANES = 16;

struct bf16 {
    uint16_t bits;
};

INLINE v16 splat(float x) { return x - v16{}; }

INLINE v16 load(const float* from) {
    v16 x;
    memcpy(&x, from, sizeof x);
    return x;
}

INLINE v16 widened(halves16 half) {
#if defined(__AVX512BF16__)
    return (v16)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)half), 16);
#else
    return (v16)(__builtin_convertvector(half, bits16) << 16);
#endif
}

INLINE v16 load(const bf16* from) {
    halves16 half;
    memcpy(&half, from, sizeof half);
    return widened(half);
}

INLINE void store(float* to, v16 x) { memcpy(to, &x, sizeof x); }

// Stays in a register: what is multiplied several times, compilers would rather fetch each time, and loads are dear.
INLINE void hold(v16& x) {
#if defined(__AVX512F__)
    asm("" : "+v"(x));
#else
    (void)x;
#endif
}

// To the nearest, ties to even, as PyTorch rounds.
INLINE halves16 rounded_bits(v16 x) {
#if defined(__AVX512BF16__)
    return (halves16)_mm512_cvtneps_pbh((__m512)x);
#else
    bits16 bits = (bits16)x;
    bits16 kept = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    bits16 silent = (bits16)(x != x);
    return __builtin_convertvector((kept & ~silent) | (0x7fc0 & silent), halves16);
#endif
}

INLINE void store(bf16* to, v16 x) {
    halves16 half = rounded_bits(x);
    memcpy(to, &half, sizeof half);
}

INLINE v16 rounded(v16 x, const float*) { return x; }
INLINE v16 rounded(v16 x, const bf16*) { return widened(rounded_bits(x)); }

// The first `count` of sixteen; the others are 0, and their memory is not looked at.
template <typename T>
INLINE v16 load_some(const T* from, index_t count) {
    T some[LANES] = {};
    memcpy(some, from, count * sizeof(T));
    return load(some);
}

template <typename T>
INLINE void store_some(T* to, v16 x, index_t count) {
    T some[LANES];
    store(some, x);
    memcpy(to, some, count * sizeof(T));
}

#if defined(__AVX512BW__) && defined(__AVX512VL__)
INLINE __mmask16 first(index_t count) { return __mmask16((1u << count) - 1); }
INLINE v16 load_some(const float* from, index_t count) { return (v16)_mm512_maskz_loadu_ps(first(count), from); }
INLINE v16 load_some(const bf16* from, index_t count) {
    return widened((halves16)_mm256_maskz_loadu_epi16(first(count), from));
}
INLINE void store_some(float* to, v16 x, index_t count) { _mm512_mask_storeu_ps(to, first(count), (__m512)x); }
INLINE void store_some(bf16* to, v16 x, index_t count) {
    _mm256_mask_storeu_epi16(to, first(count), (__m256i)rounded_bits(x));
}
#endif

template <typename T>
INLINE v16 load_up_to(const T* from, index_t count) {
    return count >= LANES ? load(from) : load_some(from, count);
}

template <typename T>
INLINE void store_up_to(T* to, v16 x, index_t count) {
    if (count >= LANES)
        store(to, x);
    else
        store_some(to, x, count);
}

// Sixteen numbers, and the fewer at a row's end: what `over` hands out, for `load` and `store` to take.
struct All {};
struct Some {
    index_t count;
};

template <typename T>
INLINE v16 load(const T* from, All) {
    return load(from);
}
template <typename T>
INLINE v16 load(const T* from, Some some) {
    return load_some(from, some.count);
}
template <typename T>
INLINE void store(T* to, v16 x, All) {
    store(to, x);
}
template <typename T>
INLINE void store(T* to, v16 x, Some some) {
    store_some(to, x, some.count);
}

template <typename Body>
INLINE void over(index_t size, Body body) {
    index_t i = 0;
    for (; i + LANES <= size; i += LANES) body(i, All{});
    if (i < size) body(i, Some{size - i});
}

// The same numbers in another type, or copied.
template <typename From, typename To>
INLINE void convert(const From* from, To* to, index_t size) {
    over(size, [&](index_t i, auto part) { store(to + i, load(from + i, part), part); });
}

// Half of them with the other half, again and again.
template <typename Both>
INLINE float folded(v16 x, Both both) {
    v8 eights[2];
    v4 fours[2];
    memcpy(eights, &x, sizeof x);
    v8 eight = both(eights[0], eights[1]);
    memcpy(fours, &eight, sizeof eight);
    v4 four = both(fours[0], fours[1]);
    v4 two = both(four, v4{four[2], four[3], four[2], four[3]});
    return both(two, v4{two[1], two[1], two[1], two[1]})[0];
}

INLINE float sum_of(v16 x) {
    return folded(x, [](auto a, auto b) { return a + b; });
}

INLINE float most_of(v16 x) {
    return folded(x, [](auto a, auto b) { return a > b ? a : b; });
}

INLINE v16 most(v16 a, v16 b) { return a > b ? a : b; }

// e^x to about one unit in the last place (Cephes' polynomial); 0 below -87.3, about 2e38 above 88.
INLINE v16 exponential(v16 x) {
    int16v none = x < splat(-87.3f);
    x = x > splat(88.0f) ? splat(88.0f) : x;
    x = none ? splat(0.0f) : x;
    v16 shifted = x * splat(1.44269504f) + splat(12582912.0f);
    v16 whole = shifted - splat(12582912.0f);
    v16 rest = x - whole * splat(0.693359375f) + whole * splat(2.12194440e-4f);
    v16 poly = splat(1.9875691500e-4f);
    poly = poly * rest + splat(1.3981999507e-3f);
    poly = poly * rest + splat(8.3334519073e-3f);
    poly = poly * rest + splat(4.1665795894e-2f);
    poly = poly * rest + splat(1.6666665459e-1f);
    poly = poly * rest + splat(5.0000001201e-1f);
    poly = poly * rest * rest + rest + splat(1.0f);
    v16 power = (v16)((__builtin_convertvector(whole, int16v) + 127) << 23);
    v16 result = poly * power;
    return none ? splat(0.0f) : result;
}
