// The kernels for one kind of tiles, compiled by NVRTC (bench/engines/cuda/compiler.py), which defines MEMCAP_TILES, MEMCAP_AHEAD,
// MEMCAP_TASK_BYTES, and MEMCAP_THREADS, which the registers of a multiprocessor shall hold, and a block never exceeds.
#include "slice.h"
#include "tensor_tiles.h"

using namespace fused;

typedef MEMCAP_TILES Tiles;
typedef Tiles::Real Real;

static_assert(sizeof(Task) == MEMCAP_TASK_BYTES, "host and device agree on what a task is");

// What a block asks while it works. A slice begins with the first block that starts.
struct Block {
  unsigned long long *began, length_ns;
  int* word;

  FUSED_FN int team() const { return blockIdx.x / Tiles::team(); }
  FUSED_FN int take(int* next) const { return atomicAdd(next, 1); }
  FUSED_FN bool is_over() const {
    unsigned long long now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    const unsigned long long before = atomicCAS(began, 0ull, now);
    return before && now > before + length_ns;
  }
  FUSED_FN bool pauses() const {
    if (Tiles::rank() == 0 && Tiles::tid() == 0) word[team()] = is_over();
    Tiles::team_sync();
    const bool over = word[team()];
    Tiles::team_sync();
    return over;
  }
  FUSED_FN bool stopped() const { return false; }
  FUSED_FN void epoch_done() const {}
};

// A slice of `length_ns` nanoseconds; `began` and `*next` are 0 before it, `words` has room for a word of each team.
// With one such block asked for, since else an assembler may spare registers for a second.
extern "C" __global__ void __launch_bounds__(MEMCAP_THREADS, 1)
train(Task* tasks, const int* order, int count, int* next, int* words, unsigned long long* began, unsigned long long length_ns) {
  extern __shared__ __align__(16) unsigned char shared[];
  __shared__ Core<Tiles> core;
  const Slice slice{tasks, order, count, next, words};
  Block block{began, length_ns, words};
  work<Tiles>(slice, block, core, (Real*)shared);
}

// Bytes of a cell's memory, bytes of its scratch, and the shares that blocks of a team can take of its batches.
extern "C" __global__ void measure(const Spec* specs, long long (*sizes)[3], int count) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
    sizes[i][0] = Offsets<Tiles>(specs[i], false).bytes;
    sizes[i][1] = scratch_size<Tiles>(specs[i]) * (long long)sizeof(Real);
    sizes[i][2] = shares_of<Tiles>(specs[i].batch_size);
  }
}

// What a chip can do at most: multiply-adds on registers alone. Each thread does `rounds` times 16 of them.
extern "C" __global__ void __launch_bounds__(MEMCAP_THREADS) multiply_adds(Real* out, int rounds) {
  Real sums[16];
  FUSED_UNROLL for (int i = 0; i < 16; i++) sums[i] = (Real)(i + threadIdx.x);
  for (int round = 0; round < rounds; round++) FUSED_UNROLL for (int i = 0; i < 16; i++) sums[i] = sums[i] * (Real)0.999 + (Real)1e-3;
  Real total = 0;
  FUSED_UNROLL for (int i = 0; i < 16; i++) total += sums[i];
  out[blockIdx.x * blockDim.x + threadIdx.x] = total;
}
