// The GPU's kernels on this host, in a namespace of their own: fibers stand in for the threads of blocks, with the same barriers.
// For tests: of what a GPU would compute, of missing barriers, and of the engine that drives it.
#define fused fused_block
#define FUSED_PLAIN
#include "block_device.h"

#include <ucontext.h>

#include <functional>
#include <memory>
#include <vector>

#include "slice.h"
#include "tensor_tiles.h"

namespace fused {
namespace {

// Threads that take turns on one thread of the system, each up to its next barrier.
class Fibers {
 public:
  struct Barrier {
    int size, arrived = 0, generation = 0;
    Fibers* fibers;
  };

  void add(const BlockThreads::Self& self, std::function<void()> body) {
    all_.push_back(std::make_unique<Fiber>(Fiber{{}, std::vector<char>(STACK_BYTES), self, std::move(body), false}));
  }

  // To the end of all. `descending` takes their turns from the last to the first: where a barrier is missing, another result.
  void run(bool descending) {
    for (auto& fiber : all_) {
      getcontext(&fiber->context);
      fiber->context.uc_stack.ss_sp = fiber->stack.data();
      fiber->context.uc_stack.ss_size = fiber->stack.size();
      fiber->context.uc_link = &home_;
      const auto address = (unsigned long long)fiber.get();
      makecontext(&fiber->context, (void (*)())&begin, 2, (unsigned)(address >> 32), (unsigned)address);
    }
    for (size_t left = all_.size(); left;)
      for (size_t i = 0; i < all_.size(); i++) {
        Fiber& fiber = *all_[descending ? all_.size() - 1 - i : i];
        if (fiber.done) continue;
        current_ = &fiber;
        BlockThreads::self = fiber.self;
        swapcontext(&home_, &fiber.context);
        left -= fiber.done;
      }
  }

  static void wait(void* given) {
    Barrier& barrier = *(Barrier*)given;
    const int generation = barrier.generation;
    if (++barrier.arrived == barrier.size) {
      barrier.arrived = 0;
      barrier.generation++;
    }
    while (barrier.generation == generation) swapcontext(&barrier.fibers->current_->context, &barrier.fibers->home_);
  }

 private:
  static constexpr size_t STACK_BYTES = 1 << 17;
  struct Fiber {
    ucontext_t context;
    std::vector<char> stack;
    BlockThreads::Self self;
    std::function<void()> body;
    bool done;
  };
  std::vector<std::unique_ptr<Fiber>> all_;
  Fiber* current_ = nullptr;
  ucontext_t home_;

  static void begin(unsigned high, unsigned low) {
    Fiber& fiber = *(Fiber*)((unsigned long long)high << 32 | low);
    fiber.body();
    fiber.done = true;
  }
};

// A slice lasts so many epochs of each team, which is the same for all of its threads, as time is on a GPU.
struct Block {
  int number, length, epochs;
  int team() const { return number; }
  int take(int* next) const { return (*next)++; }
  bool is_over() const { return false; }
  bool pauses() {
    if (epochs < length) return false;
    epochs = 0;
    return true;
  }
  bool stopped() const { return false; }
  void epoch_done() { epochs++; }
};

template <class Tiles>
void train(const Slice& slice, int teams, int team, int threads, int length, long long scratch_bytes, bool descending) {
  struct alignas(ALIGNMENT) Line {
    char byte[ALIGNMENT];
  };
  std::vector<std::vector<Line>> scratch((size_t)(teams * team), std::vector<Line>((size_t)(scratch_bytes / ALIGNMENT + 1)));
  Fibers fibers;
  std::vector<Fibers::Barrier> of_teams((size_t)teams, {threads * team, 0, 0, &fibers});
  std::vector<Fibers::Barrier> of_blocks((size_t)(teams * team), {threads, 0, 0, &fibers});
  for (int block = 0; block < teams * team; block++)
    for (int tid = 0; tid < threads; tid++) {
      const int number = block / team;
      auto* own = (typename Tiles::Real*)scratch[(size_t)block].data();
      fibers.add({tid, threads, block % team, team, Fibers::wait, &of_blocks[(size_t)block], &of_teams[(size_t)number]}, [=, &slice] {
        Core<Tiles> core;
        Block self{number, length, 0};
        work<Tiles>(slice, self, core, own);
      });
    }
  fibers.run(descending);
}

template <int BLOCK, class Call> void with_block(int dtype, int rows, bool tensor_cores, const Call& call) {
  if (dtype == FLOAT64) return call(BlockTiles<double, BLOCK, 4>{});
  if (dtype == TF32) return rows == 32 ? call(TensorTiles<BLOCK, 32, 1>{}) : call(TensorTiles<BLOCK, 16, 1>{});
  if (tensor_cores) return rows == 32 ? call(TensorTiles<BLOCK, 32, 3>{}) : call(TensorTiles<BLOCK, 16, 3>{});
  return rows == 8 ? call(BlockTiles<float, BLOCK, 8>{}) : call(BlockTiles<float, BLOCK, 4>{});
}
template <class Call> void with_tiles(int dtype, int block, int rows, bool tensor_cores, const Call& call) {
  if (block == 64) return with_block<64>(dtype, rows, tensor_cores, call);
  if (block == 32) return with_block<32>(dtype, rows, tensor_cores, call);
  with_block<16>(dtype, rows, tensor_cores, call);
}

}  // namespace
}  // namespace fused

void memcap_block_measure(int dtype, int block, int rows, bool tensor_cores, const void* spec, long long* sizes) {
  const fused::Spec& c = *(const fused::Spec*)spec;
  fused::with_tiles(dtype, block, rows, tensor_cores, [&](auto tiles) {
    typedef decltype(tiles) Tiles;
    sizes[0] = fused::Offsets<Tiles>(c, false).bytes;
    sizes[1] = fused::scratch_size<Tiles>(c) * (long long)sizeof(typename Tiles::Real);
    sizes[2] = fused::shares_of<Tiles>(c.batch_size);
  });
}

void memcap_block_train(int dtype, int block, int rows, bool tensor_cores, void* tasks, const int* order, int count, int teams, int team,
                        int threads, int epochs, long long scratch_bytes, bool descending) {
  int next = 0;
  std::vector<int> words((size_t)teams);
  const fused::Slice slice{(fused::Task*)tasks, order, count, &next, words.data()};
  fused::with_tiles(dtype, block, rows, tensor_cores, [&](auto tiles) {
    fused::train<decltype(tiles)>(slice, teams, team, threads, epochs, scratch_bytes, descending);
  });
}
