// Normal numbers from uniform ones (Box and Muller 1958), branch-free, of one double or of a vector of them; Whole are integers as wide.
#pragma once
#include "real.h"

namespace fused {

// ln x for normal x > 0: x = 2**e m, m in [sqrt(1/2), sqrt 2), and ln m = 2 atanh(s), s = (m - 1) / (m + 1), |s| < 0.172, by its
// Taylor series to 1e-17.
template <class Double, class Whole> FUSED_FN Double log_(Double x) {
  typedef Bits<double> B;
  const Whole bits = bits_of<Whole>(x);
  const Whole e = (bits - bits_of<B::Int>(0.70710678118654752440)) >> B::MANTISSA;
  const Double m = bits_of<Double>(bits - (e << B::MANTISSA));
  const Double s = (m - 1) / (m + 1), square = s * s;
  Double p = Double{} + 1.0 / 21;
  p = p * square + 1.0 / 19;
  p = p * square + 1.0 / 17;
  p = p * square + 1.0 / 15;
  p = p * square + 1.0 / 13;
  p = p * square + 1.0 / 11;
  p = p * square + 1.0 / 9;
  p = p * square + 1.0 / 7;
  p = p * square + 1.0 / 5;
  p = p * square + 1.0 / 3;
  p = p * square + 1;
  return (bits_of<Double>(e + bits_of<B::Int>(B::ROUND)) - B::ROUND) * 0.69314718055994530942 + 2 * s * p;
}

template <class Double> struct Turn {
  Double cosine, sine;
};

// Cosine and sine of 2 pi v, 0 <= v <= 1: quarters of a turn are taken off, the rest, at most pi / 4, goes into Taylor series.
template <class Double, class Whole> FUSED_FN Turn<Double> turn_by(Double v) {
  typedef Bits<double> B;
  const Double shifted = 4 * v + B::ROUND, quarters = shifted - B::ROUND;
  const Double a = (v - quarters / 4) * 6.283185307179586476925, square = a * a;
  Double s = Double{} - 1.0 / 1307674368000;
  s = s * square + 1.0 / 6227020800;
  s = s * square - 1.0 / 39916800;
  s = s * square + 1.0 / 362880;
  s = s * square - 1.0 / 5040;
  s = s * square + 1.0 / 120;
  s = s * square - 1.0 / 6;
  s = s * square * a + a;
  Double c = Double{} + 1.0 / 20922789888000;
  c = c * square - 1.0 / 87178291200;
  c = c * square + 1.0 / 479001600;
  c = c * square - 1.0 / 3628800;
  c = c * square + 1.0 / 40320;
  c = c * square - 1.0 / 720;
  c = c * square + 1.0 / 24;
  c = c * square - 0.5;
  c = c * square + 1;
  // A quarter turn takes (c, s) to (-s, c).
  const Whole quarter = bits_of<Whole>(shifted) & 3;
  const auto odd = (quarter & 1) != 0;
  const Double x = odd ? s : c, y = odd ? c : s;
  return {((quarter + 1) & 2) != 0 ? -x : x, quarter >= 2 ? -y : y};
}

}  // namespace fused
