// Pages that the receiver of a machine that runs there already has not got yet.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "memory/page_bitmap.h"

namespace tsvmm {

// Any thread.
class RestPages {
 public:
  explicit RestPages(const PageBitmap& pages) : pages_(pages.pages()), words_(pages.spans() * kSpanWords) {
    for (uint64_t span = 0; span < pages.spans(); ++span) {
      const auto mask = pages.span(span);
      for (unsigned word = 0; word < kSpanWords; ++word) words_[span * kSpanWords + word] = mask[word];
    }
  }

  uint64_t pages() const { return pages_; }
  uint64_t spans() const { return words_.size() / kSpanWords; }

  // Takes those of `wanted` that are left: nobody else gets them.
  SpanMask take(uint64_t span, const SpanMask& wanted) {
    SpanMask taken;
    for (unsigned word = 0; word < kSpanWords; ++word) {
      taken[word] = words_[span * kSpanWords + word].fetch_and(~wanted[word]) & wanted[word];
    }
    return taken;
  }

  PageBitmap left() const {
    PageBitmap bitmap(pages_);
    for (uint64_t span = 0; span < spans(); ++span) {
      SpanMask mask;
      for (unsigned word = 0; word < kSpanWords; ++word) mask[word] = words_[span * kSpanWords + word];
      bitmap.set_span(span, mask);
    }
    return bitmap;
  }

 private:
  const uint64_t pages_;
  std::vector<std::atomic<uint64_t>> words_;
};

}  // namespace tsvmm
