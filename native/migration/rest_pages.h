// Pages that are still to be sent. A pair of spans is what a huge page has, which must not be torn: it is taken at
// once.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>

#include "memory/page_bitmap.h"

namespace tsvmm {

// Of two spans, the first of them even.
using PairMask = std::array<SpanMask, 2>;

inline constexpr PairMask kWholePair = [] {
  PairMask pair{};
  for (auto& mask : pair) mask.fill(~0ull);
  return pair;
}();

// Any thread.
class RestPages {
 public:
  explicit RestPages(PageBitmap pages) : pages_(std::move(pages)) {}

  uint64_t pages() const { return pages_.pages(); }
  uint64_t pairs() const { return (pages_.spans() + 1) / 2; }

  // Takes those of `wanted` that are left: nobody else gets them.
  PairMask take(uint64_t pair, const PairMask& wanted) {
    PairMask taken{};
    std::lock_guard lock(mutex_);
    for (uint64_t index = 0; index < 2 && 2 * pair + index < pages_.spans(); ++index) {
      const auto span = 2 * pair + index;
      const auto left = pages_.span(span);
      taken[index] = left & wanted[index];
      pages_.set_span(span, left & ~taken[index]);
    }
    return taken;
  }

  uint64_t count() {
    std::lock_guard lock(mutex_);
    return pages_.count();
  }

 private:
  std::mutex mutex_;
  PageBitmap pages_;
};

}  // namespace tsvmm
