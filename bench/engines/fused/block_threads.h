// Who a thread is in its block, and a block in its team: told by the hardware on a GPU, by the program that stands in for one on a
// host. A team of several blocks is a cluster, of compute capability 9.0 on.
#pragma once
#include "spec.h"

namespace fused {

static constexpr int WARP = 32;  // threads that a chip leads together

// What is done before numbers are needed that lie far away: nothing (0), asking for them (1), or fetching the weights of the next step
// (2), which takes registers. Told by bench/engines/cuda/tiles.py.
#ifndef MEMCAP_AHEAD
#define MEMCAP_AHEAD 2
#endif

#ifdef __CUDA_ARCH__

// Told to the compiler, which else reads and writes by a slower way that serves both. Only of what a FUSED_CALL is given: told twice of
// one pointer in one function, NVRTC 13.0 held that the code behind it is never reached, and left it out.
#define FUSED_ON_CHIP(pointer) __builtin_assume(__isShared(pointer))
#define FUSED_OFF_CHIP(pointer) __builtin_assume(__isGlobal(pointer))

struct BlockThreads {
  static constexpr bool ONE_CORE = true;  // in shared memory, which spares registers
  static constexpr int HELD = 1;          // lanes of a warp that a thread stands for
  // Asked anew each time: else what follows from it would be kept in registers across the calls of large functions, which lack them.
  static FUSED_FN int tid() {
    int tid;
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(tid));
    return tid;
  }
  static FUSED_FN int threads() { return blockDim.x; }
  static FUSED_FN int warp() { return tid() / WARP; }
  static FUSED_FN int warps() { return blockDim.x / WARP; }
  static FUSED_FN int lane_of(int) { return threadIdx.x % WARP; }
  static FUSED_FN void sync_warp() { __syncwarp(); }
  static FUSED_FN void sync() { __syncthreads(); }
#if __CUDA_ARCH__ >= 900
  static FUSED_FN int rank() {
    unsigned rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
  }
  static FUSED_FN int team() {
    unsigned team;
    asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(team));
    return team;
  }
  static FUSED_FN void team_sync() {
    if (team() == 1) return __syncthreads();
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
  }
#else
  static FUSED_FN int rank() { return 0; }
  static FUSED_FN int team() { return 1; }
  static FUSED_FN void team_sync() { __syncthreads(); }
#endif
};

#else

#define FUSED_ON_CHIP(pointer)
#define FUSED_OFF_CHIP(pointer)

struct BlockThreads {
  static constexpr bool ONE_CORE = false;
  static constexpr int HELD = WARP;  // a thread is a warp, where lanes are told apart
  struct Self {
    int tid, threads, rank, team;
    void (*wait)(void* barrier);
    void *block, *all;  // barriers of this block and of its team
  };
  static inline thread_local Self self;
  static FUSED_FN int tid() { return self.tid; }
  static FUSED_FN int threads() { return self.threads; }
  static FUSED_FN int warp() { return self.tid; }
  static FUSED_FN int warps() { return self.threads; }
  static FUSED_FN int lane_of(int held) { return held; }
  static FUSED_FN void sync_warp() {}
  static FUSED_FN int rank() { return self.rank; }
  static FUSED_FN int team() { return self.team; }
  static FUSED_FN void sync() {
    if (self.threads > 1) self.wait(self.block);
  }
  static FUSED_FN void team_sync() {
    if (self.threads * self.team > 1) self.wait(self.all);
  }
};

#endif

// N numbers of each lane that a thread stands for.
template <int N, class Real = float> struct Held {
  Real v[BlockThreads::HELD][N];
};

// For each lane that a thread stands for.
#define FUSED_LANES(held) for (int held = 0; held < BlockThreads::HELD; held++)

// Each lane gets the numbers of the lane whose number differs from its own in `bit`; all of a warp's take part.
template <int N, class Real> FUSED_FN void trade(Held<N, Real>& numbers, int bit) {
#ifdef __CUDA_ARCH__
  FUSED_UNROLL for (int k = 0; k < N; k++) numbers.v[0][k] = __shfl_xor_sync(0xFFFFFFFFu, numbers.v[0][k], bit);
#else
  const Held<N, Real> all = numbers;
  FUSED_LANES(h) for (int k = 0; k < N; k++) numbers.v[h][k] = all.v[h ^ bit][k];
#endif
}

// Asks for the numbers around an address, to be in the nearest cache when they are read: which takes no register. A hint: results do
// not depend on it.
FUSED_FN void soon(const void* address) {
#if defined(__CUDA_ARCH__) && MEMCAP_AHEAD
  asm volatile("prefetch.global.L1 [%0];" ::"l"(address));
#endif
}

// Steps 0 to count - 1 of a sum: `fetch(terms, k)` reads what step k takes from afar, `use(terms, k)` adds it, and `ask(k)` is a hint
// that step k is next. With MEMCAP_AHEAD of 2 the terms of the next step are on their way while the last are used, by turns in two
// places, so that none is copied.
template <class Terms, class Fetch, class Use, class Ask>
FUSED_FN void each_step(int count, const Fetch& fetch, const Use& use, const Ask& ask) {
#if MEMCAP_AHEAD == 2
  if (count <= 0) return;
  Terms even, odd;
  fetch(even, 0);
  int k = 0;
  FUSED_ROLLED for (; k + 2 < count; k += 2) {
    fetch(odd, k + 1);
    use(even, k);
    fetch(even, k + 2);
    use(odd, k + 1);
  }
  if (k + 1 < count) fetch(odd, k + 1);
  use(even, k);
  if (k + 1 < count) use(odd, k + 1);
#else
  FUSED_ROLLED for (int k = 0; k < count; k++) {
    Terms terms;
    fetch(terms, k);
    if (k + 1 < count) ask(k + 1);
    use(terms, k);
  }
#endif
}

}  // namespace fused
