// Who a thread is in its block, and a block in its team: told by the hardware on a GPU, by the program that stands in for one on a
// host. A team of several blocks is a cluster, of compute capability 9.0 on.
#pragma once
#include "spec.h"

namespace fused {

static constexpr int WARP = 32;  // threads that a chip leads together

#ifdef __CUDA_ARCH__

// Told to the compiler, which else reads and writes by a slower way that serves both.
#define FUSED_ON_CHIP(pointer) __builtin_assume(__isShared(pointer))
#define FUSED_OFF_CHIP(pointer) __builtin_assume(__isGlobal(pointer))

struct BlockThreads {
  static constexpr bool ONE_CORE = true;  // in shared memory, which spares registers
  static constexpr int HELD = 1;          // lanes of a warp that a thread stands for
  static FUSED_FN int tid() { return threadIdx.x; }
  static FUSED_FN int threads() { return blockDim.x; }
  static FUSED_FN int warp() { return threadIdx.x / WARP; }
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

}  // namespace fused
