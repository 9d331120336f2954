// Which threads there are.
#pragma once

#ifndef _WIN32
#include <unistd.h>
#endif

namespace mobileode {

// A process forked from one that has OpenMP's threads has none of them, and would wait for them for ever: it works
// alone.
#ifdef _WIN32
inline int threads_here(int wanted) { return wanted; }
#else
inline const pid_t loaded_in = getpid();
inline int threads_here(int wanted) { return getpid() == loaded_in ? wanted : 1; }
#endif

}  // namespace mobileode
