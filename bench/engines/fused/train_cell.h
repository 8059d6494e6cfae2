// A task through the core on a CPU thread, from its beginning to its end.
#pragma once
#include <stdlib.h>

#include "arena.h"

namespace fused {

// What the core asks and tells while it trains. Shared with other threads, read and written by __atomic builtins: whether to stop,
// and the epochs done so far.
struct CpuHost {
  const bool* stop;
  int* epochs;
  bool pauses() const { return false; }
  bool stopped() const { return __atomic_load_n(stop, __ATOMIC_RELAXED); }
  void epoch_done() { __atomic_fetch_add(epochs, 1, __ATOMIC_RELAXED); }
};

// False where memory ran out.
template <class Tiles> static bool train_cell(Task& task, CpuHost host) {
  task.memory = aligned_alloc(ALIGNMENT, Offsets<Tiles>(task.spec, true).bytes);
  if (!task.memory) return false;
  Core<Tiles> core;
  go_on<Tiles>(task, core, host, nullptr);
  free(task.memory);
  return true;
}

}  // namespace fused
