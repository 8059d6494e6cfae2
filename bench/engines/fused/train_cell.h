// A task through the core on a CPU thread, from its beginning to its end, with pauses to save it.
#pragma once
#include <stdlib.h>

#include "arena.h"
#include "flush_to_zero.h"

namespace fused {

// What the core asks and tells while it trains. Shared with other threads, read and written by __atomic builtins: whether to stop,
// whether to pause, and the epochs done so far.
struct CpuHost {
  const bool *stop, *pause;
  int* epochs;
  // Who wants a pause has made room in the task before.
  bool pauses() const { return __atomic_load_n(pause, __ATOMIC_ACQUIRE); }
  bool stopped() const { return __atomic_load_n(stop, __ATOMIC_RELAXED); }
  void epoch_done() { __atomic_fetch_add(epochs, 1, __ATOMIC_RELAXED); }
};

// False where memory ran out. A task that has paused keeps its memory, and goes on with the next call.
template <class Tiles> static bool train_cell(Task& task, CpuHost host) {
  if (!task.memory) task.memory = aligned_alloc(ALIGNMENT, Offsets<Tiles>(task.spec, true).bytes);
  if (!task.memory) return false;
  const FlushToZero flush;
  Core<Tiles> core;
  go_on<Tiles>(task, core, host, nullptr);
  if (task.progress.state == PAUSED) return true;
  free(task.memory);
  task.memory = nullptr;
  return true;
}

}  // namespace fused
