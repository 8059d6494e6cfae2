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
  typedef double Double __attribute__((vector_size(BYTES)));                                  \
  typedef unsigned short Halves __attribute__((vector_size(BYTES)));                          \
  typedef int Int __attribute__((vector_size(BYTES)));                                        \
  typedef float Float __attribute__((vector_size(BYTES)));

template <> struct Lanes<8> {
  FUSED_VECTORS(8)
  static FUSED_FN Words zip(Wide even, Wide odd) { return (Words)((even & 0xFFFFFFFFull) | odd << 32); }
  static FUSED_FN Wide product(Wide a, Wide b) { return (a & 0xFFFFFFFFull) * (b & 0xFFFFFFFFull); }
  static FUSED_FN Double root_of(Double x) { return Double{root(x[0])}; }
  static FUSED_FN Float root_of(Float x) { return Float{root(x[0]), root(x[1])}; }
};
template <> struct Lanes<16> {
  FUSED_VECTORS(16)
  static FUSED_FN Words zip(Wide even, Wide odd) { return (Words)((even & 0xFFFFFFFFull) | odd << 32); }
#if defined(__AVX2__)
  static FUSED_FN Wide product(Wide a, Wide b) { return (Wide)_mm_mul_epu32((__m128i)a, (__m128i)b); }
#else
  static FUSED_FN Wide product(Wide a, Wide b) { return (a & 0xFFFFFFFFull) * (b & 0xFFFFFFFFull); }
#endif
  static FUSED_FN Double root_of(Double x) { return Double{root(x[0]), root(x[1])}; }
  static FUSED_FN Float root_of(Float x) { return Float{root(x[0]), root(x[1]), root(x[2]), root(x[3])}; }
};
#if defined(__AVX2__)
template <> struct Lanes<32> {
  FUSED_VECTORS(32)
  static FUSED_FN Words zip(Wide even, Wide odd) { return (Words)_mm256_blend_epi32((__m256i)even, (__m256i)(odd << 32), 0xAA); }
  static FUSED_FN Wide product(Wide a, Wide b) { return (Wide)_mm256_mul_epu32((__m256i)a, (__m256i)b); }
  static FUSED_FN Double root_of(Double x) { return (Double)_mm256_sqrt_pd((__m256d)x); }
  static FUSED_FN Float root_of(Float x) { return (Float)_mm256_sqrt_ps((__m256)x); }
};
#endif
#if defined(__AVX512F__)
template <> struct Lanes<64> {
  FUSED_VECTORS(64)
  static FUSED_FN Words zip(Wide even, Wide odd) {
    return (Words)_mm512_mask_shuffle_epi32((__m512i)even, 0xAAAA, (__m512i)odd, _MM_PERM_CCAA);
  }
  static FUSED_FN Wide product(Wide a, Wide b) { return (Wide)_mm512_mul_epu32((__m512i)a, (__m512i)b); }
  static FUSED_FN Double root_of(Double x) { return (Double)_mm512_sqrt_pd((__m512d)x); }
  static FUSED_FN Float root_of(Float x) { return (Float)_mm512_sqrt_ps((__m512)x); }
};
#endif

