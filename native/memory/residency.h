// Which pages of guest RAM were ever touched: the others are zero, and must not be read, as that would allocate them.
#pragma once

#include "memory/image_space.h"
#include "memory/page_bitmap.h"
#include "sys/unique_fd.h"

namespace tsvmm {

// Any thread.
class Residency {
 public:
  // Where the host hides it (/proc not mounted) every page counts as touched.
  Residency();

  // `wanted` (pages of the span) without those that are known to be zero. A page may be touched meanwhile: whoever
  // copies from a running guest hears of it as a dirty page.
  SpanMask touched(const ImageSpace& space, uint64_t span, const SpanMask& wanted) const;

  // `wanted` without those that are still as the mapping's contents() have them, or zero where these have nothing. All
  // of `wanted` where that cannot be told; also pages that were read only may be among them.
  SpanMask written(const ImageSpace& space, uint64_t span, const SpanMask& wanted) const;

 private:
  UniqueFd pagemap_;
};

}  // namespace tsvmm
