// One descriptor chain as the walker hands it out: host memory that was checked, readable pieces before writable ones.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace tsvmm {

struct GuestRange {
  uint64_t address;
  uint64_t length;
};

// The vectors keep their capacity, so that a chain object used again allocates nothing. Pieces are never empty.
struct Chain {
  uint16_t head = 0;
  size_t readable_pieces = 0;
  uint64_t readable_bytes = 0;
  uint64_t writable_bytes = 0;
  std::vector<iovec> pieces;
  std::vector<GuestRange> ranges;  // where each piece lies for the guest; pieces may be changed, these stay

  std::span<iovec> readable() { return std::span(pieces).first(readable_pieces); }
  std::span<iovec> writable() { return std::span(pieces).subspan(readable_pieces); }

  void clear(uint16_t new_head);
};

}  // namespace tsvmm
