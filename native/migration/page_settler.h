// Makes pages that arrive by themselves present in lazy memory.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "memory/lazy_memory.h"
#include "migration/frame.h"

namespace tsvmm {

// Of the frames of one connection, in their order; one thread. A huge page is made present as a whole: the frames of
// its spans come one after the other, and what of them is not followed by the rest is left to the fault that asks.
class PageSettler {
 public:
  // `pages`: the contents of the frame. Fails where the host is out of memory.
  Result<> settle(LazyMemory& memory, uint64_t span, const PagesFrame& frame, std::span<const std::byte> pages);

 private:
  Result<> settle_run(LazyMemory& memory, const PageRun& run);
  Result<> collect(LazyMemory& memory, const PagingSegment& segment, const PageRun& run);

  std::vector<PageKind> kinds_;
  // Of a huge page.
  uint64_t first_ = UINT64_MAX;
  uint64_t collected_ = 0;
  bool is_zero_ = true;
  std::vector<std::byte> bytes_;
};

}  // namespace tsvmm
