// Products of bytes, four at a time, by what instructions the processor has for them.
//
// Sixteen sums in 32 bits, and `dot8` and `dot4`: += four products each, of stored bytes and four codes of a row from
// -127 to 127. Bytes are stored without a sign, for one operand of these instructions has none. What codes of 8 bits,
// stored with OFFSET8 added, thereby add to a sum is BEGIN8 times the row's codes, and is taken off by whoever begins it.
// `weighed`: += four products of a row's weights from 0 to 127 and bytes that are stored as they are, -128 among them.
#pragma once

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "vector.h"

constexpr int OFFSET8 = 128;         // what is stored of a code in 8 bits is code + OFFSET8
constexpr index_t STEP = 4 * LANES;  // bytes that are multiplied at a time

#if defined(__AVX512VNNI__)
constexpr const char* PATH = "AVX-512 VNNI";
constexpr int BEGIN8 = OFFSET8;
typedef __m512i Bytes;
typedef __m512i Sums;
typedef __m512i Four;
INLINE Four four(int32_t row) { return _mm512_set1_epi32(row); }
INLINE Sums sums_of(int32_t x) { return _mm512_set1_epi32(x); }
INLINE Bytes bytes_at(const uint8_t* at) { return _mm512_loadu_si512(at); }
INLINE Bytes low(Bytes x) { return _mm512_and_si512(x, _mm512_set1_epi8(15)); }
INLINE Bytes high(Bytes x) { return low(_mm512_srli_epi16(x, 4)); }
// Not the intrinsic: around that GCC copies the sums twice.
INLINE Sums dot8(Sums sums, Bytes stored, Four row) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(stored), "v"(row));
    return sums;
}
INLINE Sums dot4(Sums sums, Bytes stored, Four row) { return dot8(sums, stored, row); }
INLINE Sums weighed(Sums sums, Four weights, Bytes codes) { return dot8(sums, weights, codes); }
INLINE Sums add(Sums a, Sums b) { return _mm512_add_epi32(a, b); }
INLINE v16 wide(Sums sums) { return (v16)_mm512_cvtepi32_ps(sums); }
#elif defined(__AVX2__)
struct Bytes {
    __m256i at[2];
};
typedef Bytes Sums;
typedef __m256i Four;
INLINE Four four(int32_t row) { return _mm256_set1_epi32(row); }
INLINE Sums sums_of(int32_t x) { return {{_mm256_set1_epi32(x), _mm256_set1_epi32(x)}}; }
INLINE Bytes bytes_at(const uint8_t* at) {
    return {{_mm256_loadu_si256((const __m256i*)at), _mm256_loadu_si256((const __m256i*)(at + 32))}};
}
INLINE Bytes low(Bytes x) {
    __m256i mask = _mm256_set1_epi8(15);
    return {{_mm256_and_si256(x.at[0], mask), _mm256_and_si256(x.at[1], mask)}};
}
INLINE Bytes high(Bytes x) { return low({{_mm256_srli_epi16(x.at[0], 4), _mm256_srli_epi16(x.at[1], 4)}}); }
INLINE Sums add(Sums a, Sums b) {
    return {{_mm256_add_epi32(a.at[0], b.at[0]), _mm256_add_epi32(a.at[1], b.at[1])}};
}
INLINE v16 wide(Sums sums) {
    __m256 halves[2] = {_mm256_cvtepi32_ps(sums.at[0]), _mm256_cvtepi32_ps(sums.at[1])};
    v16 x;
    memcpy(&x, halves, sizeof x);
    return x;
}
#if defined(__AVXVNNI__)
constexpr const char* PATH = "AVX-VNNI";
constexpr int BEGIN8 = OFFSET8;
INLINE __m256i dot(__m256i sums, __m256i stored, __m256i row) { return _mm256_dpbusd_avx_epi32(sums, stored, row); }
INLINE __m256i signed_dot(__m256i sums, __m256i stored, __m256i row) { return dot(sums, stored, row); }
#else
constexpr const char* PATH = "AVX2";
constexpr int BEGIN8 = 0;
// Two products are added in 16 bits: at most 15 * 127 * 2.
INLINE __m256i dot(__m256i sums, __m256i stored, __m256i row) {
    return _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_maddubs_epi16(stored, row), _mm256_set1_epi16(1)));
}
// With the sign moved to the row's code, which is never -128, at most 128 * 127 * 2.
INLINE __m256i signed_dot(__m256i sums, __m256i stored, __m256i row) {
    __m256i code = _mm256_xor_si256(stored, _mm256_set1_epi8(-128));
    return dot(sums, _mm256_abs_epi8(code), _mm256_sign_epi8(row, code));
}
#endif
INLINE Sums dot8(Sums sums, Bytes stored, Four row) {
    return {{signed_dot(sums.at[0], stored.at[0], row), signed_dot(sums.at[1], stored.at[1], row)}};
}
INLINE Sums dot4(Sums sums, Bytes stored, Four row) {
    return {{dot(sums.at[0], stored.at[0], row), dot(sums.at[1], stored.at[1], row)}};
}
INLINE Sums weighed(Sums sums, Four weights, Bytes codes) {
    return {{dot(sums.at[0], weights, codes.at[0]), dot(sums.at[1], weights, codes.at[1])}};
}
#elif defined(__aarch64__)
// Both operands have signs here: a stored byte is turned into its code, and nothing has to be taken off.
constexpr int BEGIN8 = 0;
struct Bytes {
    uint8x16_t at[4];
};
struct Sums {
    int32x4_t at[4];
};
typedef int8x16_t Four;
INLINE Four four(int32_t row) { return vreinterpretq_s8_s32(vdupq_n_s32(row)); }
INLINE Sums sums_of(int32_t x) { return {{vdupq_n_s32(x), vdupq_n_s32(x), vdupq_n_s32(x), vdupq_n_s32(x)}}; }
INLINE Bytes bytes_at(const uint8_t* at) {
    return {{vld1q_u8(at), vld1q_u8(at + 16), vld1q_u8(at + 32), vld1q_u8(at + 48)}};
}
INLINE Bytes low(Bytes x) {
    for (uint8x16_t& part : x.at) part = vandq_u8(part, vdupq_n_u8(15));
    return x;
}
INLINE Bytes high(Bytes x) {
    for (uint8x16_t& part : x.at) part = vshrq_n_u8(part, 4);
    return x;
}
#if defined(__ARM_FEATURE_DOTPROD)
constexpr const char* PATH = "NEON dot product";
INLINE int32x4_t dot(int32x4_t sums, int8x16_t a, int8x16_t b) { return vdotq_s32(sums, a, b); }
#else
constexpr const char* PATH = "NEON";
// Two products are added in 32 bits, for two of 128 * 127 would not fit into 16; then those of a four.
INLINE int32x4_t dot(int32x4_t sums, int8x16_t a, int8x16_t b) {
    int32x4_t first = vpaddlq_s16(vmull_s8(vget_low_s8(a), vget_low_s8(b)));
    return vaddq_s32(sums, vpaddq_s32(first, vpaddlq_s16(vmull_high_s8(a, b))));
}
#endif
INLINE Sums dots(Sums sums, Bytes bytes, uint8_t turned, Four row) {
    for (int i = 0; i < 4; i++)
        sums.at[i] = dot(sums.at[i], vreinterpretq_s8_u8(veorq_u8(bytes.at[i], vdupq_n_u8(turned))), row);
    return sums;
}
INLINE Sums dot8(Sums sums, Bytes stored, Four row) { return dots(sums, stored, 0x80, row); }
INLINE Sums dot4(Sums sums, Bytes stored, Four row) { return dots(sums, stored, 0, row); }
INLINE Sums weighed(Sums sums, Four weights, Bytes codes) { return dots(sums, codes, 0, weights); }
INLINE Sums add(Sums a, Sums b) {
    for (int i = 0; i < 4; i++) a.at[i] = vaddq_s32(a.at[i], b.at[i]);
    return a;
}
INLINE v16 wide(Sums sums) {
    v16 x;
    for (int i = 0; i < 4; i++) {
        float32x4_t part = vcvtq_f32_s32(sums.at[i]);
        memcpy(reinterpret_cast<char*>(&x) + 16 * i, &part, sizeof part);
    }
    return x;
}
#else
constexpr const char* PATH = "plain C++";
constexpr int BEGIN8 = OFFSET8;
typedef int32_t Four;
INLINE Four four(int32_t row) { return row; }
struct Bytes {
    uint8_t at[STEP];
};
struct Sums {
    int32_t at[LANES];
};
INLINE Sums sums_of(int32_t x) {
    Sums sums;
    for (int32_t& sum : sums.at) sum = x;
    return sums;
}
INLINE Bytes bytes_at(const uint8_t* at) {
    Bytes bytes;
    memcpy(bytes.at, at, STEP);
    return bytes;
}
INLINE Bytes low(Bytes x) {
    for (uint8_t& byte : x.at) byte &= 15;
    return x;
}
INLINE Bytes high(Bytes x) {
    for (uint8_t& byte : x.at) byte >>= 4;
    return x;
}
INLINE Sums dot8(Sums sums, Bytes stored, Four row) {
    int8_t codes[4];
    memcpy(codes, &row, 4);
    for (int o = 0; o < LANES; o++)
        for (int i = 0; i < 4; i++) sums.at[o] += int32_t(stored.at[4 * o + i]) * codes[i];
    return sums;
}
INLINE Sums dot4(Sums sums, Bytes stored, Four row) { return dot8(sums, stored, row); }
INLINE Sums weighed(Sums sums, Four weights, Bytes codes) {
    uint8_t by[4];
    memcpy(by, &weights, 4);
    for (int o = 0; o < LANES; o++)
        for (int i = 0; i < 4; i++) sums.at[o] += int32_t(by[i]) * static_cast<int8_t>(codes.at[4 * o + i]);
    return sums;
}
INLINE Sums add(Sums a, Sums b) {
    for (int o = 0; o < LANES; o++) a.at[o] += b.at[o];
    return a;
}
INLINE v16 wide(Sums sums) {
    v16 x;
    for (int o = 0; o < LANES; o++) x[o] = float(sums.at[o]);
    return x;
}
#endif