// Draws for as many samples as a vector of BYTES has words.
template <int BYTES> struct CpuDraws : Lanes<BYTES> {
  typedef Lanes<BYTES> L;
  typedef typename L::Words Words;
  typedef typename L::Wide Wide;
  static constexpr Word FIRST = 0xD2511F53u, THIRD = 0xCD9E8D57u;  // multipliers of the first and the third word
  typedef typename L::Double Double;
  typedef typename L::Int Int;
  typedef typename L::Float Float;
  struct Drawn {
    Words w[4];
  };
  struct Counters {
    Wide c[4];
  };

  static FUSED_FN void round(Counters& at, Word k0, Word k1) {
    const Wide first = L::product(at.c[0], Wide{} + FIRST), third = L::product(at.c[2], Wide{} + THIRD);
    at.c[0] = third >> 32 ^ at.c[1] ^ k0;
    at.c[2] = first >> 32 ^ at.c[3] ^ k1;
    at.c[1] = third;
    at.c[3] = first;
  }

  // Ten rounds. The first three are done by hand: the samples are in the last word alone, and what they have not reached is one number
  // for all lanes, so a compiler takes it out of a loop over samples. The last one makes the second half of the words only if asked.
  static FUSED_FN Drawn draw(Word step, Word layer, Word call, const int* samples, const Word* key, bool all_four) {
    const Words places = *(const Words*)samples;
    Word k[10][2];
    FUSED_UNROLL for (int i = 0; i < 10; i++) {
      k[i][0] = key[0] + (Word)i * 0x9E3779B9u;
      k[i][1] = key[1] + (Word)i * 0xBB67AE85u;
    }
    typedef unsigned long long Product;
    const Product step1 = (Product)FIRST * step, call1 = (Product)THIRD * call;
    const Word c0 = (Word)(call1 >> 32) ^ layer ^ k[0][0];
    const Product step2 = (Product)FIRST * c0;
    const Word c2 = (Word)(step2 >> 32) ^ (Word)step1 ^ k[1][1];
    const Product call3 = (Product)THIRD * c2;
    Counters at[2];
    FUSED_UNROLL for (int odd = 0; odd < 2; odd++) {
      const Wide samples1 = (odd ? (Wide)places >> 32 : (Wide)places) ^ ((Word)(step1 >> 32) ^ k[0][1]);
      const Wide third = L::product(samples1, Wide{} + THIRD);
      const Wide samples2 = third >> 32 ^ ((Word)call1 ^ k[1][0]);
      const Wide first = L::product(samples2, Wide{} + FIRST);
      at[odd] = {{third ^ ((Word)(call3 >> 32) ^ k[2][0]), Wide{} + (Word)call3, first >> 32 ^ ((Word)step2 ^ k[2][1]), first}};
    }
    FUSED_UNROLL for (int i = 3; i < 9; i++) {
      round(at[0], k[i][0], k[i][1]);
      round(at[1], k[i][0], k[i][1]);
    }
    const Counters &even = at[0], &odd = at[1];
    const Wide third[2] = {L::product(even.c[2], Wide{} + THIRD), L::product(odd.c[2], Wide{} + THIRD)};
    Drawn drawn = {{L::zip(third[0] >> 32 ^ even.c[1] ^ k[9][0], third[1] >> 32 ^ odd.c[1] ^ k[9][0]), L::zip(third[0], third[1])}};
    if (all_four) {
      const Wide first[2] = {L::product(even.c[0], Wide{} + FIRST), L::product(odd.c[0], Wide{} + FIRST)};
      drawn.w[2] = L::zip(first[0] >> 32 ^ even.c[3] ^ k[9][1], first[1] >> 32 ^ odd.c[3] ^ k[9][1]);
      drawn.w[3] = L::zip(first[0], first[1]);
    }
    return drawn;
  }

  // Bits of the units that a call keeps: those of word k's lower half, and 16 above it of its upper half, are bit k.
  static FUSED_FN Words kept(const Drawn& drawn, Word below, bool all_four) {
    typedef typename L::Halves Halves;
    const Halves least = (Halves)(Words{} + below * 0x10001u);
    Words bits = {};
    FUSED_UNROLL for (int k = 0; k < 2; k++) bits |= (Words)((Halves)drawn.w[k] >= least) & (0x10001u << k);
    if (all_four) FUSED_UNROLL for (int k = 2; k < 4; k++) bits |= (Words)((Halves)drawn.w[k] >= least) & (0x10001u << k);
    return below < HALF_WORDS ? bits : Words{};
  }
  static FUSED_FN Word unit_bit(int unit) { return UNIT_BITS[unit % UNITS_PER_CALL]; }
  static constexpr Word UNIT_BITS[UNITS_PER_CALL] = {1, 1 << 16, 2, 2 << 16, 4, 4 << 16, 8, 8 << 16};

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

  static FUSED_FN Float floats(Int x) { return __builtin_convertvector(x, Float); }

  // A pair of normal numbers from the words for radius and turn, in float: of all words each is within 4e-7 of its radius. The
  // polynomials are minimax ones, of the logarithm in relative error.
  struct Singles {
    Float cosine, sine;
  };
  static FUSED_FN Singles singles(Words radius, Words turn) {
    typedef Bits<float> B;
    const float ulp = 1.0f / (1 << 23);
    // u = 2**e (1 + f), sqrt(1/2) <= 1 + f < sqrt 2, and -2 ln(1 + f) = -2 f + f**2 + f**3 p(f).
    const Int bits = (Int)(floats((Int)(radius >> 9)) * ulp + ulp / 2);
    const Int e = (bits - bits_of<int>(0.70710678f)) >> B::MANTISSA;
    const Float f = (Float)(bits - (e << B::MANTISSA)) - 1, square = f * f;
    Float p = Float{} - 0.178376271f;
    p = p * f + 0.286992794f;
    p = p * f - 0.297527328f;
    p = p * f + 0.331313921f;
    p = p * f - 0.399309330f;
    p = p * f + 0.500034907f;
    p = p * f - 0.666677120f;
    const Float log = floats(e) * -1.38629436f + ((p * f + 1) * square - 2 * f);
    // Half turns are taken off v: what is left are the lower 22 bits with their sign, and the next bit above and the sign itself say whether
    // the number of half turns is odd, for cosine and sine alike. t is a quarter turn at most.
    const Float t = floats((Int)(turn << 1) >> 10) * ulp + ulp / 2, z = t * t;
    const Float length = (Float)((Int)L::root_of(log) ^ (Int)((turn ^ turn << 1) & 0x80000000u));
    Float c = Float{} - 24.9822379f;
    c = c * z + 60.1440151f;
    c = c * z - 85.4535716f;
    c = c * z + 64.9393466f;
    c = c * z - 19.7392085f;
    c = c * z + 1;
    Float s = Float{} + 39.7616176f;
    s = s * z - 76.5813965f;
    s = s * z + 81.6024851f;
    s = s * z - 41.3416807f;
    s = s * z + 6.28318528f;
    return {length * c, length * (s * t)};
  }

  // Of many words, as many as are whole vectors: for a test (tests/engines/test_elementary.py).
  static void singles_of(const Word* radius, const Word* turn, float* cosines, float* sines, long long count) {
    constexpr int LANES = BYTES / (int)sizeof(Word);
    for (long long i = 0; i + LANES <= count; i += LANES) {
      const Singles made = singles(*(const Words*)(radius + i), *(const Words*)(turn + i));
      for (int lane = 0; lane < LANES; lane++) {
        cosines[i + lane] = made.cosine[lane];
        sines[i + lane] = made.sine[lane];
      }
    }
  }
};

}  // namespace fused
