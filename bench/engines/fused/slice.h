// What blocks of threads do in a slice of time: take cells from a queue, longest first, and train each until it ends or the slice
// does. A cell that pauses goes on in the next slice as if it had not.
#pragma once
#include "arena.h"

namespace fused {

struct Slice {
  Task* tasks;
  const int* order;  // of the tasks to train, `count` of them
  int count;
  int* next;         // of the order, not yet taken by a team
  int* word;         // one for each team, through which its first thread speaks to all
};

// `block` has `take(int*)`, the number before it adds one to it; `team()`, the number of its team; and what a host of the core has. `scratch`
// is the block's own, on chip, enough for any of the tasks.
template <class Tiles, class Block>
FUSED_FN void work(const Slice& slice, Block& block, Core<Tiles>& core, typename Tiles::Real* scratch) {
  for (;;) {
    if (Tiles::rank() == 0 && Tiles::tid() == 0) slice.word[block.team()] = block.is_over() ? slice.count : block.take(slice.next);
    Tiles::team_sync();
    const int place = slice.word[block.team()];
    Tiles::team_sync();
    if (place >= slice.count) return;
    Task& task = slice.tasks[slice.order[place]];
    FUSED_EACH(i, (int)scratch_size<Tiles>(task.spec)) scratch[i] = 0;
    Tiles::sync();
    go_on<Tiles>(task, core, block, scratch);
    Tiles::team_sync();
  }
}

}  // namespace fused
