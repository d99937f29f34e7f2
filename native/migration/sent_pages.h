// What the receiver has of some pages, so that only what changed of them needs to be sent.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "memory/page_bitmap.h"

namespace tsvmm {

// Bounded. A span whose pages were sent in this pass or the last one is kept; of the others those go first that were
// sent longest ago: a guest that writes more than fits in here still finds some of it. One thread.
class SentPages {
 public:
  using Page = std::span<std::byte, kPageBytes>;

  explicit SentPages(uint64_t bytes) : capacity_(bytes / kPageBytes) {}

  // Of a page of the image; nullptr where nothing is known.
  std::byte* find(uint64_t span, unsigned page);
  // Where the contents of a page are to be copied to; nullptr where there is no room for it.
  std::byte* place(uint64_t span, unsigned page);
  void forget(uint64_t span, unsigned page);
  void begin_pass() { ++pass_; }
  // All of it.
  void clear();

 private:
  struct Entry {
    std::array<std::unique_ptr<std::byte[]>, kSpanPages> pages;
    unsigned count = 0;
    uint64_t pass = 0;
    std::list<uint64_t>::iterator age;
  };

  bool make_room(uint64_t span);

  const uint64_t capacity_;
  uint64_t held_ = 0;
  uint64_t pass_ = 0;
  std::unordered_map<uint64_t, Entry> entries_;
  std::list<uint64_t> by_age_;  // spans, the one sent longest ago first
};

}  // namespace tsvmm
