// The core for any processor, in a namespace of its own: the linker must not hand its functions to others.
#define fused fused_portable
#include "build.h"

#if defined(__aarch64__)  // 32 vector registers
typedef fused::CpuTiles<float, 4, 4, 6, 4> FloatTiles;
typedef fused::CpuTiles<double, 2, 4, 6, 4> DoubleTiles;
#else
typedef fused::CpuTiles<float, 4, 16, 6, 2> FloatTiles;
typedef fused::CpuTiles<double, 2, 16, 6, 2> DoubleTiles;
#endif
MEMCAP_BUILD(portable, FloatTiles, DoubleTiles)
