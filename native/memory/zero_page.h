#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "memory/page_bitmap.h"

namespace tsvmm {

inline bool is_zero(std::span<const std::byte, kPageBytes> page) {
  // Small enough to leave early, large enough for whole vector registers.
  constexpr size_t kBlock = 32;
  for (size_t offset = 0; offset < kPageBytes; offset += kBlock * sizeof(uint64_t)) {
    std::array<uint64_t, kBlock> words;
    std::memcpy(words.data(), page.data() + offset, sizeof words);
    uint64_t any = 0;
    for (const auto word : words) any |= word;
    if (any != 0) return false;
  }
  return true;
}

}  // namespace tsvmm
