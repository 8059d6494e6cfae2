// The core for any processor, in a namespace of its own: the linker must not hand its functions to others.
#define fused fused_portable
#include "build.h"

#if defined(__aarch64__)  // 32 vector registers
MEMCAP_BUILD(portable, 16, 4, 6, 4)
#else
MEMCAP_BUILD(portable, 16, 16, 6, 2)
#endif
