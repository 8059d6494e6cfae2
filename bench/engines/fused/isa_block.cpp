// The core as a block of threads would run it, with one thread on this host, in a namespace of its own: a test's, not an engine's.
#define fused fused_block
#include "block_tiles.h"
#include "train_cell.h"

extern "C" bool memcap_train_block(void* given) {
  fused::Task& task = *(fused::Task*)given;
  return task.is_double ? fused::train_cell<fused::BlockTiles<double, 64, 4, 4>>(task)
                        : fused::train_cell<fused::BlockTiles<float, 64, 4, 4>>(task);
}
