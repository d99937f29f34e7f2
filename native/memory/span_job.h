// Work on a memory image, span by span in several threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "sys/result.h"

namespace tsvmm {

// Shared with whoever watches or cancels the work; any thread.
struct SpanJob {
  std::atomic<bool> is_cancelled = false;
  std::atomic<uint64_t> pages_done = 0;
  std::atomic<uint64_t> pages_total = 0;
  std::atomic<uint64_t> bytes_written = 0;
};

inline constexpr unsigned kMaximumImageThreads = 64;

// Calls work(worker, span) for each span in [0, spans), `worker` below `threads`, at most one call a worker at a time.
// The calling thread is one of them. The first failure ends it, so does `is_cancelled` (ECANCELED).
Result<> for_each_span(SpanJob& job, unsigned threads, uint64_t spans,
                       const std::function<Result<>(unsigned worker, uint64_t span)>& work);

}  // namespace tsvmm
