// The RAM of a machine as its memory image has it: which image page is where in the host's memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "memory/guest_memory.h"
#include "memory/page_source.h"

namespace tsvmm {

// One range of RAM. `unit` is how many image pages the host's page has: 512 for a huge page of 2 MiB, else 1.
struct PagingSegment {
  uint64_t first_page;
  uint64_t pages;
  std::byte* host;
  uint64_t unit;
  bool is_anonymous;

  uint64_t end_page() const { return first_page + pages; }
  std::byte* at(uint64_t page) const { return host + (page - first_page) * kImagePageSize; }
};

// Immutable; any thread. Keeps the memory mapped.
class PagingSpace {
 public:
  // EOPNOTSUPP for host pages larger than 2 MiB, EINVAL for a range that is no whole host pages, EFBIG beyond 2^32
  // pages.
  static Result<PagingSpace> of(std::shared_ptr<const RamMap> map);

  const std::vector<PagingSegment>& segments() const { return segments_; }
  uint64_t pages() const { return segments_.empty() ? 0 : segments_.back().end_page(); }
  // nullptr where there is none.
  const PagingSegment* with_page(uint64_t page) const;
  const PagingSegment* with_host(uint64_t address) const;

 private:
  std::shared_ptr<const RamMap> map_;
  std::vector<PagingSegment> segments_;
};

}  // namespace tsvmm
