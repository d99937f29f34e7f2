// Reads what surrounds a page: who touches a page soon touches its neighbours.
#pragma once

#include <vector>

#include "memory/lazy_memory.h"
#include "memory/page_source.h"

namespace tsvmm {

// Of one thread; what it returns is valid until its next call.
class BlockReader {
 public:
  BlockReader(const PagingSpace& space, PageSource& source);

  // The aligned block around an image page; where that cannot be read as a whole, only its host page. A huge page is a
  // block.
  Result<PageRun> read(uint64_t page);
  // The first page behind the block of `page`.
  uint64_t end_of_block(uint64_t page) const;

 private:
  Result<PageRun> read_pages(const PagingSegment& segment, uint64_t first, uint64_t count);

  const PagingSpace& space_;
  PageSource& source_;
  std::vector<std::byte> bytes_;
  std::vector<PageKind> kinds_;
};

}  // namespace tsvmm
