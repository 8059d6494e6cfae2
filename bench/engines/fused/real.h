// Elementary functions on float and double, branch-free, so that loops over them vectorize.
#pragma once
#include "spec.h"

namespace fused {

template <class Real> struct Bits;
template <> struct Bits<float> {
  typedef int Int;
  static constexpr int MANTISSA = 23, BIAS = 127;
  static constexpr float ROUND = 12582912.0f;  // 1.5 * 2**23: adding it rounds to a whole number in the low bits
  static constexpr float LN2_HIGH = 0.693359375f, LN2_LOW = -2.12194440e-4f;
  static constexpr float LEAST = -87.0f, MOST = 88.0f;
};
template <> struct Bits<double> {
  typedef long long Int;
  static constexpr int MANTISSA = 52, BIAS = 1023;
  static constexpr double ROUND = 6755399441055744.0;  // 1.5 * 2**52
  static constexpr double LN2_HIGH = 6.93145751953125e-1, LN2_LOW = 1.42860682030941723212e-6;
  static constexpr double LEAST = -708.0, MOST = 709.0;
};

template <class To, class From> FUSED_FN To bits_of(From from) {
  static_assert(sizeof(To) == sizeof(From), "a bit pattern keeps its size");
  return __builtin_bit_cast(To, from);
}

// The bits of a float below the eleven significant ones of TF32, and half of what they amount to.
static constexpr Word TF32_REST = 0x1FFF, TF32_HALF = 0x1000;

// The nearest number of TF32, of two the one away from zero: a half is added to the magnitude, and what is too little for the last bit
// cut off. Infinity stays what it is, and so does a processor's own NaN, which has no bit set among the lowest; a GPU's, which has
// all of them, becomes zero.
FUSED_FN float rounded_to_tf32(float x) { return bits_of<float>((bits_of<Word>(x) + TF32_HALF) & ~TF32_REST); }

// The same, but any NaN stays NaN. The instruction does that by two more than the sum (so ptxas has it for all chips); what it leaves
// in the lowest bits is nobody's promise.
FUSED_FN float to_tf32(float x) {
#ifdef __CUDACC_RTC__
  Word bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits_of<float>(bits & ~TF32_REST);
#else
  return rounded_to_tf32(x);
#endif
}

FUSED_FN double infinity() { return bits_of<double>(0x7FF0000000000000ll); }

#ifdef __CUDACC_RTC__
FUSED_FN float root(float x) { return sqrtf(x); }
FUSED_FN double root(double x) { return sqrt(x); }
#else
FUSED_FN float root(float x) { return __builtin_sqrtf(x); }
FUSED_FN double root(double x) { return __builtin_sqrt(x); }
#endif

// NaN stays NaN in all of these.
template <class Real> FUSED_FN Real at_least(Real x, Real least) { return x < least ? least : x; }
template <class Real> FUSED_FN Real at_most(Real x, Real most) { return x > most ? most : x; }
template <class Real> FUSED_FN Real magnitude(Real x) { return x < 0 ? -x : x; }
template <class Real> FUSED_FN bool is_finite(Real x) { return x - x == 0; }

// Both that follow are of a number, or of a vector of them beside Real and integers as wide as it.

// exp(x): x = k ln 2 + r, |r| <= ln 2 / 2, the Taylor polynomial of r to the precision of the type, within 1 in the last place of the
// result. Saturates where exp would overflow or fall below the smallest normal number.
template <class Number, class Real = Number, class Whole = typename Bits<Real>::Int> FUSED_FN Number exp_(Number x) {
  typedef Bits<Real> B;
  x = at_most(at_least(x, Number{} + (Real)B::LEAST), Number{} + (Real)B::MOST);
  const Number shifted = x * (Real)1.44269504088896340736 + B::ROUND;
  const Number k = shifted - B::ROUND;
  const Number r = (x - k * B::LN2_HIGH) - k * B::LN2_LOW;
  Number p = {};
  if (sizeof(Real) == 4) {
    p += (Real)(1.0 / 5040);
    p = p * r + (Real)(1.0 / 720);
  } else {
    p += (Real)(1.0 / 6227020800.0);
    p = p * r + (Real)(1.0 / 479001600);
    p = p * r + (Real)(1.0 / 39916800);
    p = p * r + (Real)(1.0 / 3628800);
    p = p * r + (Real)(1.0 / 362880);
    p = p * r + (Real)(1.0 / 40320);
    p = p * r + (Real)(1.0 / 5040);
    p = p * r + (Real)(1.0 / 720);
  }
  p = p * r + (Real)(1.0 / 120);
  p = p * r + (Real)(1.0 / 24);
  p = p * r + (Real)(1.0 / 6);
  p = p * r + (Real)0.5;
  p = p * r * r + r + 1;
  const Whole exponent = bits_of<Whole>(shifted) - bits_of<typename B::Int>((Real)B::ROUND) + B::BIAS;
  return p * bits_of<Number>(exponent << B::MANTISSA);
}

// ln(1 + x) for 0 <= x < 2**100: 1 + x = 2**k (1 + f), 1 + f between sqrt(1/2) and sqrt 2, where f is x to the last bit if k is 0. With
// s = f / (2 + f) it is ln(1 + f) = 2 atanh(s) = f - s (f - r), r = 2 (s**2 / 3 + s**4 / 5 + ...), to the precision of the
// type; all within 2 in the last place of the result (tests/engines/test_elementary.py).
template <class Number, class Real = Number, class Whole = typename Bits<Real>::Int> FUSED_FN Number log1p_(Number x) {
  typedef Bits<Real> B;
  const Whole k = (bits_of<Whole>(1 + x) - bits_of<typename B::Int>((Real)0.70710678118654752440)) >> B::MANTISSA;
  const Number power = bits_of<Number>((B::BIAS - k) << B::MANTISSA);
  const Number f = x * power + (power - 1);
  const Number s = f / (2 + f), square = s * s;
  Number r = {};
  if (sizeof(Real) == 4) {
    r += (Real)(2.0 / 9);
  } else {
    r += (Real)(2.0 / 21);
    r = r * square + (Real)(2.0 / 19);
    r = r * square + (Real)(2.0 / 17);
    r = r * square + (Real)(2.0 / 15);
    r = r * square + (Real)(2.0 / 13);
    r = r * square + (Real)(2.0 / 11);
    r = r * square + (Real)(2.0 / 9);
  }
  r = r * square + (Real)(2.0 / 7);
  r = r * square + (Real)(2.0 / 5);
  r = r * square + (Real)(2.0 / 3);
  const Number whole = bits_of<Number>(k + bits_of<typename B::Int>((Real)B::ROUND)) - B::ROUND;
  return whole * B::LN2_HIGH + ((f - s * (f - r * square)) + whole * B::LN2_LOW);
}

}  // namespace fused
