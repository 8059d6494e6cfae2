// What a warp's tensor cores do at a time: sums [16][8] += left [16][8] times right [8][8], of numbers of TF32, of which each lane of
// the warp has its few (PTX ISA, mma.sync.aligned.m16n8k8 with .tf32; compute capability 8.0 on).
#pragma once
#include "block_threads.h"
#include "real.h"

namespace fused {

typedef Held<4> Sums;   // of lane l: rows l / 4 and l / 4 + 8, of each the columns 2 (l % 4) and 2 (l % 4) + 1
typedef Held<4> Left;   // row l / 4 at l % 4, row l / 4 + 8 at l % 4, and the same two at l % 4 + 4
typedef Held<2> Right;  // column l / 4 at l % 4 and at l % 4 + 4

// A lane's number is four times `group_of` it and `place_of` it.
FUSED_FN int group_of(int held) { return BlockThreads::lane_of(held) / 4; }
FUSED_FN int place_of(int held) { return BlockThreads::lane_of(held) % 4; }

#ifdef __CUDA_ARCH__

FUSED_FN void multiply_add(Sums& sums, const Left& left, const Right& right) {
  float* c = sums.v[0];
  const float *a = left.v[0], *b = right.v[0];
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(bits_of<Word>(a[0])), "r"(bits_of<Word>(a[1])), "r"(bits_of<Word>(a[2])), "r"(bits_of<Word>(a[3])),
        "r"(bits_of<Word>(b[0])), "r"(bits_of<Word>(b[1])));
}

#else

FUSED_FN float toward_zero(double x) {
  const float near = (float)x;
  return magnitude((double)near) > magnitude(x) ? bits_of<float>(bits_of<Word>(near) - 1) : near;
}

// Cuts a number toward zero at a power of two.
FUSED_FN double cut(double x, double at) { return (double)(long long)(x / at) * at; }

// The sum of five numbers, all cut where a float32 as large as the largest ends.
FUSED_FN float sum_cut(const double (&terms)[5]) {
  double largest = 0, total = 0;
  for (double term : terms) largest = magnitude(term) > largest ? magnitude(term) : largest;
  for (double term : terms) total += term;
  if (!is_finite(total) || largest == 0) return (float)total;
  const double power = bits_of<double>(bits_of<unsigned long long>(largest) & 0x7FF0000000000000ull), at = power / (1 << 23);
  total = 0;
  for (double term : terms) total += cut(term, at);
  return toward_zero(total);
}

// A model of them: products are exact, and added to the sum in two groups of four with all terms cut alike, and the sum too. Chips were
// found to cut the terms of a sum by the largest of them (Fasi, Higham, Mikaitis and Pranesh 2021, "Numerical behavior of NVIDIA tensor
// cores", PeerJ Computer Science 7:e330); the model keeps no bit more than a float32 has.
FUSED_FN void multiply_add(Sums& sums, const Left& left, const Right& right) {
  double a[16][8], b[8][8];
  FUSED_LANES(h) for (int half = 0; half < 2; half++) {
    for (int k = 0; k < 2; k++) a[group_of(h) + 8 * half][place_of(h) + 4 * k] = left.v[h][2 * k + half];
    b[place_of(h) + 4 * half][group_of(h)] = right.v[h][half];
  }
  FUSED_LANES(h) for (int at = 0; at < 4; at++) {
    float& sum = sums.v[h][at];
    for (int first = 0; first < 8; first += 4) {
      double terms[5] = {sum};
      for (int k = 0; k < 4; k++) terms[k + 1] = a[group_of(h) + 8 * (at / 2)][first + k] * b[first + k][2 * place_of(h) + at % 2];
      sum = sum_cut(terms);
    }
  }
}

#endif

}  // namespace fused
