// What a warp's tensor cores do at a time: sums [16][8] += left [16][8] times right [8][8], of numbers of TF32, of which each lane of
// the warp has its few (PTX ISA, mma.sync.aligned.m16n8k8 with .tf32; compute capability 8.0 on).
#pragma once
#include "block_threads.h"
#include "real.h"

namespace fused {

// N numbers of each lane that a thread stands for.
template <int N> struct Held {
  float v[BlockThreads::HELD][N];
};
typedef Held<4> Sums;   // of lane l: rows l / 4 and l / 4 + 8, of each the columns 2 (l % 4) and 2 (l % 4) + 1
typedef Held<4> Left;   // row l / 4 at l % 4, row l / 4 + 8 at l % 4, and the same two at l % 4 + 4
typedef Held<2> Right;  // column l / 4 at l % 4 and at l % 4 + 4

// For each lane that a thread stands for; its number is four times `group_of` it and `place_of` it.
#define FUSED_LANES(held) for (int held = 0; held < BlockThreads::HELD; held++)
FUSED_FN int group_of(int held) { return BlockThreads::lane_of(held) / 4; }
FUSED_FN int place_of(int held) { return BlockThreads::lane_of(held) % 4; }

#ifdef __CUDA_ARCH__

FUSED_FN void multiply_add(Sums& sums, const Left& left, const Right& right) {
  float* c = sums.v[0];
  const float *a = left.v[0], *b = right.v[0];
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(bits_of<Word>(a[0])), "r"(bits_of<Word>(a[1])), "r"(bits_of<Word>(a[2])), "r"(bits_of<Word>(a[3])),
        "r"(bits_of<Word>(b[0])), "r"(bits_of<Word>(b[1])));
}

#else

FUSED_FN float toward_zero(double x) {
  const float near = (float)x;
  return magnitude((double)near) > magnitude(x) ? bits_of<float>(bits_of<Word>(near) - 1) : near;
}

// A model of them: products are exact, and their sum is rounded toward zero, as chips were found to do (Fasi, Higham, Mikaitis and
// Pranesh 2021, "Numerical behavior of NVIDIA tensor cores", PeerJ Computer Science 7:e330).
FUSED_FN void multiply_add(Sums& sums, const Left& left, const Right& right) {
  double a[16][8], b[8][8];
  FUSED_LANES(h) for (int half = 0; half < 2; half++) {
    for (int k = 0; k < 2; k++) a[group_of(h) + 8 * half][place_of(h) + 4 * k] = left.v[h][2 * k + half];
    b[place_of(h) + 4 * half][group_of(h)] = right.v[h][half];
  }
  FUSED_LANES(h) for (int at = 0; at < 4; at++) {
    double total = sums.v[h][at];
    for (int k = 0; k < 8; k++) total += a[group_of(h) + 8 * (at / 2)][k] * b[k][2 * place_of(h) + at % 2];
    sums.v[h][at] = toward_zero(total);
  }
}

#endif

}  // namespace fused
