// The core for processors with AVX2 and FMA, in a namespace of its own: the linker must not hand its functions to others.
#define fused fused_avx2
#include "build.h"

typedef fused::CpuTiles<float, 8, 8, 6, 2> FloatTiles;
typedef fused::CpuTiles<double, 4, 8, 6, 2> DoubleTiles;
MEMCAP_BUILD(avx2, FloatTiles, DoubleTiles)
