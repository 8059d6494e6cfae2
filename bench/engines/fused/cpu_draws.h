// Draws in vectors on a CPU: the numbers of philox.h and box_muller.h for several samples at a time. Words are multiplied where they
// have 64 bits each, those of even samples apart from those of odd ones: so nothing is shuffled within a round.
#pragma once
#if defined(__AVX2__)
#include <immintrin.h>
#endif
#include "box_muller.h"
#include "philox.h"

namespace fused {

// Vectors of BYTES: of words, of words with 64 bits each, whose lower half counts, and of double.
template <int BYTES> struct Lanes;
#define FUSED_VECTORS(BYTES)                                                                    \
  typedef Word Words __attribute__((vector_size(BYTES), aligned(sizeof(Word)), may_alias));   \
  typedef unsigned long long Wide __attribute__((vector_size(BYTES)));                        \
  typedef long long Whole __attribute__((vector_size(BYTES)));                                \
  typedef double Double __attribute__((vector_size(BYTES)));

template <> struct Lanes<8> {
  FUSED_VECTORS(8)
  static FUSED_FN Wide product(Wide a, Wide b) { return (a & 0xFFFFFFFFull) * (b & 0xFFFFFFFFull); }
  static FUSED_FN Double root_of(Double x) { return Double{root(x[0])}; }
};
template <> struct Lanes<16> {
  FUSED_VECTORS(16)
#if defined(__AVX2__)
  static FUSED_FN Wide product(Wide a, Wide b) { return (Wide)_mm_mul_epu32((__m128i)a, (__m128i)b); }
#else
  static FUSED_FN Wide product(Wide a, Wide b) { return (a & 0xFFFFFFFFull) * (b & 0xFFFFFFFFull); }
#endif
  static FUSED_FN Double root_of(Double x) { return Double{root(x[0]), root(x[1])}; }
};
#if defined(__AVX2__)
template <> struct Lanes<32> {
  FUSED_VECTORS(32)
  static FUSED_FN Wide product(Wide a, Wide b) { return (Wide)_mm256_mul_epu32((__m256i)a, (__m256i)b); }
  static FUSED_FN Double root_of(Double x) { return (Double)_mm256_sqrt_pd((__m256d)x); }
};
#endif
#if defined(__AVX512F__)
template <> struct Lanes<64> {
  FUSED_VECTORS(64)
  static FUSED_FN Wide product(Wide a, Wide b) { return (Wide)_mm512_mul_epu32((__m512i)a, (__m512i)b); }
  static FUSED_FN Double root_of(Double x) { return (Double)_mm512_sqrt_pd((__m512d)x); }
};
#endif

// Draws for as many samples as a vector of BYTES has words.
template <int BYTES> struct CpuDraws : Lanes<BYTES> {
  typedef Lanes<BYTES> L;
  typedef typename L::Words Words;
  typedef typename L::Wide Wide;
  typedef typename L::Double Double;
  struct Drawn {
    Words w[4];
  };
  struct Counters {
    Wide c[4];
  };

  static FUSED_FN void round(Counters& at, Word k0, Word k1) {
    const Wide first = L::product(at.c[0], Wide{} + 0xD2511F53u), third = L::product(at.c[2], Wide{} + 0xCD9E8D57u);
    at.c[0] = third >> 32 ^ at.c[1] ^ k0;
    at.c[2] = first >> 32 ^ at.c[3] ^ k1;
    at.c[1] = third;
    at.c[3] = first;
  }

  static FUSED_FN Drawn draw(Word step, Word layer, Word call, const int* samples, const Word* key) {
    const Wide both = (Wide)*(const Words*)samples, none = {};
    Counters even = {{none + step, none + layer, none + call, both}}, odd = {{none + step, none + layer, none + call, both >> 32}};
    Word k0 = key[0], k1 = key[1];
    FUSED_UNROLL for (int i = 0; i < 10; i++) {
      round(even, k0, k1);
      round(odd, k0, k1);
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    Drawn drawn;
    FUSED_UNROLL for (int k = 0; k < 4; k++) drawn.w[k] = (Words)((even.c[k] & 0xFFFFFFFFull) | odd.c[k] << 32);
    return drawn;
  }

  // In (0, 1), from the upper 23 bits of the lower halves.
  static FUSED_FN Double uniform_of(Wide words) {
    const Double whole = (Double)(((words & 0xFFFFFFFFull) >> 9) | 0x4330000000000000ull) - 4503599627370496.0;
    return (whole + 0.5) * (1.0 / (1 << 23));
  }

  // Pairs of normal numbers, from the words for their radius and their turn.
  struct Pairs {
    Double cosine, sine;
  };
  static FUSED_FN Pairs normals(Wide radius, Wide turn) {
    const Double length = L::root_of(-2 * log_<Double, typename L::Whole>(uniform_of(radius)));
    const auto turned = turn_by<Double, typename L::Whole>(uniform_of(turn));
    return {length * turned.cosine, length * turned.sine};
  }
};

}  // namespace fused
