// Image space over the guest's RAM: where each page of an image is in this process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "memory/guest_memory.h"
#include "memory/page_bitmap.h"

namespace tsvmm {

// Immutable; any thread. Keeps the memory mapped.
class ImageSpace {
 public:
  struct Piece {
    std::byte* host;
    uint64_t pages;
    const Mapping* mapping;
  };

  explicit ImageSpace(std::shared_ptr<const RamMap> map);

  uint64_t pages() const { return pages_; }
  // From `page` (below pages()) to the end of its RAM range, at most `count` pages.
  Piece at(uint64_t page, uint64_t count) const;
  std::byte* host(uint64_t page) const { return at(page, 1).host; }
  // Nothing where that is no RAM.
  std::optional<uint64_t> page_of(const std::byte* host) const;

  // Calls each(first, Piece) for [first, first + count), cut where a RAM range ends.
  template <typename Each>
  void for_each_piece(uint64_t first, uint64_t count, Each&& each) const {
    for (const auto end = first + count; first < end;) {
      const auto piece = at(first, end - first);
      each(first, piece);
      first += piece.pages;
    }
  }

 private:
  std::shared_ptr<const RamMap> map_;
  std::vector<uint64_t> first_pages_;  // of each range
  uint64_t pages_ = 0;
};

}  // namespace tsvmm
